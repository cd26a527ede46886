//! Confirming or holding one parked CPU: rung again and again, then given up.

use super::work::{Context, Part, Turn, ends, run};
use super::{Task, Why};
use park_core::op::{Confirm, Hold, Reply, Step};
use park_core::{Error, ErrorKind, Mechanism, Ticks};

/// What is asked of the CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Question {
    Confirm,
    Hold,
}

/// A question, asked as often as the pace says.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingOne {
    question: Question,
    attempt: u32,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Ask,
    Confirm(Confirm),
    Hold(Hold),
    Pause(Ticks),
}

impl RingOne {
    pub(super) const fn confirm() -> Self {
        Self { question: Question::Confirm, attempt: 0, state: State::Ask }
    }

    pub(super) const fn hold() -> Self {
        Self { question: Question::Hold, attempt: 0, state: State::Ask }
    }

    pub(super) fn next(&mut self, task: &mut Task, context: &Context<'_>, reply: Reply, now: Ticks) -> Turn {
        let result = match &mut self.state {
            State::Ask => return self.ask(task, context, now),
            State::Pause(until) if now < *until => return Turn::Step(Step::Wait { until: *until }),
            State::Pause(_) => return self.ask(task, context, now),
            State::Confirm(confirm) => match run(confirm, reply, now) {
                Part::Going(step) => return Turn::Step(step),
                Part::Over(result) => result.map(|_| task.complain_no_more()),
            },
            State::Hold(hold) => match run(hold, reply, now) {
                Part::Going(step) => return Turn::Step(step),
                Part::Over(result) => result.map(|held| task.hold(held)),
            },
        };
        match result {
            Ok(()) => Turn::Over,
            Err(error) => self.unanswered(error, task, context, now),
        }
    }

    fn ask(&mut self, task: &mut Task, context: &Context<'_>, now: Ticks) -> Turn {
        let Some(bay) = task.bay() else { return Turn::Over };
        if task.mechanism() == Mechanism::WaitForSipi {
            let what = "the CPU waits for SIPI: nothing can be asked of it, and it executes nothing";
            task.complain(Why { kind: ErrorKind::NotSupported, what });
            return Turn::Over;
        }
        let timing = context.pace.ring(now, self.attempt);
        self.state = match self.question {
            Question::Confirm => State::Confirm(Confirm::new(bay, timing)),
            Question::Hold => State::Hold(Hold::new(bay, timing)),
        };
        self.next(task, context, Reply::Start, now)
    }

    fn unanswered(&mut self, error: Error, task: &mut Task, context: &Context<'_>, now: Ticks) -> Turn {
        let Some(bay) = task.bay() else { return Turn::Over };
        if ends(task, error) {
            return Turn::Over;
        }
        self.attempt += 1;
        if self.attempt < context.pace.attempts {
            let until = pause_end(&error, context, now, self.attempt);
            self.state = State::Pause(until);
            return self.next(task, context, Reply::Waited, now);
        }
        if error.kind() == ErrorKind::Platform {
            // It could not be asked, which says nothing of the CPU.
            task.complain(error.into());
            return Turn::Over;
        }
        Turn::GiveUp(bay, error.into())
    }
}

/// When to ring again after `error`: at once if the CPU was only silent; later if the doorbell is not quiet, or the way to
/// the CPU was blocked.
pub(super) fn pause_end(error: &Error, context: &Context<'_>, now: Ticks, attempt: u32) -> Ticks {
    match error.kind() {
        ErrorKind::Revoked => now,
        _ => now.saturating_add(context.pace.ring_time(attempt)),
    }
}
