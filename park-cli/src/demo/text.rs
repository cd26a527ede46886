//! What `park demo` shows to people who never heard of park.

use crate::demo::document::{DemoDocument, by_mechanism};
use crate::exit::Failure;
use crate::machine::{CountSource, Origin};
use crate::output::Output;
use crate::paint::{Cell, Tone, counted, wrap};
use crate::sim::words::{fate, is_well, way};
use crate::survey::document::SurveyDocument;
use park_sim::scenario::CpuReport;

/// Most characters of a line of text, and of each of the two columns.
const TEXT_WIDTH: usize = 100;
const FATE_WIDTH: usize = 42;
/// Any width.
const FREE: usize = usize::MAX;

/// Prints a document.
///
/// # Errors
/// [`Failure::Output`].
pub fn print(document: &DemoDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    let machine = &document.machine;
    text("park takes x86 CPUs away from a kernel and holds them where a kexec can't hurt them: an example.", out)?;
    out.line("")?;
    text(&format!("{}: {}", heading(document.survey.origin), describe(&document.survey)), out)?;
    match &machine.example_because {
        Some(why) => {
            let vendor = machine.vendor.title();
            text(&format!("Shown is an EXAMPLE of {} {vendor} CPUs, because {why}.", machine.cpus), out)?;
        }
        None => text(&format!("Shown is its likeness in park's simulator: {} CPUs.", machine.cpus), out)?,
    }
    for note in &machine.notes {
        text(&format!("Note: {note}."), out)?;
    }
    out.line("")?;
    out.line("What happens, both times, to simulated CPUs that execute the bytes that real ones would:")?;
    for (number, event) in (1..).zip(&document.events) {
        text(&format!("  {number}. {event}"), out)?;
    }
    out.line("")?;
    text(&format!("Linux's way is {}.", way(machine.linux)), out)?;
    let groups = by_mechanism(machine);
    let planned = machine.plan.cpus.as_deref().unwrap_or_default();
    for mechanism in groups.keys() {
        let reason = planned.iter().find(|cpu| cpu.mechanism == *mechanism).map_or("", |cpu| &cpu.reason);
        text(&format!("park's way is {}; planned because {reason}.", way(mechanism)), out)?;
    }
    for other in machine.plan.passed_over.iter().flatten() {
        text(&format!("Not {}: {}.", other.mechanism, other.why), out)?;
    }
    out.line("")?;
    let by_linux = format!("parked Linux's way ({})", machine.linux);
    let by_park = format!("parked by park ({})", groups.keys().copied().collect::<Vec<_>>().join(", "));
    let rows: Vec<Vec<Cell>> = document.linux.run.cpus.iter().zip(&document.park.run.cpus).map(row).collect();
    out.table(&["CPU", &by_linux, &by_park], &rows, &[FREE, FATE_WIDTH, FATE_WIDTH])?;
    out.line("")?;
    conclusion(document, out)
}

fn text(words: &str, out: &mut Output<'_>) -> Result<(), Failure> {
    let indent = words.len() - words.trim_start().len();
    let lines = wrap(words, TEXT_WIDTH - indent);
    lines.iter().try_for_each(|line| out.line(&format!("{:indent$}{line}", "")))
}

fn describe(survey: &SurveyDocument) -> String {
    let package = if survey.logical_cpus_source == CountSource::TopologyLeaves { " in a package" } else { "" };
    let cpus = format!("{}{package}", counted(survey.logical_cpus, "CPU"));
    let offered: Vec<&str> = survey.mechanisms.iter().filter(|one| one.available).map(|one| one.name).collect();
    let offered =
        if offered.is_empty() { "no way to park".to_owned() } else { format!("can park by {}", offered.join(", ")) };
    let mut text = format!("{} family {:x}h model {:x}h, {cpus}", survey.maker, survey.family, survey.model);
    if survey.hypervisor {
        text.push_str(", a virtual machine");
    }
    format!("{text}; {offered}.")
}

fn row((linux, park): (&CpuReport, &CpuReport)) -> Vec<Cell> {
    let cell = |cpu: &CpuReport| {
        let tone = if is_well(cpu) { Tone::Good } else { Tone::Bad };
        let boss = cpu.cpu == 0 && cpu.mechanism == "none";
        Cell::new(if boss { "(runs the kernel)".to_owned() } else { fate(cpu) }, if boss { Tone::Plain } else { tone })
    };
    vec![Cell::plain(linux.cpu.to_string()), cell(linux), cell(park)]
}

fn conclusion(document: &DemoDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    let of = |cpus: &[CpuReport]| {
        let parked: Vec<&CpuReport> = cpus.iter().filter(|cpu| cpu.mechanism != "none").collect();
        (parked.iter().filter(|cpu| is_well(cpu)).count(), parked.len())
    };
    let (linux, all) = of(&document.linux.run.cpus);
    let (park, _) = of(&document.park.run.cpus);
    let tone = |well| if well == all { Tone::Good } else { Tone::Bad };
    let linux_text = "waited in memory that the next kernel overwrote";
    out.toned(&format!("Linux's way: {linux} of {all} parked CPUs survived: they {linux_text}."), tone(linux))?;
    let park_text = "waited in a lot of their own, and the next kernel woke them all";
    out.toned(&format!("park:        {park} of {all} parked CPUs survived: they {park_text}."), tone(park))?;
    out.line("")?;
    out.line(
        "Next: `park sim linux-hlt-kexec-nmi --trace` shows one die step by step; `park sim --list` lists what else.",
    )
}

const fn heading(origin: Origin) -> &'static str {
    match origin {
        Origin::Host => "This machine",
        Origin::Dump => "The machine of the dump",
        Origin::Asked => "A machine of this shape",
    }
}
