//! The document of schema `park.lab/1`.

use park_lab::artifacts::Run;
use park_lab::lab::{Outcome, Report, Version};
use park_lab::line::Line;
use serde::Serialize;

/// The document's schema.
pub const SCHEMA: &str = "park.lab/1";

/// What came of a lab.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LabDocument {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The run's name, unique.
    pub run: String,
    /// The emulators.
    pub emulators: Vec<EmulatorDocument>,
    /// How many trials passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// Each trial, in the order in which they ran.
    pub trials: Vec<TrialDocument>,
}

/// An emulator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EmulatorDocument {
    /// `qemu` or `bochs`.
    pub name: &'static str,
    /// Its version, in its own words.
    pub version: String,
}

/// One trial.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TrialDocument {
    /// `MACHINE/TEST`.
    pub name: String,
    /// `qemu` or `bochs`.
    pub rig: &'static str,
    /// The CPU model, in the emulator's words.
    pub cpu_model: &'static str,
    /// CPUs of the machine.
    pub cpus: u32,
    /// The image's command line.
    pub command_line: String,
    /// Whether it ended as it should.
    pub passed: bool,
    /// Why not.
    pub why: Option<String>,
    /// Milliseconds that it took.
    pub took_ms: u64,
    /// Events fired and witnessed, where the test counts them.
    pub tally: Option<Tally>,
    /// Where it left what it saw, if it failed.
    pub folder: Option<String>,
    /// One line that runs it again, if it failed.
    pub reproducer: Option<String>,
    /// The last lines of the serial log, if it failed.
    pub tail: Vec<String>,
}

/// What the image counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Tally {
    /// CPUs parked, each time counted.
    pub parked: u64,
    /// Events that were made to happen.
    pub fired: u64,
    /// Events that were seen at their targets.
    pub witnessed: u64,
    /// CPUs that did not come back.
    pub lost: u64,
    /// CPUs that went the way that their mechanism declares.
    pub declared: u64,
    /// CPUs that stopped with a fault record.
    pub faulted: u64,
}

/// The document of a run.
#[must_use]
pub fn document(run: &Run, versions: &[Version], reports: &[Report]) -> LabDocument {
    let failed = reports.iter().filter(|report| report.outcome != Outcome::Passed).count();
    let emulator = |found: &Version| EmulatorDocument { name: found.emulator.name(), version: found.version.clone() };
    LabDocument {
        schema: SCHEMA,
        run: run.name.clone(),
        emulators: versions.iter().map(emulator).collect(),
        passed: reports.len() - failed,
        failed,
        trials: reports.iter().map(trial).collect(),
    }
}

fn trial(report: &Report) -> TrialDocument {
    let configuration = report.trial.configuration;
    let why = match &report.outcome {
        Outcome::Passed => None,
        Outcome::Failed(flaw) => Some(flaw.to_string()),
    };
    let failed = why.is_some();
    TrialDocument {
        name: report.trial.name(),
        rig: configuration.emulator.name(),
        cpu_model: configuration.model,
        cpus: configuration.cpus,
        command_line: report.trial.command_line(),
        passed: !failed,
        why,
        took_ms: u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
        tally: tally(&report.lines),
        folder: report.folder.as_ref().map(|folder| folder.display().to_string()),
        reproducer: failed.then(|| report.reproducer()),
        tail: if failed { report.tail().into_iter().map(str::to_owned).collect() } else { Vec::new() },
    }
}

/// The image's last line of the kind `torture`.
fn tally(lines: &[String]) -> Option<Tally> {
    let total = lines.iter().rev().filter_map(|text| Line::parse(text)).find(|line| line.event() == "torture")?;
    let count = |key| total.number(key);
    Some(Tally {
        parked: count("parked")?,
        fired: count("fired")?,
        witnessed: count("witnessed")?,
        lost: count("lost")?,
        declared: count("declared")?,
        faulted: count("faulted")?,
    })
}
