//! The matrix in words: what its names mean, and claims and measurements in a line each.

use super::document::{CellDocument, ClaimDocument, MatrixDocument, Status};
use super::told::Told;
use park_core::{Condition, Event, Response};

/// What an event is, in one sentence.
#[must_use]
pub const fn event_text(event: Event) -> &'static str {
    match event {
        Event::Intr => "a maskable interrupt arrives at the local APIC",
        Event::Nmi => "a non-maskable interrupt",
        Event::Smi => "a system-management interrupt whose handler lets HLT go on",
        Event::SmiNoRestart => "a system-management interrupt whose handler clears the auto-HALT restart flag",
        Event::SmiRendezvous => "an SMI on all CPUs whose handler waits until every CPU has come",
        Event::Init => "an INIT from another CPU",
        Event::Sipi => "a STARTUP with no INIT before it",
        Event::InitSipiSipi => "INIT, STARTUP, STARTUP: what a kernel sends that knows nothing of park",
        Event::McLocal => "a machine check that this CPU alone gets",
        Event::McBroadcast => "a machine check that every CPU gets",
        Event::StoreDoorbell => "another CPU stores to the doorbell's line without ringing",
        Event::Overwrite => "everything outside the lot and the current kernel is overwritten",
        _ => "an event that this version has no words for",
    }
}

/// What a response means, in one sentence.
#[must_use]
pub const fn response_text(response: Response) -> &'static str {
    match response {
        Response::Unnoticed => "the CPU runs no instruction for it, and nothing is left behind",
        Response::Transparent => "the CPU runs firmware (SMM) and waits on, without a lap of its loop",
        Response::Laps => "the wait ends, the lot's code deals with it, and the CPU waits again",
        Response::Held => "it is held, and takes effect once the CPU is woken",
        Response::WaitsForSipi => "the CPU leaves the lot and waits for a STARTUP",
        Response::Taken => "the kernel that sent it has the CPU",
        Response::Refused => "the sender waits in vain: the CPU can't be taken",
        Response::Shutdown => "the CPU, or the machine, shuts down",
        Response::Reset => "the machine resets",
        Response::Hangs => "firmware waits for the CPU, which can't come",
        _ => "a response that this version has no words for",
    }
}

/// What a response means for whoever parked the CPU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Gravity {
    /// Parked, and as reachable as before.
    Parked,
    /// Parked, and something waits: the event, or its sender.
    Pending,
    /// Another kernel has the CPU, or can have it.
    Given,
    /// The CPU or the machine is lost.
    Lost,
}

impl Gravity {
    /// Of a response by its name; of a verdict that is no response: lost.
    #[must_use]
    pub fn of(response: &str) -> Self {
        match Response::from_name(response) {
            Some(Response::Unnoticed | Response::Transparent | Response::Laps) => Self::Parked,
            Some(Response::Held | Response::Refused) => Self::Pending,
            Some(Response::WaitsForSipi | Response::Taken) => Self::Given,
            _ => Self::Lost,
        }
    }

    /// The name, for style sheets.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Pending => "pending",
            Self::Given => "given",
            Self::Lost => "lost",
        }
    }
}

/// When a claim holds, for people; empty for a claim that always holds.
#[must_use]
pub fn condition_text(condition: &str) -> &'static str {
    let is = |known: Condition| condition == known.name();
    if is(Condition::Always) {
        ""
    } else if is(Condition::Bsp) {
        "bootstrap processor"
    } else if is(Condition::Ap) {
        "other processors"
    } else if is(Condition::ImplementationKind) {
        "if the CPU is kind"
    } else if is(Condition::ImplementationUnkind) {
        "if it is not"
    } else {
        "under a condition that this version has no words for"
    }
}

/// All claims of a cell in a few words: `laps`, `reset or waits-for-sipi`.
#[must_use]
pub fn claimed_in_short(cell: &CellDocument) -> String {
    let mut responses: Vec<&str> = Vec::new();
    for ClaimDocument { response, .. } in &cell.claims {
        if !responses.contains(response) {
            responses.push(response);
        }
    }
    if responses.is_empty() { "-".to_owned() } else { responses.join(" or ") }
}

/// Marks a named deviation.
pub const DEVIATES: &str = "≠";

/// A verdict in a line, with when it holds; `*` marks one with a note, [`DEVIATES`] a named deviation.
#[must_use]
pub fn told_line(told: &Told) -> String {
    let note = if told.note.is_some() { "*" } else { "" };
    let mark = if told.deviation.is_some() { format!("{note} {DEVIATES}") } else { note.to_owned() };
    let when = match told.when.as_str() {
        "" => String::new(),
        "else" => ", else".to_owned(),
        when => format!(" ({when})"),
    };
    let wrong = if told.agrees { "" } else { ": NOT AS CLAIMED" };
    format!("{}{mark}{when}{wrong}", told.verdict)
}

/// What all of it comes to, in a few sentences.
#[must_use]
pub fn conclusion(document: &MatrixDocument) -> Vec<String> {
    let (cells, runs) = (document.cells().count(), document.runs());
    let (wrong, unmeasured) = (document.count(Status::Contradicted), document.count(Status::NotMeasured));
    let rigs: Vec<&str> = document.rigs.iter().map(|rig| rig.name.as_str()).collect();
    let agreement = match wrong {
        0 => "no measurement contradicts a claim".to_owned(),
        1 => "1 cell contradicts its claims".to_owned(),
        _ => format!("{wrong} cells contradict their claims"),
    };
    let confirmed = document.count(Status::Confirmed);
    let unconfirmed = document.count(Status::Unconfirmed);
    let mut sentences = vec![
        format!("{cells} cells, {runs} runs (rigs: {}): {agreement}.", rigs.join(", ")),
        format!(
            "Confirmed by what others wrote, or by a machine: {confirmed}. Unconfirmed, as only park's own simulator agrees: {unconfirmed}."
        ),
    ];
    let deviates = |cell: &&CellDocument| cell.measured.iter().any(|measured| measured.deviation.is_some());
    match document.cells().filter(deviates).count() {
        0 => {}
        1 => sentences.push("In 1 cell an emulator deviates from the manuals, as its list says.".to_owned()),
        many => sentences.push(format!("In {many} cells an emulator deviates from the manuals, as its list says.")),
    }
    if unmeasured != 0 {
        sentences.push(format!("Not measured: {unmeasured}."));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_core_has_words() {
        for event in Event::ALL {
            assert!(!event_text(event).contains("no words"), "{event}");
        }
        for response in Response::ALL {
            assert!(!response_text(response).contains("no words"), "{response}");
            // Whoever stays parked is not lost, and nobody else is called parked.
            let parked = matches!(Gravity::of(response.name()), Gravity::Parked | Gravity::Pending);
            assert_eq!(parked, response.stays_parked(), "{response}");
        }
        assert_eq!(Gravity::of("lost: somewhere"), Gravity::Lost);
    }
}
