//! What `park lab` shows to people: progress on standard error, results on standard output.

use super::document::{LabDocument, TrialDocument};
use crate::exit::Failure;
use crate::output::Output;
use crate::paint::{Cell, Tone};
use park_lab::lab::{Outcome, Report};
use park_lab::sweep::{self, Steps};
use park_lab::trial::{SWEEP, Trial};
use std::collections::BTreeSet;
use std::io::Write;

/// Any width.
const FREE: usize = usize::MAX;
/// Most characters of a reason.
const WHY_WIDTH: usize = 90;

/// Tells that a trial begins.
pub fn begins(number: usize, of: usize, trial: &Trial) {
    told(&format!("park: {number} of {of}: {}, at most {} s", trial.name(), trial.limit.as_secs()));
}

/// Tells how a trial ended; after a failure, where to look and how to run it again.
pub fn ends(report: &Report) {
    let (name, seconds) = (report.trial.name(), report.took.as_secs_f64());
    let Outcome::Failed(flaw) = &report.outcome else {
        let shown = (report.trial.test == SWEEP)
            .then(|| sweep::shown(&report.lines, Steps::on(report.trial.configuration)).ok())
            .flatten();
        let shown = shown.map_or_else(String::new, |shown| format!(": {shown}"));
        told(&format!("park: {name} passed in {seconds:.1} s{shown}"));
        return;
    };
    told(&format!("park: {name} FAILED after {seconds:.1} s: {flaw}; its last lines:"));
    report.tail().into_iter().for_each(|line| told(&format!("  {line}")));
    if let Some(folder) = &report.folder {
        told(&format!("park: what it saw: {}", folder.display()));
    }
    told(&format!("park: again: {}", report.reproducer()));
}

fn told(line: &str) {
    // If nobody hears it, the document still has it.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints the trials that there are.
///
/// # Errors
/// [`Failure::Output`].
pub fn list(trials: &[Trial], out: &mut Output<'_>) -> Result<(), Failure> {
    let rows: Vec<Vec<Cell>> = trials
        .iter()
        .map(|trial| {
            let configuration = trial.configuration;
            vec![
                Cell::new(trial.name(), Tone::Plain),
                Cell::new(configuration.model, Tone::Plain),
                Cell::new(configuration.cpus.to_string(), Tone::Plain),
                Cell::new(trial.command_line(), Tone::Faint),
            ]
        })
        .collect();
    out.table(&["trial", "CPU model", "CPUs", "command line"], &rows, &[FREE, FREE, FREE, FREE])
}

/// Prints a document.
///
/// # Errors
/// [`Failure::Output`].
pub fn print(document: &LabDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    for emulator in &document.emulators {
        out.line(&format!("{} {}", emulator.name, emulator.version))?;
    }
    let rows: Vec<Vec<Cell>> = document.trials.iter().map(row).collect();
    out.table(&["trial", "result", "seconds", ""], &rows, &[FREE, FREE, FREE, WHY_WIDTH])?;
    out.line("")?;
    let tone = if document.failed == 0 { Tone::Good } else { Tone::Bad };
    out.toned(&format!("{} passed, {} failed", document.passed, document.failed), tone)
}

/// How many conformance cases stand how; empty if there are none.
fn standings(trial: &TrialDocument) -> String {
    let cases_of = |standing: &str| {
        let of = trial.cases.iter().filter(|case| case.standing == standing).map(|case| case.case.as_str());
        of.collect::<BTreeSet<_>>().len()
    };
    match [cases_of("claimed"), cases_of("deviates"), cases_of("lacks")] {
        [0, 0, 0] => String::new(),
        [claimed, deviates, lacks] => {
            format!("cases: {claimed} as claimed, {deviates} named deviations, {lacks} not shown")
        }
    }
}

fn row(trial: &TrialDocument) -> Vec<Cell> {
    let (word, tone) = if trial.passed { ("passed", Tone::Good) } else { ("FAILED", Tone::Bad) };
    let tally = trial.tally.map(|tally| {
        format!(
            "parked {}, fired {}, witnessed {}, lost {}, declared {}, faulted {}",
            tally.parked, tally.fired, tally.witnessed, tally.lost, tally.declared, tally.faulted
        )
    });
    let remark = trial.why.clone().or(tally).unwrap_or_else(|| standings(trial));
    let tenths = (trial.took_ms + 50) / 100;
    vec![
        Cell::new(trial.name.clone(), Tone::Plain),
        Cell::new(word, tone),
        Cell::new(format!("{}.{}", tenths / 10, tenths % 10), Tone::Plain),
        Cell::new(remark, Tone::Plain),
    ]
}
