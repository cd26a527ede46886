//! Confirming all bays of a lot, one after the other.

use super::step::{Part, operation, settle};
use super::{Bay, Confirm, Lease, Reply, Step, Timing};
use crate::lot::{OwnerState, Stage};
use crate::{ApicId, Error, ErrorKind, Mechanism, Ticks};

/// How long to wait for each CPU, in ticks of the clock that drives the operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Patience {
    /// As [`Timing::kick_interval_ticks`].
    pub kick_interval_ticks: Ticks,
    /// From the ring to its deadline.
    pub timeout_ticks: Ticks,
}

/// What was found of a bay's CPU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Presence {
    /// It answered.
    Alive,
    /// It did not answer in time, and certainly won't act on the question: dead, or somebody else's.
    Absent,
    /// It stopped in its bay with a fault record.
    Faulted,
    /// It is on its way in, or never came: it may use its owner's memory.
    Arriving,
    /// It is on its way out, by an entry that its bay holds.
    Leaving,
    /// It has claimed a ticket and not finished it, or did not finish this one.
    Uncertain,
    /// It waits for SIPI: nothing can be asked.
    WaitsForSipi,
    /// It could not be sent an NMI.
    Unreachable,
}

/// One reserved bay, and what was found of its CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Confirmed {
    /// The bay.
    pub bay: Bay,
    /// The CPU, as its bay says.
    pub apic_id: ApicId,
    /// What was found.
    pub presence: Presence,
}

/// Confirms the CPU of the next reserved bay, from a given index on; `None` if there is no further one.
///
/// ```text
/// let mut index = 0;
/// while let Some(confirmed) = drive(ConfirmNext::new(&lease, index, patience), ...)? {
///     index = confirmed.bay.index() + 1;
/// }
/// ```
/// To ask many CPUs at once, run [`Confirm`]s side by side. A bay whose CPU is absent stays reserved.
///
/// # Errors
/// [`ErrorKind::StaleGeneration`], [`ErrorKind::AbiMismatch`], [`ErrorKind::Platform`] for the lot's memory;
/// [`ErrorKind::WrongState`] if the lease was handed over. What is wrong with one bay is its [`Presence`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConfirmNext {
    lease: Lease,
    index: u32,
    patience: Patience,
    state: State,
    end: Option<Result<Option<Confirmed>, Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::large_enum_variant, reason = "no allocation: the value is the operation's whole storage")]
enum State {
    Start,
    Lease,
    Owner(Bay),
    Identity(Bay, u64),
    Stage(Bay, u64, ApicId),
    Confirm(Bay, ApicId, Confirm),
}

operation!(ConfirmNext => Option<Confirmed>);

impl ConfirmNext {
    /// Confirms the first reserved bay whose index is `index` or more.
    #[must_use]
    pub const fn new(lease: &Lease, index: u32, patience: Patience) -> Self {
        Self { lease: *lease, index, patience, state: State::Start, end: None }
    }

    fn advance(&mut self, reply: Reply, now: Ticks) -> Result<Step<Option<Confirmed>>, Error> {
        match &mut self.state {
            State::Start => {
                self.state = State::Lease;
                Ok(Step::Load { offset: crate::lot::header::LEASE })
            }
            State::Lease => {
                super::lease::check(reply.value()?, self.lease.generation())?;
                Ok(self.look())
            }
            State::Owner(bay) => {
                let (bay, owner) = (*bay, reply.value()?);
                if OwnerState::from_raw(owner as u8) != Some(OwnerState::Reserved) {
                    return Ok(self.look());
                }
                self.state = State::Identity(bay, owner);
                Ok(Step::Load { offset: bay.identity() })
            }
            State::Identity(bay, owner) => {
                let (bay, owner) = (*bay, *owner);
                self.state = State::Stage(bay, owner, ApicId(reply.value()? as u32));
                Ok(Step::Load { offset: bay.stage() })
            }
            State::Stage(bay, owner, apic_id) => {
                let (bay, owner, apic_id) = (*bay, *owner, *apic_id);
                self.judge(bay, owner, apic_id, reply.value()?, now)
            }
            State::Confirm(bay, apic_id, confirm) => {
                let (bay, apic_id) = (*bay, *apic_id);
                match settle(confirm, reply, now) {
                    Part::Going(step) => Ok(step),
                    Part::Over(result) => Ok(found(bay, apic_id, presence(result)?)),
                }
            }
        }
    }

    fn look(&mut self) -> Step<Option<Confirmed>> {
        let Ok(bay) = self.lease.bay(self.index) else { return Step::Done(None) };
        self.index += 1;
        self.state = State::Owner(bay);
        Step::Load { offset: bay.owner() }
    }

    fn judge(
        &mut self,
        bay: Bay,
        owner: u64,
        apic_id: ApicId,
        stage: u64,
        now: Ticks,
    ) -> Result<Step<Option<Confirmed>>, Error> {
        let waits_for_sipi = Mechanism::from_raw((owner >> 8) as u8) == Some(Mechanism::WaitForSipi);
        Ok(match Stage::from_raw(stage) {
            Some(Stage::Out | Stage::Arriving) => found(bay, apic_id, Presence::Arriving),
            Some(Stage::Leaving | Stage::LeavingByMailbox) => found(bay, apic_id, Presence::Leaving),
            Some(Stage::Faulted) => found(bay, apic_id, Presence::Faulted),
            Some(Stage::Waiting) if waits_for_sipi => found(bay, apic_id, Presence::WaitsForSipi),
            Some(Stage::Waiting) => {
                let Patience { kick_interval_ticks, timeout_ticks } = self.patience;
                let timing = Timing { kick_interval_ticks, deadline: now.saturating_add(timeout_ticks) };
                self.state = State::Confirm(bay, apic_id, Confirm::new(bay, timing));
                return self.advance(Reply::Start, now);
            }
            None => {
                let error = Error::new(ErrorKind::AbiMismatch, "the stage is damaged");
                return Err(error.at(bay.stage()).found(stage));
            }
        })
    }
}

const fn found(bay: Bay, apic_id: ApicId, presence: Presence) -> Step<Option<Confirmed>> {
    Step::Done(Some(Confirmed { bay, apic_id, presence }))
}

/// What the end of a [`Confirm`] says of its CPU.
fn presence<T>(result: Result<T, Error>) -> Result<Presence, Error> {
    match result {
        Ok(_) => Ok(Presence::Alive),
        Err(error) => match error.kind() {
            ErrorKind::Revoked => Ok(Presence::Absent),
            ErrorKind::Faulted => Ok(Presence::Faulted),
            // The doorbell is not quiet, or the stage changed: somebody's ticket is under way.
            ErrorKind::WrongState | ErrorKind::Uncertain => Ok(Presence::Uncertain),
            ErrorKind::Platform => Ok(Presence::Unreachable),
            _ => Err(error),
        },
    }
}
