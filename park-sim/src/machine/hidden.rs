//! The parts of a CPU's state that no instruction reads: held events, SMM, shortcuts.

/// A machine check that waits for an instruction boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PendingMc {
    pub(crate) restartable: bool,
    pub(crate) broadcast: bool,
    pub(crate) lmce: bool,
}

/// Events that wait for an instruction boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Latches {
    pub(crate) mc: Option<PendingMc>,
    pub(crate) smi: bool,
    pub(crate) init: bool,
    pub(crate) nmi: u8,
    /// DR6 bits of a pending debug trap.
    pub(crate) db: u64,
    pub(crate) false_wake: bool,
    /// An NMI that ends the wait without being handled (knob `nmi-apic-soft-off`).
    pub(crate) nmi_wake_only: bool,
}

/// Which boundary is inhibited for one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub(crate) enum Shadow {
    #[default]
    None,
    Sti,
    MovSs,
}

/// SMM as an opaque handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Smm {
    pub(crate) inside: bool,
    /// Activity code at entry, for RSM.
    pub(crate) from: u8,
    pub(crate) steps: u32,
    pub(crate) nmi_was_blocked: bool,
}

/// The shortcut from RIP to a frame of code.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FetchPage {
    pub(crate) linear_page: u64,
    pub(crate) generation: u64,
    pub(crate) frame: u32,
    /// The page of decoded code, 0 = none yet.
    pub(crate) code: u32,
    pub(crate) phys: u64,
}

/// Shortcuts for data accesses, by page and direction.
pub(crate) const DATA_SHORTCUTS: usize = 8;

/// The shortcut from a linear page to where a read or write of it goes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DataPage {
    pub(crate) linear_page: u64,
    pub(crate) generation: u64,
    pub(crate) phys: u64,
    pub(crate) frame: u32,
    pub(crate) uncached: bool,
    pub(crate) write_back: bool,
}
