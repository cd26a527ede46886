//! Running trials, one after the other, and telling what came of them.

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use park_conformance::Case;

use crate::LabError;
use crate::artifacts::{self, Run};
use crate::configuration::{Boot, Emulator};
use crate::conformance::{self, Shown};
use crate::deadline::Deadline;
use crate::judge::{Exit, Flaw, difference, judge};
use crate::session::{Down, Monitor, Patience, Wire};
use crate::sweep::Steps;
use crate::tool::{self, Tool};
use crate::trial::{CONFORMANCE, Repeat, SWEEP, Trial};
use crate::{bochs, iso, qemu, session, simulated, sweep};

/// How long an image may say nothing.
const SILENCE: Duration = Duration::from_secs(90);
/// The same where UEFI starts the image, which is silent until then: 90 s were not enough on a busy host.
const UEFI_SILENCE: Duration = Duration::from_secs(240);
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
    /// What each conformance case came to, where it has any.
    pub cases: Vec<Shown>,
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

/// Makes sure, before anything runs, that the trials have what they need; says what versions of emulators they have.
///
/// # Errors
/// [`LabError::ToolMissing`] or [`LabError::ToolTooOld`], which name the package.
pub fn require(trials: &[Trial]) -> Result<Vec<Version>, LabError> {
    let uses = |emulator: Emulator| trials.iter().any(|trial| trial.configuration.emulator == emulator);
    let boots = |boot: Boot| trials.iter().any(|trial| trial.configuration.boot == boot);
    let mut versions = Vec::new();
    if uses(Emulator::Qemu) {
        versions.push(Version { emulator: Emulator::Qemu, version: tool::qemu_version()? });
    }
    if uses(Emulator::Bochs) {
        versions.push(Version { emulator: Emulator::Bochs, version: tool::bochs_version()? });
    }
    if uses(Emulator::Simulator) {
        versions.push(Version { emulator: Emulator::Simulator, version: env!("CARGO_PKG_VERSION").to_owned() });
    }
    let sets: [(bool, &[Tool]); 4] = [
        (uses(Emulator::Bochs), &[tool::BOCHS_TERM, tool::BOCHS_BIOS, tool::VGA_BIOS]),
        (trials.iter().any(|trial| trial.configuration.boot != Boot::Pvh), &iso::TOOLS),
        (boots(Boot::UefiIso), &[tool::OVMF_PLAIN]),
        (boots(Boot::UefiSmmIso), &[tool::OVMF_SMM_CODE, tool::OVMF_VARS]),
    ];
    for tool in sets.iter().filter(|(needed, _)| *needed).flat_map(|(_, tools)| tools.iter()) {
        tool.find()?;
    }
    Ok(versions)
}

/// Which version of an emulator runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// The emulator.
    pub emulator: Emulator,
    /// Its version, in its own words.
    pub version: String,
}

/// Runs a trial with `image`, until its own time limit or `deadline`.
///
/// # Errors
/// [`LabError`] if the lab can't go on: a missing tool, a full disk, or `deadline` passed. What ends only this trial is in
/// the report.
pub fn run(trial: &Trial, image: &Path, run: &Run, deadline: Deadline) -> Result<Report, LabError> {
    let start = Instant::now();
    let name = trial.name();
    let folder = run.folder(&name)?;
    let (mut lines, mut cases) = (Vec::new(), Vec::new());
    let verdict = match runs(trial, image, &folder, deadline, (&mut lines, &mut cases)) {
        Ok(verdict) => verdict,
        Err(error @ (LabError::Program(_) | LabError::Qmp(_) | LabError::Input(_) | LabError::Deadline { .. })) => {
            Err(Flaw::Host(error.to_string()))
        }
        Err(error) => return Err(error),
    };
    if verdict.is_err() && deadline.has_passed() {
        return Err(deadline.error(format!("the lab, in {name} (see {}),", folder.display())));
    }
    let (outcome, kept) = match verdict {
        Ok(()) => {
            fs::remove_dir_all(&folder).map_err(LabError::file(&folder))?;
            (Outcome::Passed, None)
        }
        Err(flaw) => (Outcome::Failed(flaw), Some(folder)),
    };
    Ok(Report { trial: *trial, outcome, took: start.elapsed(), lines, cases, folder: kept })
}

/// All runs of a trial; `lines` gets the serial line of the last one, `cases` what the conformance cases came to.
fn runs(
    trial: &Trial,
    image: &Path,
    folder: &Path,
    deadline: Deadline,
    (lines, cases): (&mut Vec<String>, &mut Vec<Shown>),
) -> Result<Result<(), Flaw>, LabError> {
    let expected = trial.expected();
    if trial.configuration.emulator == Emulator::Simulator {
        return simulated(trial, folder, lines, cases);
    }
    if trial.test == CONFORMANCE {
        let verdict = measured(trial, image, folder, deadline, (lines, cases))?;
        if verdict.is_err() || trial.repeat == Repeat::Once {
            return Ok(verdict);
        }
        let again = folder.join("again");
        fs::create_dir(&again).map_err(LabError::file(&again))?;
        let before = core::mem::take(lines);
        cases.clear();
        let verdict = measured(trial, image, &again, deadline, (lines, cases))?;
        return Ok(verdict.and_then(|()| difference(&before, lines).map_or(Ok(()), Err)));
    }
    let first = once(trial, image, folder, deadline, lines)?;
    let mut verdict = judge(&expected, lines, first);
    if trial.test == SWEEP {
        verdict = verdict.and_then(|()| sweep::shown(lines, Steps::on(trial.configuration)).map(drop));
    }
    if verdict.is_err() || trial.repeat == Repeat::Once {
        return Ok(verdict);
    }
    let again = folder.join("again");
    fs::create_dir(&again).map_err(LabError::file(&again))?;
    let before = core::mem::take(lines);
    let second = once(trial, image, &again, deadline, lines)?;
    let verdict = judge(&expected, lines, second);
    Ok(verdict.and_then(|()| difference(&before, lines).map_or(Ok(()), Err)))
}

/// All cases of a conformance trial. A case that ends the machine is measured by that, and the rest goes on in another boot.
fn measured(
    trial: &Trial,
    image: &Path,
    folder: &Path,
    deadline: Deadline,
    (lines, all): (&mut Vec<String>, &mut Vec<Shown>),
) -> Result<Result<(), Flaw>, LabError> {
    let mut globs: Vec<(String, Asked)> =
        trial.cases.iter().rev().map(|glob| ((*glob).to_owned(), Asked::ByGlob)).collect();
    let mut boot = 0;
    while let Some((glob, asked)) = globs.pop() {
        boot += 1;
        let own = folder.join(format!("boot-{boot}"));
        fs::create_dir(&own).map_err(LabError::file(&own))?;
        let mut heard = Vec::new();
        let words = format!("{} case={glob}", trial.command_line());
        let exit = with(trial, &words, image, &own, deadline, &mut heard);
        let (shown, open) = conformance::shown(&heard);
        let verdict = exit.map(|exit| judge(&trial.expected(), &heard, exit));
        lines.append(&mut heard);
        all.extend(shown);
        match (verdict?, open) {
            (Err(Flaw::Reset), Some(case)) => {
                all.push(Shown::reset(case));
                if asked == Asked::ByGlob {
                    let named = Case::all().filter(|case| case.matches(&glob));
                    let rest = named.skip_while(|other| *other != case).skip(1);
                    globs.extend(rest.map(|case| (case.to_string(), Asked::Alone)));
                }
            }
            (verdict, _) => {
                // A case that this machine can't show is no failure when it was asked for alone.
                if let Err(flaw) = verdict.or_else(|flaw| if asked == Asked::ByGlob { Err(flaw) } else { lacked(flaw) })
                {
                    return Ok(Err(flaw));
                }
            }
        }
    }
    Ok(unsurprising(trial, all))
}

/// How a boot was asked for its cases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    /// As the trial says.
    ByGlob,
    /// One alone, since the machine did not live to come to it.
    Alone,
}

/// All cases on the simulator, in this process.
fn simulated(
    trial: &Trial,
    folder: &Path,
    lines: &mut Vec<String>,
    cases: &mut Vec<Shown>,
) -> Result<Result<(), Flaw>, LabError> {
    *lines = simulated::lines(trial.configuration);
    let serial = folder.join(artifacts::name::SERIAL);
    fs::write(&serial, lines.join("\n") + "\n").map_err(LabError::file(&serial))?;
    *cases = conformance::shown(lines).0;
    Ok(unsurprising(trial, cases))
}

/// That every case is as it should be.
fn unsurprising(trial: &Trial, cases: &[Shown]) -> Result<(), Flaw> {
    let surprises = conformance::surprises(trial.configuration, cases);
    if surprises.is_empty() { Ok(()) } else { Err(Flaw::Surprise { surprises }) }
}

/// The image's refusal to run a single case that it can't show.
fn lacked(flaw: Flaw) -> Result<(), Flaw> {
    match flaw {
        Flaw::DoesNotHold { why } if why.contains("can be shown here") => Ok(()),
        other => Err(other),
    }
}

/// One run of the emulator.
fn once(
    trial: &Trial,
    image: &Path,
    folder: &Path,
    deadline: Deadline,
    lines: &mut Vec<String>,
) -> Result<Exit, LabError> {
    with(trial, &trial.command_line(), image, folder, deadline, lines)
}

/// One run of the emulator with a command line.
fn with(
    trial: &Trial,
    words: &str,
    image: &Path,
    folder: &Path,
    deadline: Deadline,
    lines: &mut Vec<String>,
) -> Result<Exit, LabError> {
    let configuration = trial.configuration;
    let silence = match configuration.boot {
        Boot::UefiIso | Boot::UefiSmmIso => UEFI_SILENCE,
        Boot::Pvh | Boot::BiosIso => SILENCE,
    };
    let patience = Patience { end: Deadline::after(trial.limit).or_before(deadline), silence };
    let (command, wire, monitor) = match configuration.emulator {
        Emulator::Qemu => {
            let command = qemu::command(configuration, image, words, folder, patience.end)?;
            (command, Wire::Stdio, Monitor::Qmp { ram_mib: configuration.ram_mib, down: Down::Ends })
        }
        Emulator::Bochs => {
            let command = bochs::command(configuration, image, words, folder, patience.end)?;
            (command, Wire::File(bochs::serial(folder)), Monitor::Absent)
        }
        Emulator::Simulator => return Err(LabError::Input("the simulator runs no image".to_owned())),
    };
    session::run(command, &wire, monitor, folder, patience, lines)
}
