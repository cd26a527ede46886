//! As many CPUs as park is made for.

mod common;

use common::{ALL_OFFERS, all_claims, machine};
use core::time::Duration;
use park_core::Response;
use park_policy::{CONSOLIDATE_CPUS_MAX, Consolidator, CpuKind, Keep, Requirements, Track, Tuning};
use std::time::Instant;

/// Generous: a decision takes a fraction of it on any machine that has so many CPUs.
const DECISION_MAX: Duration = Duration::from_millis(20);

#[test]
fn the_largest_machine_is_consolidated_in_no_time() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let cpus = machine(&kind, 16, 256, 2);
    assert_eq!(cpus.len(), CONSOLIDATE_CPUS_MAX);
    let mut tracks = vec![Track::EMPTY; cpus.len()];
    let started = Instant::now();
    let made = Consolidator::new(&cpus, &Requirements::NONE, Keep::EveryPackage, Tuning::BALANCED, &mut tracks);
    let mut consolidator = made.expect("a consolidator");
    println!("made in {:?}", started.elapsed());
    let mut quickest = Duration::MAX;
    for look in 1..=20 {
        let started = Instant::now();
        consolidator.decide(&cpus, look * 10_000);
        quickest = quickest.min(started.elapsed());
    }
    println!("a decision takes {quickest:?}");
    assert!(quickest < DECISION_MAX);
    assert_eq!(consolidator.awake(), 16);
}
