//! The claims are complete, each cell once, and say what the design rests on.

#[path = "../../park-x86/tests/vendor/claims.rs"]
mod common;

use park_core::{Event, Mechanism, Response};
use park_intel::{CLAIMS, claim};

/// The mechanisms that this vendor's CPUs have.
const MECHANISMS: &[Mechanism] = &[Mechanism::Hlt, Mechanism::Mwait, Mechanism::WaitForSipi];

#[test]
fn a_broadcast_machine_check_may_end_the_machine_in_wait_for_sipi_only() {
    let deadly: Vec<_> = CLAIMS
        .iter()
        .filter(|claim| claim.event == Event::McBroadcast && claim.response == Response::Shutdown)
        .map(|claim| claim.mechanism)
        .collect();
    assert_eq!(deadly, [Mechanism::WaitForSipi]);
}
