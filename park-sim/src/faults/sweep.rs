//! Events before every single step of a journey: one run for each step and each throw.

use super::journey::{Case, Journey, Progress};
use super::plant::Plant;
use super::wrong::{Leg, Wrong};
use crate::machine::{EventKind, KnobSet};
use core::fmt;

/// What is thrown at the travelling CPU before one of its steps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Throw {
    /// Nothing: the journey as it is.
    Nothing,
    /// An NMI.
    Nmi,
    /// A machine check that can be returned from.
    Mc,
    /// An NMI, and a machine check so many steps later: 0 = at once, and the NMI hits the first instruction of the #MC
    /// handler.
    NmiThenMc(u64),
    /// A machine check, and an NMI so many steps later.
    McThenNmi(u64),
    /// A machine check, and another one so many steps later.
    McThenMc(u64),
    /// A machine check that can't be returned from.
    McFatal,
    /// Machine checks, each as soon as the one before is dealt with.
    McStorm,
    /// The end of an MWAIT for no reason.
    FalseWake,
    /// An SMI whose handler waits for nobody.
    Smi,
    /// A performance counter overflows.
    CounterOverflow,
    /// The local APIC timer expires.
    TimerExpiry,
}

impl Throw {
    /// One event, or two at once.
    pub const SINGLE: [Self; 3] = [Self::Nmi, Self::Mc, Self::NmiThenMc(0)];
    /// Two events, the second inside the handler of the first, and after it.
    pub const NESTED: [Self; 12] = [
        Self::NmiThenMc(2),
        Self::NmiThenMc(4),
        Self::NmiThenMc(9),
        Self::NmiThenMc(14),
        Self::McThenNmi(2),
        Self::McThenNmi(5),
        Self::McThenNmi(10),
        Self::McThenNmi(16),
        Self::McThenNmi(21),
        Self::McThenMc(12),
        Self::McThenMc(22),
        Self::McThenMc(40),
    ];

    /// The events, and the steps between them.
    const fn events(self) -> (Option<EventKind>, u64, Option<EventKind>) {
        const NMI: Option<EventKind> = Some(EventKind::Nmi);
        const MC: Option<EventKind> = Some(EventKind::MachineCheck);
        match self {
            Self::Nothing => (None, 0, None),
            Self::Nmi => (NMI, 0, None),
            Self::Mc => (MC, 0, None),
            Self::NmiThenMc(gap) => (NMI, gap, MC),
            Self::McThenNmi(gap) => (MC, gap, NMI),
            Self::McThenMc(gap) => (MC, gap, MC),
            Self::McFatal => (Some(EventKind::MachineCheckFatal), 0, None),
            Self::FalseWake => (Some(EventKind::FalseWake), 0, None),
            Self::Smi => (Some(EventKind::Smi), 0, None),
            Self::CounterOverflow => (Some(EventKind::PmuOverflow), 0, None),
            Self::TimerExpiry => (Some(EventKind::TimerExpiry), 0, None),
            // See throw_at().
            Self::McStorm => (None, 0, None),
        }
    }
}

impl fmt::Display for Throw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Nmi => f.write_str("nmi"),
            Self::Mc => f.write_str("mc"),
            Self::NmiThenMc(gap) => write!(f, "nmi+{gap}+mc"),
            Self::McThenNmi(gap) => write!(f, "mc+{gap}+nmi"),
            Self::McThenMc(gap) => write!(f, "mc+{gap}+mc"),
            Self::McFatal => f.write_str("mc-fatal"),
            Self::McStorm => f.write_str("mc-storm"),
            Self::FalseWake => f.write_str("false-wake"),
            Self::Smi => f.write_str("smi"),
            Self::CounterOverflow => f.write_str("counter-overflow"),
            Self::TimerExpiry => f.write_str("timer-expiry"),
        }
    }
}

impl core::str::FromStr for Throw {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('+');
        let (first, gap, second) = (parts.next(), parts.next(), parts.next());
        let gap = gap.map(str::parse).transpose().map_err(|_| ())?;
        match (first, gap, second) {
            (Some("nothing"), None, None) => Ok(Self::Nothing),
            (Some("nmi"), None, None) => Ok(Self::Nmi),
            (Some("mc"), None, None) => Ok(Self::Mc),
            (Some("mc-fatal"), None, None) => Ok(Self::McFatal),
            (Some("mc-storm"), None, None) => Ok(Self::McStorm),
            (Some("false-wake"), None, None) => Ok(Self::FalseWake),
            (Some("smi"), None, None) => Ok(Self::Smi),
            (Some("counter-overflow"), None, None) => Ok(Self::CounterOverflow),
            (Some("timer-expiry"), None, None) => Ok(Self::TimerExpiry),
            (Some("nmi"), Some(gap), Some("mc")) => Ok(Self::NmiThenMc(gap)),
            (Some("mc"), Some(gap), Some("nmi")) => Ok(Self::McThenNmi(gap)),
            (Some("mc"), Some(gap), Some("mc")) => Ok(Self::McThenMc(gap)),
            _ => Err(()),
        }
    }
}

/// How a journey must end on which something was thrown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum End {
    /// At its landing.
    #[default]
    Landed,
    /// In its bay, with a fault record.
    Faulted,
}

/// Machine checks of a storm: more than the bay code bears in a row.
const STORM: u32 = park_core::lot::bay::MC_ROW_LIMIT as u32 + 4;
/// Steps in which a machine check in a bay is dealt with.
const STORM_STEPS: u64 = 100;

/// What a sweep saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Steps of the undisturbed journey, by leg: the positions.
    pub positions: [u64; Leg::ALL.len()],
    /// Journeys taken to their end.
    pub runs: u64,
    /// Runs that ended in the shutdown that is declared: a machine check while one is in progress, or while GIF is 0 where
    /// the knob `mc-gif0` says so.
    pub declared: u64,
    /// Of those, the ones whose first event was thrown while the CPU still was in its owner's #MC handler.
    pub declared_in_owner: u64,
    /// Knobs that a journey consulted.
    pub knobs: KnobSet,
    /// The first thing that went wrong.
    pub counterexample: Option<Counterexample>,
}

/// How something went wrong, and how to see it again: a journey is a function of its case, its plant and these.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counterexample {
    /// The case, as text.
    pub case: String,
    /// The steps before the throw.
    pub position: u64,
    /// The leg in which it was thrown.
    pub leg: Leg,
    /// What was thrown.
    pub throw: Throw,
    /// What went wrong.
    pub wrong: Wrong,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, position, leg, throw, wrong } = self;
        write!(f, "{case}: {throw} thrown before step {position} ({leg}): {wrong}")
    }
}

/// A journey, and what is thrown before each of its steps.
#[derive(Clone, Debug)]
pub struct Sweep<'a> {
    /// The journey.
    pub case: &'a Case,
    /// The throws.
    pub throws: &'a [Throw],
    /// The legs on which they are thrown; all if empty.
    pub legs: &'a [Leg],
    /// How a journey must end.
    pub end: End,
    /// The fault, if any.
    pub plant: Plant<'a>,
}

impl Sweep<'_> {
    /// Runs until something goes wrong, or to the end.
    #[must_use]
    pub fn run(&self) -> Report {
        let mut report = Report::default();
        let fail = |position, leg, throw, wrong| {
            Some(Counterexample { case: self.case.to_string(), position, leg, throw, wrong })
        };
        let mut base = match Journey::begin(self.case, self.plant) {
            Ok(journey) => journey,
            Err(wrong) => {
                report.counterexample = fail(0, Leg::Arriving, Throw::Nothing, wrong);
                return report;
            }
        };
        let mut mc_was_over = false;
        for position in 0.. {
            let leg = base.leg();
            let mc_in_progress = base.mc_in_progress();
            if mc_was_over && mc_in_progress {
                let wrong = Wrong::Seen { what: "MCIP is set again, and nobody set it" };
                report.counterexample = fail(position, leg, Throw::Nothing, wrong);
                return report;
            }
            mc_was_over = !mc_in_progress;
            let throws = if self.legs.is_empty() || self.legs.contains(&leg) { self.throws } else { &[] };
            for throw in throws {
                let mut journey = base.clone();
                let end = throw_at(&mut journey, *throw).and_then(|()| journey.finish());
                report.runs += 1;
                report.knobs = report.knobs.union(journey.world().machine.knobs_read());
                match self.judge(end, &mut journey) {
                    Ok(Ended::AsDeclared) => {
                        report.declared += 1;
                        report.declared_in_owner += u64::from(mc_in_progress);
                    }
                    Ok(Ended::Well) => {}
                    Err(wrong) => {
                        report.counterexample = fail(position, leg, *throw, wrong);
                        return report;
                    }
                }
            }
            report.positions[leg as usize] += 1;
            match base.step() {
                Ok(Progress::Going) => {}
                Ok(Progress::Done) if self.end == End::Faulted && self.throws.is_empty() => {
                    report.counterexample = fail(position, leg, Throw::Nothing, Wrong::NotFaulted);
                    return report;
                }
                Ok(Progress::Done) => return report,
                Err(wrong) if self.throws.is_empty() => {
                    if let Err(wrong) = self.judge(Err(wrong), &mut base) {
                        report.counterexample = fail(position, leg, Throw::Nothing, wrong);
                    }
                    return report;
                }
                Err(wrong) => {
                    report.counterexample = fail(position, leg, Throw::Nothing, wrong);
                    return report;
                }
            }
        }
        report
    }

    /// Whether a journey ended as it must.
    fn judge(&self, end: Result<(), Wrong>, journey: &mut Journey<'_>) -> Result<Ended, Wrong> {
        match (end, journey.is_doomed(), self.end) {
            (Err(Wrong::Shutdown), true, _) => Ok(Ended::AsDeclared),
            (Ok(()), true, _) => Err(Wrong::Seen { what: "it survived what is a shutdown" }),
            (Ok(()), false, End::Landed) => Ok(Ended::Well),
            (Ok(()), false, End::Faulted) => Err(Wrong::NotFaulted),
            (Err(Wrong::Faulted { .. }), false, End::Faulted) => journey.check_stays_faulted().map(|()| Ended::Well),
            (Err(wrong), ..) => Err(wrong),
        }
    }

    /// Takes the journey of a counterexample again; returns what went wrong, and a line for each step.
    #[must_use]
    pub fn replay(&self, example: &Counterexample) -> (Option<Wrong>, Vec<String>) {
        let mut journey = match Journey::begin(self.case, self.plant) {
            Ok(journey) => journey,
            Err(wrong) => return (Some(wrong), Vec::new()),
        };
        journey.keep_log();
        for _ in 0..example.position {
            if let Err(wrong) = journey.step() {
                return (self.judge(Err(wrong), &mut journey).err(), journey.log().to_vec());
            }
        }
        let end = throw_at(&mut journey, example.throw).and_then(|()| journey.finish());
        (self.judge(end, &mut journey).err(), journey.log().to_vec())
    }
}

/// How a journey ended that ended as it must.
enum Ended {
    Well,
    /// By the shutdown that is declared.
    AsDeclared,
}

fn throw_at(journey: &mut Journey<'_>, throw: Throw) -> Result<(), Wrong> {
    if throw == Throw::McStorm {
        for _ in 0..STORM {
            journey.inject(EventKind::MachineCheck);
            journey.alone(STORM_STEPS)?;
        }
        return Ok(());
    }
    let (first, gap, second) = throw.events();
    if let Some(first) = first {
        journey.inject(first);
    }
    for _ in 0..gap {
        if journey.step()? == Progress::Done {
            return Ok(());
        }
    }
    let second = second.filter(|kind| *kind != EventKind::MachineCheck || !journey.in_kernel_handler());
    if let Some(second) = second {
        journey.inject(second);
    }
    Ok(())
}
