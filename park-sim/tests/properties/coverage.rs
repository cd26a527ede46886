//! What the generators reached: event × state × knob value.

use super::draw::Thrown;
use park_core::Mechanism;
use park_sim::machine::{Knob, Knobs};
use std::collections::BTreeMap;

/// Where a CPU is when something is thrown at it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum State {
    Arriving,
    Hlt,
    Mwait,
    Clgi,
    Rung,
    Leaving,
}

impl State {
    const ALL: [Self; 6] = [Self::Arriving, Self::Hlt, Self::Mwait, Self::Clgi, Self::Rung, Self::Leaving];

    pub(crate) const fn waiting(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Mwait => Self::Mwait,
            Mechanism::Clgi => Self::Clgi,
            Mechanism::Hlt | Mechanism::WaitForSipi => Self::Hlt,
        }
    }
}

/// Cells that are reached, or are none, and where nothing can come of them.
const NOTES: [&str; 4] = [
    "a false wake ends only an MWAIT: in other states it is thrown, and nothing comes of it",
    "INIT is not thrown at the BSP: the machine would reset, which a scenario shows",
    "no state Clgi on Intel; no state of wait-for-SIPI: a CPU there has no loop",
    "a machine check is not thrown while a CPU is in SMM or in the simulated kernel's own handlers: not park's",
];

/// How often each cell was reached.
#[derive(Default, Debug)]
pub(crate) struct Coverage {
    cells: BTreeMap<(Thrown, State, Knob, u8), u64>,
}

impl Coverage {
    pub(crate) fn reached(&mut self, thrown: Thrown, state: State, knobs: &Knobs) {
        for knob in Knob::ALL {
            *self.cells.entry((thrown, state, *knob, knobs.index(*knob))).or_default() += 1;
        }
    }

    /// Prints what was reached, by event and state; returns the empty cells that are reachable.
    pub(crate) fn report(&self) -> Vec<String> {
        let mut empty = Vec::new();
        println!("events thrown, by state {:?}, and the least over all values of all knobs:", State::ALL);
        for thrown in Thrown::ALL {
            let mut line = format!("  {thrown:?}:");
            for state in State::ALL {
                let (mut least, mut all) = (u64::MAX, 0);
                for knob in Knob::ALL {
                    all = 0;
                    for value in 0..knob.values().len() as u8 {
                        let count = self.cells.get(&(thrown, state, *knob, value)).copied().unwrap_or(0);
                        least = least.min(count);
                        all += count;
                        if count == 0 {
                            let value = knob.values()[usize::from(value)];
                            empty.push(format!("{thrown:?} × {state:?} × {}={value}", knob.name()));
                        }
                    }
                }
                line += &format!(" {all} ({least})");
            }
            println!("{line}");
        }
        NOTES.iter().for_each(|note| println!("  {note}"));
        empty
    }
}
