//! `park sim --list`: the scenarios that are built in, and the document of schema `park.scenarios/1`.

use crate::exit::Failure;
use crate::input::one_line;
use crate::output::Output;
use crate::paint::{Cell, Tone};
use park_sim::scenario::{Expect, Scenario, names};
use serde::Serialize;

/// Most characters of a summary's line.
const SUMMARY_WIDTH: usize = 70;
/// Any width.
const FREE: usize = usize::MAX;

/// A scenario that is built in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What it shows.
    pub summary: String,
    /// `safe` or `lost`.
    pub expect: &'static str,
    /// The event without which a lost one is safe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadly: Option<&'static str>,
    /// The mechanism with which a lost one is safe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

/// The document of schema `park.scenarios/1`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ListDocument {
    /// `park.scenarios/1`.
    pub schema: &'static str,
    /// All of them.
    pub scenarios: Vec<Listed>,
}

/// Lists the scenarios.
///
/// # Errors
/// [`Failure::Input`] if one that is built in can't be read.
pub fn list() -> Result<ListDocument, Failure> {
    let listed = |name: &str| {
        let scenario = Scenario::builtin(name).map_err(|error| Failure::Input(one_line(&error.to_string())))?;
        let (expect, deadly, remedy) = match scenario.expect {
            Expect::Safe => ("safe", None, None),
            Expect::Lost { deadly, remedy } => ("lost", Some(deadly.name()), Some(remedy.name())),
        };
        Ok(Listed { name: name.to_owned(), summary: scenario.summary, expect, deadly, remedy })
    };
    let scenarios: Result<Vec<Listed>, Failure> = names().map(listed).collect();
    Ok(ListDocument { schema: "park.scenarios/1", scenarios: scenarios? })
}

/// Prints them as a table.
///
/// # Errors
/// [`Failure::Output`].
pub fn print(document: &ListDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    let row = |one: &Listed| {
        let tone = if one.expect == "safe" { Tone::Good } else { Tone::Bad };
        vec![Cell::plain(&one.name), Cell::new(one.expect, tone), Cell::plain(&one.summary)]
    };
    let rows: Vec<Vec<Cell>> = document.scenarios.iter().map(row).collect();
    out.table(&["scenario", "ends", "what it shows"], &rows, &[FREE, FREE, SUMMARY_WIDTH])
}
