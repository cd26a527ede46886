//! Parking one CPU.

use super::work::{Context, Part, Turn, run};
use super::{Outcome, Task, Why};
use park_core::op::{Bay, Park, Processor, Reply, SinkToSipi, Step};
use park_core::{ErrorKind, Mechanism, Ticks};

/// Reserve, summon, await; then, for wait-for-SIPI, sink.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParkOne {
    state: State,
    /// Its bay, once it was summoned there.
    bay: Option<Bay>,
    summoning: Summoning,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Summoning {
    NotYet,
    Asked,
    Done,
}

#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "no allocation: the value is a part of the lane's whole storage")]
enum State {
    Park(Park),
    Sink(Bay, SinkToSipi),
}

impl ParkOne {
    pub(super) fn new(task: &Task, context: &Context<'_>, now: Ticks) -> Self {
        let deadline = context.pace.after_us(now, task.timeout_us());
        let state = State::Park(Park::new(&context.lease, task.reservation(), deadline));
        Self { state, bay: None, summoning: Summoning::NotYet }
    }

    pub(super) fn next(&mut self, task: &mut Task, context: &Context<'_>, reply: Reply, now: Ticks) -> Turn {
        match &mut self.state {
            State::Park(_) if reply == Reply::Start && is_impossible(task) => {
                let what = "the bootstrap processor can't wait for SIPI: an INIT resets the machine";
                task.end(Outcome::Refused, Some(Why { kind: ErrorKind::NotSupported, what }));
                Turn::Over
            }
            State::Park(park) => {
                if self.summoning == Summoning::Asked {
                    let refused = matches!(reply, Reply::Failed(_));
                    self.summoning = if refused { Summoning::NotYet } else { Summoning::Done };
                }
                match run(park, reply, now) {
                    Part::Going(step) => {
                        if let Step::Summon { bay_index, .. } = step {
                            (self.bay, self.summoning) = (context.lease.bay(bay_index).ok(), Summoning::Asked);
                        }
                        Turn::Step(step)
                    }
                    Part::Over(Ok(arrived)) => self.arrived(arrived.bay(), task, context, now),
                    Part::Over(Err(error)) => self.failed(task, error.into()),
                }
            }
            State::Sink(bay, sink) => {
                let bay = *bay;
                match run(sink, reply, now) {
                    Part::Going(step) => return Turn::Step(step),
                    Part::Over(Ok(())) => task.end(Outcome::Parked, None),
                    // The bay says wait-for-SIPI, and a STARTUP after an INIT fetches the CPU from there and from here.
                    Part::Over(Err(error)) if error.kind() == ErrorKind::Platform => {
                        task.end(Outcome::Parked, Some(error.into()));
                    }
                    Part::Over(Err(error)) if error.kind() == ErrorKind::Faulted => {
                        task.end(Outcome::Faulted, Some(error.into()));
                    }
                    Part::Over(Err(error)) => {
                        task.waits_by(Mechanism::Hlt);
                        task.end(Outcome::Parked, Some(error.into()));
                    }
                }
                task.in_bay(bay);
                Turn::Over
            }
        }
    }

    fn arrived(&mut self, bay: Bay, task: &mut Task, context: &Context<'_>, now: Ticks) -> Turn {
        if task.mechanism() != Mechanism::WaitForSipi {
            task.end(Outcome::Parked, None);
            task.in_bay(bay);
            return Turn::Over;
        }
        let sink = SinkToSipi::new(bay, task.terms().processor, context.pace.init_delay());
        self.state = State::Sink(bay, sink);
        self.next(task, context, Reply::Start, now)
    }

    fn failed(&self, task: &mut Task, why: Why) -> Turn {
        let (Some(bay), Summoning::Done) = (self.bay, self.summoning) else {
            // It was never asked: it goes on where it was.
            task.end(Outcome::Refused, Some(why));
            return Turn::Over;
        };
        task.in_bay(bay);
        match why.kind {
            ErrorKind::Uncertain => task.end(Outcome::Quarantined, Some(why)),
            ErrorKind::Faulted => task.end(Outcome::Faulted, Some(why)),
            // It was asked, and may come.
            _ => return Turn::GiveUp(bay, why),
        }
        Turn::Over
    }
}

fn is_impossible(task: &Task) -> bool {
    task.mechanism() == Mechanism::WaitForSipi && task.terms().processor == Processor::Bootstrap
}
