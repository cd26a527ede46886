//! The marks of a recording.

use crate::machine::EventKind;
use park_core::lot::Command;

/// What a mark stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MarkKind {
    /// A non-maskable interrupt arrives.
    Nmi,
    /// An SMI arrives.
    Smi,
    /// A machine check arrives.
    MachineCheck,
    /// An INIT arrives.
    Init,
    /// A STARTUP arrives.
    Sipi,
    /// An interrupt with a vector arrives.
    Interrupt(u8),
    /// RESET#.
    Reset,
    /// A store to the line that the CPU watches.
    Store,
    /// A command is published in the CPU's doorbell.
    Ring(Command),
    /// The published command is taken back.
    Revoke,
    /// The CPU claims the command.
    Claim,
    /// The CPU has carried the command out.
    Done,
    /// The CPU acknowledges that it is parked.
    Parked,
    /// The CPU has landed in a kernel.
    Landed,
}

impl MarkKind {
    /// The mark of an event from outside; `None` for those that are not shown.
    pub(crate) const fn of(event: EventKind) -> Option<Self> {
        Some(match event {
            EventKind::Nmi => Self::Nmi,
            EventKind::Smi => Self::Smi,
            EventKind::Init => Self::Init,
            EventKind::Sipi(_) => Self::Sipi,
            EventKind::Fixed(vector) => Self::Interrupt(vector),
            EventKind::MachineCheck | EventKind::MachineCheckLocal | EventKind::MachineCheckFatal => Self::MachineCheck,
            EventKind::Reset => Self::Reset,
            _ => return None,
        })
    }

    /// A stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nmi => "nmi",
            Self::Smi => "smi",
            Self::MachineCheck => "mc",
            Self::Init => "init",
            Self::Sipi => "sipi",
            Self::Interrupt(_) => "intr",
            Self::Reset => "reset",
            Self::Store => "store",
            Self::Ring(_) => "ring",
            Self::Revoke => "revoke",
            Self::Claim => "claim",
            Self::Done => "done",
            Self::Parked => "parked",
            Self::Landed => "landed",
        }
    }

    /// Whether it comes from outside the CPU and may disturb it.
    #[must_use]
    pub const fn is_event(self) -> bool {
        !matches!(self, Self::Revoke | Self::Claim | Self::Done | Self::Parked | Self::Landed)
    }
}

/// A point in time on a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// When.
    pub tick: u64,
    /// On which CPU's lane.
    pub cpu: usize,
    /// What.
    pub kind: MarkKind,
    /// The CPU that did it, if one did: an IPI's sender, a store's.
    pub by: Option<usize>,
}
