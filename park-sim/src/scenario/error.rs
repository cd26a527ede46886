//! What can be wrong with a scenario file, or with running it.

use crate::machine::Knob;
use crate::world::WorldError;
use thiserror::Error;

/// Where in a scenario file something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name, as the caller gave it.
    pub origin: String,
    /// The line, from 1; 0 if the whole file is meant.
    pub line: usize,
    /// The table or key, such as `step 3 (event)`.
    pub what: String,
}

impl core::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.origin, self.what),
            line => write!(f, "{}:{line}: {}", self.origin, self.what),
        }
    }
}

/// An error of a scenario: nothing was run, or the run ended where the error says.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The text is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Box<Place>,
        /// What the parser says.
        message: String,
    },
    /// A key that this table does not have.
    #[error("{place}: there is no key `{key}` here; it takes {known}")]
    UnknownKey {
        /// Where.
        place: Box<Place>,
        /// The key.
        key: String,
        /// The keys that the table takes.
        known: String,
    },
    /// A key that must be there.
    #[error("{place}: `{key}` is missing")]
    Missing {
        /// Where.
        place: Box<Place>,
        /// The key.
        key: &'static str,
    },
    /// A value of the wrong kind, or out of its range.
    #[error("{place}: `{key}` is {found}, but takes {expected}")]
    Value {
        /// Where.
        place: Box<Place>,
        /// The key.
        key: String,
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: String,
    },
    /// A name that does not exist.
    #[error("{place}: no {kind} is named `{name}`; there are {known}")]
    UnknownName {
        /// Where.
        place: Box<Place>,
        /// What was wanted: `event`, `knob`, `verb` ...
        kind: &'static str,
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// A CPU that the machine does not have.
    #[error("{place}: there is no CPU {cpu}; the machine has {cpus}, numbered from 0")]
    NoSuchCpu {
        /// Where.
        place: Box<Place>,
        /// The number.
        cpu: u64,
        /// How many there are.
        cpus: usize,
    },
    /// Two parts of the file contradict each other.
    #[error("{place}: {why}")]
    Contradiction {
        /// Where.
        place: Box<Place>,
        /// What and what to do.
        why: String,
    },
    /// No scenario of this name is built in.
    #[error("no scenario is named `{name}`; there are {}", super::names().collect::<Vec<_>>().join(", "))]
    UnknownScenario {
        /// The name.
        name: String,
    },
    /// The knob has no value of this name.
    #[error("knob `{}` has no value `{value}`; it takes {}", knob.name(), knob.values().join(", "))]
    KnobValue {
        /// The knob.
        knob: Knob,
        /// The value.
        value: String,
    },
    /// The mechanism is not to be had on this machine.
    #[error("{place}: CPU {cpu} can't park by {mechanism}: {why}")]
    Orders {
        /// The step.
        place: Box<Place>,
        /// The CPU.
        cpu: usize,
        /// The mechanism.
        mechanism: park_core::Mechanism,
        /// Why not.
        why: String,
    },
    /// A step that does not fit where the run is: a wake of a CPU that is not parked.
    #[error("{place}: {why}")]
    Step {
        /// The step.
        place: Box<Place>,
        /// What and what to do.
        why: String,
    },
    /// An operation, or the machine, failed in a way that the scenario does not expect.
    #[error("{place}: {error}")]
    World {
        /// The step.
        place: Box<Place>,
        /// What failed.
        error: Box<WorldError>,
    },
}
