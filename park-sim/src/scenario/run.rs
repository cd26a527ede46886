//! Playing a scenario.

use super::end::Declared;
use super::error::{Place, ScenarioError};
use super::orders::{Orders, ParkOrders};
use super::report::{EventReport, Failure, KnobReport, Outcome, Report};
use super::step::{By, Result as Expected, Step};
use super::{Cause, End, Expect, Scenario};
use crate::machine::{Knob, Knobs, RuleSet, TraceRecord};
use crate::world::{DEFAULT_LOT, Kernel, World, WorldError};
use park_core::op::{Held, Lease, Ticket};
use park_core::{Event, Mechanism};

/// How to play a scenario.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Draws schedule and event times, and never a knob.
    pub seed: u64,
    /// Knobs, by index of their value, over those of the scenario.
    pub knobs: Vec<(Knob, u8)>,
    /// Leaves this event out.
    pub without: Option<Event>,
    /// Parks by this mechanism, whatever the scenario says.
    pub mechanism: Option<Mechanism>,
    /// The CPU rules that hold.
    pub rules: RuleSet,
    /// How many of the machine's last steps the report tells.
    pub trace: usize,
    /// Whether the report has a recording of the run.
    pub record: Record,
}

/// Whether a run is recorded. The rest of its report does not depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Record {
    /// No.
    #[default]
    Off,
    /// Yes, as a [`Recording`](crate::recording::Recording).
    On,
}

/// What the plan says of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plan {
    /// It runs the current kernel.
    Kernel,
    /// It is parked.
    Parked(By),
    /// It runs a kernel that knows nothing of park.
    Taken,
    /// Its kernel went, and left it running.
    LeftBehind,
    /// It runs the last kernel, whose memory was left alone.
    InOldKernel,
    /// It was asked for, and was not to be had.
    Lost(End, Cause),
    /// The kernel has given up on it.
    Quarantined,
}

/// What a run knows of a CPU.
#[derive(Clone, Debug)]
pub(super) struct CpuState {
    pub(super) plan: Plan,
    /// What it was last parked by.
    pub(super) by: Option<By>,
    /// Its bay.
    pub(super) bay: Option<u32>,
    pub(super) held: Option<Held>,
    pub(super) ticket: Option<Ticket>,
    /// How often it must have entered the current kernel.
    pub(super) entries: u64,
    /// How often it must have taken the entry of a ring that was not waited for.
    pub(super) decoys: u64,
}

/// A scenario being played.
pub(super) struct Run<'s> {
    pub(super) scenario: &'s Scenario,
    pub(super) options: &'s RunOptions,
    pub(super) orders: &'s dyn Orders,
    pub(super) world: World,
    /// The CPU on which the current kernel's decisions are made.
    pub(super) boss: usize,
    pub(super) cpus: Vec<CpuState>,
    /// Whether the current kernel holds the lot.
    pub(super) has_lease: bool,
    /// The lease of the kernel before.
    pub(super) old_lease: Option<Lease>,
    pub(super) last_kernel: Option<Kernel>,
    pub(super) image: Option<(Kernel, Vec<u8>)>,
    pub(super) place: Place,
    pub(super) events: Vec<EventReport>,
    pub(super) failures: Vec<Failure>,
    pub(super) declared: Vec<Declared>,
    /// The lot's bytes that nobody may change, once it was damaged.
    pub(super) untouched: Option<Vec<u8>>,
}

/// Plays a scenario.
///
/// Equal scenario, options and orders give an equal report.
///
/// # Errors
/// [`ScenarioError`] if the scenario can't be played as it is: a mechanism that the machine does not have, a step that
/// does not fit, an instruction outside what is modelled. What becomes of CPUs is no error but a report.
pub fn run(scenario: &Scenario, options: &RunOptions, orders: &dyn Orders) -> Result<Report, ScenarioError> {
    let mut run = Run::new(scenario, options, orders)?;
    match run.play(&scenario.steps) {
        Ok(()) => {}
        // What became of the CPUs says it better.
        Err(ScenarioError::World { error, .. })
            if matches!(*error, WorldError::Reset) && run.world.machine.was_reset().is_some() => {}
        Err(error) => return Err(error),
    }
    run.finish()
}

impl<'s> Run<'s> {
    fn new(scenario: &'s Scenario, options: &'s RunOptions, orders: &'s dyn Orders) -> Result<Self, ScenarioError> {
        let mut place = Place { origin: scenario.name.clone(), line: 0, what: "[machine]".to_owned() };
        let mut knobs = Knobs::default();
        for (knob, index) in scenario.knobs.iter().chain(&options.knobs) {
            knobs
                .set_index(*knob, *index)
                .map_err(|_| ScenarioError::KnobValue { knob: *knob, value: index.to_string() })?;
        }
        let mut config = scenario.machine.config();
        config.knobs = knobs;
        config.rules = options.rules;
        config.trace_records = options.trace;
        let world =
            |place: &Place, error| ScenarioError::World { place: Box::new(place.clone()), error: Box::new(error) };
        let mut stage =
            World::boot(config, scenario.machine.levels, options.seed).map_err(|error| world(&place, error))?;
        stage.build_lot(DEFAULT_LOT, scenario.machine.bays).map_err(|error| world(&place, error))?;
        place.what = "the run".to_owned();
        let cpu = CpuState { plan: Plan::Kernel, by: None, bay: None, held: None, ticket: None, entries: 0, decoys: 0 };
        let mut run = Self {
            scenario,
            options,
            orders,
            world: stage,
            boss: scenario.machine.bsp,
            cpus: vec![cpu; scenario.machine.cpus],
            has_lease: true,
            old_lease: None,
            last_kernel: None,
            image: None,
            place,
            events: Vec::new(),
            failures: Vec::new(),
            declared: Vec::new(),
            untouched: None,
        };
        run.choose_boss();
        if options.record == Record::On {
            run.world.record();
        }
        run.enable_local_machine_checks();
        Ok(run)
    }

    /// The boss is the bootstrap processor, unless the scenario parks it: then the first CPU that it does not park.
    fn choose_boss(&mut self) {
        let parked: Vec<usize> = self
            .scenario
            .steps
            .iter()
            .take_while(|step| matches!(step.verb, super::Verb::Park { .. } | super::Verb::Prepare { .. }))
            .flat_map(|step| match &step.verb {
                super::Verb::Park { cpus, .. } => cpus.clone(),
                _ => Vec::new(),
            })
            .collect();
        if parked.contains(&self.boss) {
            self.boss = (0..self.cpus.len()).find(|cpu| !parked.contains(cpu)).unwrap_or(self.boss);
        }
    }

    pub(super) fn play(&mut self, steps: &[Step]) -> Result<(), ScenarioError> {
        for step in steps {
            self.place = step.place.clone();
            self.world.note(|| step.verb.describe(), step.place.line);
            self.act(&step.verb)?;
        }
        Ok(())
    }

    /// Orders for a mechanism.
    pub(super) fn orders_for(&mut self, cpu: usize, mechanism: Mechanism) -> Result<ParkOrders, ScenarioError> {
        let table = self.world.machine.config().cpuid.clone();
        let mut cpuid = |leaf, subleaf| {
            let regs = table.get(leaf, subleaf);
            [regs.eax, regs.ebx, regs.ecx, regs.edx]
        };
        let orders = self.orders.orders(mechanism, &mut cpuid);
        orders.map_err(|why| ScenarioError::Orders { place: self.place(), cpu, mechanism, why })
    }

    fn place(&self) -> Box<Place> {
        Box::new(self.place.clone())
    }

    pub(super) fn world_error(&self, error: WorldError) -> ScenarioError {
        ScenarioError::World { place: self.place(), error: Box::new(error) }
    }

    pub(super) fn step_error(&self, why: impl Into<String>) -> ScenarioError {
        ScenarioError::Step { place: self.place(), why: why.into() }
    }

    pub(super) fn fail(&mut self, what: impl Into<String>) {
        self.failures.push(Failure { place: self.place.to_string(), what: what.into() });
    }

    /// Compares what an operation came to with what it must: the value, if it succeeded.
    ///
    /// # Errors
    /// An error that no scenario can expect.
    pub(super) fn check<T>(
        &mut self,
        what: &str,
        result: Result<T, WorldError>,
        expect: &[Expected],
    ) -> Result<Option<T>, ScenarioError> {
        let (found, value, text) = match result {
            Ok(value) => (Expected::Done, Some(value), String::new()),
            Err(WorldError::Park(error)) => match Expected::of(error.kind()) {
                Some(found) => (found, None, error.to_string()),
                None => return Err(self.world_error(WorldError::Park(error))),
            },
            Err(WorldError::NotLanded { cpu }) => (Expected::Revoked, None, WorldError::NotLanded { cpu }.to_string()),
            Err(error) => return Err(self.world_error(error)),
        };
        // Without an event, what it would have spoilt may succeed.
        let by_event = |one: &Expected| {
            matches!(one, Expected::Revoked | Expected::TooLate | Expected::Uncertain | Expected::Faulted)
        };
        let may_succeed = self.options.without.is_some() && found == Expected::Done && expect.iter().all(by_event);
        if !expect.contains(&found) && !may_succeed {
            let wanted = expect.iter().map(|one| one.name()).collect::<Vec<_>>().join(" or ");
            self.fail(format!("{what}: {found} instead of {wanted} {text}"));
        }
        Ok(value)
    }

    fn finish(mut self) -> Result<Report, ScenarioError> {
        let cpus = self.measure()?;
        let outcome = self.judge(&cpus);
        let expected = match (self.scenario.expect, self.options.without) {
            (Expect::Safe, _) => outcome == Outcome::Safe,
            // Another mechanism than the remedy may be lost, but only as it says itself.
            (Expect::Lost { remedy, .. }, _) if self.options.mechanism.is_some() => {
                outcome == Outcome::Safe || (self.options.mechanism != Some(remedy) && !self.declared.is_empty())
            }
            (Expect::Lost { deadly, .. }, Some(without)) if deadly == without => outcome == Outcome::Safe,
            // The stated ends are those of the file's own knobs: with others a CPU may be lost another way.
            (Expect::Lost { .. }, _) => {
                outcome == Outcome::Lost && (!self.options.knobs.is_empty() || self.ends_match(&cpus))
            }
        };
        let recording = self.world.take_recording().map(Box::new);
        let machine = &self.world.machine;
        let knobs = machine
            .knobs_read()
            .iter()
            .map(|knob| KnobReport { knob: knob.name(), value: machine.knobs.value_name(knob) })
            .collect();
        let trace = machine.trace.iter().map(tell).collect();
        Ok(Report {
            scenario: self.scenario.name.clone(),
            seed: self.options.seed,
            knobs,
            outcome,
            expected,
            breaches: machine.breaches.count(),
            steps: machine.steps(),
            cpus,
            declared: self.declared,
            failures: self.failures,
            events: self.events,
            trace,
            recording,
        })
    }
}

/// A record of the trace as a line: step, CPU, RIP, what.
fn tell(record: &TraceRecord) -> String {
    format!("{:6}  CPU {:<2}  {:#018x}  {}", record.step, record.cpu, record.rip, record.text())
}
