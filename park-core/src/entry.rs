//! Where a woken CPU goes.

use crate::PhysAddr;

/// Where a woken CPU starts to run, in long mode with paging on.
///
/// The bay code loads `cr3`, then `rsp`, then jumps to `rip` with `arg` in RDI. All other registers are as
/// the table "out of the lot" in `docs/registers.md` states them. NMI and #MC are handled by the lot until
/// the CPU loads an IDT of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Entry {
    /// Linear address of the first instruction, mapped executable by `cr3`.
    pub rip: u64,
    /// Linear address of the top of a stack of at least 512 bytes, 16-byte aligned, mapped writable by `cr3`.
    pub rsp: u64,
    /// A transit root: page tables that map `rip`, the stack, and the lot at identity, of the CPU's paging depth.
    pub cr3: PhysAddr,
    /// Handed to the entry in RDI.
    pub arg: u64,
}
