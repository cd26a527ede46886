//! MSRs that may not exist: reading or writing one is a #GP then, which is caught.

use core::arch::global_asm;

global_asm!(include_str!("probe.s"), options(att_syntax));

unsafe extern "C" {
    fn metal_try_rdmsr(number: u32, value: *mut u64) -> u32;
    fn metal_try_wrmsr(number: u32, value: u64) -> u32;
}

/// The executing CPU's MSR, or `None` if it has none with this number.
pub(crate) fn rdmsr(number: u32) -> Option<u64> {
    let mut value = 0;
    // SAFETY: `value` is a place to write to; a fault is caught.
    let read = unsafe { metal_try_rdmsr(number, &raw mut value) };
    (read == 1).then_some(value)
}

/// Writes the executing CPU's MSR; `None` if it refuses.
///
/// # Safety
/// The value, if the CPU takes it, must not break the image.
pub(crate) unsafe fn wrmsr(number: u32, value: u64) -> Option<()> {
    // SAFETY: the caller's promise; a fault is caught.
    let written = unsafe { metal_try_wrmsr(number, value) };
    (written == 1).then_some(())
}
