//! What became of a CPU.

use super::Task;
use core::fmt;
use park_core::{Error, ErrorKind};

/// Where a CPU is, as far as its task knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// Nothing was done yet.
    Planned,
    /// It was not parked, and nothing of it is in the lot: it goes on where it was.
    Refused,
    /// It is in its bay. One that waits for SIPI acknowledged its bay before it was sent there; that it took the INIT
    /// nobody knows.
    Parked,
    /// As parked; it came after its deadline.
    Late,
    /// It spins in its bay until it is released.
    Held,
    /// It took its entry, and has not given its bay back in time. It may yet.
    Leaving,
    /// It left, and gave its bay back.
    Woken,
    /// Nobody can say where it is. Its bay is never given to another, nor rung, unless it is [recovered](super::Goal::Recover).
    Quarantined,
    /// It stopped in its bay, which holds a fault record.
    Faulted,
    /// As quarantined, but the lot could not be told: another kernel has it, or its memory failed.
    Unknown,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 10] = [
        Self::Planned,
        Self::Refused,
        Self::Parked,
        Self::Late,
        Self::Held,
        Self::Leaving,
        Self::Woken,
        Self::Quarantined,
        Self::Faulted,
        Self::Unknown,
    ];

    /// The name in docs and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Refused => "refused",
            Self::Parked => "parked",
            Self::Late => "late",
            Self::Held => "held",
            Self::Leaving => "leaving",
            Self::Woken => "woken",
            Self::Quarantined => "quarantined",
            Self::Faulted => "faulted",
            Self::Unknown => "unknown",
        }
    }

    /// True if the CPU is in its bay and uses nothing outside the lot.
    #[must_use]
    pub const fn is_in_bay(self) -> bool {
        matches!(self, Self::Parked | Self::Late | Self::Held)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why an outcome is not the one that was wanted: the kind of the last error, and its sentence.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Why {
    /// The kind.
    pub kind: ErrorKind,
    /// What is wrong and what to do, one sentence without a full stop.
    pub what: &'static str,
}

impl From<Error> for Why {
    fn from(error: Error) -> Self {
        Self { kind: error.kind(), what: error.what() }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

/// How many tasks came to each outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Tally {
    counts: [usize; Outcome::ALL.len()],
}

impl Tally {
    /// Counts the outcomes of `tasks`.
    #[must_use]
    pub fn of(tasks: &[Task]) -> Self {
        let mut tally = Self::default();
        for task in tasks {
            if let Some(count) = tally.counts.get_mut(task.outcome() as usize) {
                *count += 1;
            }
        }
        tally
    }

    /// How many came to `outcome`.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.counts.get(outcome as usize).copied().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for outcome in Outcome::ALL {
            let count = self.count(outcome);
            if count > 0 {
                write!(f, "{between}{count} {outcome}")?;
                between = ", ";
            }
        }
        Ok(())
    }
}
