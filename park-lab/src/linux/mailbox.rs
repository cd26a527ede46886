//! Stock Linux takes its CPUs out of a lot, by the ACPI mailbox that kernels know since April 2022 (Linux commit f39642d0dbac).

use core::time::Duration;
use std::path::Path;
use std::time::Instant;

use crate::LabError;
use crate::deadline::Deadline;
use crate::linux::lot_memory::Kept;
use crate::linux::machine::{Files, Machine, Ride, Start, ride};
use crate::observer::event;

/// The longest that a machine may take: 20 s with 4 CPUs, 60 s with 8, which poll, on two cores.
pub const LIMIT: Duration = Duration::from_secs(300);
/// How long the loop on each CPU takes.
const LOAD_S: u32 = 3;

/// Machines with so many CPUs.
pub const SHORT: [Machine; 1] = [Machine { model: "EPYC", topology: "4" }];
/// And those of the long form.
pub const LONG: [Machine; 2] = [SHORT[0], Machine { model: "EPYC", topology: "8" }];

/// What came of one machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// CPUs of the machine.
    pub cpus: u64,
    /// What the kernel's log says of them: `1 node, 4 CPUs`.
    pub brought_up: String,
    /// CPUs that ran the loop, each where it was pinned to.
    pub loaded: u64,
    /// INITs that other CPUs had taken when Linux was entered: the firmware's and the image's.
    pub inits_before: u64,
    /// INITs after that: Linux's.
    pub inits_after: u64,
    /// What became of the lot's memory.
    pub kept: Kept,
    /// Why nothing is shown, if something kept the run from its end.
    pub refusal: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Verdict {
    /// Whether Linux runs on all CPUs, and took none of them otherwise than by the mailbox.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.refusal.is_none()
            && self.brought_up.ends_with(&format!(" {} CPUs", self.cpus))
            && self.loaded == self.cpus
            && self.inits_before != 0
            && self.inits_after == 0
            && self.kept.is_untouched()
    }
}

/// The name of a machine among cases.
#[must_use]
pub fn name(machine: Machine) -> String {
    format!("{}-cpus", machine.cpus())
}

/// Runs one machine in `folder`.
///
/// # Errors
/// [`LabError`] if the lab can't go on.
pub fn run(machine: Machine, files: &Files, folder: &Path, deadline: Deadline) -> Result<Verdict, LabError> {
    let start = Instant::now();
    let words = format!("cpus={}", machine.topology);
    let append = format!("lab.load_s={LOAD_S} lab.next=off");
    let deadline = Deadline::after(LIMIT).or_before(deadline);
    let ride = ride(machine, files, &Start::Image { words }, &append, folder, deadline)?;
    verdict(machine, &ride, start.elapsed())
}

fn verdict(machine: Machine, ride: &Ride, took: Duration) -> Result<Verdict, LabError> {
    let inits = |tag: &str| {
        let mut resets = ride.reports().filter(|line| line.event() == event::RESETS);
        resets.find(|line| line.text("tag") == Some(tag)).and_then(|line| line.number("of_others"))
    };
    let ended = ride.steps("off").next().is_some();
    let refusal =
        ride.refusal().or_else(|| (!ended).then(|| format!("Linux did not come to its end: {:?}", ride.exit)));
    let before = inits("handover").unwrap_or(0);
    let stayed = |line: &crate::line::Line| line.number("on") == line.number("cpu") && line.number("rounds") > Some(0);
    let mut loaded: Vec<u64> = ride.steps("load").filter(stayed).filter_map(|line| line.number("cpu")).collect();
    loaded.sort_unstable();
    loaded.dedup();
    let kept = match refusal {
        None => Kept::of(ride)?,
        Some(_) => Kept { looks: 0, fixed_bytes: 0, changed: 0 },
    };
    Ok(Verdict {
        cpus: machine.cpus(),
        brought_up: ride.steps("up").find_map(|line| line.text("brought_up").map(str::to_owned)).unwrap_or_default(),
        loaded: loaded.len() as u64,
        inits_before: before,
        inits_after: ride.resets.of_others().saturating_sub(before),
        kept,
        refusal,
        took,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Verdict {
        Verdict {
            cpus: 4,
            brought_up: "1 node, 4 CPUs".to_owned(),
            loaded: 4,
            inits_before: 12,
            inits_after: 0,
            kept: Kept { looks: 3, fixed_bytes: 88_064, changed: 0 },
            refusal: None,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn everything_must_be_shown() {
        assert!(whole().holds());
        let others = [
            Verdict { brought_up: "1 node, 14 CPUs".to_owned(), ..whole() },
            Verdict { brought_up: String::new(), ..whole() },
            Verdict { loaded: 3, ..whole() },
            // A log that was not written shows no INITs at all.
            Verdict { inits_before: 0, ..whole() },
            Verdict { inits_after: 1, ..whole() },
            Verdict { kept: Kept { changed: 1, ..whole().kept }, ..whole() },
            Verdict { refusal: Some("x".to_owned()), ..whole() },
        ];
        assert!(!others.iter().any(Verdict::holds));
    }
}
