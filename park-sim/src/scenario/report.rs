//! What came of a run.

use super::{Cause, Declared, End};
use crate::recording::Recording;
use serde::Serialize;

/// What came of a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every CPU is where the plan said, and nothing touched what was not its own.
    Safe,
    /// Some CPU is not.
    Lost,
}

impl Outcome {
    /// `safe` or `lost`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Lost => "lost",
        }
    }
}

/// What became of one CPU.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CpuReport {
    /// Index in the machine.
    pub cpu: usize,
    /// Its APIC id.
    pub apic_id: u32,
    /// What it was last parked by: a mechanism, a foreign parker, or `none`.
    pub mechanism: String,
    /// Its end.
    pub end: End,
    /// Why.
    pub cause: Cause,
}

/// A knob that the run consulted, and its value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct KnobReport {
    /// The knob.
    pub knob: &'static str,
    /// The value.
    pub value: &'static str,
}

/// An event that was thrown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EventReport {
    /// Its name.
    pub event: String,
    /// Which CPUs.
    pub cpus: Vec<usize>,
    /// The machine's step count then.
    pub step: u64,
}

/// A step that did not come to what it must.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Failure {
    /// Where in the file.
    pub place: String,
    /// What happened instead.
    pub what: String,
}

/// What came of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The consulted knobs. Those that the scenario fixes are among them if they were consulted.
    pub knobs: Vec<KnobReport>,
    /// What came of it.
    pub outcome: Outcome,
    /// Whether that, and every CPU's end, is what the scenario expects; without the deadly event, or by a mechanism of
    /// the lot: whether it is safe.
    pub expected: bool,
    /// The CPUs.
    pub cpus: Vec<CpuReport>,
    /// Ends of the machine that a mechanism declared and that happened.
    pub declared: Vec<Declared>,
    /// Steps that did not come to what they must.
    pub failures: Vec<Failure>,
    /// Accesses outside what CPUs may touch, in all.
    pub breaches: u64,
    /// Steps of the machine.
    pub steps: u64,
    /// The events that were thrown.
    pub events: Vec<EventReport>,
    /// The last steps of the machine, if a trace was asked for.
    pub trace: Vec<String>,
    /// What the run looked like, if a recording was asked for.
    #[serde(skip)]
    pub recording: Option<Box<Recording>>,
}
