//! Letting go of a lot in good order.

use super::step::operation;
use super::{Bay, Lease, Reply, Step, lease};
use crate::lot::{Doorbell, LeaseState, LeaseWord, OwnerState, Phase, Stage, header};
use crate::{Error, ErrorKind, Ticks};

/// Offers the lot to the next kernel, once no CPU of it is under way and no ticket is in flight. The lease is void
/// afterwards.
///
/// Success does *not* promise that the CPUs are alive, only that nothing of this owner is in the way of the next.
///
/// # Errors
/// * [`ErrorKind::WrongState`]: a bay's doorbell is not quiet, or its CPU is on its way in or out (the offset is the
///   bay's; finish, revoke, or [`Quarantine`](super::Quarantine)); or the lease was handed over before. Nothing has
///   changed.
/// * [`ErrorKind::StaleGeneration`], [`ErrorKind::AbiMismatch`], [`ErrorKind::Platform`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HandOver {
    lease: Lease,
    next: u32,
    state: State,
    end: Option<Result<(), Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Start,
    Lease,
    Owner(Bay),
    Stage(Bay),
    Doorbell(Bay),
    Offer,
}

operation!(HandOver => ());

impl HandOver {
    /// Hands over the lot of `lease`.
    #[must_use]
    pub const fn new(lease: &Lease) -> Self {
        Self { lease: *lease, next: 0, state: State::Start, end: None }
    }

    fn word(&self, state: LeaseState) -> u64 {
        LeaseWord { state, generation: self.lease.generation() }.raw()
    }

    fn advance(&mut self, reply: Reply, _now: Ticks) -> Result<Step<()>, Error> {
        match self.state {
            State::Start => {
                self.state = State::Lease;
                Ok(Step::Load { offset: header::LEASE })
            }
            State::Lease => {
                lease::check(reply.value()?, self.lease.generation())?;
                Ok(self.bay())
            }
            State::Owner(bay) => {
                if OwnerState::from_raw(reply.value()? as u8) != Some(OwnerState::Reserved) {
                    return Ok(self.bay());
                }
                self.state = State::Stage(bay);
                Ok(Step::Load { offset: bay.stage() })
            }
            State::Stage(bay) => {
                let stage = reply.value()?;
                match Stage::from_raw(stage) {
                    // It is reported by its bay, and goes nowhere.
                    Some(Stage::Faulted) => Ok(self.bay()),
                    Some(Stage::Waiting) => {
                        self.state = State::Doorbell(bay);
                        Ok(Step::Load { offset: bay.doorbell() })
                    }
                    _ => Err(Error::new(
                        ErrorKind::WrongState,
                        "a CPU is on its way in or out: wait, or quarantine its bay",
                    )
                    .at(bay.offset())
                    .found(stage)),
                }
            }
            State::Doorbell(bay) => {
                let doorbell = Doorbell(reply.value()?);
                if doorbell.phase() != Some(Phase::Quiet) {
                    let error = Error::new(ErrorKind::WrongState, "a ticket is in flight: finish or revoke it");
                    return Err(error.at(bay.offset()).found(doorbell.0));
                }
                Ok(self.bay())
            }
            State::Offer => {
                let found = reply.value()?;
                if found != self.word(LeaseState::Held) {
                    return Err(lease::stale(header::LEASE, lease::decode(found)?.generation));
                }
                Ok(Step::Done(()))
            }
        }
    }

    /// Looks at the next bay, or offers the lease.
    fn bay(&mut self) -> Step<()> {
        if let Ok(bay) = self.lease.bay(self.next) {
            self.next += 1;
            self.state = State::Owner(bay);
            return Step::Load { offset: bay.owner() };
        }
        self.state = State::Offer;
        let (current, new) = (self.word(LeaseState::Held), self.word(LeaseState::Offered));
        Step::CompareExchange { offset: header::LEASE, current, new }
    }
}
