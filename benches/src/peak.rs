//! The most multiply-accumulates a second that one core of this machine can do: loops on registers.
#![allow(unsafe_code, reason = "calls functions of instruction sets that were just detected")]

use std::hint::black_box;
use std::time::Instant;

/// Multiply-accumulates of f32 values: what peers' float kernels are bounded by.
pub const FMA: &str = "f32 FMA";

/// One loop.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// What the loop does.
    pub name: &'static str,
    /// Multiply-accumulates of a round.
    macs: u64,
    /// Runs rounds; `None` where this CPU lacks the instruction.
    run: fn(u64) -> Option<()>,
}

/// A measured peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Name of the loop.
    pub name: &'static str,
    /// Multiply-accumulates a second, the best of some short runs.
    pub macs_per_second: f64,
}

/// The int8 loop that a kernel table is bounded by.
#[must_use]
pub fn of_table(table: &str) -> Option<&'static str> {
    match table {
        "amx_int8" => Some("int8 tdpbssd"),
        "avx512_vnni" => Some("int8 vpdpbusd 512"),
        "avx2" => Some("int8 vpmaddubsw"),
        "neon_dotprod" => Some("int8 sdot"),
        _ => None,
    }
}

/// Measures every loop that this CPU can run.
pub fn measure_all() -> Vec<Measured> {
    LOOPS.iter().filter_map(Peak::measure).collect()
}

/// The higher of two measurements of each loop: a peak is what the core can do undisturbed.
#[must_use]
pub fn higher(before: Vec<Measured>, after: Vec<Measured>) -> Vec<Measured> {
    let pairs = before.into_iter().zip(after);
    pairs.map(|(a, b)| if a.macs_per_second >= b.macs_per_second { a } else { b }).collect()
}

const ROUNDS: u64 = 1 << 18;

impl Peak {
    fn measure(&self) -> Option<Measured> {
        let mut best = f64::INFINITY;
        for _ in 0..30 {
            let start = Instant::now();
            (self.run)(black_box(ROUNDS))?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        Some(Measured { name: self.name, macs_per_second: (ROUNDS * self.macs) as f64 / best })
    }
}

#[cfg(target_arch = "x86_64")]
const LOOPS: &[Peak] = &[
    Peak { name: FMA, macs: 12 * 8, run: x86::fma },
    Peak { name: "f32 FMA 512", macs: 12 * 16, run: x86::fma_512 },
    Peak { name: "int8 vpmaddubsw", macs: 10 * 32, run: x86::maddubs },
    Peak { name: "int8 vpdpbusd 512", macs: 12 * 64, run: x86::dpbusd_512 },
    Peak { name: "int8 tdpbssd", macs: 4 * 16 * 16 * 64, run: x86::tdpbssd },
];

#[cfg(target_arch = "aarch64")]
const LOOPS: &[Peak] = &[
    Peak { name: FMA, macs: 12 * 4, run: aarch64::fma },
    Peak { name: "int8 sdot", macs: 12 * 16, run: aarch64::sdot },
];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const LOOPS: &[Peak] = &[Peak { name: FMA, macs: 64, run: plain }];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn plain(rounds: u64) -> Option<()> {
    let (mut sums, factor) = ([0.0f32; 64], black_box(0.5f32));
    for _ in 0..rounds {
        sums.iter_mut().for_each(|sum| *sum = *sum * factor + factor);
    }
    black_box(sums);
    Some(())
}

/// Runs a step on each of some independent sums, if this CPU has the features.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! on_registers {
    (
        $name:ident: $features:literal, $detected:expr, [$zero:expr; $count:literal],
        let $operands:pat_param = $values:expr; |$sum:ident| $step:expr
    ) => {
        pub(super) fn $name(rounds: u64) -> Option<()> {
            #[target_feature(enable = $features)]
            fn body(rounds: u64) {
                let ($operands, mut sums) = ($values, [$zero; $count]);
                for _ in 0..rounds {
                    for $sum in &mut sums {
                        *$sum = $step;
                    }
                }
                black_box(sums);
            }
            // SAFETY: the features were found.
            $detected.then(|| unsafe { body(rounds) })
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::black_box;
    use coda_runtime::kernels::Kernels;
    use core::arch::asm;
    use core::arch::x86_64::*;

    on_registers! {
        fma: "avx2,fma", (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")),
        [_mm256_setzero_ps(); 12],
        let factor = _mm256_set1_ps(black_box(0.5)); |sum| _mm256_fmadd_ps(*sum, factor, factor)
    }
    on_registers! {
        fma_512: "avx512f", is_x86_feature_detected!("avx512f"), [_mm512_setzero_ps(); 12],
        let factor = _mm512_set1_ps(black_box(0.5)); |sum| _mm512_fmadd_ps(*sum, factor, factor)
    }
    on_registers! {
        maddubs: "avx2", is_x86_feature_detected!("avx2"), [_mm256_setzero_si256(); 10],
        let (left, ones) = (_mm256_set1_epi8(black_box(3)), _mm256_set1_epi16(1)); |sum| {
            // The right side changes with every sum, or the product would leave the loop.
            let pairs = _mm256_maddubs_epi16(left, *sum);
            _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones))
        }
    }
    on_registers! {
        dpbusd_512: "avx512f,avx512vnni",
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")),
        [_mm512_setzero_si512(); 12],
        let factor = _mm512_set1_epi8(black_box(3)); |sum| _mm512_dpbusd_epi32(*sum, factor, factor)
    }

    /// What `ldtilecfg` reads: seven tiles of 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct Tiles([u8; 64]);

    pub(super) fn tdpbssd(rounds: u64) -> Option<()> {
        // Its detection asks the system for the tiles.
        Kernels::by_name("amx_int8")?;
        let mut tiles = Tiles([0; 64]);
        tiles.0[0] = 1;
        for tile in 0..7 {
            tiles.0[16 + 2 * tile] = 64;
            tiles.0[48 + tile] = 16;
        }
        // SAFETY: the tiles were found. The configuration is one of theirs, and no memory is written.
        unsafe {
            asm!(
                "ldtilecfg [{tiles}]",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "tilezero tmm4",
                "tilezero tmm5",
                "tilezero tmm6",
                "2:",
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm5, tmm6",
                "tdpbssd tmm2, tmm4, tmm6",
                "tdpbssd tmm3, tmm5, tmm6",
                "dec {rounds}",
                "jnz 2b",
                "tilerelease",
                tiles = in(reg) &raw const tiles,
                rounds = inout(reg) rounds.max(1) => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(readonly, nostack)
            );
        }
        Some(())
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::black_box;
    use core::arch::aarch64::*;
    use core::arch::asm;
    use std::arch::is_aarch64_feature_detected;

    on_registers! {
        fma: "neon", is_aarch64_feature_detected!("neon"), [vdupq_n_f32(0.0); 12],
        let factor = vdupq_n_f32(black_box(0.5)); |sum| vfmaq_f32(factor, *sum, factor)
    }
    on_registers! {
        sdot: "neon,dotprod", is_aarch64_feature_detected!("dotprod"), [vdupq_n_s32(0); 12],
        let factor = vdupq_n_s8(black_box(3)); |sum| {
            let mut next = *sum;
            // SAFETY: one instruction on registers, of a feature that this function enables.
            unsafe {
                asm!(
                    "sdot {0:v}.4s, {1:v}.16b, {1:v}.16b",
                    inout(vreg) next, in(vreg) factor,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            next
        }
    }
}
