//! Both runs of the demo in one picture.

use super::document::DemoDocument;
use crate::exit::Failure;
use crate::sim::document::SimDocument;
use crate::sim::picture::panel;
use crate::sim::words::{is_well, way};
use crate::timeline::{Panel, Picture};

/// The picture of a demo that `command` played.
///
/// # Errors
/// [`Failure::Run`] if its runs were not recorded.
pub fn picture<'d>(document: &'d DemoDocument, command: String) -> Result<Picture<'d>, Failure> {
    let machine = &document.machine;
    let panels = vec![titled("Parked Linux's way", &document.linux)?, titled("Parked by park", &document.park)?];
    let lead = format!(
        "{} simulated {} CPUs, a kexec, and the same events twice: the next kernel overwrites the old one's memory, then \
         interrupts, SMIs and a machine check arrive. Above, CPUs wait in the old kernel's memory; below, in a lot that \
         outlives it.",
        machine.cpus,
        machine.vendor.title()
    );
    Ok(Picture { title: "A kexec, and what becomes of parked CPUs".to_owned(), lead, command, panels })
}

/// One run, under the mechanisms that its CPUs were parked by.
fn titled<'d>(who: &str, run: &'d SimDocument) -> Result<Panel<'d>, Failure> {
    let unrecorded = || Failure::Run(format!("{}: the run was not recorded", run.scenario));
    let mut panel = panel(run).ok_or_else(unrecorded)?;
    let parked = || panel.cpus.iter().filter(|cpu| cpu.mechanism != "none");
    let mut names: Vec<&str> = parked().map(|cpu| cpu.mechanism.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let well = parked().filter(|cpu| is_well(cpu)).count();
    let verdict = format!("{well} of {} parked CPUs survive", parked().count());
    panel.title = format!("{who}: {}", names.join(", "));
    panel.summary = names.iter().map(|name| format!("{name}: {}.", way(name))).collect::<Vec<_>>().join(" ");
    panel.verdict.0 = verdict;
    Ok(panel)
}
