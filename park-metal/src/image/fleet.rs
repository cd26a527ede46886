//! All other CPUs of the image: park-policy plans how they park, and carries them into their bays and out of them.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use cpu_park::Detected;
use cpu_park::policy::carry::{Carry, Entries, Goal, Lane, Outcome, Pace, Task, Terms};
use cpu_park::policy::{
    Assessment, CpuView, Placement, PlanError, Policy, Requirements, Situation, Which, plan, plan_by,
};
use park_core::lot::{ApicMode, PagingLevels, WaitFlags};
use park_core::op::{Bay, Confirmed, Processor};
use park_core::{ApicId, Entry, Error, ErrorKind, Mechanism};

use crate::choices::Choice;
use crate::image::failure::Failure;
use crate::image::parking::{Parked, departure, detect_here, startup};
use crate::image::percpu::{self, PerCpu};
use crate::image::world::World;
use crate::image::{levels, serial};
use crate::memory::MAX_CPUS;
use crate::platform::Owner;
use crate::platform::apic::local_apic;
use crate::report::Value;

/// CPUs that are on their way at once.
const LANES: usize = 4;
/// Time between two NMIs to a CPU that does not claim. Long: virtual CPUs may have to wait for one of the host's.
const KICK_INTERVAL_US: u64 = 20_000;
/// The depth that MWAIT may have, in microseconds of its way out: any.
const LATENCY_US: u32 = 0;

/// The other CPUs, and where each of them is.
pub(crate) struct Fleet {
    placements: [Placement; MAX_CPUS],
    tasks: [Task; MAX_CPUS],
    len: usize,
    /// What was found in a lot that was taken over, by the CPUs' numbers.
    found: [Option<Confirmed>; MAX_CPUS],
    lanes: [Lane; LANES],
}

/// What fills storage.
const NO_TERMS: Terms = Terms {
    flags: WaitFlags::empty(),
    mwait_hint: 0,
    levels: PagingLevels::Four,
    apic_mode: ApicMode::XApic,
    processor: Processor::Application,
};

struct FleetCell(UnsafeCell<Fleet>);

// SAFETY: `Fleet::take` gives it out once.
unsafe impl Sync for FleetCell {}

static FLEET: FleetCell = FleetCell(UnsafeCell::new(Fleet {
    placements: [Placement::EMPTY; MAX_CPUS],
    tasks: [Task::new(&Placement::EMPTY, NO_TERMS); MAX_CPUS],
    len: 0,
    found: [None; MAX_CPUS],
    lanes: [Lane::EMPTY; LANES],
}));

static TAKEN: AtomicBool = AtomicBool::new(false);

impl Fleet {
    /// The fleet: too large for a stack. Only the first call gets it.
    pub(crate) fn take() -> Result<&'static mut Self, Failure> {
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Err(Failure::Machine("the fleet is in use"));
        }
        // SAFETY: this is the first call, so the only reference.
        Ok(unsafe { &mut *FLEET.0.get() })
    }

    /// Plans to park every other CPU that is at home. Mechanisms in turn begin with another one for each `turn`.
    pub(crate) fn plan(&mut self, world: &World, choice: Choice, turn: u32) -> Result<(), Failure> {
        let detected = detect_here();
        let kind = detected.kind(LATENCY_US);
        let mut views = [CpuView::new(&kind); MAX_CPUS];
        let mut count = 0;
        let at_home = world.cpus().filter(|cpu| cpu.is_idle());
        for (view, cpu) in views.iter_mut().zip(at_home) {
            let processor = if cpu.index == 0 { Processor::Bootstrap } else { Processor::Application };
            *view = CpuView { apic_id: cpu.apic_id, core: cpu.index, processor, ..*view };
            count += 1;
        }
        let views = views.get(..count).unwrap_or_default();
        let planned = match choice {
            Choice::Policy => plan(views, &Which::Applications, &Situation::Kexec.requirements(), &mut self.placements),
            Choice::Turn => plan_by(views, &Chosen { only: None, turn }, &mut self.placements),
            Choice::Only(mechanism) => {
                detected.orders(mechanism, LATENCY_US)?;
                plan_by(views, &Chosen { only: Some(mechanism), turn }, &mut self.placements)
            }
        };
        self.len = planned.map_err(no_plan)?.placements.len();
        for (task, placement) in self.tasks.iter_mut().zip(&mut self.placements).take(self.len) {
            // What is enough for a CPU is not enough for a virtual one.
            let patience_us = u32::try_from(world.timeout_us()).unwrap_or(u32::MAX);
            placement.timeout_us = placement.timeout_us.max(patience_us);
            *task = Task::new(placement, terms(&detected, placement.mechanism)?);
        }
        Ok(())
    }

    /// Notes what was found of a CPU in a lot that was taken over.
    pub(crate) fn found(&mut self, confirmed: Confirmed) {
        let cpu = percpu::with_apic_id(confirmed.apic_id);
        if let Some(slot) = cpu.and_then(|cpu| self.found.get_mut(cpu.index as usize)) {
            *slot = Some(confirmed);
        }
    }

    /// Goes on with those parked CPUs that `judge` lets pass, as it says, given what was [`found`](Self::found) of each.
    pub(crate) fn adopt(
        &mut self,
        mut judge: impl FnMut(Parked, Option<Confirmed>) -> Result<Option<Parked>, Failure>,
    ) -> Result<(), Failure> {
        let detected = detect_here();
        let mut kept = 0;
        for index in 0..self.len {
            let Some(parked) = self.tasks.get(index).and_then(parked) else { continue };
            let found = self.found.get_mut(parked.cpu.index as usize).and_then(Option::take);
            let Some(parked) = judge(parked, found)? else { continue };
            if let (Some(task), Some(placement)) = (self.tasks.get_mut(kept), self.placements.get_mut(kept)) {
                *placement = Placement { apic_id: parked.cpu.apic_id, mechanism: parked.mechanism, ..Placement::EMPTY };
                *task = Task::parked(placement, terms(&detected, parked.mechanism)?, parked.bay);
                kept += 1;
            }
        }
        self.len = kept;
        Ok(())
    }

    /// Goes on with the first `count` CPUs of the plan.
    pub(crate) fn keep(&mut self, count: usize) {
        self.len = self.len.min(count);
    }

    /// Pursues a goal for all CPUs that it concerns. Returns when all of them are settled.
    pub(crate) fn carry(&mut self, world: &World, owner: &Owner, goal: Goal) {
        let drive = &mut |carry: &mut Carry<'_>| owner.platform.carry(carry);
        self.carry_by(world, owner, goal, &mut Departures { world, owner }, drive);
    }

    /// The same with other entries, by another loop.
    pub(crate) fn carry_by(
        &mut self,
        world: &World,
        owner: &Owner,
        goal: Goal,
        entries: &mut dyn Entries,
        drive: &mut dyn FnMut(&mut Carry<'_>),
    ) {
        let tasks = self.tasks.get_mut(..self.len).unwrap_or_default();
        let mut carry = Carry::new(goal, tasks, &mut self.lanes, &owner.lease, pace(world)).with_entries(entries);
        drive(&mut carry);
    }

    /// Where every CPU is.
    pub(crate) fn tasks(&self) -> &[Task] {
        self.tasks.get(..self.len).unwrap_or_default()
    }

    /// The CPUs that are in their bays.
    pub(crate) fn parked(&self) -> impl Iterator<Item = Parked> {
        self.tasks().iter().filter_map(parked)
    }

    /// Reports every CPU that is not where it should be, and returns how many there are.
    pub(crate) fn report_unless(&self, wanted: Outcome) -> u64 {
        let astray = self.tasks().iter().filter(|task| task.outcome() != wanted);
        astray.fold(0, |count, task| {
            report(task);
            count + 1
        })
    }
}

/// The CPU of a task, if it is in its bay.
fn parked(task: &Task) -> Option<Parked> {
    let cpu = percpu::with_apic_id(task.apic_id())?;
    task.outcome().is_in_bay().then_some(Parked { cpu, mechanism: task.mechanism(), bay: task.bay()? })
}

/// Reports a CPU and where it is.
pub(crate) fn report(task: &Task) {
    let index = percpu::with_apic_id(task.apic_id()).map_or(u64::MAX, |cpu| cpu.index.into());
    let why = task.why().map_or("", |why| why.what);
    let fields = [
        ("cpu", Value::Number(index)),
        ("mechanism", Value::Text(task.mechanism().name())),
        ("outcome", Value::Text(task.outcome().name())),
        ("why", Value::Text(why)),
    ];
    serial::emit("astray", &fields);
}

/// What the bay of a CPU of this machine must hold.
fn terms(detected: &Detected, mechanism: Mechanism) -> Result<Terms, Failure> {
    // A CPU that an INIT took waits for SIPI wherever it is, and parked by Hlt.
    let orders = detected.orders(mechanism, LATENCY_US).or_else(|_| detected.orders(Mechanism::Hlt, LATENCY_US))?;
    let apic_mode = local_apic()?.mode();
    let (flags, mwait_hint, levels) = (orders.wait_flags, orders.mwait_hint, levels::here()?);
    Ok(Terms { flags, mwait_hint, levels, apic_mode, ..NO_TERMS })
}

/// park-policy's pace, with the command line's patience.
fn pace(world: &World) -> Pace {
    let patience = world.clock.ticks_of_us(world.timeout_us());
    let pace = Pace::new(world.clock.ticks_of_us(1_000_000), world.cpus().count());
    Pace {
        kick_interval_ticks: world.clock.ticks_of_us(KICK_INTERVAL_US),
        // Each attempt gets twice the time of the one before.
        ring_ticks: patience >> pace.attempts,
        leave_ticks: patience,
        ..pace
    }
}

fn no_plan(error: PlanError<'_>) -> Failure {
    serial::emit_failure(format_args!("{error}"));
    Failure::Machine("no mechanism does what is asked")
}

/// One mechanism for all CPUs, or all mechanisms that fit in turn.
struct Chosen {
    only: Option<Mechanism>,
    turn: u32,
}

impl Policy for Chosen {
    fn parks(&self, _index: usize, cpu: &CpuView<'_>) -> bool {
        cpu.processor == Processor::Application
    }

    fn requirements(&self, _cpu: &CpuView<'_>) -> Requirements {
        self.only.map_or(Requirements::NONE, |mechanism| Requirements::NONE.allow(mechanism))
    }

    fn choose(&self, cpu: &CpuView<'_>, assessments: &[Assessment; Mechanism::ALL.len()]) -> Option<Mechanism> {
        let fitting = || assessments.iter().filter(|assessment| assessment.fits()).map(|fitting| fitting.mechanism);
        match self.only {
            Some(mechanism) => fitting().find(|&other| other == mechanism),
            None => fitting().cycle().nth((cpu.core + self.turn) as usize % fitting().count().max(1)),
        }
    }
}

/// Where woken CPUs enter.
struct Departures<'o> {
    world: &'o World,
    owner: &'o Owner,
}

fn cpu_of(apic_id: ApicId) -> Result<&'static PerCpu, Error> {
    percpu::with_apic_id(apic_id)
        .ok_or(Error::new(ErrorKind::InvalidCpu, "the image has no such CPU").found(apic_id.0.into()))
}

impl Entries for Departures<'_> {
    fn entry(&mut self, apic_id: ApicId, bay: Bay) -> Result<Entry, Error> {
        departure(self.owner, cpu_of(apic_id)?, bay)
    }

    fn startup(&mut self, apic_id: ApicId, bay: Bay, _entry: &Entry) -> Result<u8, Error> {
        startup(self.world, self.owner, cpu_of(apic_id)?, bay).map(|(_, vector)| vector)
    }
}
