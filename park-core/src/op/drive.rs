//! The blocking form of every operation.

use super::{Operation, Reply, Step};
use crate::{ApicId, Clock, Error, IpiSender, LotMemory, PlatformError, Summon};

/// Runs an operation to its end on this CPU, spinning where it waits.
///
/// Returns when the operation does: each states its own deadline. An operation that summons a CPU needs
/// [`drive_with_summon`].
///
/// # Errors
/// Those of the operation.
pub fn drive<O: Operation>(
    operation: O,
    memory: &mut (impl LotMemory + ?Sized),
    ipi: &mut (impl IpiSender + ?Sized),
    clock: &mut (impl Clock + ?Sized),
) -> Result<O::Output, Error> {
    drive_with_summon(operation, memory, ipi, clock, &mut NoSummon)
}

/// Like [`drive`], on a platform that can get a CPU to park itself.
///
/// # Errors
/// Those of the operation.
pub fn drive_with_summon<O: Operation>(
    mut operation: O,
    memory: &mut (impl LotMemory + ?Sized),
    ipi: &mut (impl IpiSender + ?Sized),
    clock: &mut (impl Clock + ?Sized),
    summon: &mut (impl Summon + ?Sized),
) -> Result<O::Output, Error> {
    let mut reply = Reply::Start;
    loop {
        reply = match perform(operation.next(reply, clock.now()), memory, ipi, summon) {
            Performed::Reply(reply) => reply,
            Performed::Done(result) => return result,
        };
    }
}

/// What came of carrying out a [`Step`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Performed<T> {
    /// What the next step wants to hear.
    Reply(Reply),
    /// There is no next step.
    Done(T),
}

/// Carries out one step on a platform: what [`drive`] does in a loop, for whoever has a loop of his own. A wait is a moment's
/// pause, and *not* until its time has come: the memory may change at any moment, and the operation looks again.
pub fn perform<T>(
    step: Step<T>,
    memory: &mut (impl LotMemory + ?Sized),
    ipi: &mut (impl IpiSender + ?Sized),
    summon: &mut (impl Summon + ?Sized),
) -> Performed<T> {
    let outcome = match step {
        Step::Load { offset } => memory.load(offset).map(Reply::Value),
        Step::Store { offset, value } => memory.store(offset, value).map(|()| Reply::Stored),
        Step::CompareExchange { offset, current, new } => {
            memory.compare_exchange(offset, current, new).map(Reply::Value)
        }
        Step::SendNmi(target) => ipi.send_nmi(target).map(|()| Reply::Sent),
        Step::SendInit(target) => ipi.send_init(target).map(|()| Reply::Sent),
        Step::SendStartup { target, vector } => ipi.send_startup(target, vector).map(|()| Reply::Sent),
        Step::Summon { target, bay_index } => summon.summon(target, bay_index).map(|()| Reply::Sent),
        Step::Wait { .. } => {
            core::hint::spin_loop();
            Ok(Reply::Waited)
        }
        Step::Done(result) => return Performed::Done(result),
    };
    Performed::Reply(outcome.unwrap_or_else(Reply::Failed))
}

/// The [`Summon`] of a platform that can't get a CPU to park itself: always an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct NoSummon;

impl Summon for NoSummon {
    fn summon(&mut self, _target: ApicId, _bay_index: u32) -> Result<(), PlatformError> {
        Err(PlatformError::CannotSummon)
    }
}
