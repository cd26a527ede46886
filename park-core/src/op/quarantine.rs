//! Giving up on a CPU, and taking it back when it comes late.

use super::step::{Part, operation, run};
use super::{Bay, Reply, Ring, Step, Ticket, Timing, lease};
use crate::lot::{OwnerState, header};
use crate::{Error, ErrorKind, Ticks};

/// Marks a reserved bay as one whose CPU nobody can place: it is never freed, and never rung.
///
/// # Errors
/// * [`ErrorKind::WrongState`]: the bay is free, or changed meanwhile; the lease was handed over.
/// * [`ErrorKind::StaleGeneration`], [`ErrorKind::AbiMismatch`], [`ErrorKind::Platform`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Quarantine {
    bay: Bay,
    state: State,
    end: Option<Result<(), Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Start,
    Lease,
    Owner,
    Swap(u64),
}

operation!(Quarantine => ());

impl Quarantine {
    /// Quarantines `bay`.
    #[must_use]
    pub const fn new(bay: Bay) -> Self {
        Self { bay, state: State::Start, end: None }
    }

    fn advance(&mut self, reply: Reply, _now: Ticks) -> Result<Step<()>, Error> {
        match self.state {
            State::Start => {
                self.state = State::Lease;
                Ok(Step::Load { offset: header::LEASE })
            }
            State::Lease => {
                lease::check(reply.value()?, self.bay.generation())?;
                self.state = State::Owner;
                Ok(Step::Load { offset: self.bay.owner() })
            }
            State::Owner => {
                let owner = reply.value()?;
                let error = |kind, what| Err(Error::new(kind, what).at(self.bay.owner()).found(owner));
                match OwnerState::from_raw(owner as u8) {
                    Some(OwnerState::Quarantined) => Ok(Step::Done(())),
                    Some(OwnerState::Free) => error(ErrorKind::WrongState, "the bay is free: no CPU to quarantine"),
                    None => error(ErrorKind::AbiMismatch, "the owner word is damaged"),
                    Some(OwnerState::Reserved) => {
                        self.state = State::Swap(owner);
                        let new = owner & !0xff | OwnerState::Quarantined as u64;
                        Ok(Step::CompareExchange { offset: self.bay.owner(), current: owner, new })
                    }
                }
            }
            State::Swap(before) => unchanged(self.bay, before, reply.value()?).map(Step::Done),
        }
    }
}

fn unchanged(bay: Bay, before: u64, found: u64) -> Result<(), Error> {
    if found == before {
        return Ok(());
    }
    Err(Error::new(ErrorKind::WrongState, "somebody else changed the bay").at(bay.owner()).found(found))
}

/// Takes a quarantined bay back whose CPU has arrived after all: confirms it, then marks the bay reserved again.
///
/// If the CPU was given another bay meanwhile, that one must be quarantined first: a CPU can be in one bay only.
///
/// # Errors
/// Those of [`Confirm`](super::Confirm); [`ErrorKind::WrongState`] also if the bay is not quarantined. The bay stays
/// quarantined.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rehabilitate {
    bay: Bay,
    state: Rehabilitating,
    end: Option<Result<Ticket, Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Rehabilitating {
    Confirm(Ring),
    Owner(Ticket),
    Swap(Ticket, u64),
}

operation!(Rehabilitate => Ticket);

impl Rehabilitate {
    /// Confirms and takes back `bay`.
    #[must_use]
    pub const fn new(bay: Bay, timing: Timing) -> Self {
        Self { bay, state: Rehabilitating::Confirm(Ring::quarantined(bay, timing)), end: None }
    }

    fn advance(&mut self, reply: Reply, now: Ticks) -> Result<Step<Ticket>, Error> {
        match &mut self.state {
            Rehabilitating::Confirm(ring) => match run(ring, reply, now)? {
                Part::Going(step) => Ok(step),
                Part::Over(ticket) => {
                    self.state = Rehabilitating::Owner(ticket);
                    Ok(Step::Load { offset: self.bay.owner() })
                }
            },
            Rehabilitating::Owner(ticket) => {
                let (ticket, owner) = (*ticket, reply.value()?);
                let new = owner & !0xff | OwnerState::Reserved as u64;
                let current = owner & !0xff | OwnerState::Quarantined as u64;
                self.state = Rehabilitating::Swap(ticket, current);
                Ok(Step::CompareExchange { offset: self.bay.owner(), current, new })
            }
            Rehabilitating::Swap(ticket, before) => {
                unchanged(self.bay, *before, reply.value()?)?;
                Ok(Step::Done(*ticket))
            }
        }
    }
}
