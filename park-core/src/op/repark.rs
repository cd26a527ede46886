//! Moving a parked CPU from one lot to another without waking it.

use super::step::{Part, operation, run};
use super::{Arrived, Bay, Lease, Reply, Ring, Step, Ticket, Timing, lease, left};
use crate::lot::{Command, Doorbell, OwnerState, Phase, Stage, bay, header};
use crate::{Entry, Error, ErrorKind, PhysAddr, Ticks};

/// Sends a parked CPU into a bay of another lot. Done when it has claimed the command.
///
/// The bay there is [reserved](super::Reserve) for it first. Afterwards the caller [awaits its
/// arrival](super::AwaitArrival) there, and then [vacates](Vacate) the bay here.
///
/// # Errors
/// Those of [`Ring`] for a command that leaves. [`Repark::new`]: [`ErrorKind::InvalidCpu`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Repark {
    ring: Ring,
    end: Option<Result<Ticket, Error>>,
}

operation!(Repark => Ticket);

impl Repark {
    /// Moves the CPU of `from` into the bay `to` of the lot of `new_lease`. `transit_root` maps both lots at identity,
    /// at the CPU's paging depth.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCpu`] if `to` is not a bay of that lot; [`ErrorKind::InvalidAddress`] if it would lie beyond
    /// the physical address space.
    pub fn new(from: Bay, new_lease: &Lease, to: Bay, transit_root: PhysAddr, timing: Timing) -> Result<Self, Error> {
        let to = new_lease.bay_phys(to)?;
        let rsp = to.checked_add(bay::FAULT_STACK_TOP).ok_or(
            Error::new(ErrorKind::InvalidAddress, "the bay's end is beyond the physical address space").found(to.0),
        )?;
        let rip = new_lease.lot().header().repark();
        let entry = Entry { rip: rip.0, rsp: rsp.0, cr3: transit_root, arg: to.0 };
        Ok(Self { ring: Ring::new(from, Command::Repark, entry, timing), end: None })
    }

    fn advance(&mut self, reply: Reply, now: Ticks) -> Result<Step<Ticket>, Error> {
        Ok(match run(&mut self.ring, reply, now)? {
            Part::Going(step) => step,
            Part::Over(ticket) => Step::Done(ticket),
        })
    }
}

/// Frees the bay that a CPU has left by [`Repark`], once it has arrived in the other lot.
///
/// # Errors
/// * [`ErrorKind::WrongState`]: the bay is not as a Repark leaves it.
/// * [`ErrorKind::InvalidCpu`] from [`Vacate::new`]: the ticket is no Repark, or the CPU that arrived is another.
/// * [`ErrorKind::StaleGeneration`], [`ErrorKind::AbiMismatch`], [`ErrorKind::Platform`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Vacate {
    ticket: Ticket,
    owner: u64,
    state: State,
    end: Option<Result<(), Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Start,
    Lease,
    Owner,
    Stage,
    Doorbell,
    Out,
    Free,
}

operation!(Vacate => ());

impl Vacate {
    /// Frees the bay of `ticket`, a claimed Repark, whose CPU has `arrived`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCpu`], see the type.
    pub fn new(ticket: Ticket, arrived: Arrived) -> Result<Self, Error> {
        let error =
            Error::new(ErrorKind::InvalidCpu, "this CPU did not leave the bay by Repark").at(ticket.bay.offset());
        if ticket.command != Command::Repark || ticket.apic_id != arrived.apic_id() {
            return Err(error.found(arrived.apic_id().0.into()));
        }
        Ok(Self { ticket, owner: 0, state: State::Start, end: None })
    }

    fn advance(&mut self, reply: Reply, _now: Ticks) -> Result<Step<()>, Error> {
        let bay = self.ticket.bay;
        let wrong = |offset, found| {
            Err(Error::new(ErrorKind::WrongState, "the bay is not as a Repark leaves it").at(offset).found(found))
        };
        match self.state {
            State::Start => Ok(self.load(State::Lease, header::LEASE)),
            State::Lease => {
                lease::check(reply.value()?, bay.generation())?;
                Ok(self.load(State::Owner, bay.owner()))
            }
            State::Owner => {
                self.owner = reply.value()?;
                if OwnerState::from_raw(self.owner as u8) != Some(OwnerState::Reserved) {
                    return wrong(bay.owner(), self.owner);
                }
                Ok(self.load(State::Stage, bay.stage()))
            }
            State::Stage => {
                let stage = reply.value()?;
                if Stage::from_raw(stage) != Some(Stage::Leaving) {
                    return wrong(bay.stage(), stage);
                }
                self.state = State::Doorbell;
                let (current, new) = (self.word(Phase::Claimed), self.word(Phase::Quiet));
                Ok(Step::CompareExchange { offset: bay.doorbell(), current: current.0, new: new.0 })
            }
            State::Doorbell => {
                let found = Doorbell(reply.value()?);
                if found != self.word(Phase::Claimed) {
                    return wrong(bay.doorbell(), found.0);
                }
                self.state = State::Out;
                Ok(Step::Store { offset: bay.stage(), value: Stage::Out as u64 })
            }
            State::Out => {
                reply.done()?;
                self.state = State::Free;
                Ok(Step::CompareExchange { offset: bay.owner(), current: self.owner, new: left::free(self.owner) })
            }
            State::Free => {
                let found = reply.value()?;
                if found != self.owner {
                    return wrong(bay.owner(), found);
                }
                Ok(Step::Done(()))
            }
        }
    }

    fn word(&self, phase: Phase) -> Doorbell {
        self.ticket.word.with_phase(phase)
    }

    fn load(&mut self, state: State, offset: u64) -> Step<()> {
        self.state = state;
        Step::Load { offset }
    }
}
