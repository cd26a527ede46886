//! The kexec torture: how many parked CPUs survive what a next kernel does to the memory of the one before it.
//!
//! One boot for each cell: park-metal parks CPUs in a lot and boots stock Linux on others; Linux parks those its own way and
//! starts park-metal by kexec, which overwrites memory, fires the event, and wakes whoever is in the lot. Linux's CPUs can't
//! say that they live: whether they still are where they were is seen from outside.

use core::time::Duration;
use std::path::Path;
use std::time::Instant;

use crate::LabError;
use crate::deadline::Deadline;
use crate::judge::{Exit, STATUS_RESET};
use crate::line::Line;
use crate::linux::machine::{Files, Ride, Start, ride};
use crate::linux::way::{Expected, Fired, Way};
use crate::observer::event;
use park_core::Mechanism;

/// The longest that one cell may take: 15 s on two cores that have nothing else to do. CPUs that poll in the lot share them with the
/// one that overwrites memory, and with whatever else the host does.
pub const LIMIT: Duration = Duration::from_secs(300);

/// A way of parking and an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// The way.
    pub way: Way,
    /// The event.
    pub fired: Fired,
}

impl Cell {
    /// `WAY/EVENT`.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}/{}", self.way.name(), self.fired.name())
    }
}

/// Those of the short form: the failure, its control, and park beside it.
pub const SHORT: [Cell; 6] = [
    Cell { way: Way::Offline, fired: Fired::Nothing },
    Cell { way: Way::Offline, fired: Fired::Nmi },
    Cell { way: Way::Offline, fired: Fired::McBroadcast },
    Cell { way: Way::Lot(Mechanism::Hlt), fired: Fired::Nothing },
    Cell { way: Way::Lot(Mechanism::Hlt), fired: Fired::Nmi },
    Cell { way: Way::Lot(Mechanism::Hlt), fired: Fired::McBroadcast },
];

/// All cells.
#[must_use]
pub fn long() -> Vec<Cell> {
    Way::ALL.into_iter().flat_map(|way| Fired::ALL.map(|fired| Cell { way, fired })).collect()
}

/// When a machine went down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// While memory was overwritten, before anything was fired.
    Overwriting,
    /// After the event.
    Fired,
}

/// What a cell came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Came {
    /// So many survived.
    Survivors(u32),
    /// A CPU shut down, and with it the machine.
    ShutDown(Phase),
    /// Nothing was measured.
    Unmeasured {
        /// Why.
        why: String,
    },
}

/// A cell that was run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Which.
    pub cell: Cell,
    /// What it came to.
    pub came: Came,
    /// Of how many CPUs.
    pub of: u32,
    /// CPUs of the other kind in the same kexec, that survived and were there; `None` where the machine went down.
    pub beside: Option<(u32, u32)>,
    /// How long it took.
    pub took: Duration,
}

impl Verdict {
    /// Whether it came out as it must.
    #[must_use]
    pub fn is_as_expected(&self) -> bool {
        match (&self.came, self.cell.way.expected(self.cell.fired)) {
            (Came::Survivors(count), Expected::All | Expected::Declared) => {
                *count == self.of && self.beside.is_none_or(|(lives, of)| lives == of)
            }
            (Came::ShutDown(Phase::Fired), Expected::ShutsDown | Expected::Declared) => true,
            (Came::ShutDown(_), Expected::Falsified(_)) => true,
            _ => false,
        }
    }
}

/// Runs one cell in `folder`.
///
/// # Errors
/// [`LabError`] if the lab can't go on; a cell that can't be measured is a verdict.
pub fn run(cell: Cell, files: &Files, folder: &Path, deadline: Deadline) -> Result<Verdict, LabError> {
    let start = Instant::now();
    let Cell { way, fired } = cell;
    let cpus = way.cpus(fired);
    let mask = cpus.iter().fold(0_u64, |mask, cpu| mask | 1 << cpu);
    let image = format!("lab.image=t=adopt,@rsdp,strangers={}:{mask:#x}", fired.name());
    let (words, append) = (way.words(fired), format!("{} {image}", way.append()));
    let deadline = Deadline::after(LIMIT).or_before(deadline);
    let ride = ride(way.machine(), files, &Start::Image { words }, &append, folder, deadline)?;
    let (came, beside) = came(cell, &ride);
    Ok(Verdict { cell, came, of: cpus.len() as u32, beside, took: start.elapsed() })
}

/// What a run shows.
fn came(cell: Cell, ride: &Ride) -> (Came, Option<(u32, u32)>) {
    let unmeasured = |why: &str| (Came::Unmeasured { why: why.to_owned() }, None);
    let (fired, overwriting) = (ride.first("fire").is_some(), ride.first("found").is_some());
    if ride.resets.triple_faults != 0 || (ride.exit == Exit::Status(STATUS_RESET) && fired) {
        return match (fired, overwriting) {
            (true, _) => (Came::ShutDown(Phase::Fired), None),
            (false, true) => (Came::ShutDown(Phase::Overwriting), None),
            (false, false) => unmeasured("the machine went down before memory was overwritten"),
        };
    }
    if let Some(why) = ride.refusal() {
        return unmeasured(&why);
    }
    let Some(adopted) = ride.first("adopt") else {
        return unmeasured(&format!("the run ended early: {:?}", ride.exit));
    };
    let number = |key| adopted.number(key).and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    let in_lot = (number("woken"), number("bays").saturating_sub(number("handed_out")));
    let cpus = cell.way.cpus(cell.fired);
    if cell.way.is_linux() {
        let survivors = cpus.iter().filter(|cpu| stayed(**cpu, ride)).count();
        (Came::Survivors(survivors as u32), Some(in_lot))
    } else {
        (Came::Survivors(in_lot.0), None)
    }
}

/// Whether a CPU that executes nothing was, after the event, where it was before memory was overwritten.
fn stayed(cpu: u32, ride: &Ride) -> bool {
    let at = |tag: &str| {
        let is_it = |line: &Line| {
            line.event() == event::REGISTERS && line.text("tag") == Some(tag) && line.number("cpu") == Some(cpu.into())
        };
        let line = ride.reports().find(is_it)?;
        (line.truth("halted") == Some(true)).then(|| line.text("rip").map(str::to_owned)).flatten()
    };
    let before = at("before");
    before.is_some() && before == at("after")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resets::Resets;

    const OFFLINE_NMI: Cell = Cell { way: Way::Offline, fired: Fired::Nmi };
    const LOT_NMI: Cell = Cell { way: Way::Lot(Mechanism::Hlt), fired: Fired::Nmi };
    const ADOPTED: &str = r#"{"event":"adopt","bays":3,"alive":1,"woken":1,"handed_out":2,"lost":0}"#;

    fn registers(tag: &str, cpu: u32, rip: &str, halted: bool) -> String {
        format!(r#"{{"event":"registers","tag":"{tag}","cpu":{cpu},"rip":"{rip}","halted":{halted}}}"#)
    }

    fn ride(lines: &[String], triple_faults: u64) -> Ride {
        let exit = Exit::Status(if triple_faults == 0 { 1 } else { 0 });
        Ride { lines: lines.to_vec(), exit, resets: Resets { triple_faults, ..Resets::default() } }
    }

    fn stays(rip_after: &str, halted_after: bool) -> Vec<String> {
        vec![
            r#"{"event":"found","via":"acpi"}"#.to_owned(),
            registers("before", 1, "0x10", true),
            registers("before", 2, "0x10", true),
            r#"{"event":"fire","what":"nmi"}"#.to_owned(),
            registers("after", 1, "0x10", true),
            registers("after", 2, rip_after, halted_after),
            ADOPTED.to_owned(),
        ]
    }

    #[test]
    fn whoever_is_where_it_was_and_halted_survives() {
        assert_eq!(came(OFFLINE_NMI, &ride(&stays("0x10", true), 0)), (Came::Survivors(2), Some((1, 1))));
        // Somewhere else, or running: it has executed what is not its own.
        assert_eq!(came(OFFLINE_NMI, &ride(&stays("0x11", true), 0)).0, Came::Survivors(1));
        assert_eq!(came(OFFLINE_NMI, &ride(&stays("0x10", false), 0)).0, Came::Survivors(1));
        // Nobody has looked.
        assert_eq!(came(OFFLINE_NMI, &ride(&[ADOPTED.to_owned()], 0)).0, Came::Survivors(0));
    }

    #[test]
    fn a_shutdown_counts_where_it_came() {
        let lines = stays("0x10", true);
        assert_eq!(came(OFFLINE_NMI, &ride(&lines[..4], 1)), (Came::ShutDown(Phase::Fired), None));
        assert_eq!(came(OFFLINE_NMI, &ride(&lines[..3], 1)), (Came::ShutDown(Phase::Overwriting), None));
        assert!(matches!(came(OFFLINE_NMI, &ride(&[], 1)).0, Came::Unmeasured { .. }));
        // Linux powered off, or could not do its part.
        assert!(matches!(came(OFFLINE_NMI, &ride(&[], 0)).0, Came::Unmeasured { .. }));
        let failed = r#"{"event":"linux","step":"failed","why":"kexec refuses the image"}"#.to_owned();
        assert_eq!(
            came(LOT_NMI, &ride(&[failed], 0)).0,
            Came::Unmeasured { why: "kexec refuses the image".to_owned() }
        );
    }

    #[test]
    fn a_verdict_is_held_against_what_must_come() {
        let verdict = |cell: Cell, came| Verdict { cell, came, of: 2, beside: Some((1, 1)), took: Duration::ZERO };
        assert!(verdict(LOT_NMI, Came::Survivors(2)).is_as_expected());
        assert!(!verdict(LOT_NMI, Came::Survivors(1)).is_as_expected());
        assert!(!verdict(LOT_NMI, Came::ShutDown(Phase::Fired)).is_as_expected());
        assert!(verdict(OFFLINE_NMI, Came::ShutDown(Phase::Fired)).is_as_expected());
        // If overwriting alone ends it, the event has shown nothing.
        assert!(!verdict(OFFLINE_NMI, Came::ShutDown(Phase::Overwriting)).is_as_expected());
        assert!(!verdict(OFFLINE_NMI, Came::Survivors(2)).is_as_expected());
        let lost_beside = Verdict { beside: Some((0, 1)), ..verdict(LOT_NMI, Came::Survivors(2)) };
        assert!(!lost_beside.is_as_expected());
    }

    #[test]
    fn every_row_has_a_control() {
        for cells in [SHORT.to_vec(), long()] {
            for cell in &cells {
                assert!(cells.contains(&Cell { fired: Fired::Nothing, ..*cell }), "{cell:?}");
            }
        }
    }
}
