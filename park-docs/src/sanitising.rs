//! `docs/sanitising.md`: what a CPU does before it goes, step by step.

use crate::{head, row};
use park_x86::sanitise::{BY_ARRIVAL, COMMON, FIRST, Harm, REFUSALS, Step};

pub(crate) fn page() -> String {
    let mut text = String::from(
        "# Sanitising

What the owner left in a CPU that could hurt it, or others, while it is parked; and what park does about it. Steps are
taken in this order, refusals first: a refused CPU is as it was. *Safety* steps have a test in which the step is left out
and the harm shows; *power only* and *not modelled* steps carry their source instead.

",
    );
    for (title, steps) in [
        ("Refusals", REFUSALS),
        ("First", FIRST),
        ("Intel", park_intel::STEPS),
        ("AMD and Hygon", park_amd::STEPS),
        ("All CPUs", COMMON),
        ("By the owner text and the bay code, on the way in", BY_ARRIVAL),
    ] {
        text.push_str(&format!("## {title}\n\n"));
        text.push_str(&head(&["step", "kind", "why", "source"]));
        for step in steps {
            text.push_str(&row([
                step.id.to_string(),
                kind(step).to_owned(),
                step.why.to_owned(),
                step.source.to_owned(),
            ]));
        }
        text.push('\n');
    }
    text
}

fn kind(step: &Step) -> &'static str {
    match step.harm {
        Harm::Safety => "safety",
        Harm::PowerOnly => "power only",
        _ => "not modelled",
    }
}
