//! Running trials, one after the other, and telling what came of them.

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::LabError;
use crate::artifacts::Run;
use crate::configuration::Emulator;
use crate::deadline::Deadline;
use crate::judge::{Flaw, difference, judge};
use crate::session::{Monitor, Patience, Seen, Wire};
use crate::trial::{Repeat, Trial};
use crate::{bochs, qemu, session};

/// How long an image may say nothing: UEFI is silent for 20 s on a host that has nothing else to do.
const SILENCE: Duration = Duration::from_secs(90);
/// Lines of the serial log that are shown after a failure.
pub const TAIL_LINES: usize = 20;

/// How a trial ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Otherwise.
    Failed(Flaw),
}

/// What came of one trial.
#[derive(Clone, Debug)]
pub struct Report {
    /// The trial.
    pub trial: Trial,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// The serial line of its last run.
    pub lines: Vec<String>,
    /// Where it left what it saw; `None` if it passed, and so left nothing.
    pub folder: Option<PathBuf>,
}

impl Report {
    /// One line that runs it again.
    #[must_use]
    pub fn reproducer(&self) -> String {
        let soak = if self.trial.length == crate::trial::Length::Soak { " --soak" } else { "" };
        format!("park lab{soak} --case {}", self.trial.name())
    }

    /// The last lines of the serial log that hold something.
    #[must_use]
    pub fn tail(&self) -> Vec<&str> {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).filter(|line| !line.is_empty()).collect();
        lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().to_vec()
    }
}

/// Runs a trial with `image`, until its own time limit or `deadline`.
///
/// # Errors
/// [`LabError`] if the lab could not try it: a missing tool, a full disk, or `deadline` passed.
pub fn run(trial: &Trial, image: &Path, run: &Run, deadline: Deadline) -> Result<Report, LabError> {
    let start = Instant::now();
    let (name, expected) = (trial.name(), trial.expected());
    let folder = run.folder(&name)?;
    let seen = once(trial, image, &folder, deadline)?;
    let mut verdict = judge(&expected, &seen.lines, seen.exit);
    let mut lines = seen.lines;
    if verdict.is_ok() && trial.repeat == Repeat::Identical {
        let again = folder.join("again");
        fs::create_dir(&again).map_err(LabError::file(&again))?;
        let second = once(trial, image, &again, deadline)?;
        verdict = judge(&expected, &second.lines, second.exit);
        if verdict.is_ok() {
            verdict = difference(&lines, &second.lines).map_or(Ok(()), Err);
        }
        lines = second.lines;
    }
    if verdict.is_err() && deadline.has_passed() {
        return Err(deadline.error(format!("the lab, in {name},")));
    }
    let (outcome, kept) = match verdict {
        Ok(()) => {
            fs::remove_dir_all(&folder).map_err(LabError::file(&folder))?;
            (Outcome::Passed, None)
        }
        Err(flaw) => (Outcome::Failed(flaw), Some(folder)),
    };
    Ok(Report { trial: *trial, outcome, took: start.elapsed(), lines, folder: kept })
}

/// One run of the emulator.
fn once(trial: &Trial, image: &Path, folder: &Path, deadline: Deadline) -> Result<Seen, LabError> {
    let configuration = trial.configuration;
    let patience = Patience { end: Deadline::after(trial.limit).or_before(deadline), silence: SILENCE };
    let words = trial.command_line();
    let (command, wire, monitor) = match configuration.emulator {
        Emulator::Qemu => {
            let command = qemu::command(configuration, image, &words, folder, patience.end)?;
            (command, Wire::Stdio, Monitor::Qmp { ram_mib: configuration.ram_mib })
        }
        Emulator::Bochs => {
            let command = bochs::command(configuration, image, &words, folder, patience.end)?;
            (command, Wire::File(bochs::serial(folder)), Monitor::Absent)
        }
    };
    session::run(command, &wire, monitor, folder, patience)
}
