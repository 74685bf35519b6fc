//! What a Cortex-M core says of itself in its identification registers, and two instructions of its
//! floating point unit.

#[cfg(any(cortex_m_v8, target_abi = "eabihf"))]
use core::arch::asm;

/// Instruction set attribute register 3; the SIMD field says whether the DSP extension is there.
#[cfg(cortex_m_v8)]
const ID_ISAR3: *const u32 = core::ptr::without_provenance(0xe000_ed6c);
/// Media and VFP feature register 1; the MVE field says whether Helium is there.
#[cfg(cortex_m_v8)]
const MVFR1: *const u32 = core::ptr::without_provenance(0xe000_ef44);

/// The DSP extension: `smlad` and its kin. Armv7E-M is the architecture with it.
#[cfg(not(cortex_m_v8))]
pub(super) const fn has_dsp() -> bool {
    true
}

/// The DSP extension: `smlad` and its kin. Optional in Armv8-M.
#[cfg(cortex_m_v8)]
pub(super) fn has_dsp() -> bool {
    read(ID_ISAR3).is_some_and(|value| value >> 4 & 0xf == 3)
}

/// Helium on integers.
#[cfg(cortex_m_v8)]
pub(super) fn has_mve() -> bool {
    read(MVFR1).is_some_and(|value| value >> 8 & 0xf != 0)
}

/// A register of the system control space; `None` in unprivileged code, where a read would fault.
#[cfg(cortex_m_v8)]
fn read(register: *const u32) -> Option<u32> {
    let control: u32;
    // SAFETY: reading CONTROL has no effect and is allowed at any privilege.
    unsafe { asm!("mrs {}, CONTROL", out(reg) control, options(nomem, nostack, preserves_flags)) };
    if control & 1 == 1 {
        return None;
    }
    // SAFETY: every Cortex-M has this read-only register at this address.
    Some(unsafe { register.read_volatile() })
}

/// The floating point unit's square root, which IEEE 754 rounds correctly.
#[cfg(target_abi = "eabihf")]
#[inline(always)]
pub(super) fn sqrt(x: f32) -> f32 {
    let root: u32;
    // SAFETY: three instructions on registers, of the unit that this ABI passes floats in.
    unsafe {
        asm!(
            "vmov s0, {0}", "vsqrt.f32 s0, s0", "vmov {0}, s0",
            inout(reg) x.to_bits() => root, out("s0") _,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    f32::from_bits(root)
}

/// The floating point unit's exact conversion of two f16, the first in the low half; every Cortex-M with
/// the unit has it.
#[cfg(target_abi = "eabihf")]
#[inline(always)]
pub(super) fn widen_pair(bits: u32) -> [f32; 2] {
    let (first, second): (u32, u32);
    // SAFETY: instructions on registers, of the unit that this ABI passes floats in; halves are in the
    // format of IEEE 754 unless a program asks for Arm's own.
    unsafe {
        asm!(
            "vmov s0, {0}", "vcvtt.f32.f16 s1, s0", "vcvtb.f32.f16 s0, s0", "vmov {0}, {1}, s0, s1",
            inout(reg) bits => first, lateout(reg) second, out("s0") _, out("s1") _,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    [f32::from_bits(first), f32::from_bits(second)]
}
