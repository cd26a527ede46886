//! NMI and #MC before every single step of arriving, waiting, being rung and leaving, and inside the handlers of each
//! other.

mod support;

use core::sync::atomic::{AtomicU64, Ordering};
use park_core::lot::PagingLevels;
use park_sim::faults::{Case, End, Leg, Plant, Report, Sweep, Throw, WayIn};
use park_sim::machine::{Knob, KnobSet, Vendor};
use std::time::Instant;

/// The paging depths: each journey is made in both.
const LEVELS: [PagingLevels; 2] = [PagingLevels::Four, PagingLevels::Five];

/// Journeys made by all tests of this program so far; the last one to print has them all.
static JOURNEYS: AtomicU64 = AtomicU64::new(0);

/// Prints what a test came to.
fn summary(what: &str, runs: u64, started: Instant) {
    let all = JOURNEYS.fetch_add(runs, Ordering::Relaxed) + runs;
    println!(
        "{what}: {runs} journeys, {:.1} s; {all} journeys so far in this program",
        started.elapsed().as_secs_f64()
    );
}

/// Sweeps a case; on a failure prints how it came about.
fn sweep(case: &Case, throws: &[Throw]) -> Result<Report, String> {
    let sweep = Sweep { case, throws, legs: &[], end: End::Landed, plant: Plant::default() };
    let report = sweep.run();
    if let Some(example) = &report.counterexample {
        let (again, log) = sweep.replay(example);
        println!("{example}\n{}\nagain: {again:?}", log.join("\n"));
        assert_eq!(again.as_ref(), Some(&example.wrong), "a counterexample replays");
        return Err(example.to_string());
    }
    Ok(report)
}

/// All cases of a vendor and a paging depth.
fn cases(vendor: Vendor, levels: PagingLevels) -> Vec<Case> {
    let ways = WayIn::ALL.into_iter();
    ways.flat_map(|way_in| support::mechanisms(vendor).iter().map(move |by| support::case(vendor, *by, levels, way_in)))
        .collect()
}

fn sweep_all(vendor: Vendor, levels: PagingLevels, throws: &[Throw]) {
    let started = Instant::now();
    let (mut all_runs, mut failures) = (0, Vec::new());
    for case in cases(vendor, levels) {
        let report = match sweep(&case, throws) {
            Ok(report) => report,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let Report { positions, runs, declared, declared_in_owner, .. } = report;
        all_runs += runs;
        println!("{case}: {positions:?} steps by leg, {runs} runs, {declared} declared shutdowns");
        for leg in Leg::ALL {
            assert!(positions[leg as usize] > 0, "{case}: no step {leg}");
        }
        // A CPU that comes out of a #MC handler shuts down until it has cleared MCIP; no other does.
        assert_eq!(declared_in_owner != 0, case.way_in == WayIn::McHandler, "{case}");
    }
    summary(&format!("{vendor:?}, {} levels, {} kinds of throw", levels as u8, throws.len()), all_runs, started);
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn intel_four_levels() {
    sweep_all(Vendor::Intel, PagingLevels::Four, &Throw::SINGLE);
}

#[test]
fn intel_five_levels() {
    sweep_all(Vendor::Intel, PagingLevels::Five, &Throw::SINGLE);
}

#[test]
fn amd_four_levels() {
    sweep_all(Vendor::Amd, PagingLevels::Four, &Throw::SINGLE);
}

#[test]
fn amd_five_levels() {
    sweep_all(Vendor::Amd, PagingLevels::Five, &Throw::SINGLE);
}

/// One event inside the handler of the other.
#[test]
fn nested_on_intel_four_levels() {
    sweep_all(Vendor::Intel, PagingLevels::Four, &Throw::NESTED);
}

/// As above.
#[test]
fn nested_on_intel_five_levels() {
    sweep_all(Vendor::Intel, PagingLevels::Five, &Throw::NESTED);
}

/// As above.
#[test]
fn nested_on_amd_four_levels() {
    sweep_all(Vendor::Amd, PagingLevels::Four, &Throw::NESTED);
}

/// As above.
#[test]
fn nested_on_amd_five_levels() {
    sweep_all(Vendor::Amd, PagingLevels::Five, &Throw::NESTED);
}

/// Every value of every knob that a journey consults.
#[test]
fn every_knob() {
    let started = Instant::now();
    let (mut explored, mut runs, mut failures) = (KnobSet::empty(), 0, Vec::new());
    for (vendor, levels) in
        [Vendor::Intel, Vendor::Amd].into_iter().flat_map(|vendor| LEVELS.map(|depth| (vendor, depth)))
    {
        for mechanism in support::mechanisms(vendor) {
            let mut case = support::case(vendor, *mechanism, levels, WayIn::Idle);
            let defaults = match sweep(&case, &Throw::SINGLE) {
                Ok(report) => report,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            };
            explored = explored.union(defaults.knobs);
            runs += defaults.runs;
            for knob in defaults.knobs.iter() {
                for value in knob.values().iter().skip(1) {
                    case.machine.knobs = Default::default();
                    case.machine.knobs.set(knob, value).expect("a value of the knob");
                    match sweep(&case, &Throw::SINGLE) {
                        Ok(report) => runs += report.runs,
                        Err(failure) => failures.push(format!("{case}, {}={value}: {failure}", knob.name())),
                    }
                }
            }
        }
    }
    let names: Vec<_> = explored.iter().map(Knob::name).collect();
    println!("knobs consulted: {}", names.join(" "));
    summary("every value of every knob consulted", runs, started);
    assert!(failures.is_empty(), "{failures:#?}");
}
