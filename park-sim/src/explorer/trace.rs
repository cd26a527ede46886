//! A counterexample: numbered steps, which replay.

use super::config::Config;
use super::engine::Engine;
use super::scene::{PARKED, Plant, Scene};
use super::search::{PathStep, newly_chosen, search};
use super::state::{Action, Vars};
use super::violation::Violation;
use super::waker::Holder;
use crate::world::{SanitiseStep, WorldError};
use core::fmt;
use park_core::op::Step;

/// The bytes and steps of an exploration, with what was planted in them.
#[derive(Clone, Debug)]
pub(crate) struct Planted {
    pub(crate) lot: Vec<u8>,
    pub(crate) steps: Vec<SanitiseStep>,
}

impl Planted {
    /// Builds the scene, and keeps what `plant` made of the lot.
    pub(crate) fn scene(config: &Config, plant: impl FnOnce(&mut Plant<'_>)) -> Result<(Scene, Self), WorldError> {
        let mut kept = Self { lot: Vec::new(), steps: Vec::new() };
        let scene = Scene::build(config, |lot| {
            plant(lot);
            kept = Self { lot: lot.lot.to_vec(), steps: lot.steps.clone() };
        })?;
        Ok((scene, kept))
    }

    fn again(&self, config: &Config) -> Result<Scene, WorldError> {
        Scene::build(config, |plant| {
            if plant.lot.len() == self.lot.len() {
                plant.lot.copy_from_slice(&self.lot);
            }
            plant.steps.clone_from(&self.steps);
        })
    }
}

/// A path to a violation, with all that it takes to go it again.
#[derive(Clone, Debug)]
pub struct Trace {
    pub(crate) config: Config,
    pub(crate) planted: Planted,
    pub(crate) path: Vec<PathStep>,
    pub(crate) violation: Violation,
    pub(crate) lines: Vec<String>,
}

impl Trace {
    /// What the path leads to.
    #[must_use]
    pub const fn violation(&self) -> &Violation {
        &self.violation
    }

    /// How many steps it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.path.len()
    }

    /// Whether the first state is the violation.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.path.is_empty()
    }

    /// The steps as text, one line each: who, what, and the knobs that it chose.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.config.name, self.violation)?;
        for (number, line) in self.lines.iter().enumerate() {
            writeln!(f, "{:4}. {line}", number + 1)?;
        }
        Ok(())
    }
}

/// Goes the path again, from a machine built anew.
///
/// # Errors
/// [`WorldError`] if the machine can't be built.
///
/// `Ok(None)` if the path leads to no violation: the trace is of another version of the code.
pub fn replay(trace: &Trace) -> Result<Option<Violation>, WorldError> {
    let scene = trace.planted.again(&trace.config)?;
    let (mut engine, first) = Engine::new(&trace.config, scene);
    Ok(go(&mut engine, first, &trace.path, &mut Vec::new()))
}

/// The steps of a trace as text.
pub(crate) fn lines(trace: &Trace) -> Result<Vec<String>, WorldError> {
    let scene = trace.planted.again(&trace.config)?;
    let (mut engine, first) = Engine::new(&trace.config, scene);
    let mut lines = Vec::new();
    go(&mut engine, first, &trace.path, &mut lines);
    Ok(lines)
}

fn go(engine: &mut Engine<'_>, first: Vars, path: &[PathStep], lines: &mut Vec<String>) -> Option<Violation> {
    let mut vars = first;
    let mut moves = Vec::new();
    for step in path {
        let mut line = text(engine, &vars, step.action);
        for knob in newly_chosen(&engine.chosen.value(vars.knobs), &step.chosen).iter() {
            line += &format!("   [{} = {}]", knob.name(), step.chosen.values.value_name(knob));
        }
        lines.push(line);
        vars.knobs = engine.chosen.number(step.chosen);
        engine.scene.machine.knobs = step.chosen.values;
        let before = engine.before();
        match engine.perform(&vars, step.action, &before) {
            Ok(next) => vars = next,
            Err(violation) => return Some(violation),
        }
    }
    let rests = engine.moves(&vars, &mut moves);
    if rests {
        return engine.check_rest(&vars).err();
    }
    // A path without a violation of its own leads to where nobody comes to rest any more: look at all that follows.
    let found = search(engine, vars);
    (found.complete && found.rests == 0).then_some(Violation::Livelock)
}

fn text(engine: &Engine<'_>, vars: &Vars, action: Action) -> String {
    let machine = &engine.scene.machine;
    let cpu = machine.cpu(PARKED);
    match action {
        Action::Cpu if machine.event_pending(PARKED) => {
            format!("cpu         {:#08x}  takes an event ({})", cpu.rip, cpu.activity.name())
        }
        Action::Cpu => format!("cpu         {:#08x}  {}", cpu.rip, machine.disassemble(PARKED)),
        Action::Drain(number) => {
            let store = machine.cpu(usize::from(number)).stores.iter().next();
            let store =
                store.map_or_else(String::new, |store| place(engine, store.phys) + &format!(" = {:#x}", store.value));
            format!("memory      a store of CPU {number} becomes visible: {store}")
        }
        Action::Access(number) | Action::Tick(number) => {
            let holder = if number == 0 { Holder::Old } else { Holder::New };
            let waker = engine.wakers.value(vars.wakers[holder as usize]);
            let command = waker.current(engine.config);
            let at = |offset: u64| place(engine, engine.scene.lot.header().self_phys.0 + offset);
            let what = match waker.next {
                Step::Load { offset } => format!("reads {}", at(offset)),
                Step::Store { offset, value } => format!("writes {} = {value:#x}", at(offset)),
                Step::CompareExchange { offset, current, new } => {
                    format!("compares and swaps {}: {current:#x} -> {new:#x}", at(offset))
                }
                Step::SendNmi(_) => "sends an NMI".into(),
                Step::Wait { .. } if matches!(action, Action::Tick(_)) => "waits; time passes".into(),
                Step::Wait { .. } => "waits, and looks again".into(),
                other => format!("{other:?}"),
            };
            format!("{}  {}: {what}", holder.name(), command.map_or_else(String::new, |command| format!("{command:?}")))
        }
        Action::Die(number) => format!("{}  dies", if number == 0 { Holder::Old } else { Holder::New }.name()),
        Action::DeviceWrite => "device      writes the doorbell's line as it is".into(),
        Action::Raise(vector) => format!("cpu         {:#08x}  raises exception {vector}", cpu.rip),
        Action::Evict(linear) => format!("cpu         forgets where {linear:#x} is"),
        Action::Event(kind) => format!("event       {kind:?}"),
    }
}

/// A physical address, by its place in the bay where it has one.
fn place(engine: &Engine<'_>, phys: u64) -> String {
    let offset = phys.wrapping_sub(engine.scene.bay_phys);
    if offset < park_core::lot::bay::LEN { format!("bay+{offset:02x}h") } else { format!("{phys:#x}") }
}
