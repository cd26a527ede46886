//! Awaiting a CPU in its bay.

use super::step::operation;
use super::{Bay, Reply, Step, lease};
use crate::lot::{OwnerState, Stage, header};
use crate::{ApicId, Error, ErrorKind, Ticks};

/// Proof that a CPU acknowledged its arrival: it waits in its bay, and uses nothing outside the lot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Arrived {
    bay: Bay,
    apic_id: ApicId,
}

impl Arrived {
    /// The bay.
    #[must_use]
    pub const fn bay(&self) -> Bay {
        self.bay
    }

    /// The CPU, as its bay says.
    #[must_use]
    pub const fn apic_id(&self) -> ApicId {
        self.apic_id
    }
}

/// Waits until the CPU of a reserved bay acknowledges its arrival. On the deadline the bay is quarantined.
///
/// Success means that the CPU did acknowledge. It does *not* promise that it is still there: another kernel's INIT may
/// have taken it since. A CPU that comes after the deadline is late, not lost: [`Rehabilitate`](super::Rehabilitate).
///
/// # Errors
/// * [`ErrorKind::Uncertain`]: the deadline passed; the bay is quarantined, and its CPU may still come.
/// * [`ErrorKind::Faulted`]: the CPU stopped on its way in, with a fault record.
/// * [`ErrorKind::WrongState`]: the bay is not reserved, or its CPU is on its way out.
/// * [`ErrorKind::StaleGeneration`], [`ErrorKind::AbiMismatch`], [`ErrorKind::Platform`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AwaitArrival {
    bay: Bay,
    deadline: Ticks,
    owner: u64,
    apic_id: ApicId,
    state: State,
    end: Option<Result<Arrived, Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Start,
    Lease,
    Owner,
    Identity,
    Stage,
    Wait,
    LeaseAgain,
    Quarantine,
}

operation!(AwaitArrival => Arrived);

impl AwaitArrival {
    /// Waits for the CPU of `bay` until `deadline`.
    #[must_use]
    pub const fn new(bay: Bay, deadline: Ticks) -> Self {
        Self { bay, deadline, owner: 0, apic_id: ApicId(0), state: State::Start, end: None }
    }

    fn advance(&mut self, reply: Reply, now: Ticks) -> Result<Step<Arrived>, Error> {
        match self.state {
            State::Start => Ok(self.load(State::Lease, header::LEASE)),
            State::Lease => {
                lease::check(reply.value()?, self.bay.generation())?;
                Ok(self.load(State::Owner, self.bay.owner()))
            }
            State::Owner => {
                self.owner = reply.value()?;
                if OwnerState::from_raw(self.owner as u8) != Some(OwnerState::Reserved) {
                    let error = Error::new(ErrorKind::WrongState, "the bay is not reserved: no CPU is expected in it");
                    return Err(error.at(self.bay.owner()).found(self.owner));
                }
                Ok(self.load(State::Identity, self.bay.identity()))
            }
            State::Identity => {
                self.apic_id = ApicId(reply.value()? as u32);
                Ok(self.load(State::Stage, self.bay.stage()))
            }
            State::Stage => self.judge(reply.value()?, now),
            State::Wait => reply.done().map(|()| self.load(State::Stage, self.bay.stage())),
            State::LeaseAgain => {
                lease::check(reply.value()?, self.bay.generation())?;
                self.state = State::Quarantine;
                let new = self.owner & !0xff | OwnerState::Quarantined as u64;
                Ok(Step::CompareExchange { offset: self.bay.owner(), current: self.owner, new })
            }
            State::Quarantine => {
                let found = reply.value()?;
                let error = Error::new(ErrorKind::Uncertain, "the CPU did not arrive in time: its bay is quarantined");
                Err(if found == self.owner {
                    error.at(self.bay.offset()).found(self.apic_id.0.into())
                } else {
                    Error::new(ErrorKind::WrongState, "somebody else changed the bay").at(self.bay.owner()).found(found)
                })
            }
        }
    }

    fn load(&mut self, state: State, offset: u64) -> Step<Arrived> {
        self.state = state;
        Step::Load { offset }
    }

    fn judge(&mut self, stage: u64, now: Ticks) -> Result<Step<Arrived>, Error> {
        let error = |kind, what| Err(Error::new(kind, what).at(self.bay.stage()).found(stage));
        match Stage::from_raw(stage) {
            Some(Stage::Waiting) => Ok(Step::Done(Arrived { bay: self.bay, apic_id: self.apic_id })),
            Some(Stage::Faulted) => error(ErrorKind::Faulted, "the CPU stopped on its way in: read its fault record"),
            Some(Stage::Leaving | Stage::LeavingByMailbox) => error(ErrorKind::WrongState, "the CPU is on its way out"),
            None => error(ErrorKind::AbiMismatch, "the stage is damaged"),
            // A deadline may be long: the lot may be another kernel's by now.
            Some(Stage::Out | Stage::Arriving) if now >= self.deadline => {
                Ok(self.load(State::LeaseAgain, header::LEASE))
            }
            Some(Stage::Out | Stage::Arriving) => {
                self.state = State::Wait;
                Ok(Step::Wait { until: self.deadline })
            }
        }
    }
}
