//! Documents of schema `park.lab/1`, read back.

use super::column::Evidence;
use super::heard::Heard;
use super::log::{Found, LogErrorKind, check};
use crate::input::one_line;
use crate::lab::document::SCHEMA;
use park_conformance::{Answer, Case, Coalescing, Waiting};
use park_core::Response;
use park_lab::configuration::{Configuration, Emulator};
use park_lab::conformance::{Came, Seen, Shown};
use serde::Deserialize;
use serde_json::Value;

/// What every document of park has, and no line of a serial log.
const MARK: &str = "\"schema\"";
/// In so many bytes of a document its schema stands.
const MARK_WITHIN: usize = 64;

#[derive(Deserialize)]
struct LabFile {
    #[serde(default)]
    trials: Vec<TrialFile>,
}

#[derive(Deserialize)]
struct TrialFile {
    name: String,
    version: String,
    #[serde(default)]
    cases: Vec<CaseFile>,
}

#[derive(Deserialize)]
struct CaseFile {
    case: String,
    response: Option<String>,
    seen: Option<SeenFile>,
    lack: Option<String>,
    why: Option<String>,
}

#[derive(Deserialize)]
struct SeenFile {
    fired: u64,
    witnessed: u64,
    coalesced: Option<String>,
    confirmed: String,
    entries: u64,
    waiting: String,
    runs: u64,
}

/// Whether a text is meant to be a document, and not a serial log.
pub(super) fn is_one(text: &str) -> bool {
    let beginning: String = text.trim_start().chars().take(MARK_WITHIN).collect();
    beginning.starts_with('{') && beginning.contains(MARK)
}

/// Reads a document of a lab: every trial that has cases. Those on the simulator are left out, whose column is measured here.
pub(super) fn parse(text: &str) -> Result<Vec<Heard>, Found> {
    let malformed = |why: String| (None, LogErrorKind::Malformed(why));
    let located =
        |error: serde_json::Error| (Some(error.line()), LogErrorKind::Malformed(one_line(&error.to_string())));
    // Another schema is named, whatever else is missing from it.
    let value: Value = serde_json::from_str(text).map_err(located)?;
    let schema = value.get("schema").and_then(Value::as_str).unwrap_or_default();
    if schema != SCHEMA {
        return Err((None, LogErrorKind::NotALab { schema: schema.to_owned() }));
    }
    let lab: LabFile = serde_json::from_str(text).map_err(located)?;
    let mut all = Vec::new();
    for trial in lab.trials.into_iter().filter(|trial| !trial.cases.is_empty()) {
        let machine = trial.name.split('/').next().unwrap_or_default();
        let configuration = Configuration::from_name(machine)
            .ok_or_else(|| malformed(format!("`{machine}` is no machine of this version's lab")))?;
        if configuration.emulator != Emulator::Simulator {
            all.push(heard(configuration, trial)?);
        }
    }
    if all.is_empty() { Err((None, LogErrorKind::NoCases)) } else { Ok(all) }
}

fn heard(configuration: &Configuration, trial: TrialFile) -> Result<Heard, Found> {
    let place = configuration.place();
    let mut cases = Vec::new();
    for case in trial.cases {
        let one = shown(case).map_err(|kind| (None, kind))?;
        check(place.vendor, &one).map_err(|kind| (None, kind))?;
        cases.push(one);
    }
    Ok(Heard {
        rig: configuration.emulator.name().to_owned(),
        evidence: Evidence::Emulator,
        version: Some(trial.version),
        machine: Some(configuration.name.to_owned()),
        cpu_model: configuration.model.to_owned(),
        place,
        shown: cases,
    })
}

fn shown(file: CaseFile) -> Result<Shown, LogErrorKind> {
    let CaseFile { case, response, seen, lack, why } = file;
    let case = Case::from_name(&case).ok_or(LogErrorKind::UnknownCase(case))?;
    let why = why.unwrap_or_default();
    let came = match (response, lack) {
        (Some(name), _) => Came::Measured(Response::from_name(&name).ok_or(LogErrorKind::UnknownResponse(name))?),
        (None, Some(lack)) => Came::Lacks(lack, why),
        (None, None) => Came::Doubt(why),
    };
    let seen = seen.map(|seen| seen_of(case, &seen)).transpose()?;
    Ok(Shown { case, came, seen })
}

fn seen_of(case: Case, file: &SeenFile) -> Result<Seen, LogErrorKind> {
    let unknown = |name: &str| LogErrorKind::Malformed(format!("{case}: `{name}` is no word of this version"));
    let coalesced = file.coalesced.as_deref().map(|name| Coalescing::from_name(name).ok_or_else(|| unknown(name)));
    let &SeenFile { fired, witnessed, entries, runs, .. } = file;
    Ok(Seen {
        fired,
        witnessed,
        coalesced: coalesced.transpose()?,
        confirmed: Answer::from_name(&file.confirmed).ok_or_else(|| unknown(&file.confirmed))?,
        entries,
        waiting: Waiting::from_name(&file.waiting).ok_or_else(|| unknown(&file.waiting))?,
        runs,
    })
}
