//! `park demo`: the kexec of a machine like this one, played twice, and the document of schema `park.demo/1`.

use crate::exit::{Exit, Failure};
use crate::likeness::{Likeness, SimulatedVendor, likeness};
use crate::sim::{SimDocument, SimRequest, simulate};
use crate::source::one_line;
use crate::survey::Survey;
use park_sim::scenario::Scenario;
use serde::Serialize;
use core::fmt::Write;

/// The document of schema `park.demo/1`.
#[derive(Clone, Debug, Serialize)]
pub struct DemoDocument {
    /// `park.demo/1`.
    pub schema: &'static str,
    /// The seed of both runs.
    pub seed: u64,
    /// This machine.
    pub survey: Survey,
    /// The simulated one.
    pub machine: Likeness,
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

/// Plays both runs.
///
/// # Errors
/// Those of [`simulate`].
pub fn demo(survey: Survey, seed: u64) -> Result<DemoDocument, Failure> {
    let machine = likeness(&survey);
    let play = |way| {
        let text = scenario(&machine, way);
        let scenario = Scenario::parse(&text, "demo").map_err(|error| Failure::Run(one_line(&error.to_string())))?;
        simulate(&scenario, &SimRequest { seed, ..SimRequest::default() })
    };
    let (linux, park) = (play(Way::Linux)?, play(Way::Park)?);
    let events = events(&machine);
    Ok(DemoDocument { schema: "park.demo/1", seed, survey, machine, events, linux, park })
}

/// What happens, in words.
fn events(machine: &Likeness) -> Vec<String> {
    let mc = match machine.vendor {
        SimulatedVendor::Intel => "a machine check, which Intel broadcasts to every CPU",
        SimulatedVendor::Amd => "a machine check on each CPU, one after the other",
    };
    let all = [
        "kexec: the next kernel overwrites the memory of the old one",
        "an NMI to one parked CPU, an SMI to the next (its handler does not restart HLT), and so on in turn",
        mc,
        "then an NMI and an SMI to every parked CPU",
    ];
    all.iter().map(|text| (*text).to_owned()).collect()
}

/// The scenario of one way, as a file would say it.
fn scenario(machine: &Likeness, way: Way) -> String {
    let parked: Vec<usize> = (1..machine.cpus).collect();
    let cpus = list(&parked);
    let (name, by, expect) = match way {
        Way::Linux => ("demo-linux", machine.linux, "expect = \"lost\"\ndeadly = \"overwrite\"\nremedy = \"hlt\""),
        Way::Park => ("demo-park", machine.choice.mechanism, "expect = \"safe\""),
    };
    let mut text = format!(
        "name = \"{name}\"\nsummary = \"The kexec of this machine's likeness, CPUs parked by {by}.\"\n{expect}\n\
         [machine]\nvendor = \"{}\"\ncpus = {}\n[[park]]\ncpus = {cpus}\nby = \"{by}\"\n",
        machine.vendor.name(),
        machine.cpus,
    );
    for step in ["hand-over", "kexec", "adopt\"\nhow = \"accept"] {
        put(&mut text, &format!("do = \"{step}\""));
    }
    // One event for each CPU in turn, so that each kind meets a CPU that nothing else has met yet.
    let mut event = |event: &str, cpus: &[usize]| {
        if !cpus.is_empty() {
            put(&mut text, &format!("do = \"event\"\nevent = \"{event}\"\ncpus = {}", list(cpus)));
        }
    };
    let every = |kinds: usize, first: usize| -> Vec<usize> { parked.iter().copied().skip(first).step_by(kinds).collect() };
    event("nmi", &every(3, 0));
    event("smi-no-restart", &every(3, 1));
    match machine.vendor {
        SimulatedVendor::Intel => event("mc-broadcast", &parked[..parked.len().min(1)]),
        SimulatedVendor::Amd => event("mc-local", &every(3, 2).into_iter().chain(every(3, 0)).chain(every(3, 1)).collect::<Vec<_>>()),
    }
    event("nmi", &parked);
    event("smi-no-restart", &parked);
    if way == Way::Park {
        put(&mut text, &format!("do = \"wake\"\ncpus = {cpus}"));
    }
    text
}

fn put(text: &mut String, step: &str) {
    // Writing to a string does not fail.
    let _ = write!(text, "[[step]]\n{step}\n");
}

fn list(cpus: &[usize]) -> String {
    format!("[{}]", cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))
}
