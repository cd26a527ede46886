//! Publish, kick, poll, and revoke on the deadline.

use super::step::{Part, operation, run};
use super::{Bay, Publish, Reply, Step, Ticket, TicketState, lease};
use crate::lot::{Command, Doorbell, OwnerState, Phase, Stage, WaitFlags};
use crate::{Entry, Error, ErrorKind, Mechanism, Ticks};

/// How long a ring may take, in ticks of the clock that drives it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Timing {
    /// Time between two NMIs to a CPU that has not claimed yet, and before the first to one that a store should wake.
    /// At least 1 is used. It is also how long a command that was claimed in the last moment may take beyond the
    /// deadline.
    pub kick_interval_ticks: Ticks,
    /// The time at which an unclaimed ticket is revoked.
    pub deadline: Ticks,
}

/// Rings a bay: publishes, kicks as the bay's mechanism wants it, and polls until the CPU has claimed the ticket (Wake,
/// Repark, Hold) or carried it out (Confirm, Flush). On the deadline it revokes an unclaimed ticket.
///
/// Kicks: Hlt gets an NMI at once, and one each interval until the claim is seen, because an NMI at a soft-disabled
/// local APIC can end HLT without being handled. Mwait gets its first after one interval (store-wake errata APL30,
/// ICX143, LNL030), or at once where the bay watches the ACPI mailbox instead of the doorbell. Clgi gets none: it polls.
///
/// Success of Wake and Repark means that the CPU took the entry. It does *not* promise that it reached it: an INIT or a
/// machine check can still take a CPU that has claimed.
///
/// # Errors
/// * Those of [`Publish`].
/// * [`ErrorKind::Revoked`]: the deadline passed, and the CPU has certainly not claimed: it is still parked, or dead.
/// * [`ErrorKind::Uncertain`]: the CPU claimed a command that returns, and did not finish. The bay is left as it is:
///   to [`Quarantine`](super::Quarantine) it is the caller's choice.
/// * [`ErrorKind::Faulted`]: the CPU stopped in its bay; the ticket is revoked if it was unclaimed.
/// * [`ErrorKind::WrongState`]: somebody else rang meanwhile.
/// * [`ErrorKind::Platform`]: an NMI could not be sent; the ticket was revoked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ring {
    timing: Timing,
    next_kick: Ticks,
    state: State,
    end: Option<Result<Ticket, Error>>,
}

/// A publish becomes a ticket: the two never live at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Publish(Publish),
    Doorbell(Ticket),
    Stage(Ticket, Doorbell),
    Kick(Ticket),
    Wait(Ticket),
    Revoke(Ticket, Error),
}

operation!(Ring => Ticket);

impl Ring {
    /// Rings `bay` with `command`. `entry` is stored for Wake and Repark, else ignored.
    #[must_use]
    pub const fn new(bay: Bay, command: Command, entry: Entry, timing: Timing) -> Self {
        Self::publishing(Publish::new(bay, command, entry), timing)
    }

    /// Confirms a bay that is quarantined.
    pub(super) const fn quarantined(bay: Bay, timing: Timing) -> Self {
        let entry = Entry { rip: 0, rsp: 0, cr3: crate::PhysAddr(0), arg: 0 };
        Self::publishing(Publish::expecting(OwnerState::Quarantined, bay, Command::Confirm, entry), timing)
    }

    const fn publishing(publish: Publish, timing: Timing) -> Self {
        Self { timing, next_kick: 0, state: State::Publish(publish), end: None }
    }

    fn advance(&mut self, reply: Reply, now: Ticks) -> Result<Step<Ticket>, Error> {
        match &mut self.state {
            State::Publish(publish) => match run(publish, reply, now)? {
                Part::Going(step) => Ok(step),
                Part::Over(ticket) => Ok(self.published(ticket, now)),
            },
            State::Doorbell(ticket) => {
                let (ticket, doorbell) = (*ticket, Doorbell(reply.value()?));
                match ticket.state(doorbell, Stage::Waiting as u64) {
                    TicketState::Done => Ok(Step::Done(ticket)),
                    TicketState::Lost => Err(lost(&ticket, doorbell)),
                    _ => {
                        self.state = State::Stage(ticket, doorbell);
                        Ok(Step::Load { offset: ticket.bay.stage() })
                    }
                }
            }
            State::Stage(ticket, doorbell) => {
                let (ticket, doorbell) = (*ticket, *doorbell);
                self.judge(ticket, doorbell, reply.value()?, now)
            }
            State::Kick(ticket) => {
                let ticket = *ticket;
                match reply {
                    // An NMI that was not sent now must not be needed later: take the ticket back first.
                    Reply::Failed(error) => Ok(self.revoke(ticket, error.into())),
                    other => other.done().map(|()| self.poll(ticket)),
                }
            }
            State::Wait(ticket) => {
                let ticket = *ticket;
                reply.done().map(|()| self.poll(ticket))
            }
            State::Revoke(ticket, why) => {
                if reply.value()? == ticket.word.0 || why.kind() == ErrorKind::Faulted {
                    return Err(*why);
                }
                // The CPU was first: see what it does.
                let ticket = *ticket;
                Ok(self.poll(ticket))
            }
        }
    }

    fn published(&mut self, ticket: Ticket, now: Ticks) -> Step<Ticket> {
        self.next_kick = match ticket.mechanism {
            Mechanism::Hlt => now,
            Mechanism::Mwait if ticket.flags.contains(WaitFlags::MAILBOX) => now,
            Mechanism::Mwait => self.kick_after(now),
            // Clgi polls; a CPU that waits for SIPI is never rung.
            Mechanism::Clgi | Mechanism::WaitForSipi => Ticks::MAX,
        };
        if self.next_kick <= now { self.kick(ticket, now) } else { self.poll(ticket) }
    }

    fn kick_after(&self, now: Ticks) -> Ticks {
        now.saturating_add(self.timing.kick_interval_ticks.max(1))
    }

    fn kick(&mut self, ticket: Ticket, now: Ticks) -> Step<Ticket> {
        self.next_kick = self.kick_after(now);
        self.state = State::Kick(ticket);
        Step::SendNmi(ticket.apic_id)
    }

    fn poll(&mut self, ticket: Ticket) -> Step<Ticket> {
        self.state = State::Doorbell(ticket);
        Step::Load { offset: ticket.bay.doorbell() }
    }

    fn wait(&mut self, ticket: Ticket, until: Ticks) -> Step<Ticket> {
        self.state = State::Wait(ticket);
        Step::Wait { until }
    }

    fn revoke(&mut self, ticket: Ticket, why: Error) -> Step<Ticket> {
        self.state = State::Revoke(ticket, why);
        let (offset, current) = (ticket.bay.doorbell(), ticket.word.0);
        Step::CompareExchange { offset, current, new: ticket.word.with_phase(Phase::Quiet).0 }
    }

    fn judge(&mut self, ticket: Ticket, doorbell: Doorbell, stage: u64, now: Ticks) -> Result<Step<Ticket>, Error> {
        let error = |kind, what| Error::new(kind, what).at(ticket.bay.doorbell()).found(doorbell.0);
        match ticket.state(doorbell, stage) {
            TicketState::Pending if now >= self.timing.deadline => {
                Ok(self.revoke(ticket, error(ErrorKind::Revoked, "the CPU did not claim in time: it was not woken")))
            }
            TicketState::Pending if now >= self.next_kick => Ok(self.kick(ticket, now)),
            TicketState::Pending => Ok(self.wait(ticket, self.next_kick.min(self.timing.deadline))),
            TicketState::Claimed if ticket.command.leaves() || ticket.command == Command::Hold => {
                Ok(Step::Done(ticket))
            }
            TicketState::Claimed => {
                let deadline = self.kick_after(self.timing.deadline);
                if now < deadline {
                    return Ok(self.wait(ticket, deadline));
                }
                Err(error(
                    ErrorKind::Uncertain,
                    "the CPU claimed the command and did not finish it: quarantine its bay",
                ))
            }
            TicketState::Faulted => {
                let what = "the CPU stopped in its bay: read its fault record";
                Ok(self.revoke(ticket, Error::new(ErrorKind::Faulted, what).at(ticket.bay.stage()).found(stage)))
            }
            TicketState::Done => Ok(Step::Done(ticket)),
            TicketState::Lost => Err(lost(&ticket, doorbell)),
        }
    }
}

/// The error of a ticket whose doorbell is about something else.
pub(super) fn lost(ticket: &Ticket, doorbell: Doorbell) -> Error {
    if lease::is_later(doorbell.generation(), ticket.bay.generation()) {
        return lease::stale(ticket.bay.doorbell(), doorbell.generation());
    }
    Error::new(ErrorKind::WrongState, "somebody else rang this bay: one publisher at a time")
        .at(ticket.bay.doorbell())
        .found(doorbell.0)
}
