//! What `park lab linux-…` shows to people.

use super::document::{CellDocument, ChainDocument, LinuxDocument, MailboxDocument, MemoryDocument};
use crate::exit::Failure;
use crate::output::Output;
use crate::paint::{Cell, Tone};
use std::collections::BTreeSet;

/// Any width.
const FREE: usize = usize::MAX;
/// Events in the order of columns, with their heads.
const EVENTS: [(&str, &str); 4] =
    [("nothing", "nothing"), ("nmi", "NMI"), ("store", "store"), ("mc-broadcast", "#MC broadcast")];

/// Prints a document.
///
/// # Errors
/// [`Failure::Output`].
pub fn print(document: &LinuxDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    let kernel = &document.kernel;
    let from = kernel.package.as_ref().map_or_else(
        || "a file".to_owned(),
        |package| format!("{} {}, SHA-256 {}", package.name, package.version, package.sha256),
    );
    out.line(&format!("Linux {} ({from})", kernel.release))?;
    out.line(&format!("bzImage SHA-256 {}", kernel.sha256))?;
    out.line(&format!("QEMU {}", document.qemu))?;
    out.line("")?;
    torture(&document.torture, out)?;
    mailbox(&document.mailbox, out)?;
    chain(&document.chain, out)?;
    out.line("")?;
    let tone = if document.failed == 0 { Tone::Good } else { Tone::Bad };
    out.toned(&format!("{} passed, {} failed", document.passed, document.failed), tone)
}

fn torture(cells: &[CellDocument], out: &mut Output<'_>) -> Result<(), Failure> {
    if cells.is_empty() {
        return Ok(());
    }
    let mut ways: Vec<&CellDocument> = Vec::new();
    for cell in cells {
        if !ways.iter().any(|other| other.way == cell.way) {
            ways.push(cell);
        }
    }
    let head: Vec<&str> = ["way"].into_iter().chain(EVENTS.map(|(_, head)| head)).chain([""]).collect();
    let rows = ways.iter().map(|way| {
        let of = |event: &str| cells.iter().find(|cell| cell.way == way.way && cell.event == event);
        let mut row = vec![Cell::plain(way.way.clone())];
        row.extend(EVENTS.map(|(event, _)| of(event).map_or_else(|| Cell::plain(""), shown)));
        row.push(Cell::new(way.told, Tone::Faint));
        row
    });
    out.table(&head, &rows.collect::<Vec<_>>(), &[FREE; 6])?;
    let falsified: BTreeSet<&str> = cells.iter().filter_map(|cell| cell.falsified).collect();
    for reason in falsified {
        out.line(&format!("* the emulator's fault: {reason}"))?;
    }
    for cell in cells.iter().filter(|cell| !cell.passed) {
        let why =
            cell.why.clone().unwrap_or_else(|| format!("{} of {} survive", cell.survivors.unwrap_or(0), cell.cpus));
        out.toned(&format!("{}: {why}; it must come out as `{}`", cell.name, cell.expected), Tone::Bad)?;
    }
    Ok(())
}

/// Survivors, or that the machine went down.
fn shown(cell: &CellDocument) -> Cell {
    let tone = if cell.passed { Tone::Plain } else { Tone::Bad };
    let text = match (cell.survivors, cell.down, cell.expected) {
        (None, _, _) => "not measured".to_owned(),
        (Some(count), "nothing", _) => format!("{count} of {}", cell.cpus),
        (Some(_), _, "falsified") => format!("0 of {} *", cell.cpus),
        (Some(_), _, "declared") => format!("0 of {}, as declared", cell.cpus),
        (Some(_), _, _) => format!("0 of {}", cell.cpus),
    };
    Cell::new(text, tone)
}

fn mailbox(machines: &[MailboxDocument], out: &mut Output<'_>) -> Result<(), Failure> {
    if machines.is_empty() {
        return Ok(());
    }
    let head = ["CPUs", "result", "Linux's log", "loaded", "INITs before", "after", "lot"];
    let rows = machines.iter().map(|machine| {
        vec![
            Cell::plain(machine.cpus.to_string()),
            if machine.passed { holds() } else { failed() },
            Cell::plain(machine.why.clone().unwrap_or_else(|| machine.brought_up.clone())),
            Cell::plain(machine.loaded.to_string()),
            Cell::plain(machine.inits_before.to_string()),
            Cell::plain(machine.inits_after.to_string()),
            Cell::plain(memory(&machine.memory)),
        ]
    });
    out.table(&head, &rows.collect::<Vec<_>>(), &[FREE; 7])
}

fn chain(chains: &[ChainDocument], out: &mut Output<'_>) -> Result<(), Failure> {
    if chains.is_empty() {
        return Ok(());
    }
    let head = ["chain", "result", "reserved by", "found by", "lot", "handed out", "woken", "lost", ""];
    let rows = chains.iter().map(|chain| {
        vec![
            Cell::plain(chain.name.clone()),
            if chain.passed { holds() } else { failed() },
            Cell::plain(format!("{} of {}", chain.reserved, chain.linuxes)),
            Cell::plain(chain.found_via.clone()),
            Cell::plain(memory(&chain.memory)),
            Cell::plain(chain.handed_out.to_string()),
            Cell::plain(chain.woken.to_string()),
            Cell::plain(chain.lost.to_string()),
            Cell::plain(chain.why.clone().unwrap_or_default()),
        ]
    });
    out.table(&head, &rows.collect::<Vec<_>>(), &[FREE; 9])
}

fn memory(memory: &MemoryDocument) -> String {
    format!("{} of {} bytes changed, {} looks", memory.changed_bytes, memory.fixed_bytes, memory.looks)
}

fn holds() -> Cell {
    Cell::new("holds", Tone::Good)
}

fn failed() -> Cell {
    Cell::new("FAILED", Tone::Bad)
}
