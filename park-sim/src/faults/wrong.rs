//! What must not become of a CPU.

use crate::machine::{AccessKind, ResetCause};
use crate::world::WorldError;
use core::fmt;

/// A part of a CPU's journey.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Leg {
    /// From the first access of sanitising to the acknowledgement.
    Arriving,
    /// In its wait.
    Waiting,
    /// While it is rung, until it claims.
    Ringing,
    /// From the claim to the landing.
    Leaving,
    /// Under its new kernel.
    Landed,
}

impl Leg {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [Self::Arriving, Self::Waiting, Self::Ringing, Self::Leaving, Self::Landed];
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arriving => "arriving",
            Self::Waiting => "waiting",
            Self::Ringing => "being rung",
            Self::Leaving => "leaving",
            Self::Landed => "landed",
        })
    }
}

/// A violation.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Wrong {
    /// An access outside what the CPU may touch.
    Breach {
        /// What kind.
        kind: AccessKind,
        /// RIP of the instruction.
        rip: u64,
        /// The physical address.
        phys: u64,
        /// The CPU.
        cpu: usize,
    },
    /// The CPU shut down.
    Shutdown,
    /// The machine was reset.
    Reset {
        /// Why.
        cause: ResetCause,
    },
    /// The CPU stopped in its bay with a fault record.
    Faulted {
        /// The exception.
        vector: u8,
        /// Where.
        rip: u64,
    },
    /// The CPU should have stopped in its bay with a fault record, and has not, or does not stay there.
    NotFaulted,
    /// The CPU took an exception under its kernel.
    KernelFault,
    /// The CPU does not come to the end of a leg.
    TooSlow {
        /// The leg.
        leg: Leg,
    },
    /// The CPU has acknowledged, and is not where it says.
    NotParked {
        /// What is wrong.
        what: &'static str,
    },
    /// The entry was not reached exactly once.
    Entered {
        /// How often it was.
        times: u32,
    },
    /// The CPU landed with another argument than its entry's.
    WrongEntry {
        /// What it found.
        found: u64,
    },
    /// The CPU landed in a state that its next owner does not expect.
    LeftBehind {
        /// What.
        what: &'static str,
    },
    /// The bay is not free although its CPU gave it back.
    NotFreed,
    /// An operation failed, or the machine met something that it does not model.
    Operation {
        /// What it said.
        what: String,
    },
    /// What a finder looks for by name.
    Seen {
        /// What.
        what: &'static str,
    },
}

impl From<WorldError> for Wrong {
    fn from(error: WorldError) -> Self {
        Self::Operation { what: error.to_string() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Breach { kind, rip, phys, cpu } => {
                write!(f, "CPU {cpu} touched memory that is not its own: {kind:?} of {phys:#x}, RIP {rip:#x}")
            }
            Self::Shutdown => f.write_str("the CPU shut down"),
            Self::Reset { cause } => write!(f, "the machine was reset: {cause:?}"),
            Self::Faulted { vector, rip } => write!(f, "the CPU faulted in its bay: vector {vector}, RIP {rip:#x}"),
            Self::NotFaulted => f.write_str("the CPU does not stay in its bay with a fault record"),
            Self::KernelFault => f.write_str("the CPU took an exception under its kernel"),
            Self::TooSlow { leg } => write!(f, "the CPU does not get further than: {leg}"),
            Self::NotParked { what } => write!(f, "the CPU has acknowledged, but {what}"),
            Self::Entered { times } => write!(f, "the entry was taken {times} times"),
            Self::WrongEntry { found } => {
                write!(f, "the CPU landed with argument {found:#x}, which is not its entry's")
            }
            Self::LeftBehind { what } => write!(f, "after the landing {what}"),
            Self::NotFreed => f.write_str("the bay is not free although its CPU has left"),
            Self::Operation { what } => f.write_str(what),
            Self::Seen { what } => f.write_str(what),
        }
    }
}

impl core::error::Error for Wrong {}
