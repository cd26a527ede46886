//! `park lab`: the freestanding image on emulators, and the conformance cases on the simulator.

pub mod args;
pub mod choice;
pub mod document;
pub mod linux;
pub mod text;

pub use args::Arguments;

use crate::exit::{Exit, Failure};
use crate::output::Output;
use core::time::Duration;
use park_lab::artifacts::Run;
use park_lab::configuration::Emulator;
use park_lab::deadline::Deadline;
use park_lab::{LabError, image, lab};
use std::path::{Path, PathBuf};

/// Seconds that a lab may take unless told otherwise: everything, on two cores.
const DEADLINE_S: u64 = 900;
/// Seconds that a soak may take unless told otherwise.
const SOAK_DEADLINE_S: u64 = 7200;
/// Where what was seen is left, below the workspace or the folder where park is called.
const ARTIFACTS: &str = "target/lab";

/// Runs the chosen trials and prints what came of them.
///
/// # Errors
/// [`Failure`]; a trial that fails is none.
pub fn execute(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if let Some(command) = &arguments.linux {
        return linux::execute(command, out);
    }
    let trials = choice::trials(arguments)?;
    if arguments.list {
        text::list(&trials, out)?;
        return Ok(Exit::AsAsked);
    }
    let default = if arguments.soak { SOAK_DEADLINE_S } else { DEADLINE_S };
    let deadline = Deadline::after(Duration::from_secs(arguments.deadline_s.unwrap_or(default)));
    let versions = lab::require(&trials)?;
    let (image, base) = if trials.iter().all(|trial| trial.configuration.emulator == Emulator::Simulator) {
        let here = here()?;
        (PathBuf::new(), image::workspace(&here).unwrap_or(here).join(ARTIFACTS))
    } else {
        image_and_base(arguments.image.as_deref(), deadline)?
    };
    let run = Run::new(&base)?;
    let mut reports = Vec::new();
    for (index, trial) in trials.iter().enumerate() {
        text::begins(index + 1, trials.len(), trial);
        let report = lab::run(trial, &image, &run, deadline)?;
        text::ends(&report);
        reports.push(report);
    }
    run.remove_if_empty();
    let document = document::document(&run, &versions, &reports);
    if arguments.json {
        out.document(&document)?
    } else {
        text::print(&document, out)?
    }
    Ok(if document.failed == 0 { Exit::AsAsked } else { Exit::Unexpected })
}

/// The image, built if none is named, and where artifacts go.
pub(crate) fn image_and_base(named: Option<&Path>, deadline: Deadline) -> Result<(PathBuf, PathBuf), Failure> {
    let here = here()?;
    let workspace = image::workspace(&here);
    match (named, workspace) {
        (Some(named), workspace) => {
            let path = named.canonicalize().map_err(|error| Failure::Input(format!("{}: {error}", named.display())))?;
            if !path.is_file() {
                return Err(Failure::Input(format!("{}: is not a file", named.display())));
            }
            Ok((path, workspace.unwrap_or(here).join(ARTIFACTS)))
        }
        (None, Ok(workspace)) => Ok((image::build(&workspace, deadline)?, workspace.join(ARTIFACTS))),
        (None, Err(LabError::Input(text))) => Err(Failure::Input(format!("{text} with --image"))),
        (None, Err(error)) => Err(error.into()),
    }
}

fn here() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| Failure::Input(format!("the current folder: {error}")))
}
