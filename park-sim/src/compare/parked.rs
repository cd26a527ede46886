//! A world with one CPU parked in the lot, and what an event does to it.

use super::observe::{Counters, Held, Observed, Stands, Verdict, classify, ended};
use crate::machine::{Activity, Event as Injected, EventKind, KnobSet, Knobs, MachineConfig, RuleSet, Tag, Vendor};
use crate::world::{DEFAULT_LOT, OldMemory, ParkRequest, STARTUP_PAGE, TAG_LOT, World, WorldError, allow};
use park_core::lot::{PagingLevels, bay};
use park_core::op::{Bay, Processor, SinkToSipi, SipiTiming, WakeSipi};
use park_core::{Entry, Event, Mechanism, PhysAddr, Response};
use park_x86::features::Features;
use park_x86::orders::Orders;
use park_x86::registers::control::{Cr4, Efer};
use park_x86::registers::msr::MCG_EXT_CTL;
use park_x86::startup::{PAGE_LEN, StartupPage};

/// Orders for a mechanism on a CPU with these features, from a vendor crate; `None` where it has none.
pub type OrdersOf<'a> = &'a dyn Fn(Mechanism, &Features) -> Option<Orders>;

/// Steps that a world takes to settle, and to show what an event does.
const WINDOW_STEPS: u64 = 4000;
/// Vector of the maskable interrupt: any legal one.
const VECTOR: u8 = 0x40;
/// Steps that a CPU may need from a STARTUP to its entry.
const STARTUP_STEPS: u64 = 4000;
/// Bays of the lot.
const BAYS: u32 = 4;
/// The sanitising step that INIT repeats (SDM vol. 3, "Local APIC State After It Receives an INIT Reset").
const DONE_BY_INIT: &str = "apic-soft-disable";
/// Seed of the schedule.
const SEED: u64 = 1;

/// What one run showed.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The verdict.
    pub verdict: Verdict,
    /// Knobs that the run consulted.
    pub consulted: KnobSet,
    /// The CPU laps by itself, because MWAIT does not hold it: nothing can end a wait that there is not.
    pub laps_anyway: bool,
}

/// A CPU parked in the lot: one that parks, one that rings, one that looks on.
#[derive(Clone, Debug)]
pub struct Parked {
    /// The world.
    pub world: World,
    /// The CPU that is parked.
    pub cpu: usize,
    /// The CPU that parked it, and wakes it.
    pub boss: usize,
    /// A CPU in the kernel that does nothing.
    pub bystander: usize,
    /// Where it is parked.
    pub bay: Bay,
    /// How it is parked.
    pub mechanism: Mechanism,
    /// Whose memory it came from.
    owner_tag: Tag,
}

impl Parked {
    /// Boots a machine of this vendor and parks a CPU of it, the bootstrap processor or another.
    ///
    /// # Errors
    /// `Ok(None)` where the vendor has no orders for the mechanism; [`WorldError`] where parking fails.
    pub fn park(
        vendor: Vendor,
        mechanism: Mechanism,
        processor: Processor,
        rules: RuleSet,
        orders: OrdersOf<'_>,
    ) -> Result<Option<Self>, WorldError> {
        let mut config = match vendor {
            Vendor::Intel => MachineConfig::intel(3),
            Vendor::Amd => MachineConfig::amd(3),
        };
        config.rules = rules;
        Self::park_in(config, PagingLevels::Four, mechanism, processor, orders)
    }

    /// The same on a machine made from `config`, of three CPUs, the first of them the bootstrap processor.
    ///
    /// # Errors
    /// As [`Parked::park`].
    pub fn park_in(
        config: MachineConfig,
        levels: PagingLevels,
        mechanism: Mechanism,
        processor: Processor,
        orders: OrdersOf<'_>,
    ) -> Result<Option<Self>, WorldError> {
        let features = Features::read(|leaf, subleaf| {
            let regs = config.cpuid.get(leaf, subleaf);
            [regs.eax, regs.ebx, regs.ecx, regs.edx]
        });
        let Some(orders) = orders(mechanism, &features) else { return Ok(None) };
        let (cpu, boss) = match processor {
            Processor::Bootstrap => (0, 1),
            Processor::Application => (1, 0),
        };
        let mut world = World::boot(config, levels, SEED)?;
        super::calm(&mut world);
        world.build_lot(DEFAULT_LOT, BAYS)?;
        // An INIT finds a CPU that waits by HLT.
        let waits_by = if mechanism == Mechanism::WaitForSipi { Mechanism::Hlt } else { mechanism };
        let mut request = ParkRequest::new(cpu, waits_by, orders.wait_flags, orders.mwait_hint, orders.steps());
        if mechanism == Mechanism::WaitForSipi {
            // What INIT does too is left to it: the claims about this mechanism give INIT as their reason.
            request.steps.retain(|step| step.id.0 != DONE_BY_INIT);
        }
        let bay = world.park(boss, request)?;
        let owner_tag = world.kernel.tag;
        let mut parked = Self { world, cpu, boss, bystander: 2, bay, mechanism, owner_tag };
        parked.world.run(WINDOW_STEPS)?;
        if mechanism == Mechanism::WaitForSipi {
            parked.world.drive(boss, SinkToSipi::new(bay, processor, WINDOW_STEPS))?;
            parked.world.run(WINDOW_STEPS)?;
            let activity = parked.world.machine.cpu(cpu).activity;
            if activity != Activity::WaitForSipi {
                return Err(WorldError::NotLanded { cpu });
            }
        }
        Ok(Some(parked))
    }

    /// Physical address of the bay.
    ///
    /// # Errors
    /// [`WorldError::NoLot`].
    pub fn bay_phys(&self) -> Result<u64, WorldError> {
        Ok(self.world.lot()?.range.start + self.bay.offset())
    }

    /// Throws `event` at the parked CPU, under `knobs`, and says what became of it. The parked world stays as it is.
    ///
    /// # Errors
    /// [`WorldError`] of the world itself; whatever becomes of the CPU is a verdict.
    pub fn measure(&self, event: Event, knobs: &Knobs) -> Result<Measured, WorldError> {
        let mut run = self.clone();
        run.world.machine.knobs = *knobs;
        run.world.machine.take_knobs_read();
        let (verdict, laps_anyway) = run.verdict(event)?;
        Ok(Measured { verdict, consulted: run.world.machine.knobs_read(), laps_anyway })
    }

    fn verdict(&mut self, event: Event) -> Result<(Verdict, bool), WorldError> {
        if !Event::ALL.contains(&event) {
            return Ok((Verdict::lost("an event that is not modelled"), false));
        }
        let bay_phys = self.bay_phys()?;
        // Knobs that decide how the CPU waits take effect with its next lap.
        self.world.machine.inject(Injected::at(self.cpu, EventKind::FalseWake));
        self.world.run(WINDOW_STEPS)?;
        let before = Counters::of(&self.world, self.cpu, bay_phys);
        let mut alone = self.clone();
        alone.world.run(WINDOW_STEPS)?;
        let control = Counters::of(&alone.world, self.cpu, bay_phys).since(before);
        let laps_anyway = control.laps != 0;
        let mc_elsewhere = self.mc_elsewhere();

        let thrown = self.throw(event).and_then(|started| self.world.run(WINDOW_STEPS).map(|_| started));
        let started = match thrown {
            Ok(started) => started,
            Err(error) => return Ok((self.unless_ended(bay_phys, error.to_string()), laps_anyway)),
        };
        if let Some(verdict) = ended(&self.world, self.cpu, bay_phys) {
            return Ok((verdict, laps_anyway));
        }
        if event == Event::McLocal && self.mc_elsewhere() != mc_elsewhere {
            return Ok((Verdict::lost("the machine check was not local"), laps_anyway));
        }
        let after = Counters::of(&self.world, self.cpu, bay_phys);
        let seen = Observed {
            mechanism: self.mechanism,
            event,
            moved: after.since(before),
            control,
            held: Held::of(&self.world, self.cpu),
            started,
        };
        let verdict = match classify(&self.world, self.cpu, &seen) {
            Stands::Verdict(verdict) => verdict,
            Stands::IfReachable(response) => self.if_reachable(response, after, bay_phys),
            Stands::Held => self.if_held(seen.held, after, bay_phys),
            Stands::InVain => self.if_in_vain(after, bay_phys),
        };
        Ok((verdict, laps_anyway))
    }

    /// Machine checks that the other CPUs took.
    fn mc_elsewhere(&self) -> u64 {
        [self.boss, self.bystander].into_iter().map(|cpu| self.world.machine.cpu(cpu).taken.mc).sum()
    }

    /// Makes the event happen. True if the CPU ran start-up code of the event's sender.
    ///
    /// # Errors
    /// [`WorldError`] of the world itself.
    pub fn throw(&mut self, event: Event) -> Result<bool, WorldError> {
        let (cpu, boss) = (self.cpu, self.boss);
        let machine = &mut self.world.machine;
        match event {
            Event::Intr => machine.inject(Injected::at(cpu, EventKind::Fixed(VECTOR))),
            Event::Nmi => machine.inject(Injected::at(cpu, EventKind::Nmi)),
            Event::Smi | Event::SmiNoRestart => machine.inject(Injected::at(cpu, EventKind::Smi)),
            Event::SmiRendezvous => machine.inject(Injected::all(EventKind::Smi)),
            Event::Init => machine.inject(Injected::at(cpu, EventKind::Init)),
            Event::Sipi => return self.startup(),
            Event::InitSipiSipi => return self.world.init_sipi_sipi(boss, cpu),
            Event::McLocal => {
                // The hardware signals locally: on Intel it does so only where LMCE is enabled (SDM vol. 3,
                // "Local Machine Check Exception").
                if machine.vendor() == Vendor::Intel {
                    machine.cpu_mut(cpu).msr.store(MCG_EXT_CTL, 1);
                }
                machine.inject(Injected::at(cpu, EventKind::MachineCheckLocal));
            }
            // It arises elsewhere; who else receives it is the machine's business.
            Event::McBroadcast => machine.inject(Injected::at(self.bystander, EventKind::MachineCheck)),
            Event::StoreDoorbell => self.world.touch_doorbell_line(boss, self.bay.offset())?,
            Event::Overwrite => {
                self.world.kexec(boss, OldMemory::Overwritten)?;
                self.world.overwrite_all(boss)?;
            }
            // A newer event: `verdict` has said so.
            _ => {}
        }
        Ok(false)
    }

    /// Writes start-up code of the current kernel, which brings the CPU to `entry`, and marks the stage of its bay where one is
    /// given. Returns the vector of its page.
    ///
    /// # Errors
    /// [`WorldError::Park`] if the page can't be written.
    pub fn write_startup(&mut self, entry: Entry, bay_stage: Option<PhysAddr>) -> Result<u8, WorldError> {
        let levels = if self.world.kernel.levels == PagingLevels::Five { Cr4::LA57 } else { Cr4::empty() };
        let page = StartupPage {
            page: PhysAddr(STARTUP_PAGE),
            entry,
            cr4: Cr4::PAE | Cr4::MCE | levels,
            efer: Efer::LME | Efer::NXE,
            bay_stage,
        };
        let mut bytes = [0; PAGE_LEN];
        let vector = page.write(&mut bytes)?;
        self.world.machine.write_phys(STARTUP_PAGE, &bytes);
        Ok(vector)
    }

    /// One STARTUP without an INIT. True if the CPU came.
    fn startup(&mut self) -> Result<bool, WorldError> {
        let entry = self.world.entry(self.cpu)?;
        let vector = self.write_startup(entry, None)?;
        let before = self.entries();
        let allowed = self.world.machine.cpu(self.cpu).allowed_tags;
        // Whoever sends it lends its memory to the CPU.
        self.world.machine.set_allowed(self.cpu, allow(&[self.world.kernel.tag, TAG_LOT]));
        self.world.machine.inject(Injected::at(self.cpu, EventKind::Sipi(vector)));
        self.world.let_others_run(self.boss, STARTUP_STEPS)?;
        let came = self.entries() != before;
        if !came {
            self.world.machine.set_allowed(self.cpu, allowed);
        }
        Ok(came)
    }

    /// How often the CPU landed in the current kernel.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.world.kernel.witness(&self.world.machine, self.cpu).entries
    }

    /// Takes the lot for the current kernel, if the owner is gone.
    ///
    /// # Errors
    /// [`WorldError`] of a seizure.
    pub fn take_over(&mut self) -> Result<(), WorldError> {
        if self.world.kernel.tag != self.owner_tag {
            self.bay = self.world.seize(self.boss, self.bay)?.0;
            self.owner_tag = self.world.kernel.tag;
        }
        Ok(())
    }

    /// Wakes the CPU as planned, into the current kernel. Returns how often it landed.
    ///
    /// # Errors
    /// [`WorldError`] of the world itself; [`WorldError::Park`] and [`WorldError::NotLanded`] of a CPU that does not come.
    pub fn wake(&mut self) -> Result<u64, WorldError> {
        self.take_over()?;
        let before = self.entries();
        if self.mechanism == Mechanism::WaitForSipi {
            let stage = PhysAddr(self.bay_phys()? + bay::STAGE);
            let entry = self.world.entry(self.cpu)?;
            let vector = self.write_startup(entry, Some(stage))?;
            self.world.expect_startup(self.cpu);
            let timing = SipiTiming {
                init_delay_ticks: STARTUP_STEPS,
                startup_delay_ticks: STARTUP_STEPS,
                retry_interval_ticks: u64::MAX,
                deadline: self.world.machine.tsc() + 4 * STARTUP_STEPS,
            };
            self.world.drive(self.boss, WakeSipi::new(self.bay, entry, vector, timing))?;
        } else {
            self.world.wake(self.boss, self.cpu, self.bay)?;
        }
        self.world.let_others_run(self.boss, WINDOW_STEPS)?;
        Ok(self.entries() - before)
    }

    /// `response`, if the CPU wakes as planned and nothing comes after it.
    fn if_reachable(&mut self, response: Response, before: Counters, bay_phys: u64) -> Verdict {
        match self.wake() {
            Ok(1) => {}
            Ok(_) => return Verdict::lost("landed more than once, or not at all"),
            Err(error) => return self.unless_ended(bay_phys, format!("out of reach: {error}")),
        }
        if let Some(verdict) = ended(&self.world, self.cpu, bay_phys) {
            return verdict;
        }
        let moved = Counters::of(&self.world, self.cpu, bay_phys).since(before);
        if moved.smi != 0 || moved.init != 0 || moved.mc != 0 || moved.intr != 0 {
            return Verdict::lost(format!("something was left behind: {moved:?}"));
        }
        response.into()
    }

    /// What the machine came to without any doubt, else that the CPU is lost.
    fn unless_ended(&self, bay_phys: u64, how: String) -> Verdict {
        ended(&self.world, self.cpu, bay_phys).unwrap_or(Verdict::Lost(how))
    }

    /// What was held takes effect once the CPU is woken; whether it lands then is not the question.
    fn if_held(&mut self, held: Held, before: Counters, bay_phys: u64) -> Verdict {
        let woken = self.wake();
        let moved = Counters::of(&self.world, self.cpu, bay_phys).since(before);
        let took_effect = (held.smi && moved.smi != 0)
            || (held.init && moved.init != 0)
            || (held.nmi && moved.nmi != 0)
            || (held.mc && moved.mc != 0)
            || (held.intr && moved.intr != 0);
        if took_effect {
            return Response::Held.into();
        }
        let how = format!("held for ever: {held:?}, {woken:?}");
        self.unless_ended(bay_phys, how)
    }

    /// A start-up that did not take the CPU does not take it later either.
    fn if_in_vain(&mut self, before: Counters, bay_phys: u64) -> Verdict {
        let woken = self.wake();
        let machine = &self.world.machine;
        let moved = Counters::of(&self.world, self.cpu, bay_phys).since(before);
        let stuck = moved.init != 0 && machine.cpu(self.cpu).activity == Activity::WaitForSipi;
        if stuck || matches!(woken, Ok(1)) {
            return Response::Refused.into();
        }
        self.unless_ended(bay_phys, format!("neither taken nor woken: {woken:?}"))
    }
}
