//! Getting a bay for a CPU.

use super::step::operation;
use super::{Bay, Lease, Reply, Step, lease};
use crate::lot::{ApicMode, Command, Doorbell, OwnerState, OwnerWord, PagingLevels, Phase, Stage, WaitFlags};
use crate::lot::{bay, header};
use crate::{ApicId, Error, ErrorKind, Mechanism, Ticks};

/// Who parks, and how.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Reservation {
    /// The CPU.
    pub apic_id: ApicId,
    /// How it will wait.
    pub mechanism: Mechanism,
    /// How it will wait, in detail.
    pub flags: WaitFlags,
    /// The CPU's paging depth.
    pub levels: PagingLevels,
    /// The mode of the CPU's local APIC.
    pub apic_mode: ApicMode,
    /// EAX of MWAIT, 0 where the mechanism has none.
    pub mwait_hint: u32,
}

/// Reserves a free bay: the lowest, or a given one.
///
/// The bay is taken by one swap of its owner word while its stage says [`Stage::Out`], and only its CPU changes that:
/// a crash anywhere between leaves a bay that the next kernel sees as *arriving*, never as parked with a wrong id.
///
/// Success does *not* promise that the CPU will come: await its arrival.
///
/// # Errors
/// * [`ErrorKind::InvalidCpu`]: the CPU has a bay already; the offset is that bay's. Or: no bay of the given index. A
///   quarantined bay does not count, so that a CPU that missed its deadline can park again.
/// * [`ErrorKind::NotSupported`]: more CPUs than bays: none is free. Or: the bay is to watch the ACPI mailbox, which the lot
///   does not have, or which a CPU that parks by Clgi or WaitForSipi can't serve.
/// * [`ErrorKind::WrongState`]: the given bay is not free; the lease was handed over.
/// * [`ErrorKind::StaleGeneration`], [`ErrorKind::AbiMismatch`], [`ErrorKind::Platform`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Reserve {
    lease: Lease,
    wanted: Option<u32>,
    request: Reservation,
    scanned: u32,
    candidate: Option<(Bay, u64)>,
    state: State,
    end: Option<Result<Bay, Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Start,
    Lease,
    Owner(Bay),
    Stage(Bay, u64),
    Identity(Bay),
    Take(Bay, u64),
    Clear(Bay, usize),
    Doorbell(Bay),
    Stamp(Bay, Doorbell),
}

/// The words that a new occupant finds as 0, in the order in which they are cleared.
const CLEARED: [u64; 6] = [bay::FAULT, bay::FAULT_RIP, bay::FAULT_CR2, bay::EVENTS, bay::LAPS, bay::MCG_STATUS];

operation!(Reserve => Bay);

impl Reserve {
    /// Reserves the lowest free bay.
    #[must_use]
    pub const fn any(lease: &Lease, request: Reservation) -> Self {
        Self { lease: *lease, wanted: None, request, scanned: 0, candidate: None, state: State::Start, end: None }
    }

    /// Reserves the bay with this index.
    #[must_use]
    pub const fn this(lease: &Lease, index: u32, request: Reservation) -> Self {
        Self { wanted: Some(index), ..Self::any(lease, request) }
    }

    fn advance(&mut self, reply: Reply, _now: Ticks) -> Result<Step<Bay>, Error> {
        match self.state {
            State::Start => {
                self.check_mailbox()?;
                if let Some(index) = self.wanted {
                    self.lease.bay(index)?;
                }
                self.state = State::Lease;
                Ok(Step::Load { offset: header::LEASE })
            }
            State::Lease => {
                lease::check(reply.value()?, self.lease.generation())?;
                self.scan()
            }
            State::Owner(bay) => self.look(bay, reply.value()?),
            State::Stage(bay, owner) => {
                // A free bay that its CPU has not marked as left is damage: leave it alone.
                if reply.value()? == Stage::Out as u64 {
                    self.candidate = Some((bay, owner));
                }
                self.scan()
            }
            State::Identity(bay) => {
                let id = ApicId(reply.value()? as u32);
                if id == self.request.apic_id {
                    let error = Error::new(ErrorKind::InvalidCpu, "the CPU has a bay already");
                    return Err(error.at(bay.offset()).found(id.0.into()));
                }
                self.scan()
            }
            State::Take(bay, free) => {
                if reply.value()? != free {
                    // Another CPU was faster: look for another bay.
                    (self.scanned, self.candidate) = (0, None);
                    return self.scan();
                }
                self.state = State::Clear(bay, 0);
                let identity = u64::from(self.request.apic_id.0) | u64::from(self.request.mwait_hint) << 32;
                Ok(Step::Store { offset: bay.identity(), value: identity })
            }
            State::Clear(bay, cleared) => {
                reply.done()?;
                if let Some(word) = CLEARED.get(cleared) {
                    self.state = State::Clear(bay, cleared + 1);
                    return Ok(Step::Store { offset: bay.offset() + word, value: 0 });
                }
                self.state = State::Doorbell(bay);
                Ok(Step::Load { offset: bay.doorbell() })
            }
            State::Doorbell(bay) => Ok(self.stamp(bay, Doorbell(reply.value()?))),
            State::Stamp(bay, before) => {
                let found = Doorbell(reply.value()?);
                Ok(if found == before { Step::Done(bay) } else { self.stamp(bay, found) })
            }
        }
    }

    /// With Clgi the operating system would get a CPU that holds its events, and one that waits for SIPI looks at nothing.
    fn check_mailbox(&self) -> Result<(), Error> {
        let Reservation { mechanism, flags, .. } = self.request;
        if !flags.contains(WaitFlags::MAILBOX) {
            return Ok(());
        }
        if !matches!(mechanism, Mechanism::Hlt | Mechanism::Mwait) {
            let error =
                Error::new(ErrorKind::NotSupported, "the mechanism can't serve the ACPI mailbox: use Hlt or Mwait");
            return Err(error.found(mechanism as u64));
        }
        if self.lease.lot().header().mailbox.is_none() {
            return Err(Error::new(ErrorKind::NotSupported, "the lot was built without an ACPI mailbox"));
        }
        Ok(())
    }

    /// Looks at the next bay, or takes the candidate.
    fn scan(&mut self) -> Result<Step<Bay>, Error> {
        if let Ok(bay) = self.lease.bay(self.scanned) {
            self.scanned += 1;
            self.state = State::Owner(bay);
            return Ok(Step::Load { offset: bay.owner() });
        }
        let Some((bay, free)) = self.candidate else {
            return Err(match self.wanted {
                Some(index) => Error::new(ErrorKind::WrongState, "the bay is not free")
                    .at(self.lease.bay(index)?.offset())
                    .found(index.into()),
                None => Error::new(ErrorKind::NotSupported, "more CPUs than bays: no bay is free")
                    .found(self.lease.lot().header().bay_count.into()),
            });
        };
        let Reservation { mechanism, flags, levels, apic_mode, .. } = self.request;
        let reserved = OwnerWord { state: OwnerState::Reserved, mechanism, flags, levels, apic_mode };
        self.state = State::Take(bay, free);
        Ok(Step::CompareExchange { offset: bay.owner(), current: free, new: reserved.raw() })
    }

    /// Judges the owner word of `bay`.
    fn look(&mut self, bay: Bay, owner: u64) -> Result<Step<Bay>, Error> {
        let wanted = self.wanted.is_none_or(|index| index == bay.index());
        match OwnerState::from_raw(owner as u8) {
            Some(OwnerState::Free) if wanted && self.candidate.is_none() => {
                self.state = State::Stage(bay, owner);
                Ok(Step::Load { offset: bay.stage() })
            }
            Some(OwnerState::Reserved) => {
                self.state = State::Identity(bay);
                Ok(Step::Load { offset: bay.identity() })
            }
            Some(OwnerState::Free | OwnerState::Quarantined) => self.scan(),
            None => {
                let error = Error::new(ErrorKind::AbiMismatch, "the owner word is damaged");
                Err(error.at(bay.owner()).found(owner))
            }
        }
    }

    /// Makes the doorbell quiet under this lease. The sequence goes on, so that no old ticket fits.
    fn stamp(&mut self, bay: Bay, found: Doorbell) -> Step<Bay> {
        self.state = State::Stamp(bay, found);
        let quiet = Doorbell::new(Command::None, Phase::Quiet, self.lease.generation(), found.sequence());
        Step::CompareExchange { offset: bay.doorbell(), current: found.0, new: quiet.0 }
    }
}
