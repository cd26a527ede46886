//! The claims are complete, each cell once, and say what the design rests on.

use park_amd::{CLAIMS, claim};
use park_core::{Condition, Event, Mechanism, Response};

/// The mechanisms that this vendor's CPUs have.
const MECHANISMS: &[Mechanism] = &Mechanism::ALL;

/// The ways in which conditions may share a cell out without gap or overlap.
const PARTITIONS: &[&[Condition]] = &[
    &[Condition::Always],
    &[Condition::Bsp, Condition::Ap],
    &[Condition::ImplementationKind, Condition::ImplementationUnkind],
];

#[test]
fn every_cell_is_claimed_exactly_once() {
    for &mechanism in MECHANISMS {
        for event in Event::ALL {
            let mut conditions: Vec<_> = CLAIMS
                .iter()
                .filter(|claim| claim.mechanism == mechanism && claim.event == event)
                .map(|claim| claim.condition)
                .collect();
            conditions.sort();
            let known = PARTITIONS.iter().any(|partition| {
                let mut partition = partition.to_vec();
                partition.sort();
                partition == conditions
            });
            assert!(known, "{mechanism} × {event}: {conditions:?}");
        }
    }
    assert!(CLAIMS.iter().all(|claim| MECHANISMS.contains(&claim.mechanism)));
    assert!(CLAIMS.iter().all(|claim| claim.source.len() > 10), "every claim says where it comes from");
}

#[test]
fn a_lookup_prefers_nothing_and_misses_nothing() {
    for expected in CLAIMS {
        assert_eq!(claim(expected.mechanism, expected.event, expected.condition), Some(expected));
    }
    assert_eq!(
        claim(Mechanism::Hlt, Event::Nmi, Condition::Ap),
        claim(Mechanism::Hlt, Event::Nmi, Condition::Always),
        "what always holds, holds for an AP"
    );
    assert_eq!(claim(Mechanism::Hlt, Event::Init, Condition::Always), None, "an INIT asks whom it hits");
}

#[test]
fn no_event_but_an_init_takes_a_cpu_out_of_hlt_or_mwait() {
    for claim in CLAIMS.iter().filter(|claim| matches!(claim.mechanism, Mechanism::Hlt | Mechanism::Mwait)) {
        let init = matches!(claim.event, Event::Init | Event::InitSipiSipi);
        assert_eq!(claim.response.stays_parked(), !init, "{claim}");
    }
}

#[test]
fn nothing_overwritten_is_ever_noticed() {
    for &mechanism in MECHANISMS {
        let overwrite = claim(mechanism, Event::Overwrite, Condition::Always).unwrap();
        assert_eq!(overwrite.response, Response::Unnoticed);
    }
}

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
