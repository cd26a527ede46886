//! The commands that a parked CPU carries out, one operation each.

use super::step::{Part, operation, run};
use super::{Bay, Reply, Ring, Step, Ticket, TicketState, Timing, ring};
use crate::lot::{Command, Doorbell, Stage, bay};
use crate::{Entry, Error, ErrorKind, PhysAddr, Ticks};

/// The entry of commands that have none.
pub(super) const NO_ENTRY: Entry = Entry { rip: 0, rsp: 0, cr3: PhysAddr(0), arg: 0 };

/// Wakes a parked CPU: it leaves its bay through `entry`. Done when the CPU has claimed the command.
///
/// Success does *not* promise that the CPU reaches its entry. The bay is free again only when the CPU itself has run
/// [`Left`](super::Left): [`AwaitLeft`](super::AwaitLeft).
///
/// A lot whose memory outlived the CPUs' state still says that they are parked: after suspend to RAM or a warm reset
/// they wait for SIPI instead. A ring there is revoked in the end, but its NMIs may be held, and hit the CPU in real mode
/// once it is started ([`WakeSipi`](super::WakeSipi) says what to do about that). So a kernel that resumes, or that finds
/// a lot after a reset, first starts its application processors by INIT and STARTUP (a CPU that is parked after all
/// comes too, unless by Clgi), and only then confirms bays, and quarantines those that do not answer.
///
/// # Errors
/// Those of [`Ring`] for a command that leaves: no [`ErrorKind::Uncertain`]. After [`ErrorKind::Revoked`] the CPU has
/// certainly not taken the entry, and can be rung again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Wake(Ring);

impl Wake {
    /// Wakes the CPU of `bay` into `entry`.
    #[must_use]
    pub const fn new(bay: Bay, entry: Entry, timing: Timing) -> Self {
        Self(Ring::new(bay, Command::Wake, entry, timing))
    }
}

impl super::Operation for Wake {
    type Output = Ticket;

    fn next(&mut self, reply: Reply, now: Ticks) -> Step<Result<Ticket, Error>> {
        self.0.next(reply, now)
    }
}

/// Asks a parked CPU for a sign of life: it claims a command that does nothing. Done when it has carried it out.
///
/// Success means that the CPU executed bay code after this operation began, and waits again.
///
/// # Errors
/// Those of [`Ring`]. After [`ErrorKind::Revoked`] the CPU did not answer: it is absent, or slower than the deadline.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Confirm(Ring);

impl Confirm {
    /// Confirms the CPU of `bay`.
    #[must_use]
    pub const fn new(bay: Bay, timing: Timing) -> Self {
        Self(Ring::new(bay, Command::Confirm, NO_ENTRY, timing))
    }
}

impl super::Operation for Confirm {
    type Output = Ticket;

    fn next(&mut self, reply: Reply, now: Ticks) -> Step<Result<Ticket, Error>> {
        self.0.next(reply, now)
    }
}

/// Has a parked CPU write back and invalidate its caches (WBINVD). Done when it has.
///
/// WBINVD can take milliseconds, and more than one package's caches are not its business: it reaches those that the
/// processor's manual says.
///
/// # Errors
/// Those of [`Ring`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flush(Ring);

impl Flush {
    /// Flushes the caches of the CPU of `bay`.
    #[must_use]
    pub const fn new(bay: Bay, timing: Timing) -> Self {
        Self(Ring::new(bay, Command::Flush, NO_ENTRY, timing))
    }
}

impl super::Operation for Flush {
    type Output = Ticket;

    fn next(&mut self, reply: Reply, now: Ticks) -> Step<Result<Ticket, Error>> {
        self.0.next(reply, now)
    }
}

/// Has a parked CPU spin in its bay, awake, until [`Release`]: for microcode updates and MTRR changes. Done when the CPU
/// has claimed the command.
///
/// Success means that the CPU executes nothing but a loop with PAUSE, and takes NMIs in the lot. A kernel that takes the
/// lot over releases CPUs that its predecessor held.
///
/// # Errors
/// Those of [`Ring`], no [`ErrorKind::Uncertain`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Hold {
    ring: Ring,
    end: Option<Result<Held, Error>>,
}

/// A CPU that spins until [`Release`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Held {
    ticket: Ticket,
}

impl Held {
    /// The ticket by which it is held.
    #[must_use]
    pub const fn ticket(&self) -> Ticket {
        self.ticket
    }
}

operation!(Hold => Held);

impl Hold {
    /// Holds the CPU of `bay`.
    #[must_use]
    pub const fn new(bay: Bay, timing: Timing) -> Self {
        Self { ring: Ring::new(bay, Command::Hold, NO_ENTRY, timing), end: None }
    }

    fn advance(&mut self, reply: Reply, now: Ticks) -> Result<Step<Held>, Error> {
        Ok(match run(&mut self.ring, reply, now)? {
            Part::Going(step) => step,
            Part::Over(ticket) => Step::Done(Held { ticket }),
        })
    }
}

/// Lets a held CPU wait again. Done when it has gone back to its wait.
///
/// # Errors
/// * [`ErrorKind::Uncertain`]: it did not by the deadline; to [`Quarantine`](super::Quarantine) it is the caller's choice.
/// * [`ErrorKind::Faulted`]: it stopped in its bay with a fault record.
/// * [`ErrorKind::StaleGeneration`], [`ErrorKind::WrongState`]: the doorbell is about something else.
/// * [`ErrorKind::Platform`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Release {
    held: Held,
    deadline: Ticks,
    state: Releasing,
    end: Option<Result<(), Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Releasing {
    Start,
    Look,
    Released,
    Doorbell,
    Stage(Doorbell),
}

operation!(Release => ());

impl Release {
    /// Releases `held`, and waits until `deadline` for it to be waiting again.
    #[must_use]
    pub const fn new(held: Held, deadline: Ticks) -> Self {
        Self { held, deadline, state: Releasing::Start, end: None }
    }

    fn advance(&mut self, reply: Reply, now: Ticks) -> Result<Step<()>, Error> {
        let ticket = self.held.ticket;
        match self.state {
            Releasing::Start => Ok(self.look(Releasing::Look)),
            Releasing::Look => {
                // A void lease must not write: the release word may be somebody else's.
                let doorbell = Doorbell(reply.value()?);
                match ticket.state(doorbell, Stage::Waiting as u64) {
                    TicketState::Lost => Err(ring::lost(&ticket, doorbell)),
                    TicketState::Done => Ok(Step::Done(())),
                    _ => {
                        self.state = Releasing::Released;
                        let offset = ticket.bay.offset() + bay::RELEASE;
                        Ok(Step::Store { offset, value: ticket.word.sequence().raw().into() })
                    }
                }
            }
            Releasing::Released => reply.done().map(|()| self.look(Releasing::Doorbell)),
            Releasing::Doorbell => {
                let doorbell = Doorbell(reply.value()?);
                self.state = Releasing::Stage(doorbell);
                Ok(Step::Load { offset: ticket.bay.stage() })
            }
            Releasing::Stage(doorbell) => {
                let stage = reply.value()?;
                let error = |kind, what| Err(Error::new(kind, what).at(ticket.bay.doorbell()).found(doorbell.0));
                match ticket.state(doorbell, stage) {
                    TicketState::Done => Ok(Step::Done(())),
                    TicketState::Lost => Err(ring::lost(&ticket, doorbell)),
                    TicketState::Faulted => {
                        error(ErrorKind::Faulted, "the CPU stopped in its bay: read its fault record")
                    }
                    TicketState::Pending | TicketState::Claimed if now >= self.deadline => {
                        error(ErrorKind::Uncertain, "the released CPU did not go back to its wait: quarantine its bay")
                    }
                    TicketState::Pending | TicketState::Claimed => {
                        self.state = Releasing::Released;
                        Ok(Step::Wait { until: self.deadline })
                    }
                }
            }
        }
    }

    fn look(&mut self, state: Releasing) -> Step<()> {
        self.state = state;
        Step::Load { offset: self.held.ticket.bay.doorbell() }
    }
}
