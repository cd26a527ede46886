//! How the boss rings: as park does, or by less, to see that less is enough where park says so.

use super::wrong::{Leg, Wrong};
use crate::platform::OnCpu;
use crate::world::{KICK_TICKS, WorldError};
use park_core::lot::{Command, Doorbell, Phase, bay};
use park_core::op::{Bay, Operation, Publish, Reply, Revoke, Step, Ticket, Timing, Wake};
use park_core::{Clock, Entry, ErrorKind, IpiSender, LotMemory, Ticks};

/// How the boss rings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Style {
    /// By [`Wake`], with kicks as it sees fit.
    #[default]
    Wake,
    /// By the store alone: for a CPU that watches its doorbell.
    Store,
    /// By the store and one NMI.
    OneKick,
    /// By the store and one NMI; it is taken back after so many turns. If that succeeds, it is rung again.
    Revoke {
        /// Turns between publishing and revoking.
        after: u64,
    },
}

/// Which order of a publisher's stores.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Order {
    /// As [`Publish`] makes them: the entry, then the doorbell.
    #[default]
    EntryFirst,
    /// The doorbell, then the entry.
    DoorbellFirst,
}

/// Kicks that a ring may need: one for each event that can swallow one, and some.
const KICKS: u64 = 16;
/// Looks at the doorbell until a CPU that was rung by less than [`Wake`] must have claimed.
const LOOKS: u64 = 600;

/// What a turn of the boss came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// There is more to do.
    Going,
    /// There is nothing to do before this time.
    Idle(Ticks),
    /// The CPU has claimed.
    Claimed,
    /// The ticket was taken back in time.
    Revoked,
}

/// A ring on its way.
#[derive(Clone, Debug)]
pub(super) struct Ringer {
    style: Style,
    order: Order,
    at: At,
    reply: Reply,
    /// Stores that [`Order::DoorbellFirst`] puts off.
    late: Vec<(u64, u64)>,
    turns: u64,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Wake(Wake),
    Publish(Publish),
    Late(Ticket),
    Kick(Ticket),
    Look(Ticket),
    Revoke(Revoke),
}

impl Ringer {
    pub(super) fn new(style: Style, order: Order, bay: Bay, entry: Entry, now: Ticks) -> Self {
        let at = if style == Style::Wake {
            At::Wake(Wake::new(
                bay,
                entry,
                Timing { kick_interval_ticks: KICK_TICKS, deadline: now + KICKS * KICK_TICKS },
            ))
        } else {
            At::Publish(Publish::new(bay, Command::Wake, entry))
        };
        Self { style, order, at, reply: Reply::Start, late: Vec::new(), turns: 0 }
    }

    /// One access or IPI; also a line about it.
    pub(super) fn turn(&mut self, platform: &mut OnCpu<'_>) -> Result<(Turn, String), Wrong> {
        let now = platform.now();
        match self.at {
            At::Wake(mut wake) => {
                let step = wake.next(self.reply, now);
                self.at = At::Wake(wake);
                match step {
                    Step::Done(result) => {
                        result.map_err(WorldError::from)?;
                        Ok((Turn::Claimed, "the ring is over".to_owned()))
                    }
                    // An early reply is allowed: the operation looks again.
                    Step::Wait { until } => {
                        self.reply = Reply::Waited;
                        Ok((Turn::Idle(until), format!("waits until {until}")))
                    }
                    other => Ok((Turn::Going, self.perform(platform, &other))),
                }
            }
            At::Publish(mut publish) => {
                let step = publish.next(self.reply, now);
                self.at = At::Publish(publish);
                match step {
                    Step::Done(ticket) => {
                        self.at = At::Late(ticket.map_err(WorldError::from)?);
                        Ok((Turn::Going, "published".to_owned()))
                    }
                    Step::Store { offset, value } if self.order == Order::DoorbellFirst => {
                        self.late.push((offset, value));
                        self.reply = Reply::Stored;
                        Ok((Turn::Going, format!("puts off the store at {offset:#x}")))
                    }
                    other => Ok((Turn::Going, self.perform(platform, &other))),
                }
            }
            At::Late(ticket) => {
                if self.late.is_empty() {
                    self.at = if self.style == Style::Store { At::Look(ticket) } else { At::Kick(ticket) };
                    return Ok((Turn::Going, "every store is made".to_owned()));
                }
                let (offset, value) = self.late.remove(0);
                Ok((Turn::Going, self.perform::<()>(platform, &Step::Store { offset, value })))
            }
            At::Kick(ticket) => {
                platform.send_nmi(ticket.apic_id()).map_err(|error| Wrong::Operation { what: error.to_string() })?;
                self.at = At::Look(ticket);
                Ok((Turn::Going, "sends the NMI".to_owned()))
            }
            At::Look(ticket) => self.look(platform, ticket),
            At::Revoke(mut revoke) => {
                let step = revoke.next(self.reply, now);
                self.at = At::Revoke(revoke);
                match step {
                    Step::Done(Ok(())) => Ok((Turn::Revoked, "revoked".to_owned())),
                    Step::Done(Err(error)) if error.kind() == ErrorKind::TooLate => {
                        Ok((Turn::Claimed, "too late to revoke".to_owned()))
                    }
                    Step::Done(Err(error)) => Err(WorldError::from(error).into()),
                    other => Ok((Turn::Going, self.perform(platform, &other))),
                }
            }
        }
    }

    fn look(&mut self, platform: &mut OnCpu<'_>, ticket: Ticket) -> Result<(Turn, String), Wrong> {
        self.turns += 1;
        if matches!(self.style, Style::Revoke { after } if self.turns > after) {
            self.at = At::Revoke(Revoke::new(ticket));
            self.reply = Reply::Start;
            return Ok((Turn::Going, "begins to revoke".to_owned()));
        }
        let found = platform
            .load(ticket.bay().offset() + bay::DOORBELL)
            .map_err(|error| Wrong::Operation { what: error.to_string() })?;
        let turn = match Doorbell(found).phase() {
            Some(Phase::Claimed) => Turn::Claimed,
            _ if self.turns > LOOKS => return Err(Wrong::TooSlow { leg: Leg::Ringing }),
            _ => Turn::Going,
        };
        Ok((turn, format!("finds {found:#x} in the doorbell")))
    }

    fn perform<T: core::fmt::Debug>(&mut self, platform: &mut OnCpu<'_>, step: &Step<T>) -> String {
        let done = match *step {
            Step::Load { offset } => platform.load(offset).map(Reply::Value),
            Step::CompareExchange { offset, current, new } => {
                platform.compare_exchange(offset, current, new).map(Reply::Value)
            }
            Step::Store { offset, value } => platform.store(offset, value).map(|()| Reply::Stored),
            Step::SendNmi(target) => platform.send_nmi(target).map(|()| Reply::Sent),
            Step::SendInit(target) => platform.send_init(target).map(|()| Reply::Sent),
            Step::SendStartup { target, vector } => platform.send_startup(target, vector).map(|()| Reply::Sent),
            Step::Summon { .. } => Err(park_core::PlatformError::NoSuchRegister),
            Step::Wait { .. } | Step::Done(_) => Ok(Reply::Waited),
        };
        self.reply = done.unwrap_or_else(Reply::Failed);
        format!("{step:x?} -> {:x?}", self.reply)
    }
}
