//! The claims are complete, each cell once, and say what the design rests on.

#[path = "../../park-x86/tests/vendor/claims.rs"]
mod common;

use park_amd::{CLAIMS, claim};
use park_core::{Condition, Event, Mechanism, Response};

/// The mechanisms that this vendor's CPUs have.
const MECHANISMS: &[Mechanism] = &Mechanism::ALL;

#[test]
fn clgi_holds_what_the_table_of_gif_says_and_no_other_kernel_can_take_it() {
    let response = |event, condition| claim(Mechanism::Clgi, event, condition).unwrap().response;
    for event in [Event::Smi, Event::Init] {
        assert_eq!(response(event, Condition::Always), Response::Held);
    }
    // The local APIC is soft-disabled: an NMI that it does not accept is not there to be held.
    assert_eq!(response(Event::Nmi, Condition::ImplementationKind), Response::Held);
    assert_eq!(response(Event::Nmi, Condition::ImplementationUnkind), Response::Unnoticed);
    assert_eq!(response(Event::InitSipiSipi, Condition::Always), Response::Refused);
    assert_eq!(response(Event::McLocal, Condition::ImplementationUnkind), Response::Shutdown);
}
