//! What `park sim` shows to people.

use crate::exit::Failure;
use crate::output::Output;
use crate::paint::{Cell, Tone};
use crate::sim::document::{RunDocument, SimDocument, TRACE_RECORDS};
use crate::sim::words::{fate, is_well};
use park_sim::scenario::{CpuReport, Outcome};

/// Most characters of the column that says what became of a CPU.
const FATE_WIDTH: usize = 76;
/// Most characters of the column that says what --knob chose.
const KNOBS_WIDTH: usize = 40;
/// Any width.
const FREE: usize = usize::MAX;

/// Prints a document.
///
/// # Errors
/// [`Failure::Output`].
pub fn print(document: &SimDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    let runs = if document.runs.is_empty() { core::slice::from_ref(&document.run) } else { &document.runs };
    for run in runs {
        print_trace(run, out)?;
    }
    out.toned(&format!("{} (seed {})", document.scenario, document.seed), Tone::Strong)?;
    out.line(&document.summary)?;
    let changes = document.changes();
    if !changes.is_empty() {
        out.line(&format!("Changed: {}.", changes.join("; ")))?;
    }
    out.line("")?;
    if document.runs.is_empty() {
        print_run(document, out)?
    } else {
        print_runs(document, out)?
    }
    if let (Some((deadly, remedy)), None, None) = (document.way_out, document.without, document.mechanism) {
        out.line("")?;
        out.line(&format!("Safe with either: --without {deadly}, or --mechanism {remedy}."))?;
    }
    Ok(())
}

fn print_trace(run: &RunDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    let Some(trace) = &run.trace else { return Ok(()) };
    if !run.chosen.is_empty() {
        let chosen: Vec<String> = run.chosen.iter().map(|(name, value)| format!("{name}={value}")).collect();
        out.toned(&chosen.join(" "), Tone::Strong)?;
    }
    let head = if trace.len() >= TRACE_RECORDS { "its last records" } else { "all of it" };
    out.toned(&format!("The run, {head}: step of the machine, CPU, RIP, what happened"), Tone::Strong)?;
    trace.iter().try_for_each(|line| out.line(line))?;
    out.line("")
}

/// `SAFE` or `LOST`, and whether that is a surprise.
pub(crate) fn verdict(document: &SimDocument, run: &RunDocument) -> (String, Tone) {
    let word = match run.outcome {
        Outcome::Safe => "SAFE",
        Outcome::Lost => "LOST",
    };
    let stated_lost = document.way_out.is_some() && document.without.is_none() && document.mechanism.is_none();
    if run.expected {
        (format!("{word}, as expected."), Tone::Good)
    } else if stated_lost && run.outcome == Outcome::Lost {
        ("LOST, but CPUs end in another way than the scenario expects.".to_owned(), Tone::Bad)
    } else {
        (format!("{word}, which is NOT what is expected here."), Tone::Bad)
    }
}

/// What is wrong where nothing else is.
const OTHER_ENDS: &str = "CPUs end in another way than the scenario says";

/// What first went wrong: a CPU that is lost, or a step that came to something else.
fn first_wrong(run: &RunDocument) -> String {
    if run.outcome == Outcome::Safe {
        let declared: Vec<&str> = run.declared.iter().map(|declared| declared.name()).collect();
        return if declared.is_empty() { "-".to_owned() } else { format!("declared: {}", declared.join(", ")) };
    }
    if let Some(cpu) = run.cpus.iter().find(|cpu| !is_well(cpu)) {
        return format!("CPU {}: {}", cpu.cpu, fate(cpu));
    }
    run.failures.first().map_or_else(|| OTHER_ENDS.to_owned(), |failure| format!("{}: {}", failure.place, failure.what))
}

fn print_run(document: &SimDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    let run = &document.run;
    let row = |cpu: &CpuReport| {
        let parked_by = if cpu.mechanism == "none" { "-" } else { &cpu.mechanism };
        let tone = if is_well(cpu) { Tone::Good } else { Tone::Bad };
        vec![
            Cell::plain(cpu.cpu.to_string()),
            Cell::plain(cpu.apic_id.to_string()),
            Cell::plain(parked_by),
            Cell::new(fate(cpu), tone),
        ]
    };
    let rows: Vec<Vec<Cell>> = run.cpus.iter().map(row).collect();
    out.table(&["CPU", "APIC id", "parked by", "what became of it"], &rows, &[FREE, FREE, FREE, FATE_WIDTH])?;
    out.line("")?;
    for failure in &run.failures {
        out.line(&format!("{}: {}", failure.place, failure.what))?;
    }
    for declared in &run.declared {
        out.line(&format!("The mechanism says beforehand that this can happen: {declared}."))?;
    }
    let (text, tone) = verdict(document, run);
    out.toned(&text, tone)?;
    let knobs: Vec<String> = run.knobs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !knobs.is_empty() {
        let text = format!("Undocumented cells that the run asked for: {}.", knobs.join(" "));
        out.toned(&text, Tone::Faint)?;
    }
    Ok(())
}

fn print_runs(document: &SimDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    let row = |run: &RunDocument| {
        let chosen: Vec<String> = run.chosen.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let chosen = if chosen.is_empty() { "as usual".to_owned() } else { chosen.join(" ") };
        let (tone, expected) = if run.expected { (Tone::Good, "yes") } else { (Tone::Bad, "NO") };
        vec![
            Cell::plain(chosen),
            Cell::new(run.outcome.name(), tone),
            Cell::new(expected, tone),
            Cell::plain(first_wrong(run)),
        ]
    };
    let rows: Vec<Vec<Cell>> = document.runs.iter().map(row).collect();
    out.table(
        &["knobs", "outcome", "expected", "what first went wrong"],
        &rows,
        &[KNOBS_WIDTH, FREE, FREE, FATE_WIDTH],
    )?;
    out.line("")?;
    let surprises = document.runs.iter().filter(|run| !run.expected).count();
    let runs = document.runs.len();
    match surprises {
        0 => out.toned(&format!("All {runs} runs end as expected."), Tone::Good),
        _ => out.toned(&format!("{surprises} of {runs} runs do NOT end as expected."), Tone::Bad),
    }
}
