//! Taking a lot over: the part that accept and seize share.

use super::step::operation;
use super::{Bay, Lease, Reply, Step, lease};
use crate::lot::{Command, Doorbell, LeaseState, LeaseWord, Lot, Phase, bay, header};
use crate::{Error, ErrorKind, Generation, Ticks};

/// What a kernel found when it took a lot over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TakeOver {
    /// The new owner's lease.
    pub lease: Lease,
    /// Tickets of the last owner that were taken back before their CPUs claimed them.
    pub revoked: u32,
    /// CPUs that the last owner held, and that were let go.
    pub released: u32,
    /// CPUs that had claimed a Wake or Repark (or a command of a newer version): they took the last owner's entry, or
    /// are about to. Their bays stay [`Claimed` or `Leaving`](crate::lot::BayState) until they run
    /// [`Left`](super::Left), or are quarantined.
    pub took_old_entry: u32,
    /// The lowest bay of those.
    pub first_took_old_entry: Option<u32>,
}

/// From which lease words a lot may be taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Title {
    /// Handed over.
    Offer,
    /// The owner is dead.
    Death,
}

/// Bumps the generation, stamps every bay, and holds the lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Take {
    lot: Lot,
    title: Title,
    lease: Lease,
    next: u32,
    result: TakeOver,
    state: State,
    end: Option<Result<TakeOver, Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Start,
    Lease,
    Claim(u64),
    Doorbell(Bay),
    Stamp(Bay, Doorbell),
    Release,
    Hold,
}

operation!(Take => TakeOver);

impl Take {
    pub(super) const fn new(lot: Lot, title: Title) -> Self {
        let lease = Lease::of(lot, Generation::FIRST);
        let result = TakeOver { lease, revoked: 0, released: 0, took_old_entry: 0, first_took_old_entry: None };
        Self { lot, title, lease, next: 0, result, state: State::Start, end: None }
    }

    fn word(&self, state: LeaseState) -> u64 {
        LeaseWord { state, generation: self.lease.generation() }.raw()
    }

    fn advance(&mut self, reply: Reply, _now: Ticks) -> Result<Step<TakeOver>, Error> {
        match self.state {
            State::Start => {
                self.state = State::Lease;
                Ok(Step::Load { offset: header::LEASE })
            }
            State::Lease => self.claim(reply.value()?),
            State::Claim(before) => {
                let found = reply.value()?;
                if found != before {
                    let error = Error::new(ErrorKind::WrongState, "another kernel takes the lot: one must stand back");
                    return Err(error.at(header::LEASE).found(found));
                }
                Ok(self.bay())
            }
            State::Doorbell(bay) => Ok(self.stamp(bay, Doorbell(reply.value()?))),
            State::Stamp(bay, before) => {
                let found = Doorbell(reply.value()?);
                if found != before {
                    // Its CPU claimed it, or finished, in between.
                    return Ok(self.stamp(bay, found));
                }
                if before.phase() == Some(Phase::Rung) {
                    self.result.revoked += 1;
                }
                Ok(self.bay())
            }
            State::Release => reply.done().map(|()| self.bay()),
            State::Hold => {
                let found = reply.value()?;
                if found != self.word(LeaseState::Taking) {
                    return Err(lease::stale(header::LEASE, lease::decode(found)?.generation));
                }
                self.result.lease = self.lease;
                Ok(Step::Done(self.result))
            }
        }
    }

    /// Claims the lease for the next generation.
    fn claim(&mut self, raw: u64) -> Result<Step<TakeOver>, Error> {
        let word = lease::decode(raw)?;
        let error = |what| Err(Error::new(ErrorKind::WrongState, what).at(header::LEASE).found(raw));
        match (self.title, word.state) {
            (Title::Offer, LeaseState::Held) => error("the lot was not handed over: seize it if its owner is dead"),
            (Title::Offer, LeaseState::Taking) => error("another kernel takes the lot: seize it if that one is dead"),
            (Title::Offer, LeaseState::Offered) | (Title::Death, _) => {
                self.lease = Lease::of(self.lot, word.generation.next());
                self.state = State::Claim(raw);
                let new = self.word(LeaseState::Taking);
                Ok(Step::CompareExchange { offset: header::LEASE, current: raw, new })
            }
        }
    }

    /// Looks at the next bay, or holds the lease.
    fn bay(&mut self) -> Step<TakeOver> {
        if let Ok(bay) = self.lease.bay(self.next) {
            self.next += 1;
            self.state = State::Doorbell(bay);
            return Step::Load { offset: bay.doorbell() };
        }
        self.state = State::Hold;
        let (current, new) = (self.word(LeaseState::Taking), self.word(LeaseState::Held));
        Step::CompareExchange { offset: header::LEASE, current, new }
    }

    /// Puts this generation into a doorbell that no CPU has claimed. A claimed one is its CPU's alone.
    fn stamp(&mut self, bay: Bay, found: Doorbell) -> Step<TakeOver> {
        match (found.phase(), found.command()) {
            (Some(Phase::Quiet | Phase::Rung), _) => {
                self.state = State::Stamp(bay, found);
                let new = found.with_phase(Phase::Quiet).with_generation(self.lease.generation()).0;
                Step::CompareExchange { offset: bay.doorbell(), current: found.0, new }
            }
            (Some(Phase::Claimed), Some(Command::Confirm | Command::Flush)) => self.bay(),
            (Some(Phase::Claimed), Some(Command::Hold)) => {
                self.result.released += 1;
                self.state = State::Release;
                Step::Store { offset: bay.offset() + bay::RELEASE, value: found.sequence().raw().into() }
            }
            (Some(Phase::Claimed), _) => {
                self.result.took_old_entry += 1;
                self.result.first_took_old_entry.get_or_insert(bay.index());
                self.bay()
            }
            // Damage: publishing there is refused by name.
            (None, _) => self.bay(),
        }
    }
}
