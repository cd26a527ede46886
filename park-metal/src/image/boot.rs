//! The entry: 32-bit PVH code to 64-bit Rust. The assembly is in `boot.s`.

use core::arch::global_asm;

use crate::cpu_tables::{CODE_SELECTOR, CODE64, DATA, DATA_SELECTOR};
use crate::image::exit::{EXIT_PORT, Verdict};
use crate::memory::CPU_AREA_BYTES;

/// CPUID leaf 8000_0001h EDX: bit 29 long mode, bit 20 execute disable (SDM vol. 2, CPUID).
const LM_AND_NX: u32 = 1 << 29 | 1 << 20;
/// PAE (bit 5), OSFXSR (9), OSXMMEXCPT (10): SDM vol. 3, 2.5.
pub(crate) const CR4_BOOT: u32 = 1 << 5 | 1 << 9 | 1 << 10;
/// LME (bit 8), NXE (11): SDM vol. 3, table 2-1.
pub(crate) const EFER_BOOT: u32 = 1 << 8 | 1 << 11;
/// PE (bit 0), MP (1), ET (4), NE (5), WP (16), PG (31): SDM vol. 3, 2.5.
pub(crate) const CR0_BOOT_SET: u32 = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 31;
/// All but EM (bit 2), TS (3), NW (29), CD (30).
pub(crate) const CR0_BOOT_CLEAR: u32 = !(1 << 2 | 1 << 3 | 1 << 29 | 1 << 30);

global_asm!(
    include_str!("boot.s"),
    AREA_BYTES = const CPU_AREA_BYTES,
    CODE64 = const CODE64,
    DATA = const DATA,
    CODE_SELECTOR = const CODE_SELECTOR,
    DATA_SELECTOR = const DATA_SELECTOR,
    LM_AND_NX = const LM_AND_NX,
    CR4_BOOT = const CR4_BOOT,
    EFER_BOOT = const EFER_BOOT,
    CR0_BOOT_SET = const CR0_BOOT_SET,
    CR0_BOOT_CLEAR = const CR0_BOOT_CLEAR,
    EXIT_FAILED = const Verdict::NotStarted as u32,
    EXIT_PORT = const EXIT_PORT,
    main = sym crate::image::boot_main,
    options(att_syntax)
);
// memcpy and its kin: this target's compiler_builtins exports none.
global_asm!(include_str!("mem.s"), options(att_syntax));
