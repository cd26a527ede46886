//! The simulator's column: every cell measured by executing the bytes, for every value of every knob that a run consults.

use super::column::{CellResult, Column, Evidence, MatrixVendor, Measured};
use crate::exit::Failure;
use core::sync::atomic::{AtomicUsize, Ordering};
use park_core::op::Processor;
use park_core::{Claim, Event, Mechanism, Response};
use park_lab::simulated::orders;
use park_sim::compare::{Row, Table, Verdict, cases};
use park_sim::machine::Vendor;
use park_sim::world::WorldError;
use std::thread;

/// The rig's name.
pub const RIG: &str = "simulator";
/// Threads that measure.
const THREADS: usize = 2;
/// Sentences about one cell, at most; one cell may disagree in hundreds of runs.
const DISAGREEMENTS_MAX: usize = 3;

/// The verdict of a run in which MWAIT does not hold the CPU.
pub(super) const LAPS_ANYWAY: &str =
    "MWAIT does not hold this CPU: it laps all the time, and no event can be seen to end a wait";

/// One piece of work: what is measured in one go.
type Part = (MatrixVendor, Mechanism, Processor);

/// Measures every cell of these vendors, in a few seconds, and compares with what their crates claim.
///
/// # Errors
/// [`Failure::Run`] where a CPU can't even be parked.
pub fn measure(vendors: &[MatrixVendor]) -> Result<Column, Failure> {
    let tables = tables(vendors).map_err(|error| Failure::Run(format!("the simulator can't measure: {error}")))?;
    let results = tables.iter().flat_map(|(vendor, table)| results(*vendor, table, vendor.claims())).collect();
    Ok(column(results))
}

/// The simulator's column of these results.
#[must_use]
pub fn column(results: Vec<CellResult>) -> Column {
    Column { rig: RIG.to_owned(), evidence: Evidence::Simulator, version: None, machines: Vec::new(), results }
}

/// A table for each vendor.
///
/// # Errors
/// [`WorldError`] where a CPU can't even be parked.
pub fn tables(vendors: &[MatrixVendor]) -> Result<Vec<(MatrixVendor, Table)>, WorldError> {
    let of_vendor = |vendor| Table::parts().map(move |(mechanism, processor)| (vendor, mechanism, processor));
    let parts: Vec<Part> = vendors.iter().copied().flat_map(of_vendor).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        // Only the number is shared: which part comes next.
        while let Some((index, part)) = take(&parts, next.fetch_add(1, Ordering::Relaxed)) {
            done.push((index, measure_part(part)));
        }
        done
    };
    let mut measured: Vec<(usize, Result<Table, WorldError>)> = thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            match other.join() {
                Ok(done) => all.extend(done),
                // A panic is a bug, and goes on where it is seen.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    measured.sort_by_key(|(index, _)| *index);
    let mut tables: Vec<(MatrixVendor, Table)> = vendors.iter().map(|vendor| (*vendor, Table::default())).collect();
    for ((_, table), (vendor, ..)) in measured.into_iter().zip(&parts) {
        let table = table?;
        if let Some((_, all)) = tables.iter_mut().find(|(of, _)| of == vendor) {
            all.append(table);
        }
    }
    Ok(tables)
}

fn take(parts: &[Part], index: usize) -> Option<(usize, Part)> {
    parts.get(index).map(|part| (index, *part))
}

fn measure_part((vendor, mechanism, processor): Part) -> Result<Table, WorldError> {
    let vendor = match vendor {
        MatrixVendor::Intel => Vendor::Intel,
        MatrixVendor::Amd => Vendor::Amd,
    };
    Table::measure_part(vendor, mechanism, processor, &orders)
}

/// What a table says about each cell, beside `claims`.
#[must_use]
pub fn results(vendor: MatrixVendor, table: &Table, claims: &[Claim]) -> Vec<CellResult> {
    let mismatches = table.compare(claims);
    let mut results = Vec::new();
    for mechanism in Mechanism::ALL {
        for event in Event::ALL {
            let of_cell = |row: &&Row| row.cell().mechanism == mechanism && row.cell().event == event;
            let rows: Vec<&Row> = table.rows().iter().filter(of_cell).collect();
            let wrong = mismatches.iter().filter(|mismatch| mismatch.mechanism == mechanism && mismatch.event == event);
            let wrong: Vec<String> = wrong.map(ToString::to_string).collect();
            if rows.is_empty() && wrong.is_empty() {
                continue;
            }
            let mut measured = Vec::new();
            for processor in [Processor::Application, Processor::Bootstrap] {
                let rows: Vec<&Row> = rows.iter().copied().filter(|row| row.cell().processor == processor).collect();
                for group in groups(&rows, processor, claims) {
                    merge(&mut measured, group);
                }
            }
            results.push(CellResult {
                vendor,
                mechanism,
                event,
                measured,
                not_shown: Vec::new(),
                runs: rows.len(),
                varied: varied(&rows),
                disagreements: shortened(wrong),
            });
        }
    }
    results
}

/// All knobs that the runs consulted.
fn varied(rows: &[&Row]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> =
        rows.iter().flat_map(|row| row.consulted().iter()).map(|knob| knob.name()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The first few sentences, and how many more there would be.
fn shortened(mut sentences: Vec<String>) -> Vec<String> {
    let more = sentences.len().saturating_sub(DISAGREEMENTS_MAX);
    sentences.truncate(DISAGREEMENTS_MAX);
    if more != 0 {
        sentences.push(format!("and {more} more runs like these"));
    }
    sentences
}

/// The runs of one cell on one kind of CPU, by the values of the knobs that decide.
fn groups(rows: &[&Row], processor: Processor, claims: &[Claim]) -> Vec<Measured> {
    let processor = match processor {
        Processor::Application => "ap",
        Processor::Bootstrap => "bsp",
    };
    let told = cases(rows).into_iter().filter_map(|case| {
        let verdict = case.rows.first()?.verdict().to_string();
        Some(Measured {
            rig: RIG.to_owned(),
            machines: Vec::new(),
            processors: vec![processor],
            verdict,
            knobs: case.knobs.iter().map(|(knob, value)| (knob.name(), *value)).collect(),
            runs: case.rows.len(),
            agrees: case.rows.iter().all(|row| row.disagreement(claims).is_none()),
            deviation: None,
            note: case.rows.iter().all(|row| laps_in_vain(row)).then_some(LAPS_ANYWAY),
        })
    });
    told.collect()
}

fn laps_in_vain(row: &Row) -> bool {
    row.laps_anyway() && *row.verdict() == Verdict::Response(Response::Unnoticed)
}

/// Adds what was measured on one kind of CPU, to what was measured on another kind if it is the same.
fn merge(all: &mut Vec<Measured>, more: Measured) {
    let same = |one: &&mut Measured| {
        one.verdict == more.verdict && one.knobs == more.knobs && one.agrees == more.agrees && one.note == more.note
    };
    match all.iter_mut().find(same) {
        Some(one) => {
            one.runs += more.runs;
            one.processors.extend(more.processors);
        }
        None => all.push(more),
    }
}
