//! Accesses to memory that is not a CPU's own, in words.

use crate::machine::{AccessKind, Breach};

/// What a CPU did to memory that is not its own.
pub(super) fn touched(breach: &Breach) -> String {
    let what = match breach.kind {
        AccessKind::Fetch => "fetched an instruction",
        AccessKind::Read => "read data",
        AccessKind::Write => "wrote data",
        AccessKind::Push => "pushed a frame onto a stack, or popped one,",
        AccessKind::Descriptor => "read a gate or descriptor",
        AccessKind::DescriptorWrite => "marked a descriptor",
        AccessKind::Walk => "walked page tables",
        AccessKind::WalkWrite => "marked a page-table entry",
        AccessKind::Trace => "wrote a trace record",
        AccessKind::Paravirt => "had the hypervisor write",
    };
    format!("{what} at physical address {:#x}, which is not its own", breach.phys)
}
