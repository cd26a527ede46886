//! The simulator as a rig.

use core::fmt;
use park_conformance::{Answer, Case, Fate, Lack, LackKind, Rig, Witness};
use park_core::lot::{PagingLevels, bay};
use park_core::op::{Confirm, Processor, Timing};
use park_core::{Event, Mechanism};
use park_sim::compare::{OrdersOf, Parked, stipulated};
use park_sim::machine::{Activity, Event as Injected, EventKind, KnobSet, Knobs, MachineConfig, ResetCause};
use park_sim::world::{KICK_TICKS, WorldError};

/// Steps in which a world shows what an event does.
const WINDOW_STEPS: u64 = 4000;
/// Ticks in which a CPU that lives carries a Confirm out.
const CONFIRM_TICKS: u64 = 100_000;
/// Messages of one INIT, STARTUP, STARTUP.
const MESSAGES_OF_START: u64 = 3;

/// Why the simulator failed as a rig.
#[derive(Debug)]
pub enum SimError {
    /// The world can't be played.
    World(WorldError),
    /// Nobody has parked a CPU.
    NotParked,
    /// The machine met what it does not model.
    Stopped(String),
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World(error) => error.fmt(f),
            Self::NotParked => f.write_str("nobody has parked a CPU"),
            Self::Stopped(why) => write!(f, "the machine stopped: {why}"),
        }
    }
}

impl core::error::Error for SimError {}

impl From<WorldError> for SimError {
    fn from(error: WorldError) -> Self {
        Self::World(error)
    }
}

/// A simulated machine of three CPUs, of which one is parked.
pub struct SimRig<'a> {
    config: MachineConfig,
    processor: Processor,
    orders: OrdersOf<'a>,
    /// Values of the knobs. What an event implies comes on top of them.
    pub knobs: Knobs,
    /// The knobs that the last case consulted: no other can change what it came to.
    pub consulted: KnobSet,
    event: Option<Event>,
    /// A CPU that was parked by each mechanism so far, to begin again from.
    fresh: Vec<(Mechanism, Option<Parked>)>,
    parked: Option<Parked>,
    attested: u64,
    /// Machine checks that the bystander had taken before, and how many were fired at it.
    mc_elsewhere: (u64, u64),
    started: u32,
    overwrites: u32,
}

impl fmt::Debug for SimRig<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, event, parked, .. } = self;
        let parked = parked.as_ref().map(|parked| parked.mechanism);
        let mut shown = f.debug_struct("SimRig");
        shown.field("processor", processor).field("event", event).field("parked", &parked).finish_non_exhaustive()
    }
}

impl<'a> SimRig<'a> {
    /// Parks the bootstrap processor or another of the machine that `config` describes.
    pub fn new(config: MachineConfig, processor: Processor, orders: OrdersOf<'a>) -> Self {
        let knobs = Knobs::default();
        let fresh = Vec::new();
        Self {
            config,
            processor,
            orders,
            knobs,
            consulted: KnobSet::empty(),
            event: None,
            fresh,
            parked: None,
            attested: 0,
            mc_elsewhere: (0, 0),
            started: 0,
            overwrites: 0,
        }
    }

    fn parked(&mut self) -> Result<&mut Parked, SimError> {
        self.parked.as_mut().ok_or(SimError::NotParked)
    }

    /// A CPU that was just parked by `mechanism`; `None` where the vendor has no orders for it, or they refuse the CPU.
    fn park_by(&mut self, mechanism: Mechanism) -> Result<Option<Parked>, WorldError> {
        if let Some((_, parked)) = self.fresh.iter().find(|(parked_by, _)| *parked_by == mechanism) {
            return Ok(parked.clone());
        }
        let config = self.config.clone();
        let parked = match Parked::park_in(config, PagingLevels::Four, mechanism, self.processor, self.orders) {
            Err(WorldError::Sanitise { .. }) => None,
            other => other?,
        };
        self.fresh.push((mechanism, parked.clone()));
        Ok(parked)
    }
}

/// What is to be seen of the CPU.
fn fate(parked: &Parked) -> Result<Fate, SimError> {
    let machine = &parked.world.machine;
    match machine.was_reset() {
        None => {}
        Some(ResetCause::BspInit { .. } | ResetCause::Injected) => return Ok(Fate::Reset),
        Some(ResetCause::SmmHang { .. }) => return Ok(Fate::Hangs),
        Some(_) => return Ok(Fate::Shutdown),
    }
    if let Some(stop) = machine.stopped() {
        return Err(SimError::Stopped(format!("{stop:?}")));
    }
    if machine.breaches.first().iter().any(|breach| breach.cpu == parked.cpu) {
        return Ok(Fate::Strays);
    }
    Ok(match machine.cpu(parked.cpu).activity {
        Activity::Shutdown => Fate::Shutdown,
        Activity::WaitForSipi => Fate::WaitsForSipi,
        _ => Fate::Alive,
    })
}

/// Cut to the width of a witness: counters wrap.
const fn low(counter: u64) -> u32 {
    counter as u32
}

impl Rig for SimRig<'_> {
    type Error = SimError;

    fn offers(&mut self, mechanism: Mechanism) -> Result<(), Lack> {
        match self.park_by(mechanism) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                Err(Lack { kind: LackKind::NoMechanism, detail: "the vendor's crate has no orders for this CPU" })
            }
            Err(_) => Err(Lack { kind: LackKind::NoMechanism, detail: "the simulated CPU can't be parked so" }),
        }
    }

    fn fires(&mut self, case: Case) -> Result<(), Lack> {
        // What an event implies is settled before the CPU is parked.
        self.event = Some(case.event);
        Ok(())
    }

    fn park(&mut self, mechanism: Mechanism) -> Result<(), SimError> {
        let mut parked = self.park_by(mechanism)?.ok_or(SimError::NotParked)?;
        let mut knobs = self.knobs;
        for (knob, values) in self.event.map_or(&[][..], stipulated) {
            if !values.contains(&knobs.value_name(*knob)) {
                values.first().map(|value| knobs.set(*knob, value));
            }
        }
        parked.world.machine.knobs = knobs;
        // Knobs that decide how the CPU waits take effect with its next lap.
        parked.world.machine.inject(Injected::at(parked.cpu, EventKind::FalseWake));
        self.mc_elsewhere = (parked.world.machine.cpu(parked.bystander).taken.mc, 0);
        self.attested = 0;
        self.parked = Some(parked);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), SimError> {
        match self.parked()?.world.run(WINDOW_STEPS) {
            // What became of the machine shows when it is looked at.
            Ok(_) | Err(WorldError::Reset) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn look(&mut self) -> Result<Fate, SimError> {
        fate(self.parked()?)
    }

    fn witness(&mut self) -> Result<Witness, SimError> {
        let (attested, started, overwrites) = (self.attested, self.started, self.overwrites);
        let (elsewhere_before, elsewhere_fired) = self.mc_elsewhere;
        let parked = self.parked()?;
        let bay_phys = parked.bay_phys()?;
        let machine = &parked.world.machine;
        let cpu = machine.cpu(parked.cpu);
        let elsewhere = machine.cpu(parked.bystander).taken.mc - elsewhere_before;
        let attested = attested + elsewhere.min(elsewhere_fired);
        Ok(Witness {
            nmi: low(cpu.taken.nmi),
            mc: low(cpu.taken.mc),
            laps: low(machine.read_phys_u64(bay_phys + bay::LAPS)),
            smi: low(cpu.smi_count),
            init: low(cpu.taken.init),
            intr: low(cpu.taken.intr),
            pending_irr: cpu.apic.irr.iter().map(|word| word.count_ones()).sum(),
            started,
            // The word that this rig's stores count in.
            stores: low(machine.read_phys_u64(bay_phys + bay::RELEASE)),
            overwrites,
            attested: low(attested),
        })
    }

    fn fire(&mut self, event: Event, times: u32) -> Result<u32, SimError> {
        if event == Event::McBroadcast {
            let parked = self.parked()?;
            let before = parked.world.machine.cpu(parked.bystander).taken.mc;
            self.mc_elsewhere = (before, times.into());
        }
        for _ in 0..times {
            let parked = self.parked()?;
            let (cpu, boss) = (parked.cpu, parked.boss);
            let arrived = parked.world.machine.cpu(cpu).taken.arrived;
            let sample = parked.world.kernel.range.start;
            let sampled = parked.world.machine.read_phys_u64(sample);
            let mut came = false;
            if event == Event::StoreDoorbell {
                let phys = parked.bay_phys()? + bay::RELEASE;
                let machine = &mut parked.world.machine;
                let count = machine.read_phys_u64(phys).wrapping_add(1);
                machine.store(boss, phys, count);
                machine.drain_all(boss);
            } else {
                match parked.throw(event) {
                    Ok(started) => came = started,
                    // A machine that is lost shows when it is looked at.
                    Err(_) if parked.world.machine.was_reset().is_some() => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let machine = &parked.world.machine;
            let arrived = machine.cpu(cpu).taken.arrived - arrived;
            let overwritten = event == Event::Overwrite && machine.read_phys_u64(sample) != sampled;
            self.attested += match event {
                Event::InitSipiSipi => arrived / MESSAGES_OF_START,
                // What came of it elsewhere is counted there.
                Event::McBroadcast => 0,
                _ => arrived,
            };
            self.started += u32::from(came);
            self.overwrites += u32::from(overwritten);
        }
        Ok(times)
    }

    fn confirm(&mut self) -> Result<Answer, SimError> {
        let parked = self.parked()?;
        parked.take_over()?;
        let deadline = parked.world.machine.tsc() + CONFIRM_TICKS;
        let timing = Timing { kick_interval_ticks: KICK_TICKS, deadline };
        match parked.world.drive(parked.boss, Confirm::new(parked.bay, timing)) {
            Ok(_) => Ok(Answer::Answered),
            Err(_) => Ok(Answer::Silent),
        }
    }

    fn wake(&mut self) -> Result<u32, SimError> {
        let parked = self.parked()?;
        let before = parked.entries();
        // Whatever kept the CPU away shows in the end.
        let woken = parked.wake();
        Ok(low(woken.unwrap_or_else(|_| parked.entries() - before)))
    }

    fn end(&mut self) -> Result<Fate, SimError> {
        let parked = self.parked.take().ok_or(SimError::NotParked)?;
        self.event = None;
        self.consulted = parked.world.machine.knobs_read();
        fate(&parked)
    }
}
