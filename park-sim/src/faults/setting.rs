//! In which settings a fault is looked for: machine, mechanism, way in, plan, and what is thrown.

use super::journey::{Case, Drains, EntryKind, Evictions, Plan, TARGET, WayIn};
use super::ring::Style;
use super::sweep::{End, Throw};
use super::wrong::Leg;
use crate::machine::{Knob, KnobError, MachineConfig, Vendor};
use crate::world::ParkRequest;
use park_core::Mechanism;
use park_core::lot::{Command, PagingLevels, WaitFlags};

/// A setting, as data. What the vendor orders for the mechanism comes from the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Whose CPU it is.
    pub vendor: Vendor,
    /// How it parks.
    pub mechanism: Mechanism,
    /// Levels of paging.
    pub levels: PagingLevels,
    /// Where it comes from.
    pub way_in: WayIn,
    /// What happens on the way.
    pub plan: Plan,
    /// With [`Style::Revoke`]: every number of turns up to this one.
    pub revoke_up_to: u64,
    /// What is thrown before each step; nothing but the plain journey if empty.
    pub throws: &'static [Throw],
    /// On which legs it is thrown; on all if empty.
    pub legs: &'static [Leg],
    /// Wait flags beside those that were ordered.
    pub flags: WaitFlags,
    /// Knobs that are not at their default.
    pub knobs: &'static [(Knob, &'static str)],
    /// How a journey must end.
    pub end: End,
    /// Schedules: seeds from 1 to this one.
    pub seeds: u64,
}

impl Setting {
    /// The plain journey: four levels, from the idle loop, nothing thrown.
    #[must_use]
    pub const fn new(vendor: Vendor, mechanism: Mechanism) -> Self {
        Self {
            vendor,
            mechanism,
            levels: PagingLevels::Four,
            way_in: WayIn::Idle,
            plan: Plan {
                style: Style::Wake,
                before: &[],
                rounds_before: 0,
                entry: EntryKind::Landing,
                slow_boss: 0,
                evictions: Evictions::Drawn,
                drains: Drains::Drawn,
            },
            revoke_up_to: 0,
            throws: &[],
            legs: &[],
            flags: WaitFlags::empty(),
            knobs: &[],
            end: End::Landed,
            seeds: 1,
        }
    }

    /// The same setting on another number of levels of paging.
    #[must_use]
    pub const fn levels(mut self, levels: PagingLevels) -> Self {
        self.levels = levels;
        self
    }

    /// The same setting by another way in.
    #[must_use]
    pub const fn from(mut self, way_in: WayIn) -> Self {
        self.way_in = way_in;
        self
    }

    /// The same setting with these throws.
    #[must_use]
    pub const fn throw(mut self, throws: &'static [Throw]) -> Self {
        self.throws = throws;
        self
    }

    /// The same setting, with throws on these legs only.
    #[must_use]
    pub const fn on(mut self, legs: &'static [Leg]) -> Self {
        self.legs = legs;
        self
    }

    /// The same setting, rung by another style.
    #[must_use]
    pub const fn ring(mut self, style: Style) -> Self {
        self.plan.style = style;
        self
    }

    /// The same setting, with the ticket revoked after every number of turns up to `up_to`, in several schedules.
    #[must_use]
    pub const fn revoke(mut self, up_to: u64) -> Self {
        self.plan.style = Style::Revoke { after: 0 };
        self.revoke_up_to = up_to;
        self.seeds = REVOKE_SEEDS;
        self
    }

    /// The same setting, where the target takes so many steps between two accesses of the boss.
    #[must_use]
    pub const fn slow(mut self, steps: u64) -> Self {
        self.plan.slow_boss = steps;
        self
    }

    /// The same setting, where no translation vanishes for no reason.
    #[must_use]
    pub const fn calm(mut self) -> Self {
        self.plan.evictions = Evictions::Never;
        self
    }

    /// The same setting, where stores wait as long as they may.
    #[must_use]
    pub const fn late_drains(mut self) -> Self {
        self.plan.drains = Drains::Late;
        self
    }

    /// The same setting in so many schedules.
    #[must_use]
    pub const fn seeds(mut self, seeds: u64) -> Self {
        self.seeds = seeds;
        self
    }

    /// The same setting, with commands before the wake.
    #[must_use]
    pub const fn before(mut self, before: &'static [Command]) -> Self {
        self.plan.before = before;
        self
    }

    /// The same setting, with a journey into the same bay before it.
    #[must_use]
    pub const fn twice(mut self) -> Self {
        self.plan.rounds_before = 1;
        self
    }

    /// The same setting with an entry that leads nowhere: the CPU ends in its bay, with a fault record.
    #[must_use]
    pub const fn nowhere(mut self) -> Self {
        self.plan.entry = EntryKind::Nowhere;
        self.end = End::Faulted;
        self
    }

    /// The same setting, where what is thrown must end in the bay with a fault record.
    #[must_use]
    pub const fn faulted(mut self) -> Self {
        self.end = End::Faulted;
        self
    }

    /// The same setting with more wait flags.
    #[must_use]
    pub const fn flags(mut self, flags: WaitFlags) -> Self {
        self.flags = flags;
        self
    }

    /// The same setting with these knobs.
    #[must_use]
    pub const fn knobs(mut self, knobs: &'static [(Knob, &'static str)]) -> Self {
        self.knobs = knobs;
        self
    }

    /// The machine: two CPUs, with five-level paging available.
    ///
    /// # Errors
    /// [`KnobError`] for a value that a knob does not have.
    pub fn machine(&self) -> Result<MachineConfig, KnobError> {
        let mut machine = match self.vendor {
            Vendor::Intel => MachineConfig::intel(2),
            Vendor::Amd => MachineConfig::amd(2),
        };
        // LA57: CPUID 7.0 ECX bit 16 (Intel SDM vol. 2A, CPUID).
        machine.cpuid = machine.cpuid.with(7, 0, |regs| regs.ecx |= 1 << 16);
        let flushes = self.plan.before.contains(&Command::Flush);
        machine.track_dirty_lines = flushes || self.flags.contains(WaitFlags::WBINVD);
        for (knob, value) in self.knobs {
            machine.knobs.set(*knob, value)?;
        }
        Ok(machine)
    }

    /// The cases; `order` gives what the vendor orders for the mechanism on the machine.
    ///
    /// # Errors
    /// As [`Setting::machine`].
    pub fn cases(
        &self,
        order: impl Fn(&MachineConfig, usize, Mechanism) -> ParkRequest,
    ) -> Result<Vec<Case>, KnobError> {
        let machine = self.machine()?;
        let mut request = order(&machine, TARGET, self.mechanism);
        request.flags |= self.flags;
        let mut cases = Vec::new();
        for seed in 1..=self.seeds {
            for after in 0..=self.revoke_up_to {
                let mut plan = self.plan;
                if let Style::Revoke { .. } = plan.style {
                    plan.style = Style::Revoke { after };
                }
                let (machine, request) = (machine.clone(), request.clone());
                cases.push(Case { machine, request, levels: self.levels, way_in: self.way_in, plan, seed });
            }
        }
        Ok(cases)
    }
}

/// Schedules in which a ticket is revoked: whether a store has drained is drawn.
const REVOKE_SEEDS: u64 = 4;
