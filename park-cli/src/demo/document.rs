//! `park demo`: the kexec of a machine like this one, played twice, and the document of schema `park.demo/1`.

use crate::demo::likeness::{Likeness, SimulatedVendor, likeness, plan_kexec};
use crate::exit::{Exit, Failure};
use crate::input::one_line;
use crate::machine::Machine;
use crate::plan::PlanDocument;
use crate::sim::document::{SimDocument, SimRequest, simulate};
use crate::survey::document::{SurveyDocument, survey};
use cpu_park::core::ApicId;
use park_sim::scenario::{Record, Scenario};
use serde::Serialize;
use std::collections::BTreeMap;

/// The document of schema `park.demo/1`.
#[derive(Clone, Debug, Serialize)]
pub struct DemoDocument {
    /// `park.demo/1`.
    pub schema: &'static str,
    /// The seed of both runs.
    pub seed: u64,
    /// The machine that was surveyed, as `park survey` shows it.
    pub survey: SurveyDocument,
    /// Its plan, as `park plan --situation kexec` shows it.
    pub plan: PlanDocument,
    /// The simulated one.
    pub machine: Likeness,
    /// The plan of the example, if one is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example_plan: Option<PlanDocument>,
    /// What happens in both runs, in words.
    pub events: Vec<String>,
    /// Parked Linux's way.
    pub linux: SimDocument,
    /// Parked by park.
    pub park: SimDocument,
}

impl DemoDocument {
    /// The exit that the two verdicts are.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let both = [&self.linux, &self.park];
        if both.iter().all(|run| run.run.expected) { Exit::AsAsked } else { Exit::Unexpected }
    }
}

/// Which of the two ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Linux,
    Park,
}

/// Surveys a machine, plans its kexec and plays both runs.
///
/// # Errors
/// Those of [`simulate`] and of planning.
pub fn demo(surveyed: &Machine, seed: u64) -> Result<DemoDocument, Failure> {
    let plan = plan_kexec(surveyed)?;
    let machine = likeness(surveyed, &plan)?;
    let play = |way| {
        let text = scenario(&machine, way);
        let scenario = Scenario::parse(&text, "demo").map_err(|error| Failure::Run(one_line(&error.to_string())))?;
        simulate(&scenario, &SimRequest { seed, record: Record::On, ..SimRequest::default() })
    };
    let (linux, park) = (play(Way::Linux)?, play(Way::Park)?);
    let example_plan = machine.example_because.is_some().then(|| machine.plan.clone());
    let (survey, events) = (survey(surveyed), events(&machine));
    Ok(DemoDocument { schema: "park.demo/1", seed, survey, plan, machine, example_plan, events, linux, park })
}

/// What happens, in words.
fn events(machine: &Likeness) -> Vec<String> {
    let on = |first: usize| few(&turn(machine, first));
    let mut events = vec!["kexec: the next kernel overwrites the old one's memory".to_owned()];
    events.extend(on(0).map(|cpus| format!("an NMI on {cpus}")));
    events.extend(on(1).map(|cpus| format!("an SMI on {cpus}, whose handler does not send the CPU back into HLT")));
    events.push(match (machine.vendor, on(2)) {
        (SimulatedVendor::Intel, _) => "a machine check, which Intel CPUs broadcast to all".to_owned(),
        (SimulatedVendor::Amd, Some(cpus)) => format!("a machine check on {cpus}, then on every other parked CPU"),
        (SimulatedVendor::Amd, None) => "a machine check on every parked CPU".to_owned(),
    });
    events.push("an NMI and an SMI on every parked CPU".to_owned());
    events
}

/// Names of CPUs, the first few of them.
fn few(cpus: &[usize]) -> Option<String> {
    let shown: Vec<String> = cpus.iter().take(EVENTS_IN_TURN).map(usize::to_string).collect();
    let more = if cpus.len() > shown.len() { " and so on" } else { "" };
    let noun = if cpus.len() > 1 { "CPUs" } else { "CPU" };
    (!cpus.is_empty()).then(|| format!("{noun} {}{more}", shown.join(", ")))
}

/// NMI, SMI and machine check take turns.
const EVENTS_IN_TURN: usize = 3;

/// The parked CPUs whose turn is the event with this number.
fn turn(machine: &Likeness, first: usize) -> Vec<usize> {
    (1..machine.cpus).skip(first).step_by(EVENTS_IN_TURN).collect()
}

/// The scenario of one way, as a file would say it.
fn scenario(machine: &Likeness, way: Way) -> String {
    let parked: Vec<usize> = (1..machine.cpus).collect();
    let cpus = list(&parked);
    let (name, by, expect) = match way {
        Way::Linux => ("demo-linux", "Linux", "expect = \"lost\"\ndeadly = \"overwrite\"\nremedy = \"hlt\""),
        Way::Park => ("demo-park", "park", "expect = \"safe\""),
    };
    let ids: Vec<String> = machine.apic_ids.iter().map(u32::to_string).collect();
    let is_x2apic = machine.apic_ids.iter().any(|id| *id > ApicId::XAPIC_MAX.0);
    let mut text = format!(
        "name = \"{name}\"\nsummary = \"The kexec of this machine's likeness, CPUs parked by {by}.\"\n{expect}\n\
         [machine]\nvendor = \"{}\"\ncpus = {}\napic_ids = [{}]\nx2apic = {is_x2apic}\n",
        machine.vendor.name(),
        machine.cpus,
        ids.join(", "),
    );
    for (mechanism, cpus) in by_mechanism(machine) {
        let by = if way == Way::Linux { machine.linux } else { mechanism };
        text.push_str(&format!("[[park]]\ncpus = {}\nby = \"{by}\"\n", list(&cpus)));
    }
    for step in ["hand-over", "kexec", "adopt\"\nhow = \"accept"] {
        put(&mut text, &format!("do = \"{step}\""));
    }
    // One event for each CPU in turn, so that each kind meets a CPU that nothing else has met yet.
    let mut event = |event: &str, cpus: &[usize]| {
        if !cpus.is_empty() {
            put(&mut text, &format!("do = \"event\"\nevent = \"{event}\"\ncpus = {}", list(cpus)));
        }
    };
    event("nmi", &turn(machine, 0));
    event("smi-no-restart", &turn(machine, 1));
    match machine.vendor {
        SimulatedVendor::Intel => put(&mut text, "do = \"event\"\nevent = \"mc-broadcast\""),
        SimulatedVendor::Amd => {
            event("mc-local", &[turn(machine, 2), turn(machine, 0), turn(machine, 1)].concat());
        }
    }
    for kind in ["nmi", "smi-no-restart"] {
        put(&mut text, &format!("do = \"event\"\nevent = \"{kind}\"\ncpus = {cpus}"));
    }
    if way == Way::Park {
        put(&mut text, &format!("do = \"wake\"\ncpus = {cpus}"));
    }
    text
}

/// The parked CPUs of each mechanism.
#[must_use]
pub fn by_mechanism(machine: &Likeness) -> BTreeMap<&'static str, Vec<usize>> {
    let mut groups: BTreeMap<&'static str, Vec<usize>> = BTreeMap::new();
    for cpu in 0..machine.cpus {
        if let Some(mechanism) = machine.mechanism_of(cpu) {
            groups.entry(mechanism).or_default().push(cpu);
        }
    }
    groups
}

fn put(text: &mut String, step: &str) {
    text.push_str("[[step]]\n");
    text.push_str(step);
    text.push('\n');
}

fn list(cpus: &[usize]) -> String {
    format!("[{}]", cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{MachineArguments, VendorArgument};
    use crate::sim::words::is_well;
    use park_sim::scenario::Outcome;

    fn of(vendor: VendorArgument, shape: &str, seed: u64) -> DemoDocument {
        let chosen = MachineArguments { cpuid: None, topology: shape.parse().ok(), vendor: Some(vendor) };
        match chosen.machine().and_then(|machine| demo(&machine, seed)) {
            Ok(document) => document,
            Err(failure) => panic!("{shape}, seed {seed}: {failure}"),
        }
    }

    #[test]
    fn every_machine_shows_linux_losing_all_and_park_none() {
        for vendor in [VendorArgument::Intel, VendorArgument::Amd] {
            let shapes = [("1x2x1", 1), ("1x3x1", 2), ("2x2x1", 3), ("1x2x2", u64::MAX), ("1x17x1", 4), ("2x16x2", 5)];
            for (shape, seed) in shapes {
                let document = of(vendor, shape, seed);
                let cpus = document.survey.cpus.len();
                assert_eq!(document.machine.example_because, None);
                assert_eq!((document.linux.run.outcome, document.park.run.outcome), (Outcome::Lost, Outcome::Safe));
                let parked =
                    |run: &SimDocument| run.run.cpus.iter().filter(|cpu| cpu.cpu > 0).cloned().collect::<Vec<_>>();
                let (linux, park) = (parked(&document.linux), parked(&document.park));
                assert_eq!((linux.len(), park.len()), (cpus - 1, cpus - 1));
                assert!(linux.iter().all(|cpu| !is_well(cpu)), "{linux:?}");
                assert!(park.iter().all(is_well), "{park:?}");
                assert_eq!(document.exit(), Exit::AsAsked);
            }
        }
    }

    #[test]
    fn equal_seeds_give_equal_documents() {
        let json = |seed| serde_json::to_string(&of(VendorArgument::Amd, "1x4x1", seed)).ok();
        assert_eq!(json(9), json(9));
    }
}
