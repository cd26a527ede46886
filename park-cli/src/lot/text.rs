//! A lot on a terminal.

use super::bay::BayDocument;
use super::document::LotDocument;
use crate::exit::Failure;
use crate::output::Output;
use crate::paint::{Cell, Tone};

/// Widths of the bays' table.
const WIDTHS: [usize; 8] = [6, 10, 12, 14, 34, 10, 10, 10];

/// Prints a lot.
///
/// # Errors
/// [`Failure::Output`].
pub fn print(document: &LotDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    print_head(document, out)?;
    for warning in &document.warnings {
        out.line(&format!("Note: {warning}."))?;
    }
    print_damage(document, out)?;
    print_bays(document, out)?;
    for bay in &document.bays {
        print_details(bay, out)?;
    }
    Ok(())
}

fn print_head(document: &LotDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    let place = if document.file_offset == document.address {
        String::new()
    } else {
        format!(", at offset {} of the file", document.file_offset)
    };
    out.toned(&format!("Lot at {}{place}", document.address), Tone::Strong)?;
    let Some(header) = &document.header else { return Ok(()) };
    let id = format!("id {}", header.lot_id);
    out.line(&format!(
        "{} bays of {} bytes, {} bytes in all, {id}",
        header.bay_count, header.bay_stride, header.length
    ))?;
    if let Some(mailbox) = &header.mailbox {
        out.line(&format!("The bays watch the ACPI mailbox at {mailbox}"))?;
    }
    if let Some(mask) = &header.encryption_mask {
        out.line(&format!("Its memory is encrypted (mask {mask}): what a dump shows of it may be ciphertext"))?;
    }
    let lease = match &document.lease {
        None => "Lease: damaged".to_owned(),
        Some(lease) => {
            let what = match lease.state {
                "held" => "held by",
                "offered" => "offered by",
                _ => "being taken by",
            };
            format!("Lease: {what} generation {}", lease.generation)
        }
    };
    out.line(&lease)
}

fn print_damage(document: &LotDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    for damage in &document.damage {
        let place = damage.offset.as_deref().map(|offset| format!(" at lot offset {offset}")).unwrap_or_default();
        let found = damage.found.as_deref().map(|found| format!(" (found {found})")).unwrap_or_default();
        out.toned(&format!("Damaged: {}{place}{found}", damage.what), Tone::Bad)?;
    }
    if document.sound {
        out.toned("Sound: header, code, tables, lease and the words of every bay", Tone::Good)?;
    }
    Ok(())
}

fn print_bays(document: &LotDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    let used: Vec<&BayDocument> = document.bays.iter().filter(|bay| bay.state != "free").collect();
    let rows: Vec<Vec<Cell>> = used.iter().map(|bay| row(bay)).collect();
    if !rows.is_empty() {
        out.line("")?;
        out.table(&["bay", "APIC id", "state", "waits by", "ticket", "NMIs", "#MCs", "spurious"], &rows, &WIDTHS)?;
    }
    match document.bays.len() - used.len() {
        0 => Ok(()),
        1 => out.line("1 bay is free."),
        free => out.line(&format!("{free} bays are free.")),
    }
}

fn row(bay: &BayDocument) -> Vec<Cell> {
    let tone = match bay.state {
        "parked" => Tone::Good,
        "faulted" | "quarantined" | "damaged" => Tone::Bad,
        _ => Tone::Plain,
    };
    vec![
        Cell::plain(bay.index.to_string()),
        Cell::plain(bay.apic_id.to_string()),
        Cell::new(bay.state, tone),
        Cell::plain(waits_by(bay)),
        Cell::plain(ticket(bay)),
        Cell::plain(bay.nmi_count.to_string()),
        Cell::plain(bay.mc_count.to_string()),
        Cell::plain(bay.spurious_count.to_string()),
    ]
}

fn waits_by(bay: &BayDocument) -> String {
    let mechanism = bay.mechanism.unwrap_or("unknown");
    if bay.wait_flags.is_empty() {
        mechanism.to_owned()
    } else {
        format!("{mechanism} ({})", bay.wait_flags.join(", "))
    }
}

fn ticket(bay: &BayDocument) -> String {
    bay.ticket.as_ref().map_or_else(
        || "never rung".to_owned(),
        |ticket| {
            format!("{} {}, {} of generation {}", ticket.command, ticket.phase, ticket.sequence, ticket.generation)
        },
    )
}

fn print_details(bay: &BayDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    if let Some(fault) = &bay.fault {
        let name = fault.name.map(|name| format!(" {name}")).unwrap_or_default();
        let place = fault.rip_in_lot.as_deref().map(|offset| format!(" (lot offset {offset})")).unwrap_or_default();
        let text = format!(
            "Bay {}: fault record: vector {}{name}, error code {}, RIP {}{place}, CR2 {}",
            bay.index, fault.vector, fault.error_code, fault.rip, fault.cr2
        );
        out.toned(&text, Tone::Bad)?;
    }
    if let Some(mcg_status) = &bay.mcg_status {
        out.line(&format!("Bay {}: the last machine check found IA32_MCG_STATUS = {mcg_status}", bay.index))?;
    }
    let rung = bay.ticket.as_ref().is_some_and(|ticket| ticket.phase != "quiet" && ticket.command == "wake");
    if let Some(entry) = bay.entry.as_ref().filter(|_| rung) {
        let text = format!(
            "Bay {}: it is woken to RIP {}, RSP {}, CR3 {}, argument {}",
            bay.index, entry.rip, entry.rsp, entry.cr3, entry.arg
        );
        out.line(&text)?;
    }
    Ok(())
}
