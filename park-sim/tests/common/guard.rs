//! Runs one guard by its name: a cell of the comparison, a scenario, a sanitising step left out, or a planted fault.

use super::{claims, orders, support};
use park_core::op::Processor;
use park_core::{Event, Mechanism};
use park_sim::compare::harms::{self, Step};
use park_sim::compare::{Cell, Parked, Reason, Table};
use park_sim::faults::{DriverFault, Fault, Plant, Sweep, driver_is_sound};
use park_sim::machine::{RuleSet, Vendor};
use park_sim::scenario::{self, Orders as ScenarioOrders, ParkOrders, RunOptions, Scenario};
use park_x86::features::Features;

/// Seeds of a scenario's schedules.
const SEEDS: core::ops::Range<u64> = 1..4;

/// The vendor crates, for scenarios.
struct VendorCrates;

impl ScenarioOrders for VendorCrates {
    fn orders(&self, mechanism: Mechanism, cpuid: &mut dyn FnMut(u32, u32) -> [u32; 4]) -> Result<ParkOrders, String> {
        let features = Features::read(cpuid);
        let orders = orders(mechanism, &features).ok_or_else(|| format!("no orders for {mechanism}"))?;
        Ok(ParkOrders { flags: orders.wait_flags, mwait_hint: orders.mwait_hint, steps: orders.steps().collect() })
    }
}

/// Every name of a cell: vendor/mechanism/event, and the processor.
pub(crate) fn cells() -> Vec<String> {
    let mut names = Vec::new();
    for vendor in ["intel", "amd"] {
        for mechanism in Mechanism::ALL {
            for event in Event::ALL {
                for processor in ["ap", "bsp"] {
                    names.push(format!("cell:{vendor}/{mechanism}/{event}/{processor}"));
                }
            }
        }
    }
    names
}

/// Whether a guard holds under `rules`.
pub(crate) fn holds(guard: &str, rules: RuleSet) -> bool {
    match guard.split_once(':') {
        Some(("cell", name)) => cell_holds(name, rules),
        Some(("scenario", name)) => scenario_holds(name, rules),
        Some(("sanitise", name)) => harm_shows(name, rules),
        Some(("fault", name)) => fault_is_found(name, rules),
        _ => panic!("`{guard}` is not the name of a guard"),
    }
}

/// What the vendor claims of the cell is what is measured.
fn cell_holds(name: &str, rules: RuleSet) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let [vendor, mechanism, event, processor] = parts[..] else { panic!("`{name}` is not a cell") };
    let vendor = if vendor == "intel" { Vendor::Intel } else { Vendor::Amd };
    let mechanism = Mechanism::from_name(mechanism).expect("a mechanism");
    let event = Event::from_name(event).expect("an event");
    let processor = if processor == "bsp" { Processor::Bootstrap } else { Processor::Application };
    let Ok(Some(parked)) = Parked::park(vendor, mechanism, processor, rules, &orders) else { return false };
    let mut table = Table::default();
    if table.measure_cell(&parked, Cell { mechanism, event, processor }).is_err() {
        return false;
    }
    table.compare(claims(vendor)).iter().all(|mismatch| mismatch.reason == Reason::NotMeasured)
}

/// A built-in scenario ends as its file says.
fn scenario_holds(name: &str, rules: RuleSet) -> bool {
    let scenario = Scenario::builtin(name).expect("a built-in scenario");
    SEEDS.into_iter().all(|seed| {
        let options = RunOptions { seed, rules, ..RunOptions::default() };
        scenario::run(&scenario, &options, &VendorCrates).is_ok_and(|report| report.expected)
    })
}

/// Leaving a sanitising step out shows its harm, and taking it prevents it.
fn harm_shows(name: &str, rules: RuleSet) -> bool {
    let harm = harms::by_name(name).expect("a program of this name");
    let run = |step| harm.run(step, rules, &orders);
    matches!((run(Step::Taken), run(Step::LeftOut)), (Ok(None), Ok(Some(_))))
}

/// A planted fault is found, and its setting is clean without it.
fn fault_is_found(name: &str, rules: RuleSet) -> bool {
    if let Some(fault) = DriverFault::from_name(name) {
        return driver_is_sound(rules) && fault.is_found(rules);
    }
    let fault = Fault::from_name(name).expect("a fault of this name");
    let setting = &fault.shown_by;
    let mut cases = setting.cases(support::request).expect("knob values");
    for case in &mut cases {
        case.machine.rules = rules;
    }
    let finds = |changes| {
        let plant = Plant { changes, owner: fault.owner };
        let sweep = |case| Sweep { case, throws: setting.throws, legs: setting.legs, end: setting.end, plant };
        cases.iter().any(|case| sweep(case).run().counterexample.is_some())
    };
    !finds(&[]) && finds(fault.changes)
}
