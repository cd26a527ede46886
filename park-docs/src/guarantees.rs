//! `docs/guarantees.md`: what guarantees mean, who gives them, and what situations ask.

use crate::{head, row};
use park_core::op::Processor;
use park_core::{ApicId, Claim, Mechanism};
use park_policy::{Accepts, Basis, Guarantees, PROMISES, Requirements, Situation, Which};

pub(crate) fn page() -> String {
    let mut text = String::from(
        "# Guarantees

A guarantee is what the [claims](claims.md) of a mechanism amount to. A situation requires some and prefers others; a plan gives
each CPU a mechanism that provides all that is required, and says of every other mechanism what it lacks.

## What each means

A guarantee that rests on events is given if each of its events has a claim, and every claim that may apply to the CPU, also where
the implementation is unkind, has an accepted response. The others rest on how the model waits: its errata, its C-states. The
order of this table is their weight where they are preferred: each weighs more than all that follow.

",
    );
    text.push_str(&head(&["guarantee", "means that", "rests on", "accepted"]));
    for promise in &PROMISES {
        let (events, accepted) = match promise.basis {
            Basis::Claims { events, accepts } => {
                (events.iter().map(|event| event.name()).collect::<Vec<_>>().join(", "), accepted(accepts))
            }
            Basis::Waits(_) => ("the model".to_owned(), String::new()),
        };
        text.push_str(&row([promise.name, promise.what, &events, &accepted]));
    }
    for (vendor, claims) in [("Intel", park_intel::CLAIMS), ("AMD and Hygon", park_amd::CLAIMS)] {
        text.push_str(&format!("\n## Who gives what: {vendor}\n\n"));
        text.push_str(
            "By claims alone: \"AP\" for application processors only, \"yes\" for the bootstrap processor too.\n\n",
        );
        text.push_str(&given(claims));
    }
    text.push_str(
        "\n## What situations ask

Wait-for-SIPI is chosen only by those who allow it: nothing acknowledges an INIT. The bootstrap processor parks by Hlt or Mwait only.

",
    );
    text.push_str(&head(&["situation", "parks", "requires", "prefers", "latency"]));
    for situation in Situation::ALL {
        let asked = situation.requirements();
        let latency = match asked.latency_us {
            Requirements::ANY_LATENCY_US => "any".to_owned(),
            latency_us => format!("{latency_us} us"),
        };
        let (require, prefer) = (asked.require.to_string(), asked.prefer.to_string());
        text.push_str(&row([situation.name(), parked(situation), &require, &prefer, &latency]));
    }
    text
}

fn accepted(accepts: Accepts) -> String {
    match accepts {
        Accepts::StaysParked => "whatever leaves the CPU parked".to_owned(),
        Accepts::Only(list) => list.iter().map(|response| response.name()).collect::<Vec<_>>().join(", "),
    }
}

fn given(claims: &[Claim]) -> String {
    let mechanisms: Vec<Mechanism> = Mechanism::ALL
        .into_iter()
        .filter(|mechanism| claims.iter().any(|claim| claim.mechanism == *mechanism))
        .collect();
    let names = mechanisms.iter().map(|mechanism| mechanism.name());
    let mut text = head(&core::iter::once("guarantee").chain(names).collect::<Vec<_>>());
    for promise in PROMISES.iter().filter(|promise| matches!(promise.basis, Basis::Claims { .. })) {
        let cell = |mechanism: &Mechanism| {
            let of = |processor| Guarantees::of(*mechanism, claims, processor).contains(promise.guarantee);
            match (of(Processor::Application), of(Processor::Bootstrap)) {
                (true, true) => "yes",
                (true, false) => "AP",
                (false, true) => "BSP",
                (false, false) => "",
            }
        };
        text.push_str(&row(core::iter::once(promise.name).chain(mechanisms.iter().map(cell))));
    }
    text
}

/// Whom a situation parks, in words.
const fn parked(situation: Situation) -> &'static str {
    match situation.which(ApicId(0)) {
        None | Some(Which::Marked(_)) => "whom the load leaves idle",
        Some(Which::AllBut(_)) => "all but the CPU that goes on",
        Some(Which::Applications) => "all but the bootstrap processor",
        Some(Which::Siblings) => "all threads but the first of each core",
    }
}
