//! The form of a claim. The claims themselves stand in the vendor crates, and nowhere else.

use crate::{Event, Mechanism};
use core::fmt;

/// What a mechanism promises that an event does to a CPU that waits by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Response {
    /// The CPU does not notice; no instruction of it runs, in SMM or outside, and nothing is left behind.
    Unnoticed,
    /// The CPU runs firmware (SMM) and waits on, without one lap of its loop.
    Transparent,
    /// The wait ends, bay code deals with it and waits again: still parked, still reachable.
    Laps,
    /// The event is held until the CPU is woken, and takes effect then.
    Held,
    /// The CPU leaves the bay for wait-for-SIPI, where whoever sent the event may start it.
    WaitsForSipi,
    /// Another kernel starts the CPU: it leaves the bay for that kernel's start-up code.
    Taken,
    /// The CPU cannot be taken by this event, now or after it is woken: the sender waits in vain.
    Refused,
    /// The CPU, or the machine, shuts down.
    Shutdown,
    /// The machine resets: the CPU is the bootstrap processor.
    Reset,
    /// Firmware waits for the CPU, which cannot come.
    Hangs,
}

impl Response {
    /// All responses, from harmless to deadly.
    pub const ALL: [Self; 10] = [
        Self::Unnoticed,
        Self::Transparent,
        Self::Laps,
        Self::Held,
        Self::Refused,
        Self::WaitsForSipi,
        Self::Taken,
        Self::Hangs,
        Self::Reset,
        Self::Shutdown,
    ];

    /// The response with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|response| response.name() == name)
    }

    /// The name in docs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unnoticed => "unnoticed",
            Self::Transparent => "transparent",
            Self::Laps => "laps",
            Self::Held => "held",
            Self::WaitsForSipi => "waits-for-sipi",
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
            Self::Reset => "reset",
            Self::Hangs => "hangs",
        }
    }

    /// True if the CPU is still parked afterwards, and can be woken as planned.
    #[must_use]
    pub const fn stays_parked(self) -> bool {
        matches!(self, Self::Unnoticed | Self::Transparent | Self::Laps | Self::Held | Self::Refused)
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Under which circumstances a claim holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Condition {
    /// Always.
    Always,
    /// The CPU is the bootstrap processor.
    Bsp,
    /// The CPU is an application processor.
    Ap,
    /// The implementation does the kinder of the things that the manual allows.
    ///
    /// The claim with [`ImplementationUnkind`](Self::ImplementationUnkind) says what else may happen.
    ImplementationKind,
    /// The implementation does the worst of the things that the manual allows.
    ImplementationUnkind,
}

impl Condition {
    /// The name in docs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Bsp => "bsp",
            Self::Ap => "ap",
            Self::ImplementationKind => "implementation-kind",
            Self::ImplementationUnkind => "implementation-unkind",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A mechanism's promise on a machine: mechanism × event × condition → response, with its citation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Claim {
    /// How the CPU waits.
    pub mechanism: Mechanism,
    /// What happens.
    pub event: Event,
    /// When the claim holds.
    pub condition: Condition,
    /// What becomes of the CPU.
    pub response: Response,
    /// Manual section, erratum or commit that says so. Says "undocumented" where the manuals are silent.
    pub source: &'static str,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} ({}) → {}", self.mechanism, self.event, self.condition, self.response)
    }
}
