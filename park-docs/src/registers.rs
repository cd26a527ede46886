//! `docs/registers.md`: every register on each way in and out.

use crate::{head, row};
use park_x86::state::{Moment, TABLE};

pub(crate) fn page() -> String {
    let mut text = String::from(
        "# Registers on each way in and out

What a CPU's registers hold: before the owner text's arrival (*in: arrive*: what the owner must bring about), while it is
parked, at the entry that a Wake names (*out: entry*), behind the owner text's departure (*out: departed*), at the vector of
the ACPI mailbox, and behind the trampoline after a STARTUP IPI. *Frame* is the arrival or departure frame, or the
trampoline's parameters; *the owner's* means that park neither assumes nor promises anything.

",
    );
    let mut cells = vec!["register"];
    cells.extend(Moment::ALL.map(Moment::name));
    cells.push("note");
    text.push_str(&head(&cells));
    for entry in TABLE {
        let mut cells = vec![entry.name.to_owned()];
        cells.extend(Moment::ALL.map(|moment| entry.at(moment).to_string()));
        cells.push(entry.note.to_owned());
        text.push_str(&row(cells));
    }
    text
}
