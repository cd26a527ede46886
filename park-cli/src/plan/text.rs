//! What `park plan` shows to people.

use super::document::PlanDocument;
use super::groups::{groups, ranges};
use crate::exit::Failure;
use crate::output::Output;
use crate::paint::{Cell, Tone, wrap};
use crate::sim::words::way;
use cpu_park::core::Mechanism;
use std::collections::BTreeSet;

/// Most characters of a line of text, of a list of ids, and of a reason.
const TEXT_WIDTH: usize = 100;
const IDS_WIDTH: usize = 30;
const WHY_WIDTH: usize = 46;
/// Any width.
const FREE: usize = usize::MAX;
/// Microseconds of a millisecond.
const US_PER_MS: u32 = 1_000;

/// Prints a document.
///
/// # Errors
/// [`Failure::Output`].
pub fn print(document: &PlanDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    let machine = &document.machine;
    let topology = &machine.topology;
    let shape = topology.shape.as_ref().map_or_else(String::new, |shape| format!(", {shape}"));
    let threads = topology.threads;
    text(
        &format!(
            "Parking for {} on {} CPU{} ({}, signature {}{shape}).",
            document.situation,
            threads,
            if threads == 1 { "" } else { "s" },
            machine.vendor,
            machine.signature
        ),
        out,
    )?;
    let asked = &document.requirements;
    text(&format!("Required: {}.", list(&asked.require)), out)?;
    text(&format!("Preferred, the weightiest first: {}.", list(&asked.prefer)), out)?;
    if let Some(latency_us) = asked.latency_us {
        text(&format!("Awake again within: {latency_us} us."), out)?;
    }
    out.line("")?;
    if let Some(cpus) = &document.cpus {
        planned(document, cpus, out)?;
    }
    if document.lacking.is_some() {
        lacking(document, out)?;
    }
    for warning in &document.warnings {
        toned(&format!("Warning: {warning}."), Tone::Bad, out)?;
    }
    for note in &document.notes {
        text(&format!("Note: {note}."), out)?;
    }
    Ok(())
}

fn planned(document: &PlanDocument, cpus: &[super::document::PlannedCpu], out: &mut Output<'_>) -> Result<(), Failure> {
    let goes_on = document.goes_on.as_deref().unwrap_or_default();
    text(&format!("Goes on: APIC id {}.", ranges(goes_on)), out)?;
    if cpus.is_empty() {
        return text("Nobody is parked.", out);
    }
    text(&format!("Parked, in this order: {} of {} CPUs.", cpus.len(), cpus.len() + goes_on.len()), out)?;
    out.line("")?;
    let groups = groups(cpus);
    let rows: Vec<Vec<Cell>> = groups
        .iter()
        .map(|group| {
            vec![
                Cell::plain(ranges(&group.apic_ids)),
                Cell::plain(group.apic_ids.len().to_string()),
                Cell::new(group.mechanism, Tone::Good),
                Cell::plain(format!("{} ms", group.timeout_us.div_ceil(US_PER_MS))),
                Cell::plain(group.reason),
            ]
        })
        .collect();
    let head = ["APIC ids", "CPUs", "by", "wait at most", "because"];
    out.table(&head, &rows, &[IDS_WIDTH, FREE, FREE, FREE, WHY_WIDTH])?;
    out.line("")?;
    let chosen: BTreeSet<&str> = groups.iter().map(|group| group.mechanism).collect();
    for mechanism in chosen {
        text(&format!("By {mechanism}: {}.", way(mechanism)), out)?;
    }
    for other in document.passed_over.iter().flatten() {
        // On one kind of CPU the reason holds for all that are parked.
        let whom = if other.cpus as usize == cpus.len() { String::new() } else { format!(" ({} CPUs)", other.cpus) };
        text(&format!("Not {}{whom}: {}.", other.mechanism, other.why), out)?;
    }
    Ok(())
}

fn lacking(document: &PlanDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    let (Some(lacking), Some(on)) = (&document.lacking, document.lacking_on) else { return Ok(()) };
    let who = if on.bootstrap { "the bootstrap processor, " } else { "" };
    let more = match on.cpus {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    toned(&format!("There is no plan: no mechanism will do for {who}APIC id {}{more}.", on.apic_id), Tone::Bad, out)?;
    out.line("")?;
    let obstacles = document.obstacles.clone().unwrap_or_default();
    let rows: Vec<Vec<Cell>> = Mechanism::ALL
        .into_iter()
        .map(Mechanism::name)
        .map(|name| {
            let missing = lacking.get(name).map(Vec::as_slice).unwrap_or_default();
            let obstacle = obstacles.get(name).map_or("", String::as_str);
            vec![Cell::plain(name), Cell::plain(list(missing)), Cell::plain(obstacle)]
        })
        .collect();
    out.table(&["mechanism", "lacks", "and besides"], &rows, &[FREE, WHY_WIDTH, WHY_WIDTH])?;
    out.line("")
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn text(words: &str, out: &mut Output<'_>) -> Result<(), Failure> {
    toned(words, Tone::Plain, out)
}

fn toned(words: &str, tone: Tone, out: &mut Output<'_>) -> Result<(), Failure> {
    wrap(words, TEXT_WIDTH).iter().try_for_each(|line| out.toned(line, tone))
}
