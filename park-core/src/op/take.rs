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
    generation: Generation,
    next: u32,
    tally: Tally,
    state: State,
    end: Option<Result<TakeOver, Error>>,
}

/// [`TakeOver`] without the lease, so that an operation holds the lot once less.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Tally {
    revoked: u32,
    released: u32,
    took_old_entry: u32,
    first_took_old_entry: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Start,
    Lease,
    Claim(u64),
    Doorbell(Bay),
    Stamp(Bay, Doorbell),
    Release,
    Doubt,
    Hold,
}

operation!(Take => TakeOver);

impl Take {
    pub(super) const fn new(lot: Lot, title: Title) -> Self {
        let tally = Tally { revoked: 0, released: 0, took_old_entry: 0, first_took_old_entry: None };
        Self { lot, title, generation: Generation::FIRST, next: 0, tally, state: State::Start, end: None }
    }

    fn word(&self, state: LeaseState) -> u64 {
        LeaseWord { state, generation: self.generation }.raw()
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
                    self.tally.revoked += 1;
                }
                Ok(self.bay())
            }
            State::Release => reply.done().map(|()| self.bay()),
            State::Doubt => {
                self.still_mine(reply.value()?)?;
                // No later owner, so the doorbell is damaged: publishing there is refused by name.
                Ok(self.bay())
            }
            State::Hold => {
                self.still_mine(reply.value()?)?;
                let Tally { revoked, released, took_old_entry, first_took_old_entry } = self.tally;
                let lease = Lease::of(self.lot, self.generation);
                Ok(Step::Done(TakeOver { lease, revoked, released, took_old_entry, first_took_old_entry }))
            }
        }
    }

    /// Checks that a lease word that was found is the one that this operation put there.
    fn still_mine(&self, found: u64) -> Result<(), Error> {
        if found != self.word(LeaseState::Taking) {
            return Err(lease::stale(header::LEASE, lease::decode(found)?.generation));
        }
        Ok(())
    }

    /// Claims the lease for the next generation.
    fn claim(&mut self, raw: u64) -> Result<Step<TakeOver>, Error> {
        let word = lease::decode(raw)?;
        let error = |what| Err(Error::new(ErrorKind::WrongState, what).at(header::LEASE).found(raw));
        match (self.title, word.state) {
            (Title::Offer, LeaseState::Held) => error("the lot was not handed over: seize it if its owner is dead"),
            (Title::Offer, LeaseState::Taking) => error("another kernel takes the lot: seize it if that one is dead"),
            (Title::Offer, LeaseState::Offered) | (Title::Death, _) => {
                self.generation = word.generation.next();
                self.state = State::Claim(raw);
                let new = self.word(LeaseState::Taking);
                Ok(Step::CompareExchange { offset: header::LEASE, current: raw, new })
            }
        }
    }

    /// Looks at the next bay, or holds the lease.
    fn bay(&mut self) -> Step<TakeOver> {
        if let Ok(bay) = Lease::of(self.lot, self.generation).bay(self.next) {
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
        if lease::is_later(found.generation(), self.generation) {
            // Another kernel has seized the lot from this one, and stamped the bay: don't undo it.
            self.state = State::Doubt;
            return Step::Load { offset: header::LEASE };
        }
        match (found.phase(), found.command()) {
            (Some(Phase::Quiet | Phase::Rung), _) => {
                self.state = State::Stamp(bay, found);
                let new = found.with_phase(Phase::Quiet).with_generation(self.generation).0;
                Step::CompareExchange { offset: bay.doorbell(), current: found.0, new }
            }
            (Some(Phase::Claimed), Some(Command::Confirm | Command::Flush)) => self.bay(),
            (Some(Phase::Claimed), Some(Command::Hold)) => {
                self.tally.released += 1;
                self.state = State::Release;
                Step::Store { offset: bay.offset() + bay::RELEASE, value: found.sequence().raw().into() }
            }
            (Some(Phase::Claimed), _) => {
                self.tally.took_old_entry += 1;
                self.tally.first_took_old_entry.get_or_insert(bay.index());
                self.bay()
            }
            // Damage: publishing there is refused by name.
            (None, _) => self.bay(),
        }
    }
}
