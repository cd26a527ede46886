//! Exhaustive search: every interleaving of one parked CPU, two lease holders and a few events.
//!
//! The parked CPU executes the bytes of the lot on the simulated machine, one instruction a move; the holders run
//! park-core's operations, one access a move; stores wait in buffers and become visible at any moment; events come at any
//! moment; a knob takes each of its values from where a path first consults it. Every state is checked ([`Violation`]),
//! and from every state everyone must be able to come to rest.
//!
//! The explorer has no branch for faults: a planted fault is a change of the lot's bytes, or of the sanitising, before
//! the CPU parks ([`Plant`]).
//!
//! # Reductions
//!
//! What a state's key leaves out is listed in `key.rs`, what a path forgets in `forget.rs`. Moves are left out only where
//! they commute with every move of others:
//!
//! * A holder's read of a word that nobody writes, and its putting a store into its own buffer, follow its last access at
//!   once; so does its next look behind a wait in which its clock did not move. A holder that may die stops before each
//!   store.
//! * Stores of the parked CPU to the counters and stacks of its own bay, which nobody else reads, are visible as soon as
//!   they are the oldest.
//! * An event that can be taken when it comes is taken in the same move. To come, it sets a latch that only the parked CPU
//!   looks at; so what others do between its coming and its being taken they can as well do before it came. Of two events
//!   that wait together the CPU takes the first by priority: the other one might as well come at the boundary behind it.
//!   A second NMI that is lost because the first still waits is one that never came. NMIs that holders send stay moves of
//!   their own.
//!
//! Translations may vanish at any moment. One that a walk would yield again makes no difference and is in no key; for each
//! of the others, which are there between a change of CR3 or of control bits and what flushes them, there is a move that
//! drops it.
//!
//! [`Reduction::Off`] explores without any of this. A test compares the ways in which small configurations come to
//! rest, and that a search with reduced keys reaches all that a search with plain ones does ([`Reduction::OfKeys`]).

mod check;
mod config;
mod coverage;
mod elsewhere;
mod engine;
mod forget;
mod hash;
mod holders;
mod key;
mod liveness;
mod scene;
mod search;
mod state;
mod table;
mod trace;
mod violation;
mod waker;

pub use config::{
    Afterwards, ApicState, Config, DEADLINE_UNITS, Do, Faults, KICK_UNITS, MonitorLine, Mortality, PINNED, Post,
    Reduction, Start, Time,
};
pub use coverage::Coverage;
pub use scene::Plant;
pub use table::{EXCLUDED_KNOBS, Excluded, STUBS_WITHOUT_GATE, configurations};
pub use trace::{Trace, replay};
pub use violation::Violation;

use crate::world::WorldError;
use core::time::Duration;
use engine::Engine;
use std::collections::BTreeSet;
use std::time::Instant;
use trace::Planted;

/// What an exploration came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The configuration's name.
    pub name: &'static str,
    /// States that differ.
    pub states: u32,
    /// Moves between them.
    pub transitions: u64,
    /// States in which everyone is at rest.
    pub rests: u32,
    /// The different ways in which everyone comes to rest, as hashes: what the CPU and the holders came to.
    pub outcomes: BTreeSet<u128>,
    /// Without [`Reduction::Full`]: the states that differ to a reduced key, as hashes.
    pub projections: BTreeSet<u128>,
    /// How long it took.
    pub time: Duration,
    /// False if it gave up at the configuration's limit of states: then "no counterexample" says little.
    pub complete: bool,
    /// Bytes of memory that changed and that no state holds: 0, or states were taken for equal that are not.
    pub strays: usize,
    /// What was executed and chosen.
    pub coverage: Coverage,
    /// A shortest path to a violation, if there is one.
    pub counterexample: Option<Trace>,
}

/// Explores everything that `config` can do; `plant` may change the lot's bytes and the sanitising first.
///
/// # Errors
/// [`WorldError`] if the machine, its kernels or the lot can't be built, or the CPU does not reach the start: a planted
/// fault that breaks the way in shows there, before anything is explored.
pub fn explore(config: &Config, plant: impl FnOnce(&mut Plant<'_>)) -> Result<Report, WorldError> {
    let begin = Instant::now();
    let (scene, planted) = Planted::scene(config, plant)?;
    let (mut engine, first) = Engine::new(config, scene);
    let found = search::search(&mut engine, first);
    let coverage = engine.coverage.clone();
    let strays = engine.scene.strays();
    let mut counterexample = None;
    if let Some((violation, path)) = found.violation {
        let trace = Trace { config: config.clone(), planted, path, violation, lines: Vec::new() };
        let lines = trace::lines(&trace)?;
        counterexample = Some(Trace { lines, ..trace });
    }
    Ok(Report {
        name: config.name,
        states: found.states,
        transitions: found.transitions,
        rests: found.rests,
        outcomes: found.outcomes,
        projections: found.projections,
        time: begin.elapsed(),
        complete: found.complete,
        strays,
        coverage,
        counterexample,
    })
}
