//! Parking another CPU: reserve, summon, await.

use super::reserve::{Reservation, Reserve};
use super::step::{Part, operation, run};
use super::{Arrived, AwaitArrival, Bay, Lease, Reply, Step, left};
use crate::{ApicId, Error, Ticks};

/// Parks another CPU: reserves a bay, summons the CPU, and awaits its arrival. Needs a platform with
/// [`Summon`](crate::Summon); on another the CPU is sent to its bay by other means between [`Reserve`] and
/// [`AwaitArrival`].
///
/// # Errors
/// * Those of [`Reserve`]: nothing has happened.
/// * [`ErrorKind::Platform`](crate::ErrorKind::Platform): the CPU could not be summoned; its bay is free again.
/// * Those of [`AwaitArrival`], above all [`ErrorKind::Uncertain`](crate::ErrorKind::Uncertain): the bay is quarantined.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Park {
    target: ApicId,
    deadline: Ticks,
    state: State,
    end: Option<Result<Arrived, Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Reserve(Reserve),
    Summon(Bay),
    Arrival(AwaitArrival),
    Owner(Bay, Error),
    Free(Error),
}

operation!(Park => Arrived);

impl Park {
    /// Parks the CPU of `request` in the lowest free bay, by `deadline`.
    #[must_use]
    pub const fn new(lease: &Lease, request: Reservation, deadline: Ticks) -> Self {
        let state = State::Reserve(Reserve::any(lease, request));
        Self { target: request.apic_id, deadline, state, end: None }
    }

    fn advance(&mut self, reply: Reply, now: Ticks) -> Result<Step<Arrived>, Error> {
        match &mut self.state {
            State::Reserve(reserve) => Ok(match run(reserve, reply, now)? {
                Part::Going(step) => step,
                Part::Over(bay) => {
                    self.state = State::Summon(bay);
                    Step::Summon { target: self.target, bay_index: bay.index() }
                }
            }),
            State::Summon(bay) => {
                let bay = *bay;
                if let Reply::Failed(error) = reply {
                    // The CPU was never asked, so it can't be on its way.
                    self.state = State::Owner(bay, error.into());
                    return Ok(Step::Load { offset: bay.owner() });
                }
                reply.done()?;
                self.state = State::Arrival(AwaitArrival::new(bay, self.deadline));
                self.advance(Reply::Start, now)
            }
            State::Arrival(arrival) => Ok(match run(arrival, reply, now)? {
                Part::Going(step) => step,
                Part::Over(arrived) => Step::Done(arrived),
            }),
            State::Owner(bay, why) => {
                let (bay, why, owner) = (*bay, *why, reply.value()?);
                self.state = State::Free(why);
                Ok(Step::CompareExchange { offset: bay.owner(), current: owner, new: left::free(owner) })
            }
            State::Free(why) => {
                reply.value()?;
                Err(*why)
            }
        }
    }
}
