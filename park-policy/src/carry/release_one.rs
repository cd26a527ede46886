//! Releasing one CPU that is held.

use super::work::{Context, Part, Turn, ends, run};
use super::{Outcome, Task};
use park_core::op::{Release, Reply, Step};
use park_core::{ErrorKind, Ticks};

/// A release, awaited as long as all rings of the pace together.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReleaseOne {
    attempt: u32,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Begin,
    Release(Release),
    Pause(Ticks),
}

impl ReleaseOne {
    pub(super) const fn new() -> Self {
        Self { attempt: 0, state: State::Begin }
    }

    pub(super) fn next(&mut self, task: &mut Task, context: &Context<'_>, reply: Reply, now: Ticks) -> Turn {
        let (Some(bay), Some(held)) = (task.bay(), task.held()) else { return Turn::Over };
        let error = match &mut self.state {
            State::Pause(until) if now < *until => return Turn::Step(Step::Wait { until: *until }),
            State::Begin | State::Pause(_) => {
                let deadline = context.pace.ring(now, self.attempt).deadline;
                self.state = State::Release(Release::new(held, deadline));
                return self.next(task, context, Reply::Start, now);
            }
            State::Release(release) => match run(release, reply, now) {
                Part::Going(step) => return Turn::Step(step),
                Part::Over(Ok(())) => {
                    task.end(Outcome::Parked, None);
                    return Turn::Over;
                }
                Part::Over(Err(error)) => error,
            },
        };
        if ends(task, error) {
            return Turn::Over;
        }
        if self.attempt + 1 < context.pace.attempts {
            self.attempt += 1;
            let until = match error.kind() {
                ErrorKind::Uncertain => now,
                _ => context.pace.look_again(now, Ticks::MAX),
            };
            self.state = State::Pause(until);
            return self.next(task, context, Reply::Waited, now);
        }
        Turn::GiveUp(bay, error.into())
    }
}
