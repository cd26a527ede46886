//! The table in the README: mechanisms and what they survive, derived from the claims.

use crate::{head, row};
use park_core::op::Processor;
use park_core::{Claim, Mechanism};
use park_policy::{Basis, Guarantees, PROMISES, Promise};

/// The lines between which the table stands.
const BEGIN: &str = "<!-- The table below is generated from the claims by `cargo run -p park-docs`. -->\n";
const END: &str = "<!-- End of the generated table. -->\n";

/// The README with a current table; `None` if it has no place for one.
#[must_use]
pub fn readme(found: &str) -> Option<String> {
    let (before, rest) = found.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", table()))
}

/// What `mechanism` gives on the CPUs of one vendor; `None` if its crate claims nothing of it.
fn given(promise: &Promise, mechanism: Mechanism, claims: &[Claim]) -> Option<&'static str> {
    if !claims.iter().any(|claim| claim.mechanism == mechanism) {
        return None;
    }
    let of = |processor| Guarantees::of(mechanism, claims, processor).contains(promise.guarantee);
    Some(match (of(Processor::Application), of(Processor::Bootstrap)) {
        (true, true) => "yes",
        (true, false) => "not on the BSP",
        (false, true) => "on the BSP",
        (false, false) => "–",
    })
}

fn table() -> String {
    let names: Vec<String> = Mechanism::ALL.iter().map(|mechanism| format!("`{mechanism}`")).collect();
    let titles: Vec<&str> = core::iter::once("what happens").chain(names.iter().map(String::as_str)).collect();
    let mut text = head(&titles);
    for promise in PROMISES.iter().filter(|promise| matches!(promise.basis, Basis::Claims { .. })) {
        let cells = Mechanism::ALL.map(|mechanism| {
            let intel = given(promise, mechanism, park_intel::CLAIMS);
            let amd = given(promise, mechanism, park_amd::CLAIMS);
            match (intel, amd) {
                (Some(intel), Some(amd)) if intel != amd => format!("Intel: {intel}; AMD: {amd}"),
                (Some(both), _) | (None, Some(both)) => both.to_owned(),
                (None, None) => String::new(),
            }
        });
        text.push_str(&row(core::iter::once(promise.what.to_owned()).chain(cells)));
    }
    text
}
