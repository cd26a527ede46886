//! `park sim`: runs of a scenario, and the document of schema `park.sim/1`.

use crate::args::DEFAULT_SEED;
use crate::exit::{Exit, Failure};
use crate::input::one_line;
use crate::names::unknown;
use crate::sim::args::Arguments;
use crate::sim::knobs::{KnobRequest, RUNS_MAX, Rest, indices, value_name};
use crate::sim::orders::DetectedOrders;
use cpu_park::core::{Event, Mechanism};
use park_sim::machine::Knob;
use park_sim::recording::Recording;
use park_sim::scenario::{
    CpuReport, Declared, Expect, Failure as StepFailure, Outcome, Record, RunOptions, Scenario, ScenarioError, run,
};
use park_sim::world::WorldError;
use serde::Serialize;
use std::collections::BTreeMap;

/// How many of the machine's last steps a trace tells.
pub const TRACE_RECORDS: usize = 1 << 16;

/// What to run a scenario with, every name looked up.
#[derive(Clone, Debug, Default)]
pub struct SimRequest {
    /// Draws schedule and event times.
    pub seed: u64,
    /// Knobs to fix and to vary.
    pub knobs: KnobRequest,
    /// The event to leave out.
    pub without: Option<Event>,
    /// The mechanism to park by.
    pub mechanism: Option<Mechanism>,
    /// Whether to tell the steps.
    pub trace: Trace,
    /// Whether to record the run that decides.
    pub record: Record,
}

/// Whether a run tells its steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Trace {
    /// No.
    #[default]
    Off,
    /// The last [`TRACE_RECORDS`].
    On,
}

impl SimRequest {
    /// Looks up what the arguments name.
    ///
    /// # Errors
    /// [`Failure::Input`] that names the argument, with near names.
    pub fn read(arguments: &Arguments) -> Result<Self, Failure> {
        let without = arguments.without.as_deref().map(|name| {
            let names = Event::ALL.iter().map(|event| event.name());
            let missing = || Failure::Input(format!("--without: {}", unknown("event", name, names)));
            Event::from_name(name).ok_or_else(missing)
        });
        let mechanism = arguments.mechanism.as_deref().map(|name| {
            let names = Mechanism::ALL.iter().map(|mechanism| mechanism.name());
            let missing = || Failure::Input(format!("--mechanism: {}", unknown("mechanism", name, names)));
            Mechanism::from_name(name).ok_or_else(missing)
        });
        Ok(Self {
            seed: arguments.seed.unwrap_or(DEFAULT_SEED),
            knobs: KnobRequest::read(&arguments.knob)?,
            without: without.transpose()?,
            mechanism: mechanism.transpose()?,
            trace: if arguments.trace { Trace::On } else { Trace::Off },
            record: if arguments.svg.is_some() || arguments.html.is_some() { Record::On } else { Record::Off },
        })
    }
}

/// One run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RunDocument {
    /// The knobs that the run consulted or was given, and their values.
    pub knobs: BTreeMap<&'static str, &'static str>,
    /// `safe` or `lost`.
    pub outcome: Outcome,
    /// Whether the outcome is the stated one, or with --without or --mechanism the one that the option should lead to.
    pub expected: bool,
    /// What became of each CPU.
    pub cpus: Vec<CpuReport>,
    /// Ends of the machine that a mechanism declared and that happened.
    pub declared: Vec<Declared>,
    /// Steps of the scenario that did not come to what they must.
    pub failures: Vec<StepFailure>,
    /// Accesses outside what CPUs may touch.
    pub breaches: u64,
    /// Steps of the machine.
    pub steps: u64,
    /// The values that --knob=all chose for this run; fixed ones stand in `knobs` only.
    #[serde(skip)]
    pub chosen: Vec<(&'static str, &'static str)>,
    /// The last steps, with --trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Vec<String>>,
    /// All knobs that it was given.
    #[serde(skip)]
    pub given: Vec<(Knob, u8)>,
    /// What it looked like, if that was asked for and it decides.
    #[serde(skip)]
    pub recording: Option<Box<Recording>>,
}

/// The document of schema `park.sim/1`. With several runs, what stands at the top is the run that decides: the first
/// whose verdict is not the expected one, else the first of all.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SimDocument {
    /// `park.sim/1`.
    pub schema: &'static str,
    /// The scenario's name.
    pub scenario: String,
    /// What it shows.
    pub summary: String,
    /// The seed.
    pub seed: u64,
    /// The event that was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without: Option<&'static str>,
    /// The mechanism that replaced the scenario's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<&'static str>,
    /// The run that decides.
    #[serde(flatten)]
    pub run: RunDocument,
    /// Every run, if --knob asked for several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunDocument>,
    /// The knobs that were fixed.
    #[serde(skip)]
    pub fixed: Vec<(&'static str, &'static str)>,
    /// The event and mechanism that would make a lost scenario safe.
    #[serde(skip)]
    pub way_out: Option<(Event, Mechanism)>,
}

impl SimDocument {
    /// The exit that the verdict is.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        if self.run.expected { Exit::AsAsked } else { Exit::Unexpected }
    }

    /// What differs from the scenario as it is, each in a few words.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        let mut changes = Vec::new();
        changes.extend(self.without.map(|event| format!("left out: {event}")));
        changes.extend(self.mechanism.map(|mechanism| format!("parked in the lot by {mechanism}")));
        changes.extend(self.fixed.iter().map(|(name, value)| format!("{name}={value}")));
        changes
    }

    /// The command line of the run that decides.
    #[must_use]
    pub fn command(&self) -> String {
        let mut command = format!("park sim {} --seed {}", self.scenario, self.seed);
        command.extend(self.without.map(|event| format!(" --without {event}")));
        command.extend(self.mechanism.map(|mechanism| format!(" --mechanism {mechanism}")));
        let knobs = self.fixed.iter().chain(&self.run.chosen);
        command.extend(knobs.map(|(name, value)| format!(" --knob {name}={value}")));
        command
    }
}

/// Runs a scenario as often as the request's knobs say.
///
/// # Errors
/// [`Failure::Input`] for a scenario that can't be played so; [`Failure::Run`] if the machine met something that it does
/// not model.
pub fn simulate(scenario: &Scenario, request: &SimRequest) -> Result<SimDocument, Failure> {
    let mut runs = Vec::new();
    for knobs in request.knobs.combinations() {
        runs.push(play(scenario, request, &knobs, Record::Off)?);
    }
    if request.knobs.rest == Rest::OneAtATime {
        vary_the_rest(scenario, request, &mut runs)?;
    }
    let decides = runs.iter().find(|run| !run.expected).or(runs.first()).cloned();
    let mut run = decides.ok_or_else(|| Failure::Run(format!("{}: no run was made", scenario.name)))?;
    if request.record == Record::On {
        run.recording = play(scenario, request, &run.given, Record::On)?.recording;
    }
    let way_out = match scenario.expect {
        Expect::Lost { deadly, remedy } => Some((deadly, remedy)),
        Expect::Safe => None,
    };
    Ok(SimDocument {
        schema: "park.sim/1",
        scenario: scenario.name.clone(),
        summary: scenario.summary.clone(),
        seed: request.seed,
        without: request.without.map(Event::name),
        mechanism: request.mechanism.map(Mechanism::name),
        run,
        runs: if request.knobs.is_sweep() { runs } else { Vec::new() },
        fixed: request.knobs.fixed.iter().map(|(knob, index)| (knob.name(), value_name(*knob, *index))).collect(),
        way_out,
    })
}

/// Every knob that some run consulted and nobody named takes its other values, one knob at a time.
fn vary_the_rest(scenario: &Scenario, request: &SimRequest, runs: &mut Vec<RunDocument>) -> Result<(), Failure> {
    let mut varied: Vec<Knob> = Vec::new();
    loop {
        let consulted = runs.iter().flat_map(|run| run.knobs.keys()).filter_map(|name| Knob::from_name(name));
        let next = consulted.into_iter().find(|knob| !request.knobs.names(*knob) && !varied.contains(knob));
        let Some(knob) = next else { return Ok(()) };
        varied.push(knob);
        let usual = scenario.knobs.iter().find(|(fixed, _)| *fixed == knob).map_or(0, |(_, index)| *index);
        for combination in request.knobs.combinations() {
            for index in indices(knob).filter(|index| *index != usual) {
                let mut knobs = combination.clone();
                knobs.push((knob, index));
                runs.push(play(scenario, request, &knobs, Record::Off)?);
                if runs.len() > RUNS_MAX {
                    return Err(Failure::Input(format!("--knob: these are more than {RUNS_MAX} runs")));
                }
            }
        }
    }
}

fn play(
    scenario: &Scenario,
    request: &SimRequest,
    knobs: &[(Knob, u8)],
    record: Record,
) -> Result<RunDocument, Failure> {
    let options = RunOptions {
        seed: request.seed,
        knobs: knobs.to_vec(),
        without: request.without,
        mechanism: request.mechanism,
        trace: if request.trace == Trace::On { TRACE_RECORDS } else { 0 },
        record,
        ..RunOptions::default()
    };
    let report = run(scenario, &options, &DetectedOrders).map_err(|error| failure(&error))?;
    let mut shown: BTreeMap<&'static str, &'static str> =
        report.knobs.iter().map(|knob| (knob.knob, knob.value)).collect();
    // What was asked for; an event such as smi-no-restart turns a knob on its way.
    shown.extend(knobs.iter().map(|(knob, index)| (knob.name(), value_name(*knob, *index))));
    let is_fixed = |knob: Knob| request.knobs.fixed.iter().any(|(fixed, _)| *fixed == knob);
    let chosen = knobs.iter().filter(|(knob, _)| !is_fixed(*knob));
    let chosen = chosen.map(|(knob, index)| (knob.name(), value_name(*knob, *index))).collect();
    Ok(RunDocument {
        knobs: shown,
        outcome: report.outcome,
        expected: report.expected,
        cpus: report.cpus,
        declared: report.declared,
        failures: report.failures,
        breaches: report.breaches,
        steps: report.steps,
        chosen,
        trace: (request.trace == Trace::On).then_some(report.trace),
        given: knobs.to_vec(),
        recording: report.recording,
    })
}

/// What an error of the engine is for the program.
fn failure(error: &ScenarioError) -> Failure {
    let text = one_line(&error.to_string());
    match error {
        // A CPU that may not be parked so: the scenario asks for what is refused.
        ScenarioError::World { error, .. } if matches!(**error, WorldError::Sanitise { .. }) => Failure::Input(text),
        ScenarioError::World { .. } => Failure::Run(text),
        _ => Failure::Input(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::source::load;

    fn of(name: &str, knobs: &[&str]) -> SimDocument {
        let options: Vec<String> = knobs.iter().map(|knob| (*knob).to_owned()).collect();
        let request = KnobRequest::read(&options).map(|knobs| SimRequest { seed: 1, knobs, ..SimRequest::default() });
        match load(name).and_then(|scenario| simulate(&scenario, &request?)) {
            Ok(document) => document,
            Err(failure) => panic!("{name} {knobs:?}: {failure}"),
        }
    }

    #[test]
    fn one_at_a_time_is_the_usual_run_and_each_other_value_once() {
        let document = of("lot-hlt", &["all=all"]);
        let mut chosen: Vec<_> = document.runs.iter().skip(1).map(|run| run.chosen.clone()).collect();
        assert_eq!(document.runs.first().map(|run| run.chosen.len()), Some(0));
        let of_knob = |name| Knob::from_name(name).map_or(0, |knob| knob.values().len() - 1);
        let mut consulted: Vec<&str> = document.runs.iter().flat_map(|run| run.knobs.keys().copied()).collect();
        consulted.sort_unstable();
        consulted.dedup();
        assert_eq!(chosen.len(), consulted.into_iter().map(of_knob).sum::<usize>());
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), document.runs.len() - 1);
        let usual = |(name, value): &(&str, &str)| Knob::from_name(name).map(|knob| knob.values()[0]) == Some(*value);
        assert!(!chosen.iter().flatten().any(usual), "{chosen:?}");
    }

    #[test]
    fn the_run_that_surprises_decides() {
        let document = of("clgi-mce", &["mc-gif0=all"]);
        let expected: Vec<bool> = document.runs.iter().map(|run| run.expected).collect();
        assert_eq!(expected, [false, true]);
        assert_eq!((document.run.knobs.get("mc-gif0"), document.exit()), (Some(&"pend"), Exit::Unexpected));
    }

    #[test]
    fn a_trace_is_there_if_asked_for() {
        let Ok(scenario) = load("linux-hlt-kexec-nmi") else { panic!("a built-in scenario") };
        for (trace, is_there) in [(Trace::Off, false), (Trace::On, true)] {
            let request = SimRequest { seed: 1, trace, ..SimRequest::default() };
            let document = simulate(&scenario, &request).map(|document| document.run.trace);
            assert_eq!(document.ok().flatten().is_some_and(|trace| !trace.is_empty()), is_there);
        }
    }
}
