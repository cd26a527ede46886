//! The form of an operation: steps out, replies in.

use crate::{ApicId, Error, ErrorKind, PlatformError, Ticks};
use core::fmt::Debug;
use core::hash::Hash;

/// What an operation wants done next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step<T> {
    /// Read the lot's word at this offset; reply [`Reply::Value`].
    Load {
        /// Bytes from the lot's first byte.
        offset: u64,
    },
    /// Write the lot's word at this offset; reply [`Reply::Stored`].
    Store {
        /// Bytes from the lot's first byte.
        offset: u64,
        /// The new word.
        value: u64,
    },
    /// Replace `current` by `new`; reply [`Reply::Value`] with what was there.
    CompareExchange {
        /// Bytes from the lot's first byte.
        offset: u64,
        /// The word that must be there.
        current: u64,
        /// The new word.
        new: u64,
    },
    /// Send an NMI; reply [`Reply::Sent`].
    SendNmi(ApicId),
    /// Send an INIT; reply [`Reply::Sent`].
    SendInit(ApicId),
    /// Send a STARTUP; reply [`Reply::Sent`].
    SendStartup {
        /// The CPU.
        target: ApicId,
        /// Where it starts: `vector << 12`.
        vector: u8,
    },
    /// Ask a CPU to park itself; reply [`Reply::Sent`].
    Summon {
        /// The CPU.
        target: ApicId,
        /// The bay it has.
        bay_index: u32,
    },
    /// Nothing to do before `until` unless the lot's memory changes; reply [`Reply::Waited`].
    ///
    /// The driver may reply earlier, and as often as it likes: the operation looks again, or waits on.
    Wait {
        /// A time of the clock whose `now` the operation is given.
        until: Ticks,
    },
    /// The operation is over.
    Done(T),
}

impl<T> Step<T> {
    /// The same step of an operation with another result.
    fn map<U>(self, result: impl FnOnce(T) -> U) -> Step<U> {
        match self {
            Self::Load { offset } => Step::Load { offset },
            Self::Store { offset, value } => Step::Store { offset, value },
            Self::CompareExchange { offset, current, new } => Step::CompareExchange { offset, current, new },
            Self::SendNmi(target) => Step::SendNmi(target),
            Self::SendInit(target) => Step::SendInit(target),
            Self::SendStartup { target, vector } => Step::SendStartup { target, vector },
            Self::Summon { target, bay_index } => Step::Summon { target, bay_index },
            Self::Wait { until } => Step::Wait { until },
            Self::Done(value) => Step::Done(result(value)),
        }
    }
}

/// What became of an operation's last step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reply {
    /// There was no step yet.
    Start,
    /// What a load or a compare-and-swap found.
    Value(u64),
    /// The store is done.
    Stored,
    /// The message or request is on its way.
    Sent,
    /// Time has passed, or something may have changed.
    Waited,
    /// The platform failed.
    Failed(PlatformError),
}

impl Reply {
    /// What a load or a compare-and-swap found.
    pub(super) fn value(self) -> Result<u64, Error> {
        match self {
            Self::Value(value) => Ok(value),
            other => Err(other.misfit()),
        }
    }

    /// That a store, message or wait was carried out.
    pub(super) fn done(self) -> Result<(), Error> {
        match self {
            Self::Stored | Self::Sent | Self::Waited => Ok(()),
            other => Err(other.misfit()),
        }
    }

    fn misfit(self) -> Error {
        match self {
            Self::Failed(error) => error.into(),
            _ => {
                Error::new(ErrorKind::WrongState, "the reply does not fit the step: reply to the operation's last step")
            }
        }
    }
}

/// Something done to a lot, step by step.
///
/// # For callers
/// The first `next` gets [`Reply::Start`], each further one the reply to the step before, and `now` of one clock.
/// Dropping an operation half way leaves the lot as if the kernel had crashed there: a later kernel can still seize it.
pub trait Operation: Copy + Eq + Hash + Debug {
    /// What success yields.
    type Output: Copy + Eq + Hash + Debug;

    /// Takes the reply to the last step, and says what to do next. After `Done` the same `Done` again.
    fn next(&mut self, reply: Reply, now: Ticks) -> Step<Result<Self::Output, Error>>;
}

/// A part of a larger operation: still going, or over with its result.
pub(super) enum Part<T, U> {
    /// Its next step, as a step of the larger operation.
    Going(Step<U>),
    /// Its result.
    Over(T),
}

/// Runs one step of `part`; its error ends the larger operation.
pub(super) fn run<O: Operation, U>(part: &mut O, reply: Reply, now: Ticks) -> Result<Part<O::Output, U>, Error> {
    match settle(part, reply, now) {
        Part::Going(step) => Ok(Part::Going(step)),
        Part::Over(result) => result.map(Part::Over),
    }
}

/// Runs one step of `part`; the larger operation sees its error too.
pub(super) fn settle<O: Operation, U>(part: &mut O, reply: Reply, now: Ticks) -> Part<Result<O::Output, Error>, U> {
    match part.next(reply, now) {
        Step::Done(result) => Part::Over(result),
        Step::Load { offset } => Part::Going(Step::Load { offset }),
        Step::Store { offset, value } => Part::Going(Step::Store { offset, value }),
        Step::CompareExchange { offset, current, new } => Part::Going(Step::CompareExchange { offset, current, new }),
        Step::SendNmi(target) => Part::Going(Step::SendNmi(target)),
        Step::SendInit(target) => Part::Going(Step::SendInit(target)),
        Step::SendStartup { target, vector } => Part::Going(Step::SendStartup { target, vector }),
        Step::Summon { target, bay_index } => Part::Going(Step::Summon { target, bay_index }),
        Step::Wait { until } => Part::Going(Step::Wait { until }),
    }
}

/// Notes the end of an operation in `end`, and turns what `advance` said into what `next` says.
pub(super) fn conclude<T: Copy>(
    end: &mut Option<Result<T, Error>>,
    step: Result<Step<T>, Error>,
) -> Step<Result<T, Error>> {
    let step = match step {
        Ok(step) => step.map(Ok),
        Err(error) => Step::Done(Err(error)),
    };
    if let Step::Done(result) = step {
        *end = Some(result);
    }
    step
}

/// Implements [`Operation`] for a type with a field `end: Option<Result<Output, Error>>` and a method
/// `advance(&mut self, Reply, Ticks) -> Result<Step<Output>, Error>`.
macro_rules! operation {
    ($name:ty => $output:ty) => {
        impl $crate::op::Operation for $name {
            type Output = $output;

            fn next(
                &mut self,
                reply: $crate::op::Reply,
                now: $crate::Ticks,
            ) -> $crate::op::Step<Result<$output, $crate::Error>> {
                if let Some(end) = self.end {
                    return $crate::op::Step::Done(end);
                }
                let step = self.advance(reply, now);
                $crate::op::step::conclude(&mut self.end, step)
            }
        }
    };
}
pub(super) use operation;
