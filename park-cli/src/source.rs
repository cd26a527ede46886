//! Where a scenario comes from: a built-in name, or a file.

use crate::exit::Failure;
use crate::names::unknown;
use park_sim::scenario::{Scenario, names};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The most bytes that a scenario file may have.
pub const FILE_LEN_MAX: u64 = 1 << 20;

/// Loads the scenario that `argument` names. What contains `/` or ends in `.toml` is a file.
///
/// # Errors
/// [`Failure::Input`] that names the file and line, or offers near names.
pub fn load(argument: &str) -> Result<Scenario, Failure> {
    let wrong = |error: &dyn core::fmt::Display| Failure::Input(one_line(&error.to_string()));
    if names().any(|name| name == argument) {
        return Scenario::builtin(argument).map_err(|error| wrong(&error));
    }
    if !is_file(argument) {
        return Err(Failure::Input(unknown("scenario", argument, names())));
    }
    let text = read(Path::new(argument)).map_err(|why| Failure::Input(format!("{argument}: {why}")))?;
    Scenario::parse(&text, argument).map_err(|error| wrong(&error))
}

fn is_file(argument: &str) -> bool {
    argument.contains('/') || argument.ends_with(".toml")
}

fn read(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("can't be opened: {error}"))?;
    let metadata = file.metadata().map_err(|error| format!("can't be read: {error}"))?;
    if metadata.is_dir() {
        return Err("is a directory, not a scenario file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes).map_err(|error| format!("can't be read: {error}"))?;
    if bytes.len() as u64 > FILE_LEN_MAX {
        return Err(format!("has more than {FILE_LEN_MAX} bytes: not a scenario file"));
    }
    String::from_utf8(bytes)
        .map_err(|error| format!("byte {} is not UTF-8: not a scenario file", error.utf8_error().valid_up_to()))
}

/// A message on one line: what parsers draw below it goes.
pub(crate) fn one_line(message: &str) -> String {
    message.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
