//! x86-64 with AMX (Intel since Sapphire Rapids), on Linux, which must be asked for the tiles.
//!
//! `tdpbssd` multiplies up to 16 rows of 16 groups of four int8 values with 16 rows of such groups, a
//! row for each group of the left side, and adds to a tile of 16 x 16 sums. 16 blocks of a panel are
//! such a right side as they lie in memory: column 2 c holds inputs 0 to 3 of each block for channel c,
//! column 2 c + 1 inputs 4 to 7. So rows are packed into two left sides, of the even and of the odd
//! groups of four inputs. Of the sums with the even ones the even columns count, of the others the odd
//! ones: half of the products are for nothing, but weights are read in place and only once.
//!
//! Tiles are configured for some rows times all panels and released behind: a thread that holds none
//! has nothing more to save when the system switches to another.

use super::avx512_vnni::{self, fold_pair, scaled};
use super::portable::{Block, Finish, Lanes, RowTile, Scaling, for_row_tiles, int8_panels};
use super::{Epilogue, Kernels, PANEL, PanelsInt8, RowsInt8};
use crate::tensor::MatrixMut;
use core::arch::asm;
use core::arch::x86_64::{
    __m512i, _mm512_mask_blend_epi32, _mm512_maskz_loadu_epi64, _mm512_permutex2var_epi32,
};
use core::mem::MaybeUninit;

pub(super) const NAME: &str = "amx_int8";

/// The table, if this CPU and its operating system have AMX, and AVX-512 with VNNI.
pub(super) fn detect() -> Option<&'static Kernels> {
    (avx512_vnni::detect().is_some() && system::gives_tiles()).then_some(&TABLE)
}

static TABLE: Kernels = Kernels { name: NAME, gemm_f32_qd8_qc8w, ..avx512_vnni::TABLE };

recompiled! {
    "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni";
    fn gemm_f32_qd8_qc8w(out: &mut MatrixMut<'_>, lhs: RowsInt8<'_>, rhs: PanelsInt8<'_>, epilogue: &Epilogue<'_>)
        = gemm;
}

/// Rows of a tile.
const TILE_ROWS: usize = 16;
/// Blocks that one tile of weights holds: a step.
const STEP: usize = 16;
/// Lines of packed rows, two for each row and step: those of 32 rows of 1,536 values.
const LINES: usize = 768;
/// Steps up to which two tiles of rows stay in the first cache with the panels they are multiplied with.
const SHORT_STEPS: usize = 6;
/// Fewer rows than this are multiplied faster without tiles.
const FEWEST_ROWS: usize = 4;

/// A row of a tile.
type Line = __m512i;
const ZERO: Line = bytemuck::must_cast([0u8; 64]);

/// How rows are cut.
#[derive(Clone, Copy)]
struct Shape {
    /// Blocks of a row.
    blocks: usize,
    /// Steps of a row. The first takes what the others, which are whole, leave.
    steps: usize,
    /// Most rows of a tile.
    tile_rows: usize,
    /// Most tiles of rows that are packed at a time.
    tiles: usize,
}

impl Shape {
    /// `None` where tiles are not worth it or rows too long to be packed.
    #[inline(always)]
    fn new(rows: usize, inputs: usize) -> Option<Self> {
        let blocks = inputs.div_ceil(PANEL);
        let steps = blocks.div_ceil(STEP);
        let tile_rows = TILE_ROWS.min(LINES.checked_div(2 * steps)?);
        let tiles = if steps <= SHORT_STEPS { 2 } else { 1 };
        (rows >= FEWEST_ROWS && tile_rows >= PANEL).then_some(Self {
            blocks,
            steps,
            tile_rows,
            tiles,
        })
    }

    /// Blocks of the first step.
    const fn first_blocks(&self) -> usize {
        self.blocks - (self.steps - 1) * STEP
    }
}

/// int8 weights, int8 rows; see [`super::scalar::gemm_f32_qd8_qc8w`].
#[inline(always)]
fn gemm(out: &mut MatrixMut<'_>, lhs: RowsInt8<'_>, rhs: PanelsInt8<'_>, epilogue: &Epilogue<'_>) {
    let Some(shape) = Shape::new(lhs.scales.len(), rhs.inputs) else {
        return (avx512_vnni::TABLE.gemm_f32_qd8_qc8w)(out, lhs, rhs, epilogue);
    };
    let (rows, _) = lhs.values.as_chunks::<PANEL>();
    let stride = lhs.stride / PANEL;
    let mut space = [const { MaybeUninit::uninit() }; LINES];
    let mut first = 0;
    for scales in lhs.scales.chunks(shape.tile_rows * shape.tiles) {
        let values = rows.get(first * stride..).unwrap_or(&[]);
        // SAFETY: only functions of this file's table come here; `detect` found AVX-512.
        let packed = unsafe { pack(&mut space, values, stride, scales.len(), shape) };
        let Some(packed) = packed else { return };
        // SAFETY: only functions of this file's table come here; `detect` found AMX.
        let tiles = unsafe { Tiles::configure(packed) };
        multiply(&tiles, out, (first, scales), rhs, epilogue);
        first += scales.len();
    }
}

/// Some packed rows times every panel.
#[inline(always)]
fn multiply(
    tiles: &Tiles<'_>,
    out: &mut MatrixMut<'_>,
    (first, row_scales): (usize, &[f32]),
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) {
    let mut space = PairSums::ZEROS;
    let mut panels = int8_panels(rhs).enumerate();
    while let Some((index, (panel, scales))) = panels.next() {
        let second = panels.next().map(|(_, second)| second);
        let (other, other_scales) = second.unwrap_or((panel, scales));
        let (column, channels) = (index * PANEL, [*scales, *other_scales]);
        for (tile, row_scales) in row_scales.chunks(tiles.packed.tile_rows.max(1)).enumerate() {
            let Some(sums) = tiles.sums(tile, [panel, other], &mut space) else { return };
            let (first, rows) = (first + tile * tiles.packed.tile_rows, row_scales.len());
            if second.is_some() {
                let finish: Finish<2> = Finish::new(epilogue, column);
                let mut rest = Finishing { out, first, sums, row_scales, channels, finish };
                for_row_tiles::<PANEL>(rows, &mut rest);
            } else {
                let finish: Finish<1> = Finish::new(epilogue, column);
                let mut rest = Finishing { out, first, sums, row_scales, channels, finish };
                for_row_tiles::<PANEL>(rows, &mut rest);
            }
        }
    }
}

/// The sums of some rows and two panels on their way to the output.
struct Finishing<'t, 'o, const PANELS: usize> {
    out: &'t mut MatrixMut<'o>,
    /// Place of the first row in the output.
    first: usize,
    sums: &'t PairSums,
    row_scales: &'t [f32],
    channels: [Lanes; 2],
    finish: Finish<PANELS>,
}

impl<const PANELS: usize> RowTile for Finishing<'_, '_, PANELS> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, first: usize) {
        let rows = self.row_scales.get(first..).and_then(|scales| scales.first_chunk());
        let (Some(rows), Some(sums)) = (rows, self.sums.rows::<ROWS>(first)) else { return };
        let scaling = Scaling { rows, excess: &[0; ROWS], channels: &self.channels };
        // SAFETY: only functions of this file's table come here; `detect` found AVX-512.
        let values = unsafe { pair_values(sums, &scaling) };
        let values = values.map(|pair| core::array::from_fn(|panel| pair[panel]));
        self.finish.store(self.out, self.first + first, values);
    }
}

/// Sums with two panels: for each, those with the even groups and those with the odd ones.
#[repr(C)]
struct PairSums([[[Line; TILE_ROWS]; 2]; 2]);

impl PairSums {
    const ZEROS: Self = Self([[[ZERO; TILE_ROWS]; 2]; 2]);

    /// Rows `first` to `first + ROWS`.
    #[inline(always)]
    fn rows<const ROWS: usize>(&self, first: usize) -> Option<[[&[Line; ROWS]; 2]; 2]> {
        fn of<const ROWS: usize>(lines: &[Line], first: usize) -> Option<&[Line; ROWS]> {
            lines.get(first..)?.first_chunk()
        }
        let [[a, b], [c, d]] = &self.0;
        Some([[of(a, first)?, of(b, first)?], [of(c, first)?, of(d, first)?]])
    }
}

/// Values of rows with two panels.
#[target_feature(enable = "avx512f")]
#[inline]
fn pair_values<const ROWS: usize>(
    [first, second]: [[&[Line; ROWS]; 2]; 2],
    scaling: &Scaling<'_, ROWS, 2>,
) -> [[Lanes; 2]; ROWS] {
    const ODD_COLUMNS: u16 = 0xaaaa;
    let mut sums = [[[0; PANEL]; 2]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        let halves = |[even, odd]: [&[Line; ROWS]; 2]| {
            _mm512_mask_blend_epi32(ODD_COLUMNS, even[row], odd[row])
        };
        *sums = fold_pair(halves(first), halves(second));
    }
    scaled(&sums, scaling)
}

/// Rows in the order of tiles.
#[derive(Clone, Copy)]
struct Packed<'p> {
    /// For each tile and step `tile_rows` lines of the even groups of four inputs, then of the odd ones.
    lines: &'p [Line],
    tile_rows: usize,
    shape: Shape,
}

impl Packed<'_> {
    /// Lines of a tile.
    const fn tile_lines(&self) -> usize {
        2 * self.shape.steps * self.tile_rows
    }
}

/// Packs `count` rows; `None` if there are fewer, or too many for the space.
#[target_feature(enable = "avx512f")]
#[inline]
fn pack<'p>(
    space: &'p mut [MaybeUninit<Line>; LINES],
    values: &[[i8; PANEL]],
    stride: usize,
    count: usize,
    shape: Shape,
) -> Option<Packed<'p>> {
    const EVEN: [i32; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
    const ODD: [i32; 16] = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31];
    let Shape { blocks, steps, .. } = shape;
    let tiles = count.div_ceil(shape.tile_rows).max(1);
    let tile_rows = count.div_ceil(tiles);
    let space = space.get_mut(..tiles * tile_rows * 2 * steps)?;
    for row in 0..tiles * tile_rows {
        // Rows that fill the last tile are zeros.
        let row_values = match row < count {
            true => values.get(row * stride..row * stride + blocks)?,
            false => &[],
        };
        let mut start = 0;
        for step in 0..steps {
            let end = shape.first_blocks() + step * STEP;
            let of_step = row_values.get(start..end).unwrap_or(&[]);
            let (low, high) = (load(of_step), load(of_step.get(PANEL..).unwrap_or(&[])));
            let at = ((row / tile_rows * steps + step) * 2) * tile_rows + row % tile_rows;
            for (at, order) in [(at, EVEN), (at + tile_rows, ODD)] {
                let line = _mm512_permutex2var_epi32(low, bytemuck::must_cast(order), high);
                space.get_mut(at)?.write(line);
            }
            start = end;
        }
    }
    // SAFETY: each line was written: rows times steps times two.
    let lines = unsafe { space.assume_init_ref() };
    Some(Packed { lines, tile_rows, shape })
}

/// The first 8 blocks, zeros behind the last.
#[target_feature(enable = "avx512f")]
#[inline]
fn load(blocks: &[[i8; PANEL]]) -> Line {
    let mask = if blocks.len() < PANEL { (1 << blocks.len()) - 1 } else { u8::MAX };
    // SAFETY: it reads as many blocks as the slice has, 8 at most.
    unsafe { _mm512_maskz_loadu_epi64(mask, blocks.as_ptr().cast()) }
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a row of each tile.
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Tiles configured on this thread for packed rows: 0 to 3 for sums, 4 and 5 for rows, 6 and 7 for
/// panels.
struct Tiles<'p> {
    packed: Packed<'p>,
}

impl<'p> Tiles<'p> {
    /// Configures the tiles.
    ///
    /// # Safety
    /// The CPU has AMX and the system gives it to this process.
    #[inline(always)]
    unsafe fn configure(packed: Packed<'p>) -> Self {
        let blocks = packed.shape.blocks.min(STEP) as u8;
        let rows = packed.tile_rows.min(TILE_ROWS) as u8;
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        configuration.row_bytes[..8].copy_from_slice(&[64; 8]);
        configuration.row_bytes[4..6].fill(u16::from(blocks) * 4);
        configuration.rows[..6].fill(rows);
        configuration.rows[6..8].fill(blocks);
        // SAFETY: the caller's; the configuration is one of palette 1, with 1 to 16 rows of 4 to 64 bytes.
        unsafe {
            asm!(
                "ldtilecfg [{0}]", in(reg) &raw const configuration,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(readonly, nostack, preserves_flags)
            );
        }
        Self { packed }
    }

    /// Sums of the rows of a tile with two panels; `None` if one has another length.
    #[inline(always)]
    fn sums<'s>(
        &self,
        tile: usize,
        panels: [&[Block]; 2],
        space: &'s mut PairSums,
    ) -> Option<&'s PairSums> {
        let Packed { tile_rows, shape, .. } = self.packed;
        let lines = self.packed.lines.get(tile * self.packed.tile_lines()..)?;
        let lines = lines.get(..self.packed.tile_lines())?;
        if panels.iter().any(|panel| panel.len() != shape.blocks) || lines.is_empty() {
            return None;
        }
        let [first, second] = panels.map(<[Block]>::as_ptr);
        // SAFETY: the tiles are configured while `self` lives. Left sides are read from the lines of
        // the tile, steps times two times its rows. Of both panels 16 blocks are read, or all if there
        // are fewer; of each further step 16 from where the one before ended: the first counts
        // `first_blocks`, so the last ends with the panel. 64 lines of sums are there.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm6, [{first} + {line}*1]",
                "tileloadd tmm4, [{lhs} + {line}*1]",
                "tdpbssd tmm0, tmm4, tmm6",
                "add {lhs}, {tile}",
                "tileloadd tmm5, [{lhs} + {line}*1]",
                "tdpbssd tmm1, tmm5, tmm6",
                "tileloadd tmm7, [{second} + {line}*1]",
                "tdpbssd tmm2, tmm4, tmm7",
                "add {lhs}, {tile}",
                "add {first}, {ahead}",
                "add {second}, {ahead}",
                "mov {ahead:e}, 1024",
                "tdpbssd tmm3, tmm5, tmm7",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums} + {line}*1], tmm0",
                "tilestored [{sums} + {line}*1 + 1024], tmm1",
                "tilestored [{sums} + {line}*1 + 2048], tmm2",
                "tilestored [{sums} + {line}*1 + 3072], tmm3",
                line = in(reg) size_of::<Line>(),
                tile = in(reg) tile_rows * size_of::<Line>(),
                ahead = inout(reg) shape.first_blocks() * size_of::<Block>() => _,
                lhs = inout(reg) lines.as_ptr() => _,
                first = inout(reg) first => _,
                second = inout(reg) second => _,
                steps = inout(reg) shape.steps => _,
                sums = in(reg) &raw mut *space,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        }
        Some(space)
    }
}

impl Drop for Tiles<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the tiles are configured, so the CPU has them.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nomem, nostack, preserves_flags)
            );
        }
    }
}

#[cfg(all(feature = "std", target_os = "linux", target_pointer_width = "64"))]
mod system {
    use core::arch::asm;
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    use core::sync::atomic::{AtomicU8, Ordering};

    /// State of the tiles' data, which a process must ask for.
    const TILE_DATA: u64 = 18;

    /// Whether the CPU has int8 tiles and the system gives them to this process: to all its threads, those
    /// that already run included. Asks once.
    pub(super) fn gives_tiles() -> bool {
        const UNKNOWN: u8 = 0;
        const NO: u8 = 1;
        const YES: u8 = 2;
        static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
        match ANSWER.load(Ordering::Relaxed) {
            UNKNOWN => {
                let found = cpu_has_tiles() && system_saves_tiles() && ask_for_tiles();
                ANSWER.store(if found { YES } else { NO }, Ordering::Relaxed);
                found
            }
            answer => answer == YES,
        }
    }

    fn cpu_has_tiles() -> bool {
        const AMX_TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
        __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & AMX_TILE_AND_INT8 == AMX_TILE_AND_INT8
    }

    /// Whether the system saves tiles and their configuration when it switches between threads.
    fn system_saves_tiles() -> bool {
        const OSXSAVE: u32 = 1 << 27;
        const TILES: u64 = 1 << 17 | 1 << TILE_DATA;
        #[target_feature(enable = "xsave")]
        fn saved() -> u64 {
            // SAFETY: register 0 is there if `xgetbv` is.
            unsafe { _xgetbv(0) }
        }
        // SAFETY: with OSXSAVE, the CPU and the system have `xgetbv`.
        __cpuid(1).ecx & OSXSAVE != 0 && unsafe { saved() } & TILES == TILES
    }

    fn ask_for_tiles() -> bool {
        const ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
        let result: i64;
        // SAFETY: this call of the system touches no memory of the process; it clobbers rcx and r11.
        unsafe {
            asm!(
                "syscall",
                inout("rax") ARCH_PRCTL => result,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") TILE_DATA,
                out("rcx") _, out("r11") _,
                options(nomem, nostack)
            );
        }
        result == 0
    }
}

/// A system that is not known to give tiles, or none.
#[cfg(not(all(feature = "std", target_os = "linux", target_pointer_width = "64")))]
mod system {
    pub(super) const fn gives_tiles() -> bool {
        false
    }
}
