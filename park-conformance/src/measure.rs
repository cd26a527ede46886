//! One case on one rig.

use crate::classify::{Observed, classify};
use crate::{Answer, Case, Coalescing, Doubt, Lack, Rig, Waiting};
use core::fmt;
use park_core::{Mechanism, Response};

/// What one case came to on one rig.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Measurement {
    /// The case.
    pub case: Case,
    /// How often the event was made to happen.
    pub fired: u32,
    /// How often it was seen at its target: at least once, at most `fired` times.
    pub witnessed: u32,
    /// Why fewer were witnessed than fired; `None` if as many were.
    pub coalesced: Option<Coalescing>,
    /// What became of the CPU.
    pub response: Response,
    /// Whether the CPU gave a proof of life after the event.
    pub confirmed: Answer,
    /// How often its entry ran when it was woken: 0 or 1.
    pub entries: u32,
    /// What the CPU does while nothing happens to it: one that laps anyway can't show that a store ended its wait.
    pub waiting: Waiting,
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, fired, witnessed, response, .. } = self;
        write!(f, "{case}: {response}, fired {fired}, witnessed {witnessed}")?;
        if let Some(coalesced) = self.coalesced {
            write!(f, " ({coalesced})")?;
        }
        write!(f, ", {}, entered {}", self.confirmed, self.entries)
    }
}

/// Where in a measurement the rig failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Moment {
    /// Parking.
    Park,
    /// Letting time pass.
    Settle,
    /// Looking at the CPU.
    Look,
    /// Reading counters.
    Witness,
    /// Making the event happen.
    Fire,
    /// Asking for a proof of life.
    Confirm,
    /// Waking.
    Wake,
    /// Ending the case.
    End,
}

impl Moment {
    /// The name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Park => "park",
            Self::Settle => "settle",
            Self::Look => "look",
            Self::Witness => "witness",
            Self::Fire => "fire",
            Self::Confirm => "confirm",
            Self::Wake => "wake",
            Self::End => "end",
        }
    }
}

/// Why there is no verdict.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MeasureError<E> {
    /// The rig can't show this case.
    Lacks(Lack),
    /// The rig failed.
    Rig {
        /// Where.
        moment: Moment,
        /// How.
        error: E,
    },
    /// What was seen is no verdict.
    Doubt(Doubt),
}

impl<E: fmt::Display> fmt::Display for MeasureError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lacks(lack) => write!(f, "this rig can't show it: {lack}"),
            Self::Rig { moment, error } => write!(f, "the rig failed ({}): {error}", moment.name()),
            Self::Doubt(doubt) => doubt.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for MeasureError<E> {}

impl<E> From<Doubt> for MeasureError<E> {
    fn from(doubt: Doubt) -> Self {
        Self::Doubt(doubt)
    }
}

fn at<E>(moment: Moment) -> impl FnOnce(E) -> MeasureError<E> {
    move |error| MeasureError::Rig { moment, error }
}

/// Parks a CPU on `rig`, makes the event of `case` happen `times` times, and derives what became of the CPU.
///
/// Fire machine checks one at a time: one that comes while a CPU is in its handler, with IA32_MCG_STATUS.MCIP set, shuts the
/// CPU down (SDM vol. 3, "IA32_MCG_STATUS MSR"), and that is what is measured then.
///
/// Success says what this rig showed in this run. It does *not* say that a claim holds, nor that another run would show
/// the same.
///
/// # Errors
/// [`MeasureError`]: the rig lacks something, the rig failed, or what was seen is no verdict.
pub fn measure<R: Rig>(rig: &mut R, case: Case, times: u32) -> Result<Measurement, MeasureError<R::Error>> {
    rig.offers(case.mechanism).map_err(MeasureError::Lacks)?;
    rig.fires(case).map_err(MeasureError::Lacks)?;
    let seen = observe(rig, case, times);
    // Whatever happened, the rig clears away.
    let ended = rig.end().map_err(at(Moment::End));
    let mut seen = seen?;
    // A machine that is lost stays lost: the end can't say better.
    seen.fate_last = if seen.fate_after.ends_machine() { seen.fate_after } else { ended? };
    let (response, witnessed, coalesced) = classify(&seen)?;
    let Observed { fired, confirmed, entries, .. } = seen;
    Ok(Measurement { case, fired, witnessed, coalesced, response, confirmed, entries, waiting: seen.waiting() })
}

/// Everything but the end.
fn observe<R: Rig>(rig: &mut R, case: Case, times: u32) -> Result<Observed, MeasureError<R::Error>> {
    rig.park(case.mechanism).map_err(at(Moment::Park))?;
    rig.settle().map_err(at(Moment::Settle))?;
    let fate = rig.look().map_err(at(Moment::Look))?;
    let parked = rig.witness().map_err(at(Moment::Witness))?;
    let mut seen = Observed {
        case,
        fired: 0,
        parked,
        before: parked,
        after: parked,
        fate_after: fate,
        last: parked,
        confirmed: Answer::NotAsked,
        entries: 0,
        fate_last: fate,
    };
    if !seen.is_parked(fate) {
        return Err(Doubt::NotParked { fate }.into());
    }
    rig.settle().map_err(at(Moment::Settle))?;
    seen.before = rig.witness().map_err(at(Moment::Witness))?;
    seen.fired = rig.fire(case.event, times).map_err(at(Moment::Fire))?;
    rig.settle().map_err(at(Moment::Settle))?;
    seen.fate_after = rig.look().map_err(at(Moment::Look))?;
    seen.after = seen.before;
    seen.last = seen.before;
    if seen.fate_after.ends_machine() {
        return Ok(seen);
    }
    seen.after = rig.witness().map_err(at(Moment::Witness))?;
    seen.last = seen.after;
    if !seen.is_parked(seen.fate_after) || seen.after.started != seen.before.started {
        return Ok(seen);
    }
    if case.mechanism != Mechanism::WaitForSipi {
        seen.confirmed = rig.confirm().map_err(at(Moment::Confirm))?;
    }
    seen.entries = rig.wake().map_err(at(Moment::Wake))?;
    seen.last = rig.witness().map_err(at(Moment::Witness))?;
    Ok(seen)
}
