//! The parts of a CPU's state that no instruction reads: held events, SMM, shortcuts.

use super::activity::Activity;
use super::cpu::Cpu;

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

impl Latches {
    /// Whether nothing waits. Without branches: it is asked several times a step, and hardly ever false.
    #[inline]
    const fn are_empty(&self) -> bool {
        let Self { mc, smi, init, nmi, db, false_wake, nmi_wake_only } = self;
        mc.is_none() & !*smi & !*init & (*nmi == 0) & (*db == 0) & !*false_wake & !*nmi_wake_only
    }
}

impl Cpu {
    /// What is asked most: whether it runs or halts while nothing waits for it.
    #[inline]
    pub(crate) const fn is_undisturbed(&self) -> bool {
        let [irr0, irr1, irr2, irr3] = self.apic.irr;
        matches!(self.activity, Activity::Running | Activity::Hlt)
            & !self.smm.inside
            & (irr0 | irr1 | irr2 | irr3 == 0)
            & self.latches.are_empty()
    }
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

/// The shortcut from RIP to decoded code: of a backed, allowed page.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FetchPage {
    pub(crate) linear_page: u64,
    /// The TLB's generation it belongs to; 0 = none.
    pub(crate) generation: u64,
    /// The page of decoded code, 0 = none yet.
    pub(crate) code: u32,
    /// The frame last fetched from, for traces.
    pub(crate) frame: u32,
}

/// Shortcuts for data accesses, by page and direction.
pub(crate) const DATA_SHORTCUTS: usize = 8;

/// The shortcut from a linear page to where a read or write of it goes: of cached, backed, allowed supervisor pages without keys, LASS or
/// breakpoints, so that a hit needs no check. Whatever decides one of these moves the TLB's generation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DataPage {
    pub(crate) linear_page: u64,
    pub(crate) generation: u64,
    pub(crate) phys: u64,
    pub(crate) frame: u32,
    /// Where the frame's bytes are.
    pub(crate) slot: u32,
    pub(crate) write_back: bool,
}
