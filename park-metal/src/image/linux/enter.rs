//! Into the kernel: nothing of the image is needed afterwards.

use core::arch::asm;

use park_core::PhysAddr;

use crate::cpu_tables::{CODE64, DATA};
use crate::linux::bzimage::ENTRY64;
use crate::memory::Region;

/// What the kernel finds loaded: `__BOOT_CS` at 10h and `__BOOT_DS` at 18h (boot.rst, "64-bit Boot Protocol").
static GDT: [u64; 4] = [0, 0, CODE64, DATA];
const BOOT_CS: u64 = 0x10;
const BOOT_DS: u32 = 0x18;

/// The operand of LGDT.
#[repr(C, packed)]
struct TableRegister {
    limit: u16,
    base: u64,
}

/// Zeroes what is left of `region` from `offset` on, and writes `bytes` there; what does not fit is left out.
///
/// # Safety
/// The region is usable memory at identity in which nothing lies that anybody needs, nor any reference points to.
pub(crate) unsafe fn write(region: Region, offset: usize, bytes: &[u8]) {
    let room = usize::try_from(region.len_bytes).unwrap_or(0).saturating_sub(offset);
    let target: *mut u8 = core::ptr::with_exposed_provenance_mut(region.start.0 as usize + offset);
    let len = bytes.len().min(room);
    // SAFETY: the caller's promise; `room` bytes from `target` on are the region's.
    unsafe { target.write_bytes(0, room) };
    // SAFETY: as above; the source is no part of the region.
    unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), len) };
}

/// Enters a kernel at its 64-bit entry.
///
/// # Safety
/// A kernel with such an entry lies at `kernel`, boot parameters at `parameters`; both, and what the parameters name, are
/// mapped at identity. No other CPU runs code of the image, or will.
pub(super) unsafe fn enter(kernel: PhysAddr, parameters: PhysAddr) -> ! {
    let gdtr = TableRegister { limit: size_of_val(&GDT) as u16 - 1, base: (&raw const GDT).expose_provenance() as u64 };
    // SAFETY: the GDT's descriptors are flat; the stack is valid until the jump, and the kernel brings its own. IF = 0 all
    // along, as the protocol demands.
    unsafe {
        asm!(
            "cli",
            "lgdt [{gdtr}]",
            "mov ds, {data:e}",
            "mov es, {data:e}",
            "mov ss, {data:e}",
            "push {code}",
            "push {entry}",
            "retfq",
            gdtr = in(reg) &raw const gdtr,
            data = in(reg) BOOT_DS,
            code = in(reg) BOOT_CS,
            entry = in(reg) kernel.0 + ENTRY64,
            in("rsi") parameters.0,
            options(noreturn)
        )
    }
}
