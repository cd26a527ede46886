//! Every planted fault is found, by a counterexample that replays; without it the same setting is clean.

mod support;

use park_sim::faults::{DRIVER_FAULTS, Fault, KEPT_FENCES, Plant, Sweep, Throw, Wrong, driver_is_sound, list};
use park_sim::machine::RuleSet;
use std::collections::HashSet;
use std::time::Instant;

/// Looks for a fault; returns a failure if it is not found, or its setting is not clean without it.
fn look(fault: &Fault) -> Result<(), String> {
    let setting = &fault.shown_by;
    let cases = setting.cases(support::request).expect("knob values");
    let planted = Plant { changes: fault.changes, owner: fault.owner };
    let clean = Plant { changes: &[], owner: fault.owner };
    let sweep = |case, plant| Sweep { case, throws: setting.throws, legs: setting.legs, end: setting.end, plant };
    for case in &cases {
        if let Some(example) = sweep(case, clean).run().counterexample {
            return Err(format!("{}: without the fault: {example}", fault.name));
        }
    }
    for (number, case) in cases.iter().enumerate() {
        let sweep = sweep(case, planted);
        let report = sweep.run();
        let Some(example) = report.counterexample else { continue };
        println!("{}: {}\n  {example}", fault.name, fault.what);
        println!(
            "  again: cargo run -p park-sim --example fault -- {} {number} {} {}",
            fault.name, example.position, example.throw
        );
        let (again, log) = sweep.replay(&example);
        for line in log.iter().rev().take(4).rev() {
            println!("    {line}");
        }
        if again.as_ref() != Some(&example.wrong) {
            return Err(format!("{}: its counterexample does not replay: {again:?}", fault.name));
        }
        if matches!(&example.wrong, Wrong::Operation { what } if what.contains("can't be planted")) {
            return Err(format!("{}: {}", fault.name, example.wrong));
        }
        return Ok(());
    }
    Err(format!("{}: not found", fault.name))
}

#[test]
fn every_fault_is_found() {
    let started = Instant::now();
    let failures: Vec<_> = list::all().filter_map(|fault| look(fault).err()).collect();
    println!("{} faults, {:.1} s", list::all().count(), started.elapsed().as_secs_f64());
    for (fence, why) in KEPT_FENCES {
        println!("kept, although no run shows its absence: {fence}: {why}");
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn there_are_enough_and_names_are_unique() {
    let names: HashSet<_> = list::all().map(|fault| fault.name).collect();
    assert_eq!(names.len(), list::all().count());
    assert!(names.len() >= 25, "{}", names.len());
    assert!(list::all().all(|fault| Fault::from_name(fault.name).is_some()));
}

#[test]
fn throws_have_names() {
    for throw in Throw::SINGLE.into_iter().chain(Throw::NESTED).chain([
        Throw::McFatal,
        Throw::McStorm,
        Throw::FalseWake,
        Throw::Smi,
        Throw::CounterOverflow,
        Throw::TimerExpiry,
    ]) {
        assert_eq!(throw.to_string().parse(), Ok(throw));
    }
}

#[test]
fn every_fault_of_the_driver_is_found() {
    assert!(driver_is_sound(RuleSet::ALL), "with the driver as it is");
    for fault in DRIVER_FAULTS {
        println!("{}: {}", fault.name, fault.what);
        assert!(fault.is_found(RuleSet::ALL), "{}: not found", fault.name);
        assert!(Fault::from_name(fault.name).is_none(), "{}: two faults of this name", fault.name);
    }
}
