//! A fresh matrix beside one that was kept: `docs/matrix.json` and `docs/matrix.html`.

use super::document::MatrixDocument;
use super::html;
use crate::exit::{Exit, Failure};
use crate::input::{one_line, read_text};
use crate::output::Output;
use crate::paint::Tone;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// The kept document's name, and its page's.
const DOCUMENT: &str = "matrix.json";
const PAGE: &str = "matrix.html";
/// Bytes of the longest of the two.
const BYTES_MAX: u64 = 16 << 20;

/// What is other than it was.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Differences {
    /// Each in one sentence: these fail.
    pub found: Vec<String>,
    /// What is worth knowing, and fails nothing: versions of emulators.
    pub told: Vec<String>,
}

/// Compares with what `folder` keeps, and prints what differs.
///
/// # Errors
/// [`Failure::Input`] if a file is missing or is none of its kind; [`Failure::Output`].
pub fn print(document: &MatrixDocument, folder: &Path, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let path = folder.join(DOCUMENT);
    let kept: Value = serde_json::from_str(&read_text(&path, BYTES_MAX, "a document")?)
        .map_err(|error| Failure::Input(format!("{}: {}", path.display(), one_line(&error.to_string()))))?;
    let mut differences =
        compare(document, &kept).map_err(|why| Failure::Input(format!("{}: {why}", path.display())))?;
    let page = folder.join(PAGE);
    if differences.found.is_empty()
        && read_text(&page, BYTES_MAX, "a page")? != html::page(&with_versions(document, &kept))
    {
        differences.found.push(format!("{} is not the page of {DOCUMENT}", page.display()));
    }
    for sentence in &differences.told {
        out.line(sentence)?;
    }
    for sentence in &differences.found {
        out.toned(sentence, Tone::Bad)?;
    }
    let count = differences.found.len();
    let (told, tone) = match count {
        0 => ("nothing differs".to_owned(), Tone::Good),
        1 => ("1 difference".to_owned(), Tone::Bad),
        _ => (format!("{count} differences"), Tone::Bad),
    };
    out.toned(&format!("{} and {PAGE}: {told}", path.display()), tone)?;
    Ok(if count == 0 { document.exit() } else { Exit::Unexpected })
}

/// The document as it would be with the versions of emulators that the kept one has.
fn with_versions(document: &MatrixDocument, kept: &Value) -> MatrixDocument {
    let mut document = document.clone();
    for rig in &mut document.rigs {
        rig.version = version(kept, &rig.name).map(str::to_owned);
    }
    document
}

fn rig<'k>(kept: &'k Value, name: &str) -> Option<&'k Value> {
    kept["rigs"].as_array()?.iter().find(|rig| rig["name"] == name)
}

fn version<'k>(kept: &'k Value, name: &str) -> Option<&'k str> {
    rig(kept, name)?["version"].as_str()
}

/// What a fresh document has otherwise than a kept one.
///
/// # Errors
/// Why the kept one is no document of this kind.
pub fn compare(document: &MatrixDocument, kept: &Value) -> Result<Differences, String> {
    if kept["schema"] != document.schema {
        return Err(format!("is not a document of schema {}", document.schema));
    }
    let mut differences = Differences::default();
    for fresh in &document.rigs {
        let known = version(kept, &fresh.name);
        if rig(kept, &fresh.name).is_some() && known != fresh.version.as_deref() {
            let of = |version: Option<&str>| version.unwrap_or("none").to_owned();
            let (was, is) = (of(known), of(fresh.version.as_deref()));
            differences.told.push(format!("{} is version {is}, and was {was}", fresh.name));
        }
    }
    let fresh = serde_json::to_value(with_versions(document, kept)).map_err(|error| error.to_string())?;
    let (was, is) = (cells(kept), cells(&fresh));
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for name in names {
        differences.found.extend(cell(name, was.get(name).copied(), is.get(name).copied()));
    }
    if differences.found.is_empty() && fresh != *kept {
        let parts = ["rigs", "agrees", "vendors"].into_iter().filter(|part| fresh[part] != kept[part]);
        let parts: Vec<&str> = parts.collect();
        differences.found.push(format!("what it says of `{}` is other than it was", parts.join("`, `")));
    }
    Ok(differences)
}

/// All cells by name.
fn cells(document: &Value) -> std::collections::BTreeMap<String, &Value> {
    let vendors = document["vendors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_vendor = |vendor: &'_ Value| vendor["vendor"].as_str().unwrap_or("?").to_owned();
    let all = vendors.iter().flat_map(|vendor| {
        let cells = vendor["cells"].as_array().map(Vec::as_slice).unwrap_or_default();
        cells.iter().map(move |cell| (of_vendor(vendor), cell))
    });
    let word = |cell: &Value, key: &str| cell[key].as_str().unwrap_or("?").to_owned();
    all.map(|(vendor, cell)| (format!("{vendor} {}/{}", word(cell, "mechanism"), word(cell, "event")), cell)).collect()
}

/// What is other in one cell: rig by rig where verdicts differ.
fn cell(name: &str, was: Option<&Value>, is: Option<&Value>) -> Vec<String> {
    let (Some(was), Some(is)) = (was, is) else {
        let there = if is.is_some() { "is new" } else { "is gone" };
        return vec![format!("{name} {there}")];
    };
    let mut found = Vec::new();
    let rigs = |value: &Value| -> BTreeSet<String> {
        let all = [&value["measured"], &value["not_shown"]].into_iter().filter_map(Value::as_array).flatten();
        all.filter_map(|one| one["rig"].as_str()).map(str::to_owned).collect()
    };
    for rig in rigs(was).union(&rigs(is)) {
        let (old, new) = (of_rig(was, rig), of_rig(is, rig));
        if old != new {
            found.push(format!("{name}, {rig}: {}, and was {}", told(&new), told(&old)));
        }
    }
    if found.is_empty() && was != is {
        let keys = is.as_object().into_iter().flat_map(serde_json::Map::keys);
        let keys: Vec<&str> = keys.filter(|key| was[key.as_str()] != is[key.as_str()]).map(String::as_str).collect();
        found.push(format!("{name}: `{}` is other than it was", keys.join("`, `")));
    }
    found
}

/// All that one rig says of a cell.
fn of_rig<'v>(cell: &'v Value, rig: &str) -> Vec<&'v Value> {
    let all = [&cell["measured"], &cell["not_shown"]].into_iter().filter_map(Value::as_array).flatten();
    all.filter(|one| one["rig"] == rig).collect()
}

/// What a rig says, in a few words.
fn told(all: &[&Value]) -> String {
    let one = |value: &Value| {
        let word = |key: &str| value[key].as_str().map(str::to_owned);
        let what = word("verdict").or_else(|| word("lack")).unwrap_or_default();
        let machines = value["machines"].as_array().map(Vec::as_slice).unwrap_or_default();
        let machines: Vec<&str> = machines.iter().filter_map(Value::as_str).collect();
        let knobs = value["knobs"].as_object().into_iter().flatten();
        let knobs = knobs.map(|(knob, value)| format!("{knob}={}", value.as_str().unwrap_or_default()));
        let when: Vec<String> = machines.into_iter().map(str::to_owned).chain(knobs).collect();
        if when.is_empty() { what } else { format!("{what} ({})", when.join(", ")) }
    };
    if all.is_empty() {
        "nothing".to_owned()
    } else {
        all.iter().map(|value| one(value)).collect::<Vec<_>>().join("; ")
    }
}
