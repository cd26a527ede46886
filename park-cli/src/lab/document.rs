//! The document of schema `park.lab/1`.

use park_conformance::Coalescing;
use park_lab::artifacts::Run;
use park_lab::conformance::{Came, Shown, Standing};
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
    /// `sim`, `qemu` or `bochs`.
    pub name: &'static str,
    /// Its version, in its own words.
    pub version: String,
}

/// One trial.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TrialDocument {
    /// `MACHINE/TEST`.
    pub name: String,
    /// `sim`, `qemu` or `bochs`.
    pub rig: &'static str,
    /// The emulator's version, in its own words.
    pub version: String,
    /// The CPU model, in the emulator's words.
    pub cpu_model: &'static str,
    /// Whose CPUs the model has: `intel` or `amd`.
    pub vendor: &'static str,
    /// CPUs of the machine.
    pub cpus: u32,
    /// The image's command line; empty where no image runs.
    pub command_line: String,
    /// Whether it ended as it should.
    pub passed: bool,
    /// Why not.
    pub why: Option<String>,
    /// Milliseconds that it took.
    pub took_ms: u64,
    /// Events fired and witnessed, where the test counts them.
    pub tally: Option<Tally>,
    /// What each conformance case came to, where the trial has any.
    pub cases: Vec<CaseDocument>,
    /// Where it left what it saw, if it failed.
    pub folder: Option<String>,
    /// One line that runs it again, if it failed.
    pub reproducer: Option<String>,
    /// The last lines of the serial log, if it failed.
    pub tail: Vec<String>,
}

/// What one conformance case came to. On the simulator a case has one for each outcome that values of knobs lead to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CaseDocument {
    /// `hlt/nmi`.
    pub case: String,
    /// `claimed`, `deviates`, `lacks` or `surprise`.
    pub standing: &'static str,
    /// What became of the CPU, where that was measured.
    pub response: Option<&'static str>,
    /// What led to it; absent where the machine was lost before it could tell.
    pub seen: Option<SeenDocument>,
    /// What kind of thing is missing, where the rig can't show the case.
    pub lack: Option<String>,
    /// Why: what is missing, why the emulator deviates, or what is not as it should be.
    pub why: Option<String>,
}

/// What led to a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct SeenDocument {
    /// How often the event was made to happen.
    pub fired: u64,
    /// How often it was seen at the CPU.
    pub witnessed: u64,
    /// Why that is less often.
    pub coalesced: Option<&'static str>,
    /// Whether the CPU gave a proof of life after the event.
    pub confirmed: &'static str,
    /// How often its entry ran when it was woken.
    pub entries: u64,
    /// `still`, or `lapping` if the CPU laps while nothing happens to it.
    pub waiting: &'static str,
    /// In how many runs all of this was so.
    pub runs: u64,
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
        trials: reports.iter().map(|report| trial(report, versions)).collect(),
    }
}

fn trial(report: &Report, versions: &[Version]) -> TrialDocument {
    let configuration = report.trial.configuration;
    let version = versions.iter().find(|version| version.emulator == configuration.emulator);
    let why = match &report.outcome {
        Outcome::Passed => None,
        Outcome::Failed(flaw) => Some(flaw.to_string()),
    };
    let failed = why.is_some();
    TrialDocument {
        name: report.trial.name(),
        rig: configuration.emulator.name(),
        version: version.map(|version| version.version.clone()).unwrap_or_default(),
        cpu_model: configuration.model,
        vendor: configuration.vendor().name(),
        cpus: configuration.cpus,
        command_line: report.trial.command_line(),
        passed: !failed,
        why,
        took_ms: u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
        tally: tally(&report.lines),
        cases: report.cases.iter().map(|shown| case(shown, &configuration.place().standing(shown))).collect(),
        folder: report.folder.as_ref().map(|folder| folder.display().to_string()),
        reproducer: failed.then(|| report.reproducer()),
        tail: if failed { report.tail().into_iter().map(str::to_owned).collect() } else { Vec::new() },
    }
}

fn case(shown: &Shown, standing: &Standing) -> CaseDocument {
    let (response, lack) = match &shown.came {
        Came::Measured(response) => (Some(response.name()), None),
        Came::Lacks(kind, _) => (None, Some(kind.clone())),
        Came::Doubt(_) => (None, None),
    };
    let why = match (standing, &shown.came) {
        (Standing::Claimed, _) => None,
        (Standing::Deviates(row), _) => Some(row.reason.to_owned()),
        (Standing::Surprise(why), _) => Some(why.clone()),
        (Standing::Lacks, Came::Lacks(_, why)) => Some(why.clone()),
        (Standing::Lacks, _) => None,
    };
    let seen = shown.seen.map(|seen| SeenDocument {
        fired: seen.fired,
        witnessed: seen.witnessed,
        coalesced: seen.coalesced.map(Coalescing::name),
        confirmed: seen.confirmed.name(),
        entries: seen.entries,
        waiting: seen.waiting.name(),
        runs: seen.runs,
    });
    CaseDocument { case: shown.case.to_string(), standing: standing.name(), response, seen, lack, why }
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
