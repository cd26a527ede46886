//! One command in flight: what it is, and what became of it.

use super::step::operation;
use super::{Bay, Reply, Step};
use crate::lot::{Command, Doorbell, Phase, Stage, WaitFlags};
use crate::{ApicId, Error, Mechanism, Ticks};

/// A published command. Exactly one of two gets it: its CPU by a claim, or its publisher by a [`Revoke`](super::Revoke).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket {
    pub(super) bay: Bay,
    pub(super) word: Doorbell,
    pub(super) command: Command,
    pub(super) apic_id: ApicId,
    pub(super) mechanism: Mechanism,
    pub(super) flags: WaitFlags,
}

impl Ticket {
    /// The bay whose doorbell was rung.
    #[must_use]
    pub const fn bay(&self) -> Bay {
        self.bay
    }

    /// The doorbell as published, in phase [`Phase::Rung`].
    #[must_use]
    pub const fn word(&self) -> Doorbell {
        self.word
    }

    /// The command.
    #[must_use]
    pub const fn command(&self) -> Command {
        self.command
    }

    /// The CPU, as its bay says.
    #[must_use]
    pub const fn apic_id(&self) -> ApicId {
        self.apic_id
    }

    /// How the CPU waits, as its bay says.
    #[must_use]
    pub const fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// How the CPU waits, in detail.
    #[must_use]
    pub const fn flags(&self) -> WaitFlags {
        self.flags
    }

    /// What a doorbell and a stage that was read after it say of this ticket.
    ///
    /// A ticket that its holder has revoked reads as done: don't ask about it.
    #[must_use]
    pub fn state(&self, doorbell: Doorbell, stage: u64) -> TicketState {
        if doorbell.generation() != self.word.generation() || doorbell.sequence() != self.word.sequence() {
            return TicketState::Lost;
        }
        match doorbell.phase() {
            Some(Phase::Quiet) => TicketState::Done,
            None => TicketState::Lost,
            Some(_) if Stage::from_raw(stage) == Some(Stage::Faulted) => TicketState::Faulted,
            Some(Phase::Rung) => TicketState::Pending,
            Some(Phase::Claimed) => TicketState::Claimed,
        }
    }
}

/// What became of a ticket. May be stale at once, except `Done` and `Lost`, which last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TicketState {
    /// Published; neither claimed nor revoked.
    Pending,
    /// The CPU took it, and carries it out.
    Claimed,
    /// The CPU has carried it out; after Wake or Repark: it has also left, and its bay's doorbell is quiet again.
    Done,
    /// The CPU stopped in its bay with a fault record.
    Faulted,
    /// The doorbell is about something else: another kernel took the lot, or somebody else rang.
    Lost,
}

/// Looks what became of a ticket, with at most two loads. Changes nothing and wakes nobody.
///
/// # Errors
/// [`ErrorKind::Platform`](crate::ErrorKind::Platform).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Poll {
    ticket: Ticket,
    state: State,
    end: Option<Result<TicketState, Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Start,
    Doorbell,
    Stage(Doorbell),
}

operation!(Poll => TicketState);

impl Poll {
    /// Looks what became of `ticket`.
    #[must_use]
    pub const fn new(ticket: Ticket) -> Self {
        Self { ticket, state: State::Start, end: None }
    }

    fn advance(&mut self, reply: Reply, _now: Ticks) -> Result<Step<TicketState>, Error> {
        Ok(match self.state {
            State::Start => {
                self.state = State::Doorbell;
                Step::Load { offset: self.ticket.bay.doorbell() }
            }
            State::Doorbell => {
                let doorbell = Doorbell(reply.value()?);
                match self.ticket.state(doorbell, Stage::Waiting as u64) {
                    settled @ (TicketState::Done | TicketState::Lost) => Step::Done(settled),
                    // Not claimed, or not finished: because the CPU has faulted?
                    _ => {
                        self.state = State::Stage(doorbell);
                        Step::Load { offset: self.ticket.bay.stage() }
                    }
                }
            }
            State::Stage(doorbell) => Step::Done(self.ticket.state(doorbell, reply.value()?)),
        })
    }
}
