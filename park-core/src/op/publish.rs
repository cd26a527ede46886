//! Publishing a command: the entry first, then one swap of the doorbell.

use super::step::operation;
use super::{Bay, Reply, Step, Ticket, lease};
use crate::lot::{Command, Doorbell, OwnerState, Phase, Stage, WaitFlags, bay, header};
use crate::{ApicId, Entry, Error, ErrorKind, Mechanism, Ticks};

/// Value of the release word that no sequence has: sequences are 24 bits wide.
const RELEASE_NOTHING: u64 = u64::MAX;

/// Publishes a command in a bay's doorbell. Sends nothing: see [`Ring`](super::Ring) for all that goes with it.
///
/// The doorbell is read before the lease word, so that a swap that succeeds has found a doorbell that no later owner
/// had stamped yet: the later owner then finds the ticket, and revokes it.
///
/// Success does *not* promise that the CPU sees the command, or is alive.
///
/// # Errors
/// * [`ErrorKind::StaleGeneration`]: another kernel has the lot.
/// * [`ErrorKind::WrongState`]: the lease was handed over; the bay's CPU is not parked; the doorbell is not quiet; a CPU
///   that waits for SIPI has no doorbell.
/// * [`ErrorKind::Faulted`]: the CPU stopped in its bay with a fault record.
/// * [`ErrorKind::AbiMismatch`]: a newer version parked this CPU, or a word is damaged.
/// * [`ErrorKind::Platform`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Publish {
    bay: Bay,
    command: Command,
    entry: Entry,
    expected: OwnerState,
    state: State,
    quiet: Doorbell,
    owner: u64,
    mechanism: Mechanism,
    apic_id: ApicId,
    end: Option<Result<Ticket, Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Start,
    Doorbell,
    Lease,
    Owner,
    Stage,
    Identity,
    Rip,
    Rsp,
    Cr3,
    Arg,
    Release,
    Swap,
}

operation!(Publish => Ticket);

impl Publish {
    /// Publishes `command` to `bay`. `entry` is stored for [`Command::Wake`] and [`Command::Repark`], else ignored.
    #[must_use]
    pub const fn new(bay: Bay, command: Command, entry: Entry) -> Self {
        Self::expecting(OwnerState::Reserved, bay, command, entry)
    }

    /// Like [`new`](Self::new), to a bay in owner state `expected`.
    pub(super) const fn expecting(expected: OwnerState, bay: Bay, command: Command, entry: Entry) -> Self {
        let (state, quiet, mechanism, apic_id) = (State::Start, Doorbell(0), Mechanism::Hlt, ApicId(0));
        Self { bay, command, entry, expected, state, quiet, owner: 0, mechanism, apic_id, end: None }
    }

    fn advance(&mut self, reply: Reply, _now: Ticks) -> Result<Step<Ticket>, Error> {
        match self.state {
            State::Start if self.command == Command::None => {
                Err(Error::new(ErrorKind::WrongState, "`None` can't be rung: choose a command"))
            }
            State::Start => Ok(self.load(State::Doorbell, self.bay.doorbell())),
            State::Doorbell => {
                self.quiet = Doorbell(reply.value()?);
                Ok(self.load(State::Lease, header::LEASE))
            }
            State::Lease => {
                lease::check(reply.value()?, self.bay.generation())?;
                self.check_quiet()?;
                Ok(self.load(State::Owner, self.bay.owner()))
            }
            State::Owner => {
                self.owner = reply.value()?;
                self.mechanism = self.check_owner()?;
                Ok(self.load(State::Stage, self.bay.stage()))
            }
            State::Stage => {
                self.check_stage(reply.value()?)?;
                Ok(self.load(State::Identity, self.bay.identity()))
            }
            State::Identity => {
                self.apic_id = ApicId(reply.value()? as u32);
                Ok(match self.command {
                    Command::Wake | Command::Repark => self.store(State::Rip, bay::ENTRY_RIP, self.entry.rip),
                    // A release of this sequence may be left from before the sequence wrapped.
                    Command::Hold => self.store(State::Release, bay::RELEASE, RELEASE_NOTHING),
                    Command::Confirm | Command::Flush | Command::None => self.swap(),
                })
            }
            State::Rip => reply.done().map(|()| self.store(State::Rsp, bay::ENTRY_RSP, self.entry.rsp)),
            State::Rsp => reply.done().map(|()| self.store(State::Cr3, bay::ENTRY_CR3, self.entry.cr3.0)),
            State::Cr3 => reply.done().map(|()| self.store(State::Arg, bay::ENTRY_ARG, self.entry.arg)),
            State::Arg | State::Release => reply.done().map(|()| self.swap()),
            State::Swap => self.finish(Doorbell(reply.value()?)),
        }
    }

    fn load(&mut self, state: State, offset: u64) -> Step<Ticket> {
        self.state = state;
        Step::Load { offset }
    }

    fn store(&mut self, state: State, word: u64, value: u64) -> Step<Ticket> {
        self.state = state;
        Step::Store { offset: self.bay.offset() + word, value }
    }

    /// The doorbell with this ticket in it.
    fn rung(&self) -> Doorbell {
        Doorbell::new(self.command, Phase::Rung, self.bay.generation(), self.quiet.sequence().next())
    }

    fn swap(&mut self) -> Step<Ticket> {
        self.state = State::Swap;
        Step::CompareExchange { offset: self.bay.doorbell(), current: self.quiet.0, new: self.rung().0 }
    }

    fn check_quiet(&self) -> Result<(), Error> {
        if lease::is_later(self.quiet.generation(), self.bay.generation()) {
            return Err(lease::stale(self.bay.doorbell(), self.quiet.generation()));
        }
        let error = |kind, what| Err(Error::new(kind, what).at(self.bay.doorbell()).found(self.quiet.0));
        match self.quiet.phase() {
            Some(Phase::Quiet) => Ok(()),
            Some(Phase::Rung) => error(ErrorKind::WrongState, "a ticket is in flight: revoke it first"),
            Some(Phase::Claimed) => error(ErrorKind::WrongState, "the CPU has claimed a ticket: wait until it is done"),
            None => error(ErrorKind::AbiMismatch, "the doorbell is damaged"),
        }
    }

    fn check_owner(&self) -> Result<Mechanism, Error> {
        let error = |kind, what| Err(Error::new(kind, what).at(self.bay.owner()).found(self.owner));
        match OwnerState::from_raw(self.owner as u8) {
            None => return error(ErrorKind::AbiMismatch, "the owner word is damaged"),
            Some(state) if state != self.expected => {
                return match state {
                    OwnerState::Free => error(ErrorKind::WrongState, "no CPU is parked in this bay"),
                    OwnerState::Reserved => error(ErrorKind::WrongState, "the bay is not quarantined"),
                    OwnerState::Quarantined => error(ErrorKind::WrongState, "the bay is quarantined: rehabilitate it"),
                };
            }
            Some(_) => {}
        }
        // The exit protocol is frozen: wait flags, paging depth and APIC mode of a newer version don't matter here.
        match Mechanism::from_raw((self.owner >> 8) as u8) {
            Some(Mechanism::WaitForSipi) => {
                error(ErrorKind::WrongState, "a CPU that waits for SIPI watches no doorbell: wake it by STARTUP")
            }
            Some(mechanism) => Ok(mechanism),
            None => error(ErrorKind::AbiMismatch, "a newer version parked this CPU, by an unknown mechanism"),
        }
    }

    fn check_stage(&self, raw: u64) -> Result<(), Error> {
        let error = |kind, what| Err(Error::new(kind, what).at(self.bay.stage()).found(raw));
        match Stage::from_raw(raw) {
            Some(Stage::Waiting) => Ok(()),
            Some(Stage::Faulted) => error(ErrorKind::Faulted, "the CPU stopped in its bay: read its fault record"),
            Some(Stage::Out | Stage::Arriving) => error(ErrorKind::WrongState, "the CPU has not arrived in its bay"),
            Some(Stage::Leaving | Stage::LeavingByMailbox) => error(ErrorKind::WrongState, "the CPU is on its way out"),
            None => error(ErrorKind::AbiMismatch, "the stage is damaged"),
        }
    }

    fn finish(&self, found: Doorbell) -> Result<Step<Ticket>, Error> {
        if found != self.quiet {
            if lease::is_later(found.generation(), self.bay.generation()) {
                return Err(lease::stale(self.bay.doorbell(), found.generation()));
            }
            let error = Error::new(ErrorKind::WrongState, "somebody else rang this bay: one publisher at a time");
            return Err(error.at(self.bay.doorbell()).found(found.0));
        }
        Ok(Step::Done(Ticket {
            bay: self.bay,
            word: self.rung(),
            command: self.command,
            apic_id: self.apic_id,
            mechanism: self.mechanism,
            flags: WaitFlags::from_bits_retain((self.owner >> 16) as u8),
        }))
    }
}
