//! Levels of page tables: the image begins with four, and goes on with five where the command line says so.

use core::arch::global_asm;

use park_core::lot::PagingLevels;
use park_core::{Cpu, PlatformError, Register};
use park_x86::features::FeatureSet;
use park_x86::registers::control::{Cr0, Cr4};

use crate::cpu_tables::{CODE_SELECTOR, CODE32, CODE32_SELECTOR, CODE64, DATA, DATA_SELECTOR};
use crate::image::failure::Failure;
use crate::image::parking::detect_here;
use crate::platform::apic::this_cpu;

global_asm!(
    include_str!("levels.s"),
    DATA = const DATA,
    CODE64 = const CODE64,
    CODE32 = const CODE32,
    DATA_SELECTOR = const DATA_SELECTOR,
    CODE_SELECTOR = const CODE_SELECTOR,
    CODE32_SELECTOR = const CODE32_SELECTOR,
    PG = const Cr0::PG.bits() as u32,
    NOT_PG = const !Cr0::PG.bits() as u32,
    LA57 = const Cr4::LA57.bits() as u32,
    options(att_syntax)
);

unsafe extern "C" {
    fn metal_use_five_levels();
}

/// Makes the executing CPU use so many levels.
///
/// # Errors
/// [`Failure::Machine`]: it can't have five.
///
/// # Safety
/// The executing CPU is the boot CPU, as boot.s leaves it, and no other has been started. Its own tables are to be loaded
/// after this.
pub(crate) unsafe fn choose(levels: PagingLevels) -> Result<(), Failure> {
    if levels == PagingLevels::Four {
        return Ok(());
    }
    if !detect_here().features().has(FeatureSet::LA57) {
        return Err(Failure::Machine("levels=5 needs a CPU with 57-bit linear addresses: CPUID leaf 7, ECX bit 16"));
    }
    // SAFETY: the CPU has CR4.LA57. Text, stack and tables lie below 4 GiB at identity, IF = 0, and no PCID or global
    // page is in use: the caller's promise.
    unsafe { metal_use_five_levels() };
    Ok(())
}

/// How many the executing CPU uses.
pub(crate) fn here() -> Result<PagingLevels, PlatformError> {
    let cr4 = Cr4::from_bits_retain(this_cpu().read(Register::Cr4)?);
    Ok(if cr4.contains(Cr4::LA57) { PagingLevels::Five } else { PagingLevels::Four })
}
