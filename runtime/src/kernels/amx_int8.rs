//! x86-64 with AMX (Intel since Sapphire Rapids), on Linux, which must be asked for the tiles.
//!
//! `tdpbssd` multiplies a tile of up to 16 rows of 16 groups of four int8 values with a tile that has a
//! row for each such group, of 16 channels, and adds to a tile of 16 x 16 sums. Two blocks of the same
//! inputs, of two panels, are two rows of the right side: the even groups of four, then the odd ones.
//!
//! ```text
//! for each chunk of up to 32 rows, copied if they do not lie in whole cache lines:
//!     configure the tiles; bring the blocks of the first AHEAD steps into their order, in the ring
//!     for each group of four panels:
//!         sums = 0
//!         for each step of 8 blocks:
//!             sums += rows * the step's right sides, of the ring
//!             meanwhile bring the blocks of the step AHEAD of it into their order
//!         out = epilogue(sums * (row scale * channel scale))
//!     release the tiles
//! ```
//!
//! The ring of four steps stays in the first cache, and what is brought there while tiles are multiplied
//! costs no time of its own. A thread that holds no tiles has nothing more to save when the system
//! switches to another.

use super::avx512_vnni::{
    self,
    epilogue::{scaled, slots, store_registers},
};
use super::portable::{Block, Lanes, LoadedEpilogue};
use super::{Epilogue, Kernels, PANEL, PanelsInt8, Precision, ROW_TILE, RowsInt8};
use crate::tensor::MatrixMut;
use core::arch::asm;
use core::arch::x86_64::{__m512, __m512i, _mm512_permutex2var_epi32, _mm512_shuffle_i64x2};
use core::mem::{MaybeUninit, offset_of};
use core::ops::Range;

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
/// Bytes of a line: a row of a tile, or a block.
const LINE: usize = 64;
/// Panels that are multiplied together.
const GROUP: usize = 4;
/// Blocks of a step, and of a step of rows that are shorter.
const STEP: usize = 8;
const SHORT_STEP: usize = 4;
/// Steps of the ring, and how many lie ready when a step is multiplied.
const RING: usize = 4;
const AHEAD: usize = 2;
/// Blocks of rows that are copied: those of 32 rows of 1,536 values.
const COPIED_BLOCKS: usize = 6144;
/// Fewer rows than this are multiplied faster without tiles.
const FEWEST_ROWS: usize = 5;

/// A row of a tile of sums.
type Line = __m512i;

/// Which table multiplies: this one, or that of AVX-512.
enum By {
    Tiles,
    Vectors,
}

/// int8 weights, int8 rows; see [`super::scalar::gemm_f32_qd8_qc8w`].
#[inline(always)]
fn gemm(out: &mut MatrixMut<'_>, lhs: RowsInt8<'_>, rhs: PanelsInt8<'_>, epilogue: &Epilogue<'_>) {
    let by = match rhs.inputs.div_ceil(PANEL) {
        _ if lhs.scales.len() < FEWEST_ROWS => By::Vectors,
        STEP.. => gemm_in_steps::<STEP>(out, lhs, rhs, epilogue),
        SHORT_STEP.. => gemm_in_steps::<SHORT_STEP>(out, lhs, rhs, epilogue),
        _ => By::Vectors,
    };
    if let By::Vectors = by {
        (avx512_vnni::TABLE.gemm_f32_qd8_qc8w)(out, lhs, rhs, epilogue);
    }
}

/// The GEMM in steps of `STEP` blocks; nothing is done if rows are too long for it.
#[inline(always)]
fn gemm_in_steps<const STEP: usize>(
    out: &mut MatrixMut<'_>,
    lhs: RowsInt8<'_>,
    rhs: PanelsInt8<'_>,
    epilogue: &Epilogue<'_>,
) -> By {
    let panels = Panels::<STEP>::new(rhs);
    let (rows, _) = lhs.values.as_chunks::<PANEL>();
    let stride = lhs.stride / PANEL;
    // A row of a tile that is in two lines of the cache takes six times as long.
    let aligned = (rows.as_ptr().addr() | lhs.stride).is_multiple_of(STEP * PANEL);
    let in_place = aligned && panels.first_step() == STEP;
    let room = COPIED_BLOCKS / (panels.steps * STEP).max(1);
    let most = if in_place { ROW_TILE } else { ROW_TILE.min(room) };
    if most < PANEL {
        return By::Vectors;
    }
    let mut space = Space([const { MaybeUninit::uninit() }; COPIED_BLOCKS]);
    let mut work = Work::NEW;
    let mut first = 0;
    for scales in lhs.scales.chunks(most) {
        let values = rows.get(first * stride..).unwrap_or(&[]);
        let rows = match in_place {
            true => Rows::new(values, stride, scales.len(), panels.of_panel),
            false => space.copy::<STEP>(values, stride, scales.len(), &panels),
        };
        let Some(rows) = rows else { break };
        multiply(out, first, scales, rows, &panels, epilogue, &mut work);
        first += scales.len();
    }
    By::Tiles
}

/// The right side.
#[derive(Clone, Copy)]
struct Panels<'a, const STEP: usize> {
    blocks: &'a [Block],
    /// Blocks of a panel, not fewer than those of a step.
    of_panel: usize,
    /// Steps of a panel. The first takes what the others, which are whole, leave.
    steps: usize,
    scales: &'a [Lanes],
}

impl<'a, const STEP: usize> Panels<'a, STEP> {
    /// As many panels as have blocks and scales.
    #[inline(always)]
    fn new(rhs: PanelsInt8<'a>) -> Self {
        let (channels, _) = rhs.values.as_chunks::<PANEL>();
        let (blocks, _) = channels.as_chunks::<PANEL>();
        let (scales, _) = rhs.scales.as_chunks::<PANEL>();
        let of_panel = rhs.inputs.div_ceil(PANEL).max(STEP);
        let scales = scales.get(..blocks.len() / of_panel).unwrap_or(scales);
        Self { blocks, of_panel, steps: of_panel.div_ceil(STEP), scales }
    }

    const fn count(&self) -> usize {
        self.scales.len()
    }

    /// Blocks of the first step that count.
    const fn first_step(&self) -> usize {
        self.of_panel - (self.steps - 1) * STEP
    }

    /// First panel of a group. The last group ends with the last panel and may begin with some of the
    /// group before it.
    fn start(&self, group: usize) -> usize {
        (group * GROUP).min(self.count().saturating_sub(GROUP))
    }

    /// How many panels the second of two adjacent ones is after the first, and the second two after
    /// the first two. Where a group has fewer than four panels some are multiplied twice.
    fn distances(&self) -> [usize; 2] {
        match self.count() {
            0 | 1 => [0, 0],
            count => [1, (count - 2).min(2)],
        }
    }
}

/// Rows whose lines tiles are loaded from: `count` times `stride` blocks, but for the last, which may
/// be shorter.
#[derive(Clone, Copy)]
struct Rows<'a> {
    blocks: &'a [[i8; PANEL]],
    stride: usize,
    count: usize,
}

impl<'a> Rows<'a> {
    /// Rows of `length` blocks; `None` if there are fewer.
    #[inline(always)]
    fn new(blocks: &'a [[i8; PANEL]], stride: usize, count: usize, length: usize) -> Option<Self> {
        let last = count.checked_sub(1)? * stride;
        (length <= stride && last + length <= blocks.len()).then_some(Self {
            blocks,
            stride,
            count,
        })
    }

    /// Rows of the first of two tiles, or of the only one.
    const fn of_first_tile(&self) -> usize {
        if self.count > TILE_ROWS { self.count.div_ceil(2) } else { self.count }
    }
}

/// Room for copied rows.
#[repr(C, align(64))]
struct Space([MaybeUninit<[i8; PANEL]>; COPIED_BLOCKS]);

impl Space {
    /// Copies rows: zeros after what counts of the first step, then the other steps.
    #[inline(always)]
    fn copy<const STEP: usize>(
        &mut self,
        values: &[[i8; PANEL]],
        stride: usize,
        count: usize,
        panels: &Panels<'_, STEP>,
    ) -> Option<Rows<'_>> {
        let length = panels.steps * STEP;
        let slots = self.0.get_mut(..count * length)?;
        for (row, slots) in slots.chunks_exact_mut(length).enumerate() {
            let row = values.get(row * stride..)?.get(..panels.of_panel)?;
            let (first, rest) = row.split_at_checked(panels.first_step())?;
            let mut padded = [[0; PANEL]; STEP];
            padded.iter_mut().zip(first).for_each(|(slot, block)| *slot = *block);
            let steps = core::iter::once(&padded).chain(rest.as_chunks().0);
            for (slot, step) in slots.as_chunks_mut::<STEP>().0.iter_mut().zip(steps) {
                *slot = step.map(MaybeUninit::new);
            }
        }
        // SAFETY: every row was written: its first step and the steps that the rest has, `steps` in all.
        let blocks = unsafe { slots.assume_init_ref() };
        Rows::new(blocks, length, count, length)
    }
}

/// What tiles are loaded from and stored to, and how the weights go on.
#[repr(C, align(64))]
struct Work {
    /// The two right sides of each step.
    ring: MaybeUninit<[[[[u8; LINE]; TILE_ROWS]; 2]; RING]>,
    /// Sums of the first and second rows with the first two panels, then with the other two.
    sums: [[[Line; TILE_ROWS]; 2]; 2],
    /// Steps of a panel.
    steps: usize,
    /// Bytes from the first step of a panel to the next.
    first: usize,
    /// Bytes from the last step of a group to the first step of the next one.
    jump: isize,
}

impl Work {
    const NEW: Self = Self {
        ring: MaybeUninit::uninit(),
        sums: [[[bytemuck::must_cast([0u8; LINE]); TILE_ROWS]; 2]; 2],
        steps: 0,
        first: 0,
        jump: 0,
    };
}

/// Bytes of the ring, and of a step in it.
const RING_BYTES: usize = RING * RING_STEP;
const RING_STEP: usize = 2 * TILE_ROWS * LINE;

/// Which step's blocks are next brought into their order.
#[derive(Clone, Copy)]
struct Next {
    group: usize,
    /// Place in the panels, in blocks.
    at: usize,
    /// Steps left in the group, this one included.
    left: usize,
    /// Place in the ring, in bytes.
    slot: usize,
}

impl Next {
    /// The first step of all.
    #[inline(always)]
    fn first<const STEP: usize>(panels: &Panels<'_, STEP>) -> Self {
        Self { group: 0, at: 0, left: panels.steps, slot: 0 }
    }

    /// The next group, the first one after the last.
    #[inline(always)]
    fn next_group<const STEP: usize>(&self, panels: &Panels<'_, STEP>) -> usize {
        let next = self.group + 1;
        if next * GROUP < panels.count() { next } else { 0 }
    }

    /// Brings the blocks of a step into their order.
    #[inline(always)]
    fn order<const STEP: usize>(&mut self, panels: &Panels<'_, STEP>, work: &mut Work) {
        let [beside, across] = panels.distances();
        let lines = work.ring.as_mut_ptr().cast::<Line>();
        let slot = self.slot / LINE;
        for (side, panel) in [0, across].into_iter().enumerate() {
            for block in 0..STEP {
                let of = |panel: usize| {
                    let at = self.at + panel * panels.of_panel + block;
                    panels.blocks.get(at).copied().unwrap_or_default()
                };
                // SAFETY: only functions of this file's table come here; `detect` found AVX-512.
                let [even, odd] = unsafe { even_and_odd(&of(panel), &of(panel + beside)) };
                let line = (slot + side * TILE_ROWS + 2 * block) % (RING_BYTES / LINE);
                // SAFETY: the ring has so many lines.
                let line = unsafe { lines.add(line) };
                // SAFETY: as above.
                unsafe { line.write(even) };
                // SAFETY: the number of lines is even, so one more is there.
                let line = unsafe { line.add(1) };
                // SAFETY: as above.
                unsafe { line.write(odd) };
            }
        }
        self.advance(panels);
    }

    /// The step after this one.
    #[inline(always)]
    fn advance<const STEP: usize>(&mut self, panels: &Panels<'_, STEP>) {
        self.slot = (self.slot + RING_STEP) % RING_BYTES;
        self.left -= 1;
        if self.left == 0 {
            self.group = self.next_group(panels);
            self.at = panels.start(self.group) * panels.of_panel;
            self.left = panels.steps;
        } else if self.left == panels.steps - 1 {
            self.at += panels.first_step();
        } else {
            self.at += STEP;
        }
    }
}

const EVEN: [i32; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
const ODD: [i32; 16] = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31];

/// Two rows of a right side.
#[target_feature(enable = "avx512f")]
#[inline]
fn even_and_odd(first: &Block, second: &Block) -> [Line; 2] {
    let (first, second) = (bytemuck::must_cast(*first), bytemuck::must_cast(*second));
    [EVEN, ODD].map(|order| _mm512_permutex2var_epi32(first, bytemuck::must_cast(order), second))
}

/// Some rows times every panel.
#[inline(always)]
fn multiply<const STEP: usize>(
    out: &mut MatrixMut<'_>,
    first: usize,
    row_scales: &[f32],
    rows: Rows<'_>,
    panels: &Panels<'_, STEP>,
    epilogue: &Epilogue<'_>,
    work: &mut Work,
) {
    let (first_scales, second_scales) = row_scales.split_at(rows.of_first_tile());
    let tiles_of_rows = [(0, first_scales), (first_scales.len(), second_scales)];
    let [_, across] = panels.distances();
    let mut next = Next::first(panels);
    for _ in 0..AHEAD {
        next.order(panels, work);
    }
    // SAFETY: only functions of this file's table come here; `detect` found AMX.
    let tiles = unsafe { Tiles::configure::<STEP>(rows) };
    let mut finished = 0;
    for group in 0..panels.count().div_ceil(GROUP) {
        // SAFETY: only functions of this file's table come here; `detect` found AVX-512.
        unsafe { tiles.multiply(panels, &mut next, work) };
        let start = panels.start(group);
        for (sums, panel) in work.sums.iter().zip([start, start + across]) {
            let end = panels.count().min(panel + 2);
            let new = panel.max(finished)..end;
            finished = end.max(finished);
            if new.is_empty() {
                continue;
            }
            let epilogue = LoadedEpilogue::new(epilogue, Precision::Int8, new.start * PANEL);
            let pair = PairOfPanels::new(&epilogue, panels.scales, panel, new);
            for (sums, (at, row_scales)) in sums.iter().zip(tiles_of_rows) {
                // SAFETY: only functions of this file's table come here; `detect` found AVX-512.
                unsafe { pair.store(out, first + at, sums, row_scales) };
            }
        }
    }
}

/// What makes outputs of the sums with two panels.
struct PairOfPanels<'f> {
    epilogue: &'f LoadedEpilogue<2>,
    channels: [Lanes; 2],
    /// The first panel is finished.
    second_only: bool,
    /// Columns that are not.
    columns: usize,
}

impl<'f> PairOfPanels<'f> {
    /// The panels from `panel` on, of which `new` are not finished.
    #[inline(always)]
    fn new(
        epilogue: &'f LoadedEpilogue<2>,
        scales: &[Lanes],
        panel: usize,
        new: Range<usize>,
    ) -> Self {
        let scales = |panel: usize| scales.get(panel).copied().unwrap_or_default();
        Self {
            epilogue,
            channels: [scales(new.start), scales(new.start + 1)],
            second_only: new.start > panel,
            columns: new.len() * PANEL,
        }
    }

    /// Finishes a tile of rows, from row `first` of the output on.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn store(
        &self,
        out: &mut MatrixMut<'_>,
        first: usize,
        sums: &[Line; TILE_ROWS],
        row_scales: &[f32],
    ) {
        let mut slots = slots(out, first, self.epilogue.column, self.columns);
        let (fours, rest) = row_scales.as_chunks::<4>();
        let (sums_of_fours, sums) = sums.as_chunks::<4>();
        for ([a, b, c, d], [p, q, r, s]) in sums_of_fours.iter().zip(fours) {
            let values =
                [self.value(*a, *p), self.value(*b, *q), self.value(*c, *r), self.value(*d, *s)];
            store_registers(self.epilogue, &mut slots, values);
        }
        let sums = sums_of_fours.as_flattened().iter().chain(sums).skip(fours.len() * 4);
        for (sums, row_scale) in sums.zip(rest) {
            store_registers(self.epilogue, &mut slots, [self.value(*sums, *row_scale)]);
        }
    }

    /// Values of a row.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn value(&self, sums: Line, row_scale: f32) -> __m512 {
        let second = _mm512_shuffle_i64x2::<0b11_10_11_10>(sums, sums);
        let sums = if self.second_only { second } else { sums };
        scaled(sums, row_scale, bytemuck::must_cast(self.channels))
    }
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

/// Tiles configured on this thread: 0 to 3 for sums, 4 and 5 for the left sides, 6 and 7 for the right
/// ones. Those with an odd number below 6 are for the second tile of rows.
struct Tiles<'a> {
    rows: Rows<'a>,
}

/// Instructions that bring two panels' blocks into their order: `zmm16` and `zmm17`, even and odd lines.
macro_rules! order {
    ($panel:literal, $side:literal, $($block:literal)+) => {
        concat!($(
            "vmovdqu64 zmm16, [{", $panel, "} + 64*", $block, "]\n",
            "vmovdqu64 zmm17, [{", $panel, "} + {beside} + 64*", $block, "]\n",
            "vmovdqa64 zmm18, zmm16\n",
            "vpermt2d zmm16, {even}, zmm17\n",
            "vpermt2d zmm18, {odd}, zmm17\n",
            "vmovdqa64 [{work} + {slot} + 1024*", $side, " + 128*", $block, "], zmm16\n",
            "vmovdqa64 [{work} + {slot} + 1024*", $side, " + 128*", $block, " + 64], zmm18\n",
        )+)
    };
}

/// Multiplies the steps of a group, and brings as many steps from `$next` on into their order.
macro_rules! multiply_steps {
    (
        $step:literal, $tiles:ident, $panels:ident, $next:ident, $work:ident,
        ($($a:literal)+), ($($b:literal)+), [$($zero:literal, $other:literal, $last:literal, $store:literal)?]
    ) => {{
        let [beside, across] = $panels.distances();
        let Rows { blocks: rows, stride, .. } = $tiles.rows;
        let first = $panels.blocks.as_ptr().wrapping_add($next.at);
        let second = first.wrapping_add(across * $panels.of_panel);
        let other = rows.as_ptr().wrapping_add($tiles.rows.of_first_tile() * stride);
        asm!(
            "tilezero tmm0",
            "tilezero tmm2",
            $($zero,)?
            "2:",
            "lea {at:e}, [{slot:e} - {ahead}]",
            "and {at:e}, {mask}",
            "add {at}, {work}",
            "tileloadd tmm6, [{at} + {line}*1]",
            "tileloadd tmm4, [{rows} + {stride}*1]",
            "tdpbssd tmm0, tmm4, tmm6",
            order!("first", "0", $($a)+),
            $($other,)?
            order!("first", "0", $($b)+),
            "tileloadd tmm7, [{at} + {line}*1 + 1024]",
            "tdpbssd tmm2, tmm4, tmm7",
            order!("second", "1", $($a)+),
            $($last,)?
            order!("second", "1", $($b)+),
            // Blocks ahead: a step, or what counts of the first one, or to the next group.
            "mov {at:e}, {block_step}",
            "cmp {left}, [{work} + {work_steps}]",
            "cmove {at}, [{work} + {work_first}]",
            "dec {left}",
            "cmovz {at}, [{work} + {work_jump}]",
            "cmovz {left}, [{work} + {work_steps}]",
            "add {first}, {at}",
            "add {second}, {at}",
            "add {slot:e}, {ring_step}",
            "and {slot:e}, {mask}",
            "add {rows}, {row_step}",
            "add {other}, {row_step}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{work} + {line}*1 + {work_sums}], tmm0",
            "tilestored [{work} + {line}*1 + {work_sums} + 2048], tmm2",
            $($store,)?
            even = in(zmm_reg) bytemuck::must_cast::<_, Line>(EVEN),
            odd = in(zmm_reg) bytemuck::must_cast::<_, Line>(ODD),
            out("zmm16") _, out("zmm17") _, out("zmm18") _,
            first = inout(reg) first => _,
            second = inout(reg) second => _,
            beside = in(reg) beside * $panels.of_panel * LINE,
            rows = inout(reg) rows.as_ptr() => _,
            other = inout(reg) other => _,
            stride = in(reg) stride * PANEL,
            line = in(reg) LINE,
            work = in(reg) &raw mut *$work,
            slot = inout(reg) $next.slot,
            left = inout(reg) $next.left,
            steps = inout(reg) $panels.steps => _,
            at = out(reg) _,
            ahead = const AHEAD * RING_STEP,
            mask = const RING_BYTES - 1,
            ring_step = const RING_STEP,
            block_step = const $step * LINE,
            row_step = const $step * PANEL,
            work_sums = const offset_of!(Work, sums),
            work_steps = const offset_of!(Work, steps),
            work_first = const offset_of!(Work, first),
            work_jump = const offset_of!(Work, jump),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }};
}

/// The same for one tile of rows or two, with steps of either length.
macro_rules! multiply_tiles {
    ($step:literal, $tiles:ident, $panels:ident, $next:ident, $work:ident, $a:tt, $b:tt) => {
        // SAFETY: the tiles are configured while `self` lives, for the number of its rows and for steps of
        // this length. Left sides are read from lines of the rows, as many as those have. From each
        // panel blocks of a step are read: `Next::at` and the distances keep them inside the panels, the
        // step of a group that ends with its last panel. The ring is read and written in whole steps by
        // a place that wraps around in it, and four tiles of sums are there.
        unsafe {
            if $tiles.rows.count > TILE_ROWS {
                multiply_steps!(
                    $step, $tiles, $panels, $next, $work, $a, $b,
                    [
                        "tilezero tmm1\ntilezero tmm3",
                        "tileloadd tmm5, [{other} + {stride}*1]\ntdpbssd tmm1, tmm5, tmm6",
                        "tdpbssd tmm3, tmm5, tmm7",
                        "tilestored [{work} + {line}*1 + {work_sums} + 1024], tmm1\n\
                         tilestored [{work} + {line}*1 + {work_sums} + 3072], tmm3"
                    ]
                );
            } else {
                multiply_steps!($step, $tiles, $panels, $next, $work, $a, $b, []);
            }
        }
    };
}

impl<'a> Tiles<'a> {
    /// Configures the tiles for some rows.
    ///
    /// # Safety
    /// The CPU has AMX and the system gives it to this process.
    #[inline(always)]
    unsafe fn configure<const STEP: usize>(rows: Rows<'a>) -> Self {
        let of_first = rows.of_first_tile();
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        let tiles = configuration.row_bytes.iter_mut().zip(&mut configuration.rows).take(8);
        for (index, (row_bytes, tile_rows)) in tiles.enumerate() {
            let of_tile = if index % 2 == 0 { of_first } else { rows.count - of_first };
            (*row_bytes, *tile_rows) = match index {
                6.. => (LINE as u16, 2 * STEP as u8),
                _ if of_tile == 0 => (0, 0),
                4.. => ((STEP * PANEL) as u16, of_tile as u8),
                _ => (LINE as u16, of_tile as u8),
            };
        }
        // SAFETY: the caller's; the configuration is one of palette 1, each tile with 1 to 16 rows of 4 to
        // 64 bytes, or none.
        unsafe {
            asm!(
                "ldtilecfg [{0}]", in(reg) &raw const configuration,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(readonly, nostack, preserves_flags)
            );
        }
        Self { rows }
    }

    /// The sums of the rows with the next group, while as many steps from `next` on are brought into
    /// their order.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn multiply<const STEP: usize>(
        &self,
        panels: &Panels<'_, STEP>,
        next: &mut Next,
        work: &mut Work,
    ) {
        let group = next.next_group(panels);
        let start = panels.start(group) * panels.of_panel;
        let last_step = (panels.start(next.group) + 1) * panels.of_panel - STEP;
        work.steps = panels.steps;
        work.first = panels.first_step() * LINE;
        work.jump = (start as isize - last_step as isize) * LINE as isize;
        if STEP == 8 {
            multiply_tiles!(8, self, panels, next, work, ("0" "1" "2" "3"), ("4" "5" "6" "7"));
        } else {
            multiply_tiles!(4, self, panels, next, work, ("0" "1"), ("2" "3"));
        }
        let done = panels.steps - next.left;
        let ahead = if done == 0 { 0 } else { panels.first_step() + (done - 1) * STEP };
        (next.group, next.at) = (group, start + ahead);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::scalar;
    use std::vec::Vec;

    #[test]
    fn rows_too_long_to_be_copied_at_once_or_at_all_have_the_scalar_bits() {
        // In place, copied in parts, and by AVX-512.
        for (rows, inputs) in [(33, 3072), (33, 3096), (9, 6144), (9, 6152)] {
            let outputs = 5 * PANEL;
            let value = |index: usize| ((index * 89 + index / 251) % 255) as i8;
            let values: Vec<i8> = (0..rows * inputs).map(|at| value(at).max(-127)).collect();
            let weights: Vec<i8> = (0..outputs * inputs).map(|at| value(at + 7)).collect();
            let scales: Vec<f32> = (0..rows).map(|row| row as f32 + 0.5).collect();
            let lhs = RowsInt8 { values: &values, scales: &scales, stride: inputs };
            let rhs = PanelsInt8 {
                values: &weights,
                scales: &scales.repeat(5)[..outputs],
                outputs,
                inputs,
            };
            let epilogue = Epilogue::overwrite(&[]);
            let mut expected = std::vec![0.0; rows * outputs];
            let out = &mut MatrixMut::new(&mut expected, outputs);
            (scalar::KERNELS.gemm_f32_qd8_qc8w)(out, lhs, rhs, &epilogue);
            for kernels in Kernels::available() {
                let mut found = std::vec![0.0; rows * outputs];
                let out = &mut MatrixMut::new(&mut found, outputs);
                (kernels.gemm_f32_qd8_qc8w)(out, lhs, rhs, &epilogue);
                assert_eq!(found, expected, "{}, {rows} rows of {inputs}", kernels.name);
            }
        }
    }
}
