//! Breadth-first search over all interleavings, so that a counterexample is a shortest one.

use super::config::Reduction;
use super::engine::Engine;
use super::hash::Visited;
use super::state::{Action, Chosen, Vars};
use super::violation::Violation;
use crate::machine::{Knob, KnobSet};
use std::collections::BTreeSet;

/// How a state was first reached.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    action: Action,
    knobs: u32,
}

/// One step of a path: the move, and the knobs after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PathStep {
    pub(crate) action: Action,
    pub(crate) chosen: Chosen,
}

/// What a search came to.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) states: u32,
    pub(crate) transitions: u64,
    /// False if the search gave up at the limit of states.
    pub(crate) complete: bool,
    pub(crate) rests: u32,
    pub(crate) outcomes: BTreeSet<u128>,
    pub(crate) projections: BTreeSet<u128>,
    pub(crate) violation: Option<(Violation, Vec<PathStep>)>,
}

/// States of one distance from the beginning, packed one after the other.
#[derive(Debug, Default)]
struct Layer {
    items: Vec<(u32, Vars, usize)>,
    bytes: Vec<u8>,
}

impl Layer {
    fn image(&self, at: usize) -> &[u8] {
        let end = self.items.get(at + 1).map_or(self.bytes.len(), |next| next.2);
        self.items.get(at).and_then(|item| self.bytes.get(item.2..end)).unwrap_or_default()
    }
}

/// A search under way.
#[derive(Debug)]
struct Search {
    nodes: Vec<Node>,
    /// From and to, of every transition.
    edges: Vec<(u32, u32)>,
    rests: Vec<u32>,
    outcomes: BTreeSet<u128>,
    projections: BTreeSet<u128>,
    visited: Visited,
    next: Layer,
    /// False once the search has given up.
    complete: bool,
}

/// Explores everything that can follow from `first`, the state that the engine's machine holds.
pub(crate) fn search(engine: &mut Engine<'_>, first: Vars) -> Found {
    let mut search = Search {
        nodes: vec![Node { parent: 0, action: Action::Cpu, knobs: first.knobs }],
        edges: Vec::new(),
        rests: Vec::new(),
        outcomes: BTreeSet::new(),
        projections: BTreeSet::new(),
        visited: Visited::new(),
        next: Layer::default(),
        complete: true,
    };
    search.visited.enter(engine.keys.key(&mut engine.scene, &first), 0);
    search.push(engine, 0, first);
    let mut moves = Vec::new();
    let mut layer = Layer::default();
    while !search.next.items.is_empty() {
        core::mem::swap(&mut layer, &mut search.next);
        search.next.items.clear();
        search.next.bytes.clear();
        for at in 0..layer.items.len() {
            let (number, vars, _) = layer.items[at];
            let image = layer.image(at);
            engine.restore(&vars, image);
            let before = engine.before();
            if engine.moves(&vars, &mut moves) {
                search.rests.push(number);
                search.outcomes.insert(engine.outcome(&vars));
                if let Err(violation) = engine.check_rest(&vars) {
                    return search.end(engine, Some((violation, number, None)));
                }
            }
            for action in &moves {
                if let Err((violation, chosen)) = search.branch(engine, number, &vars, image, *action, &before) {
                    let last = PathStep { action: *action, chosen };
                    return search.end(engine, Some((violation, number, Some(last))));
                }
            }
        }
        if search.nodes.len() as u64 > u64::from(engine.config.states_max) {
            search.complete = false;
            break;
        }
    }
    let stuck = if search.complete { search.stuck() } else { None };
    let violation = stuck.map(|number| (Violation::Livelock, number, None));
    search.end(engine, violation)
}

impl Search {
    /// One move, once for each value of each knob that it is the first to consult.
    fn branch(
        &mut self,
        engine: &mut Engine<'_>,
        from: u32,
        vars: &Vars,
        image: &[u8],
        action: Action,
        before: &super::engine::Before,
    ) -> Result<(), (Violation, Chosen)> {
        let mut open = vec![engine.chosen.value(vars.knobs)];
        while let Some(chosen) = open.pop() {
            let vars = Vars { knobs: engine.chosen.number(chosen), ..*vars };
            engine.restore(&vars, image);
            engine.scene.machine.take_knobs_read();
            let outcome = engine.perform(&vars, action, before);
            if let Some(knob) = engine.open_knob(&chosen) {
                for value in values(knob) {
                    let mut branch = chosen;
                    branch.set.insert(knob);
                    if branch.values.set_index(knob, value).is_ok() {
                        engine.coverage.chose(knob, &branch.values);
                        open.push(branch);
                    }
                }
                continue;
            }
            let next = outcome.map_err(|violation| (violation, chosen))?;
            let key = engine.keys.key(&mut engine.scene, &next);
            let fresh = self.nodes.len() as u32;
            let (number, known) = self.visited.enter(key, fresh);
            self.edges.push((from, number));
            if !known {
                self.nodes.push(Node { parent: from, action, knobs: next.knobs });
                if engine.config.reduction != Reduction::Full {
                    self.projections.insert(engine.projection(&next));
                }
                self.push(engine, number, next);
            }
        }
        Ok(())
    }

    fn push(&mut self, engine: &Engine<'_>, number: u32, vars: Vars) {
        self.next.items.push((number, vars, self.next.bytes.len()));
        engine.image(&mut self.next.bytes);
    }

    /// The first state from which no state of rest can be reached.
    fn stuck(&self) -> Option<u32> {
        let mut rests = vec![false; self.nodes.len()];
        for number in &self.rests {
            rests[*number as usize] = true;
        }
        let mut changed = true;
        while changed {
            changed = false;
            for (from, to) in self.edges.iter().rev() {
                if rests[*to as usize] && !rests[*from as usize] {
                    rests[*from as usize] = true;
                    changed = true;
                }
            }
        }
        rests.iter().position(|reaches| !reaches).map(|number| number as u32)
    }

    fn path(&self, engine: &Engine<'_>, to: u32) -> Vec<PathStep> {
        let mut path = Vec::new();
        let mut at = to;
        while at != 0 {
            let node = self.nodes[at as usize];
            path.push(PathStep { action: node.action, chosen: engine.chosen.value(node.knobs) });
            at = node.parent;
        }
        path.reverse();
        path
    }

    fn end(&self, engine: &Engine<'_>, violation: Option<(Violation, u32, Option<PathStep>)>) -> Found {
        Found {
            states: self.nodes.len() as u32,
            transitions: self.edges.len() as u64,
            complete: self.complete,
            rests: self.rests.len() as u32,
            outcomes: self.outcomes.clone(),
            projections: self.projections.clone(),
            violation: violation.map(|(violation, at, last)| {
                let mut path = self.path(engine, at);
                path.extend(last);
                (violation, path)
            }),
        }
    }
}

fn values(knob: Knob) -> impl Iterator<Item = u8> {
    0..knob.values().len() as u8
}

/// Knobs of `after` that `before` had not chosen.
pub(crate) const fn newly_chosen(before: &Chosen, after: &Chosen) -> KnobSet {
    after.set.minus(before.set)
}
