//! What the generators reached: event × state × value of a knob that the machine consulted meanwhile.

use super::draw::Thrown;
use super::reach;
use park_core::Mechanism;
use park_sim::machine::{Knob, KnobSet, Machine};
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
    pub(crate) const ALL: [Self; 6] = [Self::Arriving, Self::Hlt, Self::Mwait, Self::Clgi, Self::Rung, Self::Leaving];

    pub(crate) const fn waiting(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Mwait => Self::Mwait,
            Mechanism::Clgi => Self::Clgi,
            Mechanism::Hlt | Mechanism::WaitForSipi => Self::Hlt,
        }
    }
}

/// What makes a machine consult a knob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Row {
    /// An event, and what the CPU does in the steps after it.
    Event(Thrown),
    /// An access or IPI of the CPU that reserves, rings and revokes.
    Waker,
}

/// How often each cell was reached.
#[derive(Default, Debug)]
pub(crate) struct Coverage {
    thrown: BTreeMap<(Thrown, State), u64>,
    cells: BTreeMap<(Row, State, Knob, u8), u64>,
    open: Option<Window>,
}

/// The time in which what a machine consults is put down to an event.
#[derive(Clone, Copy, Debug)]
struct Window {
    cell: (Thrown, State),
    steps_left: u64,
    consulted: KnobSet,
}

/// Steps after an event in which what is consulted is put down to it, unless another event comes first.
const WINDOW_STEPS: u64 = 64;

impl Coverage {
    /// An event is about to be thrown at a CPU in this state.
    pub(crate) fn throw(&mut self, thrown: Thrown, state: State, machine: &mut Machine) {
        self.close(machine);
        machine.take_knobs_read();
        *self.thrown.entry((thrown, state)).or_default() += 1;
        self.open = Some(Window { cell: (thrown, state), steps_left: WINDOW_STEPS, consulted: KnobSet::empty() });
    }

    /// The waker made an access or sent an IPI, to a CPU in this state: what that consulted is its own row.
    pub(crate) fn rung(&mut self, state: Option<State>, machine: &mut Machine) {
        let consulted = machine.take_knobs_read();
        if let Some(state) = state {
            self.count(Row::Waker, state, consulted, machine);
        }
    }

    /// The CPU took a step.
    pub(crate) fn step(&mut self, machine: &mut Machine) {
        let consulted = machine.take_knobs_read();
        if let Some(window) = &mut self.open {
            window.consulted = window.consulted.union(consulted);
            window.steps_left -= 1;
            if window.steps_left == 0 {
                self.close(machine);
            }
        }
    }

    /// What was consulted since the last event counts from here on.
    pub(crate) fn close(&mut self, machine: &mut Machine) {
        let Some(window) = self.open.take() else { return };
        let (thrown, state) = window.cell;
        self.count(Row::Event(thrown), state, window.consulted, machine);
    }

    fn count(&mut self, row: Row, state: State, consulted: KnobSet, machine: &Machine) {
        for knob in consulted.iter() {
            *self.cells.entry((row, state, knob, machine.knobs.index(knob))).or_default() += 1;
        }
    }

    /// Prints what was reached; returns the reachable cells that are empty, and the unreachable knobs that were consulted.
    pub(crate) fn report(&self) -> Vec<String> {
        println!("events thrown, by state {:?}:", State::ALL);
        for thrown in Thrown::ALL {
            let counts = State::ALL.map(|state| self.thrown.get(&(thrown, state)).copied().unwrap_or(0));
            println!("  {thrown:?}: {counts:?}");
        }
        println!("how often a knob was consulted, by value:");
        let mut wrong = Vec::new();
        for knob in Knob::ALL {
            match (reach::cells(*knob), reach::reason(*knob)) {
                (Some(rows), None) => wrong.extend(rows.iter().flat_map(|(row, states)| self.row(*knob, *row, states))),
                (None, Some(reason)) => {
                    println!("  {}: nowhere: {reason}", knob.name());
                    let met = self.cells.keys().find(|(_, _, consulted, _)| consulted == knob);
                    wrong.extend(met.map(|cell| format!("{cell:?} was met, and is said to be unreachable")));
                }
                _ => wrong.push(format!("{} is in both lists, or in none", knob.name())),
            }
        }
        reach::NOTES.iter().for_each(|note| println!("  {note}"));
        wrong
    }

    /// Prints the cells of one row; returns those that were never met.
    fn row(&self, knob: Knob, row: Row, states: &[State]) -> Vec<String> {
        let mut empty = Vec::new();
        let mut line = format!("  {}, {row:?}:", knob.name());
        for state in states {
            let values = knob.values().iter().zip(0u8..);
            let counts = values.map(|(name, value)| {
                let count = self.cells.get(&(row, *state, knob, value)).copied().unwrap_or(0);
                if count == 0 {
                    empty.push(format!("{row:?} × {state:?} × {}={name} was never met", knob.name()));
                }
                count.to_string()
            });
            line += &format!(" {state:?} {}", counts.collect::<Vec<_>>().join("/"));
        }
        println!("{line}");
        empty
    }
}
