//! What a check found, by name.

use super::{MapEntry, MemoryType};
use core::fmt;
use park_core::{ApicId, PlatformError};

/// One thing that is checked. They are independent: one that fails does not keep the others from being looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Check {
    /// Words of the lot hold what is stored; a compare-exchange does what its name says.
    LotAccess,
    /// Offsets that are not the lot's are refused.
    LotBounds,
    /// The lot is write-back memory.
    LotType,
    /// The next kernel finds the lot reserved.
    LotReserved,
    /// The clock goes on, and never back.
    ClockRuns,
    /// The clock has the rate that it states.
    ClockRate,
    /// The clock is the same on another CPU.
    ClockAgrees,
    /// An NMI is counted once, at its target alone.
    NmiOnce,
    /// What was stored before an IPI is seen by whoever it reaches.
    StoreFirst,
    /// An id that the local APIC can't name is refused.
    WideIds,
    /// A summoned CPU comes, once, to its bay, with interrupts off.
    Summon,
}

impl Check {
    /// All checks, in the order in which they are made.
    pub const ALL: [Self; 11] = [
        Self::LotAccess,
        Self::LotBounds,
        Self::LotType,
        Self::LotReserved,
        Self::ClockRuns,
        Self::ClockRate,
        Self::ClockAgrees,
        Self::NmiOnce,
        Self::StoreFirst,
        Self::WideIds,
        Self::Summon,
    ];

    /// The name in messages and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LotAccess => "lot-access",
            Self::LotBounds => "lot-bounds",
            Self::LotType => "lot-type",
            Self::LotReserved => "lot-reserved",
            Self::ClockRuns => "clock-runs",
            Self::ClockRate => "clock-rate",
            Self::ClockAgrees => "clock-agrees",
            Self::NmiOnce => "nmi-once",
            Self::StoreFirst => "store-first",
            Self::WideIds => "wide-ids",
            Self::Summon => "summon",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is wrong with a platform.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Finding {
    /// A call failed that must succeed.
    Refused {
        /// How.
        error: PlatformError,
    },
    /// A word does not hold what was stored.
    StoreLost {
        /// What was stored.
        stored: u64,
        /// What was read.
        read: u64,
    },
    /// A compare-exchange that must fail stored, or one that must succeed did not, or it returned something else than was there.
    CompareExchangeWrong {
        /// What it had to return.
        expected: u64,
        /// What it returned, or what the word held.
        found: u64,
    },
    /// An offset that is not the lot's was accessed.
    OutOfBounds {
        /// The offset, in bytes.
        offset: u64,
    },
    /// An offset that is not a multiple of 8 was accessed.
    Unaligned {
        /// The offset, in bytes.
        offset: u64,
    },
    /// The lot is not write-back memory.
    NotWriteBack {
        /// What it is.
        found: MemoryType,
    },
    /// The next kernel does not find the lot reserved.
    NotReserved {
        /// What it finds.
        found: MapEntry,
    },
    /// The clock stands still.
    ClockStands,
    /// The clock went back.
    ClockBackwards {
        /// By how many ticks.
        ticks: u64,
    },
    /// The clock's rate is not what it states.
    ClockRate {
        /// Ticks per second that it states.
        stated: u64,
        /// Ticks per second by the other clock.
        measured: u64,
    },
    /// The clock differs on another CPU by more than the time that asking takes.
    ClockDiffers {
        /// The CPU.
        cpu: ApicId,
        /// By how many ticks at least.
        ticks: u64,
    },
    /// An NMI was sent and never counted.
    NmiLost,
    /// One NMI was counted more than once.
    NmiCounted {
        /// How often.
        times: u64,
    },
    /// An NMI was counted by a CPU that it was not for.
    NmiElsewhere {
        /// The CPU.
        cpu: ApicId,
    },
    /// The IPI overtook the store before it.
    StoreAfterIpi {
        /// What was stored.
        stored: u64,
        /// What the NMI handler saw.
        seen: u64,
    },
    /// An id that xAPIC mode can't name was accepted: cut to eight bits, it is another CPU.
    WideIdAccepted {
        /// The id.
        id: ApicId,
    },
    /// Id 255 was accepted: in xAPIC mode it is everybody.
    BroadcastAccepted,
    /// A CPU was summoned and never came.
    SummonLost,
    /// Another CPU came.
    SummonedElsewhere {
        /// The CPU.
        cpu: ApicId,
    },
    /// The CPU came for another bay.
    SummonedToOtherBay {
        /// The bay's index.
        bay_index: u32,
    },
    /// The CPU came with RFLAGS.IF = 1.
    SummonedInterruptible,
    /// A CPU came twice for one summons.
    SummonedTwice,
}

impl Finding {
    /// The name in messages and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::StoreLost { .. } => "store-lost",
            Self::CompareExchangeWrong { .. } => "compare-exchange-wrong",
            Self::OutOfBounds { .. } => "out-of-bounds",
            Self::Unaligned { .. } => "unaligned",
            Self::NotWriteBack { .. } => "not-write-back",
            Self::NotReserved { .. } => "not-reserved",
            Self::ClockStands => "clock-stands",
            Self::ClockBackwards { .. } => "clock-backwards",
            Self::ClockRate { .. } => "clock-rate",
            Self::ClockDiffers { .. } => "clock-differs",
            Self::NmiLost => "nmi-lost",
            Self::NmiCounted { .. } => "nmi-counted",
            Self::NmiElsewhere { .. } => "nmi-elsewhere",
            Self::StoreAfterIpi { .. } => "store-after-ipi",
            Self::WideIdAccepted { .. } => "wide-id-accepted",
            Self::BroadcastAccepted => "broadcast-accepted",
            Self::SummonLost => "summon-lost",
            Self::SummonedElsewhere { .. } => "summoned-elsewhere",
            Self::SummonedToOtherBay { .. } => "summoned-to-other-bay",
            Self::SummonedInterruptible => "summoned-interruptible",
            Self::SummonedTwice => "summoned-twice",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { error } => write!(f, "a call failed that must succeed: {error}"),
            Self::StoreLost { stored, read } => {
                write!(f, "stored {stored:#x}, read {read:#x}: use one 8-byte access, volatile or atomic")
            }
            Self::CompareExchangeWrong { expected, found } => {
                write!(f, "compare-exchange: expected {expected:#x}, found {found:#x}: use LOCK CMPXCHG")
            }
            Self::OutOfBounds { offset } => write!(f, "offset {offset:#x} is not the lot's and was accessed"),
            Self::Unaligned { offset } => write!(f, "offset {offset:#x} is not a multiple of 8 and was accessed"),
            Self::NotWriteBack { found } => write!(f, "the lot is {found:?} memory, and must be write-back"),
            Self::NotReserved { found } => {
                write!(f, "the next kernel finds the lot {found:?}, and must find it reserved (type 2)")
            }
            Self::ClockStands => f.write_str("the clock stands still"),
            Self::ClockBackwards { ticks } => write!(f, "the clock went back by {ticks} ticks"),
            Self::ClockRate { stated, measured } => {
                write!(f, "the clock states {stated} ticks per second and has {measured}")
            }
            Self::ClockDiffers { cpu, ticks } => {
                write!(f, "the clock differs on the CPU with APIC id {cpu} by {ticks} ticks or more")
            }
            Self::NmiLost => f.write_str("an NMI was sent and never counted"),
            Self::NmiCounted { times } => write!(f, "one NMI was counted {times} times"),
            Self::NmiElsewhere { cpu } => write!(f, "the CPU with APIC id {cpu} counted an NMI that was not for it"),
            Self::StoreAfterIpi { stored, seen } => {
                write!(
                    f,
                    "stored {stored:#x} before an NMI, and its handler saw {seen:#x}: MFENCE; LFENCE before the ICR"
                )
            }
            Self::WideIdAccepted { id } => {
                write!(f, "an IPI to APIC id {id} was accepted in xAPIC mode: it reaches another CPU")
            }
            Self::BroadcastAccepted => {
                f.write_str("an IPI to APIC id 255 was accepted in xAPIC mode: it reaches everybody")
            }
            Self::SummonLost => f.write_str("a CPU was summoned and never came"),
            Self::SummonedElsewhere { cpu } => write!(f, "the CPU with APIC id {cpu} came, which was not summoned"),
            Self::SummonedToOtherBay { bay_index } => write!(f, "the CPU came for bay {bay_index}"),
            Self::SummonedInterruptible => f.write_str("the CPU came with RFLAGS.IF = 1: CLI first"),
            Self::SummonedTwice => f.write_str("a CPU came twice for one summons"),
        }
    }
}

/// Why something could not be checked here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Gap {
    /// No other CPU runs.
    NoOtherCpu,
    /// There is no clock to compare with.
    NoOtherClock,
    /// The other CPU can't be asked for its clock.
    CannotAsk,
    /// In x2APIC mode every id has a name.
    X2Apic,
    /// This platform does not summon.
    CannotSummon,
}

impl Gap {
    /// Why, in a few words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoOtherCpu => "no other CPU runs",
            Self::NoOtherClock => "there is no clock to compare with",
            Self::CannotAsk => "the other CPU can't be asked",
            Self::X2Apic => "in x2APIC mode every id has a name",
            Self::CannotSummon => "this platform does not summon",
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What came of one check.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// It held as long as it was looked at.
    Holds,
    /// It does not hold.
    Fails(Finding),
    /// It could not be looked at.
    NotShown(Gap),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds => f.write_str("ok"),
            Self::Fails(finding) => write!(f, "WRONG ({}): {finding}", finding.name()),
            Self::NotShown(gap) => write!(f, "not shown: {gap}"),
        }
    }
}

/// What came of every check. It displays as one line each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Report {
    pub(super) outcomes: [Outcome; Check::ALL.len()],
}

impl Report {
    /// What came of every check, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (Check, Outcome)> + '_ {
        Check::ALL.into_iter().zip(self.outcomes)
    }

    /// What is wrong, and by which check it was found.
    pub fn findings(&self) -> impl Iterator<Item = (Check, Finding)> + '_ {
        self.iter().filter_map(|(check, outcome)| match outcome {
            Outcome::Fails(finding) => Some((check, finding)),
            Outcome::Holds | Outcome::NotShown(_) => None,
        })
    }

    /// True if nothing is wrong that was looked at.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings().next().is_none()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (check, outcome) in self.iter() {
            writeln!(f, "{:<13} {outcome}", check.name())?;
        }
        Ok(())
    }
}
