//! One CPU of a plan that is carried out.

use super::{Outcome, Why};
use crate::Placement;
use park_core::lot::{ApicMode, PagingLevels, WaitFlags};
use park_core::op::{Bay, Held, Lease, Processor, Reservation};
use park_core::{ApicId, Error, Mechanism};

/// What a bay must know of its CPU beyond the plan: from the vendor's orders, and from the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Terms {
    /// How it waits, in detail.
    pub flags: WaitFlags,
    /// EAX of MWAIT, 0 where the mechanism has none.
    pub mwait_hint: u32,
    /// Its paging depth.
    pub levels: PagingLevels,
    /// The mode of its local APIC.
    pub apic_mode: ApicMode,
    /// Whether it is the bootstrap processor: it is never sent an INIT.
    pub processor: Processor,
}

/// One CPU of a plan, and what became of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Task {
    apic_id: ApicId,
    mechanism: Mechanism,
    terms: Terms,
    timeout_us: u32,
    bay: Option<Bay>,
    held: Option<Held>,
    outcome: Outcome,
    why: Option<Why>,
}

impl Task {
    /// The task of a placement.
    #[must_use]
    pub const fn new(placement: &Placement, terms: Terms) -> Self {
        let Placement { apic_id, mechanism, timeout_us, .. } = *placement;
        Self { apic_id, mechanism, terms, timeout_us, bay: None, held: None, outcome: Outcome::Planned, why: None }
    }

    /// The task of a CPU that is in a bay already: in a lot that was taken over.
    #[must_use]
    pub const fn parked(placement: &Placement, terms: Terms, bay: Bay) -> Self {
        Self { bay: Some(bay), outcome: Outcome::Parked, ..Self::new(placement, terms) }
    }

    /// The CPU.
    #[must_use]
    pub const fn apic_id(&self) -> ApicId {
        self.apic_id
    }

    /// How the CPU waits, or shall wait. By [`Mechanism::Hlt`] also where it should have been sent into wait-for-SIPI and
    /// was not: [`why`](Self::why).
    #[must_use]
    pub const fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// What its bay knows of it.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Its bay, if it has one.
    #[must_use]
    pub const fn bay(&self) -> Option<Bay> {
        self.bay
    }

    /// Where the CPU is.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// What went wrong last, if anything did.
    #[must_use]
    pub const fn why(&self) -> Option<Why> {
        self.why
    }

    /// Goes on under another lease of the same lot: after hand-over and accept, or a seize.
    ///
    /// CPUs that were held are released by that.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCpu`](park_core::ErrorKind::InvalidCpu) if the lot has no such bay.
    pub const fn rebind(&mut self, lease: &Lease) -> Result<(), Error> {
        if let Some(bay) = self.bay {
            match lease.bay(bay.index()) {
                Ok(bay) => self.bay = Some(bay),
                Err(error) => return Err(error),
            }
        }
        self.held = None;
        if matches!(self.outcome, Outcome::Held) {
            self.outcome = Outcome::Parked;
        }
        Ok(())
    }

    pub(super) const fn timeout_us(&self) -> u32 {
        self.timeout_us
    }

    pub(super) const fn held(&self) -> Option<Held> {
        self.held
    }

    /// What its bay is reserved for. One that shall wait for SIPI is parked by Hlt first.
    pub(super) const fn reservation(&self) -> Reservation {
        let Terms { flags, mwait_hint, levels, apic_mode, .. } = self.terms;
        let mechanism = match self.mechanism {
            Mechanism::WaitForSipi => Mechanism::Hlt,
            other => other,
        };
        Reservation { apic_id: self.apic_id, mechanism, flags, levels, apic_mode, mwait_hint }
    }

    pub(super) fn end(&mut self, outcome: Outcome, why: Option<Why>) {
        (self.outcome, self.why) = (outcome, why);
        if outcome != Outcome::Held {
            self.held = None;
        }
        if matches!(outcome, Outcome::Woken | Outcome::Refused) {
            self.bay = None;
        }
    }

    pub(super) fn hold(&mut self, held: Held) {
        self.end(Outcome::Held, None);
        self.held = Some(held);
    }

    /// Something was not done, and the CPU is where it was.
    pub(super) fn complain(&mut self, why: Why) {
        self.why = Some(why);
    }

    /// All is well.
    pub(super) fn complain_no_more(&mut self) {
        self.why = None;
    }

    pub(super) fn in_bay(&mut self, bay: Bay) {
        self.bay = Some(bay);
    }

    pub(super) fn waits_by(&mut self, mechanism: Mechanism) {
        self.mechanism = mechanism;
    }
}
