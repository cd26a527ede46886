//! What holds for the claims of every vendor crate: complete, each cell once. Included by the claims tests of each,
//! which have `CLAIMS`, `claim` and `MECHANISMS`, the mechanisms that the vendor's CPUs have.

use super::{CLAIMS, MECHANISMS, claim};
use park_core::{Condition, Event, Mechanism, Response};

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
