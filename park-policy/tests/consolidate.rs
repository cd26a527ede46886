//! Consolidation over time: known traces, and properties over drawn ones.

mod common;

use common::{ALL_OFFERS, all_claims, machine};
use park_core::{ApicId, Response};
use park_policy::{CONSOLIDATE_CPUS_MAX, Idle};
use park_policy::{
    Change, ConsolidateError, Consolidator, CpuKind, CpuView, Keep, Offer, Offers, Placement, Requirements, StoreWake,
    Track, Tuning, TuningError, Waits, Which, plan,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Between two looks at the load, in microseconds.
const TICK_US: u64 = 10_000;
const TUNING: Tuning = Tuning::BALANCED;

/// Every mechanism takes so long to wake.
fn offers(wake_latency_us: u32) -> Offers {
    let here = Offer::Here(Waits { wake_latency_us, store_wake: StoreWake::Reliable, idle: Idle::Deep });
    Offers { hlt: here, mwait: here, clgi: here, wait_for_sipi: here }
}

/// Spreads a demand, in percent of one CPU, evenly over the CPUs that are awake; each takes 100 at most.
fn spread(cpus: &mut [CpuView<'_>], consolidator: &Consolidator<'_>, demand: u64) {
    let mut awake = consolidator.awake() as u64;
    let mut left = demand.min(awake * 100);
    for (index, cpu) in cpus.iter_mut().enumerate() {
        if consolidator.sleeps(index) {
            cpu.load_percent = 0;
            continue;
        }
        let share = left.div_ceil(awake);
        cpu.load_percent = share as u8;
        (left, awake) = (left - share, awake - 1);
    }
}

fn sleeping(consolidator: &Consolidator<'_>, cpus: usize) -> Vec<usize> {
    (0..cpus).filter(|index| consolidator.sleeps(*index)).collect()
}

#[test]
fn load_packs_into_cores_that_share_a_cache_and_spreads_to_the_nearest_first() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    // Two packages of two caches of two cores of two threads.
    let mut cpus = machine(&kind, 2, 4, 2);
    for cpu in &mut cpus {
        cpu.cache = cpu.core / 2;
    }
    let mut tracks = [Track::EMPTY; 16];
    let made = Consolidator::new(&cpus, &Requirements::NONE, Keep::OneCpu, TUNING, &mut tracks);
    let mut consolidator = made.expect("a consolidator");
    let mut now_us = TICK_US;
    let mut settle = |consolidator: &mut Consolidator<'_>, demand| {
        for _ in 0..200 {
            spread(&mut cpus, consolidator, demand);
            consolidator.decide(&cpus, now_us);
            now_us += TICK_US;
        }
        sleeping(consolidator, 16)
    };
    // 60 percent of four CPUs: the two cores of the first cache.
    assert_eq!(settle(&mut consolidator, 240), [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    assert_eq!(settle(&mut consolidator, 0), (1..16).collect::<Vec<_>>());
    // One and a half cores, then the sibling of the half one, then the other cache of the package.
    assert_eq!(settle(&mut consolidator, 170), (3..16).collect::<Vec<_>>());
    assert_eq!(settle(&mut consolidator, 250), (5..16).collect::<Vec<_>>());
    assert_eq!(settle(&mut consolidator, 480), (8..16).collect::<Vec<_>>());
    assert_eq!(settle(&mut consolidator, 1600), [] as [usize; 0]);
}

#[test]
fn cpus_are_woken_at_once_and_parked_only_after_a_calm() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let mut cpus = machine(&kind, 1, 4, 1);
    let mut tracks = [Track::EMPTY; 4];
    let made = Consolidator::new(&cpus, &Requirements::NONE, Keep::OneCpu, TUNING, &mut tracks);
    let mut consolidator = made.expect("a consolidator");
    assert_eq!(consolidator.decide(&cpus, 1_000_000).parks, 0);
    assert_eq!(consolidator.decide(&cpus, 1_000_000 + TUNING.calm_us - 1).parks, 0);
    let decision = consolidator.decide(&cpus, 1_000_000 + TUNING.calm_us);
    assert_eq!((decision.parks, decision.awake), (3, 1));
    let changes: Vec<_> = consolidator.changes().collect();
    assert_eq!(changes, [(1, Change::Park), (2, Change::Park), (3, Change::Park)]);
    // The second can't be parked.
    consolidator.failed(1);
    assert_eq!(sleeping(&consolidator, 4), [2, 3]);
    let mut words = [0];
    consolidator.marks(&mut words);
    assert_eq!(words, [0b1100]);
    let mut out = [Placement::EMPTY; 4];
    let made = plan(&cpus, &Which::Marked(&words), &Requirements::NONE, &mut out).expect("a plan");
    assert_eq!(made.placements.iter().map(|one| one.apic_id).collect::<Vec<_>>(), [ApicId(2), ApicId(3)]);
    // Time that stands still or goes back decides nothing.
    (cpus[0].load_percent, cpus[1].load_percent) = (100, 100);
    assert_eq!(consolidator.decide(&cpus, 1_000_000 + TUNING.calm_us).wakes, 0);
    assert_eq!(consolidator.decide(&cpus, 5).wakes, 0);
    let decision = consolidator.decide(&cpus, 1_000_000 + TUNING.calm_us + 10);
    assert_eq!((decision.wakes, decision.awake), (2, 4));
    assert_eq!(consolidator.changes().collect::<Vec<_>>(), [(2, Change::Wake), (3, Change::Wake)]);
}

#[test]
fn the_busiest_moment_of_a_calm_counts_and_a_calm_is_as_long_as_the_sleep() {
    let claims = all_claims(Response::Unnoticed);
    // Ten of these are ten calms.
    let kind = CpuKind::new(&claims, offers(100_000));
    let mut cpus = machine(&kind, 1, 4, 1);
    let mut tracks = [Track::EMPTY; 4];
    let made = Consolidator::new(&cpus, &Requirements::NONE, Keep::OneCpu, TUNING, &mut tracks);
    let mut consolidator = made.expect("a consolidator");
    for turn in 1..=100 {
        cpus[0].load_percent = if turn == 50 { 100 } else { 0 };
        assert_eq!(consolidator.decide(&cpus, turn * TICK_US).parks, 0, "look {turn}");
        // Back in time: nothing is decided, and the calm goes on.
        assert_eq!(consolidator.decide(&cpus, 5), park_policy::Decision { awake: 4, ..Default::default() });
    }
    // The peak needed two CPUs.
    assert_eq!(consolidator.decide(&cpus, 101 * TICK_US).parks, 2);
}

#[test]
fn caches_count_before_cores() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    // Cores alternate between three caches.
    let mut cpus = machine(&kind, 1, 9, 1);
    for cpu in &mut cpus {
        cpu.cache = cpu.core % 3;
    }
    let mut tracks = [Track::EMPTY; 9];
    let made = Consolidator::new(&cpus, &Requirements::NONE, Keep::OneCpu, TUNING, &mut tracks);
    let mut consolidator = made.expect("a consolidator");
    for turn in 1..50 {
        spread(&mut cpus, &consolidator, 300);
        consolidator.decide(&cpus, turn * TICK_US);
    }
    assert_eq!(sleeping(&consolidator, 9), [2, 5, 7, 8]);
}

#[test]
fn what_must_stay_stays_and_what_cannot_sleep_does_not() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let sleepless = CpuKind::new(&claims, Offers::NONE);
    let mut cpus = machine(&kind, 3, 2, 1);
    cpus[1].kind = &sleepless;
    for (keep, expected) in
        [(Keep::OneCpu, vec![2, 3, 4, 5]), (Keep::Packages(&[2]), vec![2, 3, 5]), (Keep::EveryPackage, vec![3, 5])]
    {
        let mut tracks = [Track::EMPTY; 6];
        let made = Consolidator::new(&cpus, &Requirements::NONE, keep, TUNING, &mut tracks);
        let mut consolidator = made.expect("a consolidator");
        for turn in 1..50 {
            consolidator.decide(&cpus, turn * TICK_US);
        }
        assert_eq!(sleeping(&consolidator, 6), expected, "{keep:?}");
    }
}

#[test]
fn a_busy_cpu_is_not_moved() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let mut cpus = machine(&kind, 1, 4, 1);
    cpus[3].load_percent = 95;
    let mut tracks = [Track::EMPTY; 4];
    let made = Consolidator::new(&cpus, &Requirements::NONE, Keep::OneCpu, TUNING, &mut tracks);
    let mut consolidator = made.expect("a consolidator");
    for turn in 1..50 {
        consolidator.decide(&cpus, turn * TICK_US);
    }
    assert_eq!(sleeping(&consolidator, 4), [1, 2]);
}

#[test]
fn one_that_cannot_be_parked_keeps_nobody_awake_and_is_seldom_asked() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let mut cpus = machine(&kind, 1, 4, 1);
    let mut tracks = [Track::EMPTY; 4];
    let made = Consolidator::new(&cpus, &Requirements::NONE, Keep::OneCpu, TUNING, &mut tracks);
    let mut consolidator = made.expect("a consolidator");
    let mut asked = 0;
    for turn in 1..=1_000 {
        // Two CPUs would do.
        spread(&mut cpus, &consolidator, 120);
        consolidator.decide(&cpus, turn * TICK_US);
        if consolidator.changes().any(|change| change == (3, Change::Park)) {
            consolidator.failed(3);
            asked += 1;
        }
    }
    assert_eq!(sleeping(&consolidator, 4), [1, 2]);
    // It is asked once, and its neighbour is parked in its place.
    assert_eq!(asked, 1);
}

#[test]
fn errors_make_it_more_patient() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let mut cpus = machine(&kind, 1, 8, 1);
    let mut tracks = [Track::EMPTY; 8];
    let made = Consolidator::new(&cpus, &Requirements::NONE, Keep::OneCpu, TUNING, &mut tracks);
    let mut consolidator = made.expect("a consolidator");
    // Idle for a little more than the calm, then busy: the worst that a load can do.
    let mut parked = [0; 2];
    for turn in 1..=4_000u64 {
        spread(&mut cpus, &consolidator, if turn % 16 < 13 { 0 } else { 800 });
        let decision = consolidator.decide(&cpus, turn * TICK_US);
        parked[usize::from(turn > 2_000)] += decision.parks;
    }
    // Without patience it would be seven CPUs in each of 125 rounds.
    assert!(parked[0] > 0 && parked.iter().all(|count| *count < 7 * 20), "{parked:?}");
}

#[test]
fn bad_arguments_are_refused_by_name() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let cpus = machine(&kind, 1, 4, 1);
    let make = |cpus: &[CpuView<'_>], tuning, tracks: &mut [Track]| {
        Consolidator::new(cpus, &Requirements::NONE, Keep::OneCpu, tuning, tracks).err()
    };
    let mut tracks = [Track::EMPTY; 4];
    assert_eq!(make(&cpus, TUNING, &mut tracks[..3]), Some(ConsolidateError::TooFewTracks { needed: 4 }));
    let no_gap = Tuning { wake_above_percent: 60, ..TUNING };
    assert_eq!(make(&cpus, no_gap, &mut tracks), Some(ConsolidateError::Tuning(TuningError::NoGap)));
    let never = Tuning { wake_above_percent: 100, ..TUNING };
    assert_eq!(make(&cpus, never, &mut tracks), Some(ConsolidateError::Tuning(TuningError::OutOfRange)));
    let no_time = Tuning { calm_us: 0, ..TUNING };
    assert_eq!(make(&cpus, no_time, &mut tracks), Some(ConsolidateError::Tuning(TuningError::NoTime)));
    let many = vec![cpus[0]; CONSOLIDATE_CPUS_MAX + 1];
    let count = many.len();
    assert_eq!(make(&many, TUNING, &mut []), Some(ConsolidateError::TooManyCpus { count }));
    // Nobody is a machine too.
    let mut nobody = Consolidator::new(&[], &Requirements::NONE, Keep::OneCpu, TUNING, &mut []).expect("empty");
    assert_eq!(nobody.decide(&[], 1), park_policy::Decision::default());
}

/// A machine and how it is consolidated.
#[derive(Clone, Debug)]
struct Drawn {
    shape: (u32, u32, u32),
    latency_us: u32,
    tuning: Tuning,
    keep_all: u8,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let tuning = (1u8..=90, 1u8..=30, 1u64..300_000, 1u32..50).prop_map(|(target, gap, calm_us, latencies)| Tuning {
        target_percent: target,
        wake_above_percent: (target + gap).min(99),
        calm_us,
        break_even_latencies: latencies,
    });
    ((1u32..4, 1u32..6, 1u32..4), 0u32..3_000, tuning, 0u8..3).prop_map(|(shape, latency_us, tuning, keep_all)| Drawn {
        shape,
        latency_us,
        tuning,
        keep_all,
    })
}

const KEPT: [u32; 1] = [1];

fn keep(drawn: &Drawn) -> Keep<'static> {
    match drawn.keep_all {
        0 => Keep::OneCpu,
        1 => Keep::Packages(&KEPT),
        _ => Keep::EveryPackage,
    }
}

/// Loads of each look, and the time since the last.
fn trace() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
    vec((prop_oneof![Just(TICK_US), 0u64..200_000], vec(any::<u8>(), 1..8)), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_load_does_nothing_thrashes(drawn in drawn(), trace in trace()) {
        let claims = all_claims(Response::Unnoticed);
        let kind = CpuKind::new(&claims, offers(drawn.latency_us));
        let (packages, cores, threads) = drawn.shape;
        let mut cpus = machine(&kind, packages, cores, threads);
        let mut tracks = vec![Track::EMPTY; cpus.len()];
        let made = Consolidator::new(&cpus, &Requirements::NONE, keep(&drawn), drawn.tuning, &mut tracks);
        let mut consolidator = made.expect("a consolidator");
        let break_even_us = u64::from(drawn.latency_us) * u64::from(drawn.tuning.break_even_latencies);
        let calm_us = drawn.tuning.calm_us;
        let mut changed: Vec<Option<(u64, Change)>> = vec![None; cpus.len()];
        let mut parks = vec![0u64; cpus.len()];
        let (mut now_us, mut first_us) = (0, None);
        for (step_us, loads) in &trace {
            now_us += step_us;
            first_us.get_or_insert(now_us);
            for (cpu, load) in cpus.iter_mut().zip(loads.iter().cycle()) {
                cpu.load_percent = load % 101;
            }
            let before = consolidator.awake();
            let decision = consolidator.decide(&cpus, now_us);
            let changes: Vec<_> = consolidator.changes().collect();
            prop_assert_eq!(changes.len(), decision.parks + decision.wakes);
            prop_assert!(decision.parks == 0 || decision.wakes == 0);
            prop_assert_eq!(decision.awake, before + decision.wakes - decision.parks);
            prop_assert_eq!(decision.awake, consolidator.awake());
            for (index, change) in changes {
                let last = changed[index].replace((now_us, change));
                match (last, change) {
                    (Some((at, Change::Park)), Change::Wake) => prop_assert!(now_us - at >= break_even_us),
                    (Some((at, Change::Wake)), Change::Park) => prop_assert!(now_us - at >= calm_us),
                    (None, Change::Park) => {}
                    other => prop_assert!(false, "{:?}", other),
                }
                parks[index] += u64::from(change == Change::Park);
            }
            prop_assert!(!consolidator.sleeps(0), "the bootstrap processor");
            for package in 0..packages {
                let stays = match keep(&drawn) {
                    Keep::OneCpu => false,
                    Keep::Packages(kept) => kept.contains(&package),
                    Keep::EveryPackage => true,
                };
                let awake = |(index, cpu): (usize, &CpuView<'_>)| cpu.package == package && !consolidator.sleeps(index);
                prop_assert!(!stays || cpus.iter().enumerate().any(awake), "package {}", package);
            }
        }
        // The bound that the documentation states.
        let time_us = now_us - first_us.unwrap_or_default();
        for count in parks {
            prop_assert!(count <= 1 + time_us / (calm_us + break_even_us));
        }
    }

    #[test]
    fn constant_load_comes_to_rest(drawn in drawn(), demand in 0u64..6_000, before in 0u64..6_000, pinned in any::<bool>()) {
        let claims = all_claims(Response::Unnoticed);
        let kind = CpuKind::new(&claims, offers(drawn.latency_us));
        let (packages, cores, threads) = drawn.shape;
        let mut cpus = machine(&kind, packages, cores, threads);
        let mut tracks = vec![Track::EMPTY; cpus.len()];
        let made = Consolidator::new(&cpus, &Requirements::NONE, keep(&drawn), drawn.tuning, &mut tracks);
        let mut consolidator = made.expect("a consolidator");
        let break_even_us = u64::from(drawn.latency_us) * u64::from(drawn.tuning.break_even_latencies);
        // Slow enough for each decision to be free of the times of the one before.
        let tick_us = drawn.tuning.calm_us.max(break_even_us).max(1) + 1;
        let mut now_us = 0;
        let mut changes = 0;
        for turn in 0..200u32 {
            now_us += tick_us;
            let demand = if turn < 20 { before } else { demand };
            if pinned {
                // Work that does not move: each CPU has its load, awake or not.
                for (index, cpu) in cpus.iter_mut().enumerate() {
                    cpu.load_percent = (demand * (index as u64 + 3) % 101) as u8;
                }
            } else {
                spread(&mut cpus, &consolidator, demand);
            }
            let decision = consolidator.decide(&cpus, now_us);
            if turn >= 150 {
                changes += decision.parks + decision.wakes;
            }
        }
        prop_assert_eq!(changes, 0, "still moving: {} of {} awake", consolidator.awake(), cpus.len());
        if !pinned {
            // And rests where the load can be borne, with no more CPUs than that takes, give or take the gap.
            let awake = consolidator.awake() as u64;
            let all = cpus.len() as u64;
            prop_assert!(awake == all || demand <= u64::from(drawn.tuning.wake_above_percent) * awake);
            let kept = if drawn.keep_all == 0 { 1 } else { u64::from(packages) + 1 };
            prop_assert!(awake <= kept.max(demand.div_ceil(u64::from(drawn.tuning.target_percent))));
        }
    }
}
