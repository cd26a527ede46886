//! A plan, and the document of schema `park.plan/1`.

use super::PlanRequest;
use super::consolidate::rest;
use super::passed_over::{PassedOver, in_the_way, passed_over};
use crate::exit::{Exit, Failure};
use crate::machine::{Machine, vendor_name};
use crate::topology::Summary;
use cpu_park::core::op::Processor;
use cpu_park::core::{ApicId, Mechanism};
use cpu_park::policy::{
    Assessment, CpuKind, CpuView, Guarantees, Lacking, Placement, Plan, PlanError, Requirements, Situation, Which, plan,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The document of schema `park.plan/1`: with `cpus` if there is a plan, else with `lacking`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PlanDocument {
    /// `park.plan/1`.
    pub schema: &'static str,
    /// Why CPUs are parked.
    pub situation: &'static str,
    /// The machine.
    pub machine: PlannedMachine,
    /// What is asked of mechanisms.
    pub requirements: Asked,
    /// APIC ids of the CPUs that go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goes_on: Option<Vec<u32>>,
    /// The CPUs that are parked, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Vec<PlannedCpu>>,
    /// Mechanisms that were not chosen, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<Vec<PassedOver>>,
    /// For each mechanism, what is required and it does not provide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lacking: Option<BTreeMap<&'static str, Vec<&'static str>>>,
    /// What stands in a mechanism's way, whatever it provides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacles: Option<BTreeMap<&'static str, String>>,
    /// The first CPU for which nothing will do, and how many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lacking_on: Option<LackingOn>,
    /// What should be known, and contradictions in what was read.
    pub warnings: Vec<String>,
    /// What had to be assumed.
    pub notes: Vec<String>,
}

/// The machine of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PlannedMachine {
    /// `intel`, `amd`, `hygon`, `centaur`, `zhaoxin` or `other`.
    pub vendor: &'static str,
    /// EAX of leaf 1, eight hexadecimal digits.
    pub signature: String,
    /// Packages, caches, cores and threads.
    pub topology: Summary,
}

/// What is asked of mechanisms.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Asked {
    /// Guarantees that a mechanism must provide.
    pub require: Vec<&'static str>,
    /// Guarantees that decide between those that do, the weightiest first.
    pub prefer: Vec<&'static str>,
    /// The longest time to wake, in microseconds; none where any will do.
    pub latency_us: Option<u32>,
    /// Mechanisms that are out of the question.
    pub exclude: Vec<&'static str>,
}

/// How one CPU is parked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PlannedCpu {
    /// Its APIC id.
    pub apic_id: u32,
    /// How it waits.
    pub mechanism: &'static str,
    /// Why so.
    pub reason: String,
    /// Its place in the order, from 0.
    pub order: u32,
    /// How long to wait for it, in microseconds.
    pub timeout_us: u32,
}

/// For whom nothing will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct LackingOn {
    /// The first such CPU.
    pub apic_id: u32,
    /// Whether it is the bootstrap processor.
    pub bootstrap: bool,
    /// How many there are.
    pub cpus: u32,
}

impl PlanDocument {
    /// The exit that it is.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        if self.lacking.is_some() { Exit::Unexpected } else { Exit::AsAsked }
    }

    /// The mechanism of a CPU; none if it goes on, or if there is no plan.
    #[must_use]
    pub fn mechanism_of(&self, apic_id: u32) -> Option<&'static str> {
        self.cpus.iter().flatten().find(|cpu| cpu.apic_id == apic_id).map(|cpu| cpu.mechanism)
    }
}

/// Names of guarantees, in the order of their weight.
pub(super) fn names(set: Guarantees) -> Vec<&'static str> {
    set.promises().map(|promise| promise.name).collect()
}

/// What kinds of CPU a machine has, as a policy sees them.
fn kinds(machine: &Machine, latency_us: u32) -> Vec<CpuKind<'static>> {
    let own = machine.kinds.iter().map(|detected| detected.kind(latency_us));
    // A machine has at least one kind; `detected` says so for one without.
    own.chain(machine.kinds.is_empty().then(|| machine.detected().kind(latency_us))).collect()
}

/// Plans the parking of a machine's CPUs.
///
/// # Errors
/// [`Failure::Input`]: loads that are not one for each CPU, or a CPU that goes on and is not there.
pub fn plan_machine(machine: &Machine, request: &PlanRequest) -> Result<PlanDocument, Failure> {
    let kinds = kinds(machine, request.requirements.latency_us);
    let cpus = views(machine, request, &kinds)?;
    let mut notes = machine.notes.clone();
    let (situation, requirements) = (request.situation, &request.requirements);
    if situation != Situation::Consolidate && !request.loads_percent.is_empty() {
        notes.push(format!("loads matter to consolidate alone, and {situation} does not look at them"));
    }
    if situation == Situation::Consolidate && request.loads_percent.is_empty() {
        notes.push("nobody said how busy the CPUs are (--load): all are taken to be idle".to_owned());
    }
    if situation == Situation::Consolidate && request.on.is_some() {
        notes.push(
            "the bootstrap processor goes on whatever --on says: consolidate decides by load and nearness".to_owned(),
        );
    }
    let bootstrap = cpus.iter().find(|cpu| cpu.processor == Processor::Bootstrap).or(cpus.first());
    let on = request.on.map(ApicId).or(bootstrap.map(|cpu| cpu.apic_id)).unwrap_or_default();
    if request.on.is_some() && !cpus.iter().any(|cpu| cpu.apic_id == on) {
        return Err(Failure::Input(format!("--on: no CPU of this machine has APIC id {on}")));
    }
    let marks;
    let which = match situation.which(on) {
        Some(which) => which,
        None => {
            let rest = rest(&cpus, requirements)?;
            notes.extend(rest.notes);
            marks = rest.marks;
            Which::Marked(&marks)
        }
    };
    let mut out = vec![Placement::EMPTY; cpus.len()];
    let made = plan(&cpus, &which, requirements, &mut out);
    let unknown = machine.detected();
    notes.extend(unknown.unknown().iter().map(|what| format!("not known of this CPU: {what}")));

    let mut document = PlanDocument {
        schema: "park.plan/1",
        situation: situation.name(),
        machine: PlannedMachine {
            vendor: vendor_name(machine.vendor()),
            signature: format!("{:08x}", machine.signature),
            topology: machine.topology.summary(),
        },
        requirements: Asked::new(requirements),
        goes_on: None,
        cpus: None,
        passed_over: None,
        lacking: None,
        obstacles: None,
        lacking_on: None,
        warnings: machine.warnings.clone(),
        notes,
    };
    match made {
        Ok(plan) => document.planned(&plan, &cpus, requirements),
        Err(PlanError::Lacking(lacking)) => document.lacks(&lacking),
        Err(other) => return Err(Failure::Run(other.to_string())),
    }
    Ok(document)
}

/// The CPUs as a policy sees them.
fn views<'k>(machine: &Machine, request: &PlanRequest, kinds: &'k [CpuKind<'k>]) -> Result<Vec<CpuView<'k>>, Failure> {
    let (count, loads) = (machine.cpus.len(), request.loads_percent.len());
    if loads > 0 && loads != count {
        return Err(Failure::Input(format!(
            "--load: {loads} percentages, and the machine has {count} CPUs: one for each is needed"
        )));
    }
    let mut views = Vec::with_capacity(count);
    for (index, cpu) in machine.cpus.iter().enumerate() {
        let Some(kind) = kinds.get(cpu.kind).or(kinds.first()) else { continue };
        let place = cpu.place;
        views.push(CpuView {
            kind,
            apic_id: ApicId(place.apic_id),
            package: place.package,
            cache: place.cache,
            core: place.core,
            thread: place.thread,
            processor: if machine.is_bootstrap(cpu) { Processor::Bootstrap } else { Processor::Application },
            load_percent: request.loads_percent.get(index).copied().unwrap_or_default(),
        });
    }
    Ok(views)
}

impl PlanDocument {
    fn planned(&mut self, plan: &Plan<'_>, cpus: &[CpuView<'_>], requirements: &Requirements) {
        let parked: BTreeSet<ApicId> = plan.placements.iter().map(|one| one.apic_id).collect();
        let goes_on = cpus.iter().filter(|cpu| !parked.contains(&cpu.apic_id));
        self.goes_on = Some(goes_on.map(|cpu| cpu.apic_id.0).collect());
        self.cpus = Some(plan.placements.iter().map(PlannedCpu::new).collect());
        self.passed_over = Some(passed_over(plan, cpus, requirements));
        if !plan.warnings.is_empty() {
            self.warnings.push(plan.warnings.to_string());
        }
        if cpus.len() == 1 {
            self.notes.push("the machine has one CPU: there is none to park".to_owned());
        }
    }

    fn lacks(&mut self, lacking: &Lacking<'_>) {
        let assessments = lacking.assessments();
        self.lacking = Some(assessments.iter().map(|one| (one.mechanism.name(), names(one.missing))).collect());
        let obstacle = |one: &Assessment| Some((one.mechanism.name(), in_the_way(one.mechanism, &one.obstacle?)));
        self.obstacles = Some(assessments.iter().filter_map(obstacle).collect());
        self.lacking_on = Some(LackingOn {
            apic_id: lacking.apic_id.0,
            bootstrap: lacking.processor == Processor::Bootstrap,
            cpus: lacking.cpus,
        });
    }
}

impl PlannedCpu {
    fn new(placement: &Placement) -> Self {
        Self {
            apic_id: placement.apic_id.0,
            mechanism: placement.mechanism.name(),
            reason: placement.reason.to_string(),
            order: placement.order,
            timeout_us: placement.timeout_us,
        }
    }
}

impl Asked {
    fn new(requirements: &Requirements) -> Self {
        let excluded = |mechanism: &Mechanism| requirements.exclude.contains((*mechanism).into());
        Self {
            require: names(requirements.require),
            prefer: names(requirements.prefer),
            latency_us: (requirements.latency_us != Requirements::ANY_LATENCY_US).then_some(requirements.latency_us),
            exclude: Mechanism::ALL.into_iter().filter(excluded).map(Mechanism::name).collect(),
        }
    }
}
