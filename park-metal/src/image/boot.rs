//! The entry: 32-bit PVH code to 64-bit Rust. The assembly is in `boot.s`.

use core::arch::global_asm;

use park_x86::registers::control::{Cr0, Cr4, Efer};
use park_x86::registers::msr;

use crate::cpu_tables::{CODE_SELECTOR, CODE64, DATA, DATA_SELECTOR};
use crate::image::exit::{EXIT_PORT, Verdict};
use crate::memory::CPU_AREA_BYTES;

/// CPUID leaf 8000_0001h EDX: bit 29 long mode, bit 20 execute disable (SDM vol. 2, CPUID).
const LM_AND_NX: u32 = 1 << 29 | 1 << 20;
/// What SSE needs of CR4; the compiler uses SSE.
pub(crate) const CR4_SSE: Cr4 = Cr4::OSFXSR.union(Cr4::OSXMMEXCPT);
/// Bits of CR0 that neither the trampoline nor a lot has, so that a CPU that comes back without them shows. Linux has
/// AM set too; it does nothing at CPL 0.
pub(crate) const CR0_EXTRA: Cr0 = Cr0::AM;
const CR4_BOOT: Cr4 = Cr4::PAE.union(CR4_SSE);
const EFER_BOOT: Efer = Efer::LME.union(Efer::NXE);
const CR0_BOOT_SET: Cr0 =
    CR0_EXTRA.union(Cr0::PE).union(Cr0::MP).union(Cr0::ET).union(Cr0::NE).union(Cr0::WP).union(Cr0::PG);
const CR0_BOOT_CLEAR: Cr0 = Cr0::EM.union(Cr0::TS).union(Cr0::NW).union(Cr0::CD);

global_asm!(
    include_str!("boot.s"),
    AREA_BYTES = const CPU_AREA_BYTES,
    CODE64 = const CODE64,
    DATA = const DATA,
    CODE_SELECTOR = const CODE_SELECTOR,
    DATA_SELECTOR = const DATA_SELECTOR,
    LM_AND_NX = const LM_AND_NX,
    CR4_BOOT = const CR4_BOOT.bits() as u32,
    EFER = const msr::EFER,
    EFER_BOOT = const EFER_BOOT.bits() as u32,
    CR0_BOOT_SET = const CR0_BOOT_SET.bits() as u32,
    CR0_BOOT_KEEP = const !CR0_BOOT_CLEAR.bits() as u32,
    EXIT_FAILED = const Verdict::NotStarted as u32,
    EXIT_PORT = const EXIT_PORT,
    main = sym crate::image::boot_main,
    options(att_syntax)
);
// memcpy and its kin: this target's compiler_builtins exports none.
global_asm!(include_str!("mem.s"), options(att_syntax));
