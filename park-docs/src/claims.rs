//! `docs/claims.md`: what each mechanism promises on each vendor's machines.

use crate::{head, row};
use park_core::Claim;

pub(crate) fn page() -> String {
    let mut text = String::from(
        "# Claims

What an event does to a CPU in a bay of a lot: interrupts off, local APIC soft-disabled, CR4.MCE = 1, NMI and #MC handled
inside the lot. A test in the simulator measures each of these cells without reading it, for every value of every knob,
and compares. Where an emulator or a real machine has confirmed a cell too, the conformance matrix says so; a cell that only
the simulator confirms is unconfirmed.

",
    );
    for (vendor, claims) in [("Intel", park_intel::CLAIMS), ("AMD and Hygon", park_amd::CLAIMS)] {
        text.push_str(&format!("## {vendor}\n\n"));
        text.push_str(&head(&["mechanism", "event", "condition", "response", "source"]));
        for Claim { mechanism, event, condition, response, source } in claims {
            text.push_str(&row([mechanism.name(), event.name(), condition.name(), response.name(), source]));
        }
        text.push('\n');
    }
    text
}
