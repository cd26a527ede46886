//! Every claim holds, on any machine: a cell is measured under every value of every knob that a run consults, then
//! compared.

use super::draw;
use super::support;
use core::cell::RefCell;
use park_core::op::Processor;
use park_core::{Event, Mechanism};
use park_sim::compare::{Cell, Parked, Reason, Table};
use park_sim::machine::{RuleSet, Scheduler};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A mechanism, an event, and the CPU it hits.
fn cell() -> impl Strategy<Value = Cell> {
    (0..Mechanism::ALL.len(), 0..Event::ALL.len(), any::<bool>()).prop_map(|(mechanism, event, bootstrap)| {
        let mechanism = Mechanism::ALL[mechanism];
        // INIT and wait-for-SIPI are not for the bootstrap processor: refused.
        let may_be_bsp = matches!(mechanism, Mechanism::Hlt | Mechanism::Mwait);
        let processor = if bootstrap && may_be_bsp { Processor::Bootstrap } else { Processor::Application };
        Cell { mechanism, event: Event::ALL[event], processor }
    })
}

fn play(drawn: &draw::Drawn, cell: Cell, measured: &mut BTreeSet<String>) -> Result<(), String> {
    let mut drawn = drawn.clone();
    // The measuring stage: CPU 0 is the bootstrap processor, CPU 2 looks on.
    drawn.bsp = 0;
    let mut config = drawn.config();
    config.rules = RuleSet::ALL;
    // Knobs are the measurement's: it runs every value of those that it consults.
    config.knobs = Default::default();
    let failed = |error: park_sim::world::WorldError| error.to_string();
    let parked = Parked::park_in(config, drawn.levels, cell.mechanism, cell.processor, &support::orders_of);
    let Some(mut parked) = parked.map_err(failed)? else { return Ok(()) };
    let rates = parked.world.scheduler.rates;
    parked.world.scheduler = Scheduler::new(drawn.seed, drawn.cpus);
    parked.world.scheduler.rates = rates;
    let mut table = Table::default();
    table.measure_cell(&parked, cell).map_err(failed)?;
    measured.insert(format!("{:?} {cell}", drawn.vendor));
    let wrong = table.compare(support::claims(drawn.vendor));
    match wrong.iter().find(|mismatch| mismatch.reason != Reason::NotMeasured) {
        Some(mismatch) => Err(mismatch.to_string()),
        None => Ok(()),
    }
}

#[test]
fn every_claim_holds_on_any_machine() {
    let strategy = (draw::small_machine(3), cell());
    let measured = RefCell::new(BTreeSet::new());
    super::check("claims", 4, &strategy, |(drawn, cell)| play(drawn, *cell, &mut measured.borrow_mut()));
    // Hlt, Mwait and wait-for-SIPI on both, Clgi on one; Hlt and Mwait on the BSP too.
    let cells = (2 * 3 + 1 + 2 * 2) * Event::ALL.len();
    println!("{} of {cells} cells", measured.borrow().len());
    assert_eq!(measured.borrow().len(), cells, "{:?}", measured.borrow());
}
