//! Small programs that show one CPU rule each, where no cell, scenario or sanitising step does.
//!
//! Each builds a machine under the rules that it is given and says whether the CPU does what the rule says.

mod events;
mod lab;
mod memory;
mod state;
mod waits;

use crate::machine::RuleSet;

/// A program, by the name that [`Rule::guard`](crate::machine::Rule::guard) knows it by.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    /// The name.
    pub name: &'static str,
    check: fn(RuleSet) -> bool,
}

impl Unit {
    const fn new(name: &'static str, check: fn(RuleSet) -> bool) -> Self {
        Self { name, check }
    }

    /// Whether the CPU does what the rule says, under `rules`.
    #[must_use]
    pub fn holds(&self, rules: RuleSet) -> bool {
        (self.check)(rules)
    }
}

/// Every program.
#[must_use]
pub fn all() -> Vec<Unit> {
    [waits::ALL, events::ALL, state::ALL, memory::ALL].concat()
}

/// The program of this name.
#[must_use]
pub fn by_name(name: &str) -> Option<Unit> {
    all().into_iter().find(|unit| unit.name == name)
}
