//! Where a scenario comes from: a built-in name, or a file.

use crate::exit::Failure;
use crate::input::{one_line, read_text};
use crate::names::unknown;
use park_sim::scenario::{Scenario, names};
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
    let text = read_text(Path::new(argument), FILE_LEN_MAX, "a scenario file")?;
    Scenario::parse(&text, argument).map_err(|error| wrong(&error))
}

fn is_file(argument: &str) -> bool {
    argument.contains('/') || argument.ends_with(".toml")
}
