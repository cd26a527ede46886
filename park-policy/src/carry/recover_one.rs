//! Looking whether a CPU came after all.

use super::work::{Context, Part, Turn, run};
use super::{Outcome, Task, Why};
use park_core::op::{AwaitLeft, Bay, Rehabilitate, Reply, Step};
use park_core::{ErrorKind, Ticks};

/// Looks at a quarantined bay, or at one whose CPU was leaving, until the grace is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecoverOne {
    state: State,
}

#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "no allocation: the value is a part of the lane's whole storage")]
enum State {
    Begin,
    Arrived(Rehabilitate),
    Left(AwaitLeft),
    Pause(Ticks),
}

impl RecoverOne {
    pub(super) const fn new() -> Self {
        Self { state: State::Begin }
    }

    pub(super) fn next(&mut self, task: &mut Task, context: &Context<'_>, reply: Reply, now: Ticks) -> Turn {
        let Some(bay) = task.bay() else { return Turn::Over };
        let error = match &mut self.state {
            State::Pause(until) if now < *until => return Turn::Step(Step::Wait { until: *until }),
            State::Begin | State::Pause(_) => {
                self.state = look(task, bay, context, now);
                return self.next(task, context, Reply::Start, now);
            }
            State::Arrived(rehabilitate) => match run(rehabilitate, reply, now) {
                Part::Going(step) => return Turn::Step(step),
                Part::Over(Ok(ticket)) => {
                    let what = "the CPU came late: it waits by HLT, and was not sent into wait-for-SIPI";
                    let sunk = ticket.mechanism() == task.mechanism();
                    let why = (!sunk).then_some(Why { kind: ErrorKind::NotSupported, what });
                    task.waits_by(ticket.mechanism());
                    task.end(Outcome::Late, why);
                    return Turn::Over;
                }
                Part::Over(Err(error)) => error,
            },
            State::Left(left) => match run(left, reply, now) {
                Part::Going(step) => return Turn::Step(step),
                Part::Over(Ok(())) => {
                    task.end(Outcome::Woken, None);
                    return Turn::Over;
                }
                Part::Over(Err(error)) => error,
            },
        };
        if error.kind() == ErrorKind::Faulted {
            task.end(Outcome::Faulted, Some(error.into()));
            return Turn::Over;
        }
        // Not there yet: it stays what it was.
        match context.grace_end {
            Some(end) if now < end => {
                self.state = State::Pause(context.pace.look_again(now, end));
                self.next(task, context, Reply::Waited, now)
            }
            _ => Turn::Over,
        }
    }
}

fn look(task: &Task, bay: Bay, context: &Context<'_>, now: Ticks) -> State {
    if task.outcome() == Outcome::Leaving {
        return State::Left(AwaitLeft::new(bay, now));
    }
    State::Arrived(Rehabilitate::new(bay, context.pace.ring(now, 0)))
}
