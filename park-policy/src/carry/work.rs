//! What a lane does for its task: one value for every goal, and what all lanes share.

use super::park_one::ParkOne;
use super::recover_one::RecoverOne;
use super::release_one::ReleaseOne;
use super::ring_one::RingOne;
use super::wake_one::WakeOne;
use super::{Entries, Goal, Outcome, Pace, Task, Why};
use park_core::op::{Bay, Lease, Operation, Quarantine, Reply, Step};
use park_core::{Error, ErrorKind, Ticks};

/// What all lanes share.
pub(super) struct Context<'s> {
    pub(super) lease: Lease,
    pub(super) pace: Pace,
    pub(super) entries: Option<&'s mut dyn Entries>,
    pub(super) page: Page,
    /// When to give up those that are looked for; `None`: at once.
    pub(super) grace_end: Option<Ticks>,
}

impl Context<'_> {
    /// From now on, for a while, those that are late are looked for.
    pub(super) fn begin_grace(&mut self, now: Ticks) {
        self.grace_end.get_or_insert(now.saturating_add(self.pace.grace_ticks));
    }
}

/// The start-up page, which one CPU at a time uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Page {
    Free,
    Taken,
    /// A CPU that may still come would run it.
    Spoilt,
}

/// One task under way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    Nothing,
    Park(ParkOne),
    Ring(RingOne),
    Release(ReleaseOne),
    Wake(WakeOne),
    Recover(RecoverOne),
    Quarantine(Quarantine, Why),
}

/// What a step of a task came to.
pub(super) enum Turn {
    /// This is to be done.
    Step(Step<()>),
    /// The task is over, and says how.
    Over,
    /// Nobody can say where the CPU is, and why: its bay is to be quarantined.
    GiveUp(Bay, Why),
}

impl Work {
    /// The work of a task that `goal` concerns.
    pub(super) fn begin(goal: Goal, task: &Task, context: &Context<'_>, now: Ticks) -> Self {
        match goal {
            Goal::Park => Self::Park(ParkOne::new(task, context, now)),
            Goal::Confirm => Self::Ring(RingOne::confirm()),
            Goal::Hold => Self::Ring(RingOne::hold()),
            Goal::Release => Self::Release(ReleaseOne::new()),
            Goal::Wake => Self::Wake(WakeOne::new()),
            Goal::Recover => Self::Recover(RecoverOne::new()),
        }
    }

    /// The next step, or `None` when the task is over. The first reply is [`Reply::Start`].
    pub(super) fn next(
        &mut self,
        task: &mut Task,
        context: &mut Context<'_>,
        reply: Reply,
        now: Ticks,
    ) -> Option<Step<()>> {
        let turn = match self {
            Self::Nothing => Turn::Over,
            Self::Park(one) => one.next(task, context, reply, now),
            Self::Ring(one) => one.next(task, context, reply, now),
            Self::Release(one) => one.next(task, context, reply, now),
            Self::Wake(one) => one.next(task, context, reply, now),
            Self::Recover(one) => one.next(task, context, reply, now),
            Self::Quarantine(operation, why) => match run(operation, reply, now) {
                Part::Going(step) => Turn::Step(step),
                Part::Over(Ok(())) => {
                    task.end(Outcome::Quarantined, Some(*why));
                    Turn::Over
                }
                Part::Over(Err(error)) => {
                    task.end(Outcome::Unknown, Some(error.into()));
                    Turn::Over
                }
            },
        };
        match turn {
            Turn::Step(step) => Some(step),
            Turn::Over => None,
            Turn::GiveUp(bay, why) => {
                *self = Self::Quarantine(Quarantine::new(bay), why);
                self.next(task, context, Reply::Start, now)
            }
        }
    }
}

/// A part of a task's work: still going, or over with its result.
pub(super) enum Part<T> {
    Going(Step<()>),
    Over(Result<T, Error>),
}

/// Runs one step of an operation.
pub(super) fn run<O: Operation>(operation: &mut O, reply: Reply, now: Ticks) -> Part<O::Output> {
    Part::Going(match operation.next(reply, now) {
        Step::Done(result) => return Part::Over(result),
        Step::Load { offset } => Step::Load { offset },
        Step::Store { offset, value } => Step::Store { offset, value },
        Step::CompareExchange { offset, current, new } => Step::CompareExchange { offset, current, new },
        Step::SendNmi(target) => Step::SendNmi(target),
        Step::SendInit(target) => Step::SendInit(target),
        Step::SendStartup { target, vector } => Step::SendStartup { target, vector },
        Step::Summon { target, bay_index } => Step::Summon { target, bay_index },
        Step::Wait { until } => Step::Wait { until },
    })
}

/// Judges the error of a ring, and ends `task` by it. False if the CPU did not answer, or could not be asked, this time: it
/// may be asked again.
pub(super) fn ends(task: &mut Task, error: Error) -> bool {
    let outcome = match error.kind() {
        // Also a doorbell that is not quiet: the CPU may be busy with a ticket that was given up.
        ErrorKind::Revoked | ErrorKind::Uncertain | ErrorKind::WrongState | ErrorKind::Platform => return false,
        ErrorKind::Faulted => Outcome::Faulted,
        // The lot is not ours any more, or not to be read: nothing further can be done.
        _ => Outcome::Unknown,
    };
    task.end(outcome, Some(error.into()));
    true
}
