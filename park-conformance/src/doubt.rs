//! Why a run gives no verdict.

use crate::Fate;
use core::fmt;

/// What is wrong with a run: no response can be derived from it, or the CPU is lost in a way that no claim can state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Doubt {
    /// The CPU was not parked before the event.
    NotParked {
        /// What it was.
        fate: Fate,
    },
    /// The rig made nothing happen.
    NothingFired,
    /// Nobody saw the event arrive.
    ZeroWitnessed {
        /// How often it was made to happen.
        fired: u32,
    },
    /// Some events are missing, and nothing may have swallowed them.
    Missing {
        /// How often it was made to happen.
        fired: u32,
        /// How often it was seen.
        witnessed: u32,
    },
    /// More events were seen than made to happen.
    MoreThanFired {
        /// How often it was made to happen.
        fired: u32,
        /// How often it was seen.
        witnessed: u32,
    },
    /// After the event the CPU executed or used what nobody gave it.
    Strays,
    /// The CPU took the event, made no lap and was not in SMM alone.
    NoLap,
    /// The CPU should still be parked and gives no proof of life.
    Silent,
    /// The CPU should still be parked and did not wake.
    NotWoken,
    /// The entry ran more than once.
    DoubleEntry {
        /// How often.
        entries: u32,
    },
    /// Something else than the event was left behind and came once the CPU was woken.
    LeftBehind,
    /// The CPU was woken well, and was lost afterwards.
    LostLater {
        /// What became of it.
        fate: Fate,
    },
}

impl Doubt {
    /// The name in docs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotParked { .. } => "not-parked",
            Self::NothingFired => "nothing-fired",
            Self::ZeroWitnessed { .. } => "zero-witnessed",
            Self::Missing { .. } => "missing",
            Self::MoreThanFired { .. } => "more-than-fired",
            Self::Strays => "strays",
            Self::NoLap => "no-lap",
            Self::Silent => "silent",
            Self::NotWoken => "not-woken",
            Self::DoubleEntry { .. } => "double-entry",
            Self::LeftBehind => "left-behind",
            Self::LostLater { .. } => "lost-later",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotParked { fate } => write!(f, "the CPU was not parked before the event: {fate}"),
            Self::NothingFired => f.write_str("the rig made nothing happen"),
            Self::ZeroWitnessed { fired } => write!(f, "fired {fired}, and nobody saw any of it arrive"),
            Self::Missing { fired, witnessed } => {
                write!(f, "fired {fired}, witnessed {witnessed}: nothing may have swallowed the others")
            }
            Self::MoreThanFired { fired, witnessed } => {
                write!(f, "fired {fired}, witnessed {witnessed}: some came from elsewhere")
            }
            Self::Strays => f.write_str("the CPU executed or used what nobody gave it"),
            Self::NoLap => f.write_str("the CPU took the event and did not go through its loop again"),
            Self::Silent => f.write_str("the CPU should still be parked and gives no proof of life"),
            Self::NotWoken => f.write_str("the CPU should still be parked and did not wake"),
            Self::DoubleEntry { entries } => write!(f, "the entry ran {entries} times"),
            Self::LeftBehind => f.write_str("something was left behind and came once the CPU was woken"),
            Self::LostLater { fate } => write!(f, "the CPU was woken and lost afterwards: {fate}"),
        }
    }
}

impl core::error::Error for Doubt {}
