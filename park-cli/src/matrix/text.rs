//! The matrix on a terminal.

use super::column::{Evidence, MatrixVendor, Measured};
use super::document::{CellDocument, MatrixDocument, RigDocument, Status, VendorDocument};
use super::told::told;
use super::words::{DEVIATES, Gravity, claimed_in_short, conclusion, condition_text, told_line};
use crate::exit::Failure;
use crate::output::Output;
use crate::paint::{Cell, Tone};
use std::path::Path;

/// Widths of the overview's columns: an event, then mechanisms.
const OVERVIEW_WIDTHS: [usize; 5] = [16, 18, 18, 18, 18];
/// Widths of the details' columns: event, claim, each rig, status, source.
const EVENT_WIDTH: usize = 15;
const CLAIM_WIDTH: usize = 20;
const RIG_WIDTH: usize = 30;
/// Where there are several rigs.
const NARROW_RIG_WIDTH: usize = 21;
const STATUS_WIDTH: usize = 12;
const SOURCE_WIDTH: usize = 50;

/// How to read the details.
const LEGEND: [&str; 2] = [
    "Each claim with its source, beside what was measured for every value of every knob that a run asked for. Where not",
    "all verdicts are the same, the knobs that decide are named (docs/rules.md). bsp: the bootstrap processor; ap: any other.",
];

/// Prints the whole matrix.
///
/// # Errors
/// [`Failure::Output`].
pub fn print(document: &MatrixDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    for vendor in &document.vendors {
        print_overview(vendor, out)?;
        out.line("")?;
    }
    for line in LEGEND {
        out.line(line)?;
    }
    for rig in document.rigs.iter().filter(|rig| rig.evidence != Evidence::Simulator) {
        out.line(&rig_line(rig))?;
    }
    let rigs: Vec<&str> = document.rigs.iter().map(|rig| rig.name.as_str()).collect();
    let head: Vec<&str> = ["event", "claimed"].into_iter().chain(rigs.clone()).chain(["status", "source"]).collect();
    let mut widths = vec![EVENT_WIDTH, CLAIM_WIDTH];
    let rig_width = if rigs.len() > 1 { NARROW_RIG_WIDTH } else { RIG_WIDTH };
    widths.extend(rigs.iter().map(|_| rig_width));
    widths.extend([STATUS_WIDTH, SOURCE_WIDTH]);
    for vendor in &document.vendors {
        for mechanism in &vendor.mechanisms {
            out.line("")?;
            out.toned(&format!("{}: {mechanism}", title(vendor)), Tone::Strong)?;
            let cells = vendor.cells.iter().filter(|cell| cell.mechanism == *mechanism);
            let rows: Vec<Vec<Cell>> = cells.flat_map(|cell| rows(cell, &rigs)).collect();
            out.table(&head, &rows, &widths)?;
        }
    }
    out.line("")?;
    for note in notes(document) {
        out.line(&format!("* {note}."))?;
    }
    print_conclusion(document, out)
}

/// Prints what came of it, where a page holds the rest.
///
/// # Errors
/// [`Failure::Output`].
pub fn print_summary(document: &MatrixDocument, page: &Path, out: &mut Output<'_>) -> Result<(), Failure> {
    out.line(&format!("{} is written.", page.display()))?;
    print_conclusion(document, out)
}

/// A rig with its version and machines.
fn rig_line(rig: &RigDocument) -> String {
    let version = rig.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let machines: Vec<&str> = rig.machines.iter().map(|machine| machine.name.as_str()).collect();
    let machines = if machines.is_empty() { String::new() } else { format!(": {}", machines.join(", ")) };
    let deviates = if rig.evidence == Evidence::Emulator {
        format!(" ({DEVIATES}: docs/deviations.md says why)")
    } else {
        String::new()
    };
    format!("{}{version}{machines}{deviates}", rig.name)
}

/// Every note, once.
fn notes(document: &MatrixDocument) -> Vec<&'static str> {
    let mut notes: Vec<&str> =
        document.cells().flat_map(|cell| &cell.measured).filter_map(|measured| measured.note).collect();
    notes.sort_unstable();
    notes.dedup();
    notes
}

fn print_conclusion(document: &MatrixDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    for cell in document.cells() {
        for sentence in &cell.disagreements {
            out.toned(sentence, Tone::Bad)?;
        }
    }
    for sentence in conclusion(document) {
        out.toned(&sentence, if document.agrees { Tone::Plain } else { Tone::Bad })?;
    }
    Ok(())
}

fn title(vendor: &VendorDocument) -> &'static str {
    MatrixVendor::from_name(vendor.vendor).map_or("", MatrixVendor::title)
}

fn print_overview(vendor: &VendorDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    out.toned(&format!("{}: what an event does to a CPU that waits by …", title(vendor)), Tone::Strong)?;
    let head: Vec<&str> = core::iter::once("event").chain(vendor.mechanisms.iter().copied()).collect();
    let mut rows = Vec::new();
    for event in &vendor.events {
        let mut row = vec![Cell::plain(*event)];
        for mechanism in &vendor.mechanisms {
            row.push(vendor.cell(mechanism, event).map_or_else(|| Cell::plain("-"), overview));
        }
        rows.push(row);
    }
    out.table(&head, &rows, &OVERVIEW_WIDTHS)
}

fn overview(cell: &CellDocument) -> Cell {
    let tone = if cell.status == Status::Contradicted { Tone::Bad } else { worst(cell) };
    Cell::new(claimed_in_short(cell), tone)
}

/// The tone of the gravest claim.
fn worst(cell: &CellDocument) -> Tone {
    match cell.claims.iter().map(|claim| Gravity::of(claim.response)).max() {
        Some(Gravity::Lost) => Tone::Bad,
        Some(Gravity::Parked) => Tone::Good,
        _ => Tone::Plain,
    }
}

/// A row for each claim, with the verdicts that are what it says; what nothing claims goes with the last.
fn rows(cell: &CellDocument, rigs: &[&str]) -> Vec<Vec<Cell>> {
    let tone = if cell.status == Status::Contradicted { Tone::Bad } else { Tone::Plain };
    let count = cell.claims.len().max(1);
    let claims_it =
        |index: &usize, verdict: &str| cell.claims.get(*index).is_some_and(|claim| claim.response == verdict);
    let row_of = |verdict: &str| (0..count).find(|index| claims_it(index, verdict)).unwrap_or(count - 1);
    let verdicts = |row: usize, rig: &str| {
        let measured: Vec<&Measured> = cell.measured.iter().filter(|measured| measured.rig == rig).collect();
        let beside = told(&measured).into_iter().filter(|told| row_of(&told.verdict) == row);
        beside.map(|told| told_line(&told)).collect::<Vec<_>>().join("; ")
    };
    let mut rows = Vec::new();
    for index in 0..count {
        let once = |text: &str| if index == 0 { text.to_owned() } else { String::new() };
        let (claimed, source) = cell.claims.get(index).map_or((String::from("nothing"), ""), |claim| {
            let condition = condition_text(claim.condition);
            let when = if condition.is_empty() { String::new() } else { format!(", {condition}") };
            (format!("{}{when}", claim.response), claim.source)
        });
        let mut row = vec![Cell::plain(once(cell.event)), Cell::plain(claimed)];
        row.extend(rigs.iter().map(|rig| Cell::new(verdicts(index, rig), tone)));
        row.extend([Cell::new(once(cell.status.name()), tone), Cell::new(source, Tone::Faint)]);
        rows.push(row);
    }
    rows
}
