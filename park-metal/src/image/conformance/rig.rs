//! This machine as a rig: its second CPU is the target.

use core::sync::atomic::{AtomicU64, Ordering};

use park_conformance::{Answer, Case, Fate, Lack, LackKind, Rig, Witness};
use park_core::lot::bay;
use park_core::op::{Confirm, DeadOwner, Processor, Seize, SinkToSipi};
use park_core::{Event, IpiSender, LotMemory, Mechanism};

use crate::choices::Host;
use crate::image::ap_start::INIT_US;
use crate::image::conformance::control;
use crate::image::conformance::gathering::Gathering;
use crate::image::conformance::landing::Landing;
use crate::image::failure::Failure;
use crate::image::lot::{self, timing};
use crate::image::parking::{self, Parked, await_arrival, detect_here, send};
use crate::image::percpu::PerCpu;
use crate::image::smi::SmiStub;
use crate::image::smp;
use crate::image::world::{World, restart};
use crate::image::{area, rendezvous, serial};
use crate::platform::Owner;
use crate::platform::apic::local_apic;
use crate::report::Value;

/// How long it takes to believe that something does not happen: on a host with fewer cores than virtual CPUs an NMI takes
/// some tens of ms.
pub(super) const SETTLE_US: u64 = 100_000;
/// Entry of the PML4 at which a next kernel lives.
const NEXT_KERNEL_SLOT: u8 = 1;
/// What is asked of a case when there is none.
const NO_CASE: Failure = Failure::Machine("no case is under way");

/// The rig.
#[derive(Debug)]
pub(crate) struct MetalRig<'a> {
    pub(super) world: &'a World,
    pub(super) target: &'static PerCpu,
    pub(super) landing: Landing,
    pub(super) smi: Option<SmiStub>,
    /// Whether a fixed interrupt shows in the IRR of a local APIC that is switched off; `None` until it was tried.
    keeps_fixed: Option<bool>,
    /// The same of a CPU that waits for SIPI.
    keeps_fixed_in_wait: Option<bool>,
    /// Whether a STARTUP that is dropped ends a HLT; `None` until it was tried.
    startup_ends_hlt: Option<bool>,
    /// The case that is under way.
    now: Option<Now>,
    /// What has no counter of its own.
    pub(super) counted: Witness,
    /// Whether firmware takes all CPUs into SMM where it is called; `None` until it was tried.
    calls_rendezvous: Option<bool>,
    /// Whether laps are the event's only trace.
    laps_attest: bool,
    /// How SMIs that firmware handles are counted, in a case of these.
    gathering: Option<Gathering>,
    /// STARTUPs that were sent to learn whether the CPU waits for one, and that it took.
    probes: u32,
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) owner: Owner,
    pub(super) parked: Parked,
    last_event: Option<Event>,
    fate: Fate,
    /// It is back in its kernel.
    woken: bool,
}

impl<'a> MetalRig<'a> {
    /// A rig whose target is `target`.
    ///
    /// # Safety
    /// 1. `target` is in its job loop, and is the image's only CPU but the boot CPU that does anything.
    /// 2. Nothing uses memory below 1 MiB but the image's start-up page, which is not in use.
    pub(crate) unsafe fn new(world: &'a World, target: &'static PerCpu) -> Self {
        // SAFETY: the region is a page of `memory::plan`; (2).
        let landing = unsafe { Landing::fill(world.plan.landing) };
        // SAFETY: (1) and (2).
        let smi = unsafe { SmiStub::install(world, target) };
        Self {
            world,
            target,
            landing,
            smi,
            keeps_fixed: None,
            keeps_fixed_in_wait: None,
            startup_ends_hlt: None,
            now: None,
            counted: Witness::default(),
            calls_rendezvous: None,
            laps_attest: false,
            gathering: None,
            probes: 0,
        }
    }

    pub(super) fn now(&mut self) -> Result<&mut Now, Failure> {
        self.now.as_mut().ok_or(NO_CASE)
    }

    pub(super) fn pass(&self, duration_us: u64) {
        self.world.clock.pass_us(duration_us);
    }

    /// Sends a STARTUP, which a CPU drops unless it waits for one; if it comes, it is sent back to wait.
    fn probe(&mut self) -> Result<Fate, Failure> {
        let before = self.landing.started();
        local_apic()?.send_startup(self.target.apic_id, self.landing.vector())?;
        self.pass(SETTLE_US);
        if self.landing.started() == before {
            return Ok(Fate::Alive);
        }
        self.probes += 1;
        local_apic()?.send_init(self.target.apic_id)?;
        self.pass(INIT_US);
        Ok(Fate::WaitsForSipi)
    }

    // A CPU that fails a control fails what comes next, too: there it is told.
    fn keeps_fixed(&mut self, mechanism: Mechanism) -> bool {
        let (world, target) = (self.world, self.target);
        if mechanism != Mechanism::WaitForSipi {
            let tried = || control::keeps_fixed_interrupts(world, target).unwrap_or(false);
            return *self.keeps_fixed.get_or_insert_with(tried);
        }
        if self.keeps_fixed_in_wait.is_none() {
            // SAFETY: the CPU is in its job loop: nothing of its area is needed.
            let kept = unsafe { control::keeps_fixed_interrupts_in_wait(world, target) };
            self.keeps_fixed_in_wait = Some(kept.unwrap_or(false));
            self.move_smbase();
        }
        self.keeps_fixed_in_wait == Some(true)
    }

    /// After a start: an INIT keeps SMBASE, and if firmware or an emulator did not, it is moved once more.
    fn move_smbase(&mut self) {
        // SAFETY: as at `new`.
        self.smi = self.smi.and_then(|_| unsafe { SmiStub::install(self.world, self.target) });
    }

    fn startup_ends_hlt(&mut self) -> bool {
        let (world, target, vector) = (self.world, self.target, self.landing.vector());
        *self.startup_ends_hlt.get_or_insert_with(|| control::startup_ends_hlt(world, target, vector).unwrap_or(false))
    }

    fn calls_rendezvous(&mut self) -> bool {
        let (world, target) = (self.world, self.target);
        *self.calls_rendezvous.get_or_insert_with(|| rendezvous::reaches(world, target).unwrap_or(false))
    }

    /// SMIs that firmware handled, at the target, since it was parked.
    fn gathered(&mut self) -> Result<u32, Failure> {
        let Some(mut gathering) = self.gathering else { return Ok(0) };
        if self.now()?.woken {
            gathering.ask_cpu(self.world, self.target)?;
        } else {
            gathering.ask_host(self.world)?;
        }
        self.gathering = Some(gathering);
        Ok(gathering.smis())
    }

    /// Whether the CPU does what its kernel tells it.
    fn works(&self) -> bool {
        self.target.is_idle() && smp::check_works(self.world, self.target).is_ok()
    }

    /// A word of the target's bay.
    fn word(&self, offset: u64) -> Result<u64, Failure> {
        let now = self.now.as_ref().ok_or(NO_CASE)?;
        Ok(now.owner.platform.memory().load(now.parked.bay.offset() + offset)?)
    }

    /// Laps of the target's wait loop.
    pub(super) fn laps(&self) -> Result<u32, Failure> {
        Ok(self.word(bay::LAPS)? as u32)
    }

    /// Machine checks that the target counted, in its bay and in its kernel.
    pub(super) fn machine_checks(&self) -> Result<u32, Failure> {
        let events = self.word(bay::EVENTS)?;
        let own = self.target.mc_count.load(Ordering::Acquire) as u32;
        Ok(((events >> u32::BITS) as u32).wrapping_add(own))
    }
}

impl Rig for MetalRig<'_> {
    type Error = Failure;

    fn offers(&mut self, mechanism: Mechanism) -> Result<(), Lack> {
        match detect_here().orders(mechanism, 0) {
            Ok(_) => Ok(()),
            Err(_) => Err(Lack { kind: LackKind::NoMechanism, detail: "the CPU does not have it" }),
        }
    }

    fn fires(&mut self, case: Case) -> Result<(), Lack> {
        let lack = |kind, detail| Err(Lack { kind, detail });
        self.laps_attest = case.event == Event::Sipi;
        self.gathering = (case.event == Event::SmiRendezvous).then(Gathering::default);
        match case.event {
            Event::Init if case.mechanism == Mechanism::WaitForSipi => {
                lack(LackKind::NoWitness, "an INIT to a CPU that waits for SIPI changes nothing")
            }
            Event::Nmi | Event::Init | Event::InitSipiSipi | Event::StoreDoorbell | Event::Overwrite => Ok(()),
            Event::Sipi if case.mechanism == Mechanism::WaitForSipi => Ok(()),
            // Laps show it then.
            Event::Sipi if case.mechanism == Mechanism::Hlt && self.startup_ends_hlt() => Ok(()),
            Event::Sipi => lack(LackKind::NoWitness, "a STARTUP that is dropped leaves no trace"),
            Event::Intr if self.keeps_fixed(case.mechanism) => Ok(()),
            Event::Intr => lack(LackKind::NoWitness, "nothing of it is left in the local APIC once the CPU is back"),
            Event::Smi | Event::SmiNoRestart if self.smi.is_some() => Ok(()),
            Event::Smi | Event::SmiNoRestart => lack(LackKind::NoWitness, "firmware keeps SMIs to itself"),
            Event::SmiRendezvous if self.world.options.host == Host::Absent => {
                lack(LackKind::NoWitness, "a host must tell who enters SMM: host=yes")
            }
            Event::SmiRendezvous if self.calls_rendezvous() => Ok(()),
            Event::SmiRendezvous => lack(LackKind::NoSource, "this firmware calls no rendezvous"),
            Event::McLocal | Event::McBroadcast if self.world.options.host == Host::Answers => Ok(()),
            Event::McLocal | Event::McBroadcast => lack(LackKind::NoSource, "a host must raise it: host=yes"),
            _ => lack(LackKind::NoSource, "an event that this image does not know"),
        }
    }

    fn park(&mut self, mechanism: Mechanism) -> Result<(), Failure> {
        let own_way = if mechanism == Mechanism::WaitForSipi { Mechanism::Hlt } else { mechanism };
        let owner = Owner { platform: self.world.platform(), lease: lot::build(self.world)? };
        // SAFETY: every other CPU is in its job loop: `end` sees to it.
        unsafe { owner.set() };
        if let Some(gathering) = &mut self.gathering {
            gathering.begin(self.world, self.target)?;
        }
        let mut parked = send(&owner, self.target, own_way)?;
        await_arrival(self.world, &owner, &parked)?;
        parked.mechanism = mechanism;
        let mut fate = Fate::Alive;
        if mechanism == Mechanism::WaitForSipi {
            let delay_ticks = self.world.clock.ticks_of_us(INIT_US);
            owner.platform.drive(SinkToSipi::new(parked.bay, Processor::Application, delay_ticks))?;
            // Through the landing and back: TCG takes an INIT in HLT only once something else ends that.
            fate = self.probe()?;
        }
        self.now = Some(Now { owner, parked, last_event: None, fate, woken: false });
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Failure> {
        self.pass(SETTLE_US);
        Ok(())
    }

    fn look(&mut self) -> Result<Fate, Failure> {
        let now = *self.now()?;
        let after_init = matches!(now.last_event, Some(Event::Init | Event::InitSipiSipi));
        if after_init && now.parked.mechanism != Mechanism::WaitForSipi {
            let fate = self.probe()?;
            self.now()?.fate = fate;
            if fate == Fate::WaitsForSipi {
                self.counted.init = self.counted.init.wrapping_add(1);
            }
        }
        Ok(self.now()?.fate)
    }

    fn witness(&mut self) -> Result<Witness, Failure> {
        let own = |counter: &AtomicU64| counter.load(Ordering::Acquire) as u32;
        let mut seen = self.counted;
        let nmis = self.word(bay::EVENTS)? as u32;
        seen.nmi = nmis.wrapping_add(own(&self.target.nmi_count)).wrapping_add(self.landing.nmis());
        seen.mc = self.machine_checks()?;
        seen.intr = own(&self.target.fixed_count);
        seen.laps = self.laps()?;
        seen.attested = if self.laps_attest { seen.laps } else { 0 };
        seen.smi = self.smi.map_or(0, SmiStub::count).wrapping_add(self.gathered()?);
        seen.started = self.landing.started().wrapping_sub(self.probes);
        Ok(seen)
    }

    fn fire(&mut self, event: Event, times: u32) -> Result<u32, Failure> {
        self.now()?.last_event = Some(event);
        self.make_happen(event, times)
    }

    fn confirm(&mut self) -> Result<Answer, Failure> {
        let world = self.world;
        let now = self.now()?;
        let confirmed = now.owner.platform.drive(Confirm::new(now.parked.bay, timing(world)));
        Ok(if confirmed.is_ok() { Answer::Answered } else { Answer::Silent })
    }

    fn wake(&mut self) -> Result<u32, Failure> {
        let world = self.world;
        let now = self.now()?;
        if now.last_event == Some(Event::Overwrite) && now.parked.mechanism != Mechanism::WaitForSipi {
            // SAFETY: this is the boot CPU, on the root of boot.s.
            let phys_offset = unsafe { area::map_alias(NEXT_KERNEL_SLOT) };
            let platform = world.platform_at(phys_offset);
            let lot = park_core::lot::verify(&mut platform.memory(), world.plan.lot.start)?;
            let taken = platform.drive(Seize::new(&lot, DeadOwner::declared()))?;
            now.owner = Owner { platform, lease: taken.lease };
            now.parked.bay = taken.lease.bay(now.parked.bay.index())?;
            // SAFETY: every other CPU is parked.
            unsafe { now.owner.set() };
        }
        let (owner, parked) = (now.owner, now.parked);
        let before = self.target.entries.load(Ordering::Acquire);
        let woken = match parked.mechanism {
            Mechanism::WaitForSipi => parking::fetch(world, &owner, &parked),
            _ => parking::wake(world, &owner, &parked),
        };
        if let Err(error) = woken {
            serial::emit("not-woken", &[("why", Value::Format(format_args!("{error}")))]);
            // An INIT that was held takes the CPU when it would wake.
            if self.probe()? == Fate::WaitsForSipi {
                self.counted.init = self.counted.init.wrapping_add(1);
                self.now()?.fate = Fate::WaitsForSipi;
            }
        }
        self.pass(SETTLE_US);
        let entries = self.target.entries.load(Ordering::Acquire).wrapping_sub(before) as u32;
        if entries != 0 {
            self.now()?.woken = true;
            let pending = self.target.fixed_pending.load(Ordering::Acquire) as u32;
            self.counted.pending_irr = self.counted.pending_irr.wrapping_add(pending);
        }
        Ok(entries)
    }

    fn end(&mut self) -> Result<Fate, Failure> {
        // What is held still comes to its handlers now.
        let fate = if self.works() { Fate::Alive } else { self.last_fate()? };
        self.now = None;
        if fate != Fate::Alive {
            // SAFETY: the CPU is not in its kernel, and nothing of its area is needed.
            unsafe { restart(self.world, self.target) }?;
            self.move_smbase();
        }
        Ok(fate)
    }
}

impl MetalRig<'_> {
    /// What has become of a CPU that does not work for its kernel.
    fn last_fate(&mut self) -> Result<Fate, Failure> {
        let probed = self.probe()?;
        Ok(match (probed, self.now()?.fate) {
            (Fate::WaitsForSipi, _) => Fate::WaitsForSipi,
            (_, Fate::Alive | Fate::WaitsForSipi) => Fate::Taken,
            (_, known) => known,
        })
    }
}
