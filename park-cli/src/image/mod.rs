//! `park image`: the freestanding image, as an ELF file or an ISO.

pub mod args;

pub use args::Arguments;

use crate::args::DEFAULT_DEADLINE_S;
use crate::exit::{Exit, Failure};
use crate::files::write_whole;
use crate::output::Output;
use core::time::Duration;
use park_lab::artifacts::Run;
use park_lab::deadline::Deadline;
use park_lab::{LabError, image, iso};
use std::path::{Path, PathBuf};

/// What a real machine is asked to do unless told otherwise: nobody knows what listens at the ports that end an emulator.
const COMMAND_LINE: &str = "t=skeleton exit=halt";

/// Builds the image and writes what is asked for.
///
/// # Errors
/// [`Failure`], with the files as they were.
pub fn execute(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let deadline = Deadline::after(Duration::from_secs(arguments.deadline_s.unwrap_or(DEFAULT_DEADLINE_S)));
    if arguments.iso.is_some() {
        // Before minutes of building.
        iso::TOOLS.into_iter().try_for_each(|tool| tool.find().map(drop))?;
    }
    let image = match &arguments.image {
        Some(path) => path.clone(),
        None => built(deadline)?,
    };
    if let Some(path) = &arguments.elf {
        write_whole(path, &read(&image)?)?;
        out.line(&format!("{}: the image", path.display()))?;
    }
    if let Some(path) = &arguments.iso {
        let words = arguments.command_line.as_deref().unwrap_or(COMMAND_LINE);
        write_whole(path, &disc(&image, words, deadline)?)?;
        out.line(&format!("{}: an ISO that boots it with `{words}`", path.display()))?;
    }
    Ok(Exit::AsAsked)
}

/// The bytes of an ISO, made in a folder of its own.
fn disc(image: &Path, words: &str, deadline: Deadline) -> Result<Vec<u8>, Failure> {
    let run = Run::new(&std::env::temp_dir().join("park-image"))?;
    let folder = run.folder("iso")?;
    let path = folder.join("park.iso");
    let bytes = iso::make(image, words, &path, &folder, deadline).map_err(Failure::from).and_then(|()| read(&path));
    // What is left in a folder for temporary files is no failure.
    let _ = std::fs::remove_dir_all(&folder);
    run.remove_if_empty();
    bytes
}

fn built(deadline: Deadline) -> Result<PathBuf, Failure> {
    let here = std::env::current_dir().map_err(|error| Failure::Input(format!("the current folder: {error}")))?;
    let workspace = image::workspace(&here).map_err(|error| match error {
        LabError::Input(text) => Failure::Input(format!("{text} with --image")),
        other => other.into(),
    })?;
    Ok(image::build(&workspace, deadline)?)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))
}
