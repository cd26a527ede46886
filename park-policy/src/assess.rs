//! What speaks for and against each mechanism on one CPU.

use crate::cpu::{Absence, CpuKind, Offer};
use crate::{Guarantees, Requirements};
use core::fmt;
use park_core::Mechanism;
use park_core::op::Processor;

/// Why a mechanism is out of the question, whatever it guarantees.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Obstacle {
    /// The CPU does not have it.
    Absent(Absence),
    /// The requirements exclude it.
    Excluded,
    /// The bootstrap processor parks by Hlt or Mwait only: an INIT would reset the machine, and one that Clgi held would do
    /// so when it is let through.
    NotForBootstrap,
    /// It takes longer to wake than the requirements allow.
    TooSlow {
        /// What it takes, in microseconds.
        wake_latency_us: u32,
        /// What is allowed, in microseconds.
        latency_us: u32,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(why) => why.fmt(f),
            Self::Excluded => f.write_str("the requirements exclude it"),
            Self::NotForBootstrap => f.write_str("never for the bootstrap processor"),
            Self::TooSlow { wake_latency_us, latency_us } => {
                write!(f, "takes {wake_latency_us} us to wake, and {latency_us} us are allowed")
            }
        }
    }
}

/// What speaks for and against one mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Assessment {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// What stands in its way, if anything does.
    pub obstacle: Option<Obstacle>,
    /// What it guarantees; nothing if the CPU does not have it.
    pub provided: Guarantees,
    /// What is required and not provided: exactly that.
    pub missing: Guarantees,
    /// What is preferred and provided.
    pub preferred: Guarantees,
}

impl Assessment {
    /// True if the mechanism can be chosen.
    #[must_use]
    pub const fn fits(&self) -> bool {
        self.obstacle.is_none() && self.missing.is_empty()
    }
}

/// The assessment of every mechanism, in the order of [`Mechanism::ALL`].
pub type Assessments = [Assessment; Mechanism::ALL.len()];

/// Assesses every mechanism on a CPU of this kind that is `processor`.
#[must_use]
pub fn assess(kind: &CpuKind<'_>, processor: Processor, requirements: &Requirements) -> Assessments {
    Mechanism::ALL.map(|mechanism| {
        let provided = Guarantees::of_kind(mechanism, kind, processor);
        Assessment {
            mechanism,
            obstacle: obstacle(mechanism, kind.offers.of(mechanism), processor, requirements),
            provided,
            missing: requirements.require.difference(provided),
            preferred: requirements.prefer.intersection(provided),
        }
    })
}

fn obstacle(
    mechanism: Mechanism,
    offer: &Offer,
    processor: Processor,
    requirements: &Requirements,
) -> Option<Obstacle> {
    let waits = match offer {
        Offer::Absent(why) => return Some(Obstacle::Absent(*why)),
        Offer::Here(waits) => waits,
    };
    if requirements.exclude.contains(mechanism.into()) {
        return Some(Obstacle::Excluded);
    }
    if processor == Processor::Bootstrap && matches!(mechanism, Mechanism::Clgi | Mechanism::WaitForSipi) {
        return Some(Obstacle::NotForBootstrap);
    }
    let (wake_latency_us, latency_us) = (waits.wake_latency_us, requirements.latency_us);
    (wake_latency_us > latency_us).then_some(Obstacle::TooSlow { wake_latency_us, latency_us })
}
