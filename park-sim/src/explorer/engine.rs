//! From one state to the next: which moves there are, and what each does.

use super::config::{Afterwards, Config, Mortality, Reduction, Time};
use super::coverage::Coverage;
use super::key::{Keys, OTHERS};
use super::scene::{PARKED, Scene};
use super::state::{Action, Chosen, End, Interner, Memory, NO_ENTRY, Vars};
use super::violation::Violation;
use super::waker::{Holder, Waker};
use crate::machine::cpu::Latches;
use crate::machine::{Activity, Delivered, Event, EventKind, Evict, Knob, KnobSet, Outcome};
use park_core::lot::{Doorbell, Phase, Stage, bay};

/// A configuration at work: the machine holds one state at a time.
#[derive(Debug)]
pub(crate) struct Engine<'c> {
    pub(crate) config: &'c Config,
    pub(crate) scene: Scene,
    pub(crate) keys: Keys,
    pub(crate) coverage: Coverage,
    pub(crate) wakers: Interner<Waker>,
    pub(crate) chosen: Interner<Chosen>,
    pub(crate) pinned: KnobSet,
    /// The knobs of a path whose CPU executes nothing more: none is open.
    closed: Chosen,
}

/// What the checks compare with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    pub(crate) doorbell: Doorbell,
    pub(crate) stage: u64,
    pub(crate) second_stage: u64,
    /// The CPU is in a handler, or in its owner's text, with MCIP set.
    pub(crate) handles_mc: bool,
    pub(crate) gif: bool,
    pub(crate) in_smm: bool,
    pub(crate) rip: u64,
}

/// Whether a holder that waits may see time pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Clock {
    MovesOn,
    Stands,
}

/// IA32_MCG_STATUS.MCIP (Intel SDM vol. 3, "IA32_MCG_STATUS").
const MCIP: u64 = 1 << 2;

impl<'c> Engine<'c> {
    pub(crate) fn new(config: &'c Config, scene: Scene) -> (Self, Vars) {
        let mut pinned = KnobSet::empty();
        for (knob, _) in config.pinned {
            pinned.insert(*knob);
        }
        let keys = Keys::new(config, &scene);
        let coverage = Coverage::of(&scene);
        let (wakers, chosen) = (Interner::new(), Interner::new());
        let mut all = KnobSet::empty();
        Knob::ALL.iter().for_each(|knob| all.insert(*knob));
        let closed = Chosen { values: scene.machine.knobs, set: all };
        let mut engine = Self { config, scene, keys, coverage, wakers, chosen, pinned, closed };
        let knobs = Chosen { values: engine.scene.machine.knobs, set: pinned };
        let home = engine.word(bay::STAGE) == Stage::Waiting as u64;
        let memory = Memory {
            budget: config.event_budget,
            rung: NO_ENTRY,
            claimed: NO_ENTRY,
            landed: false,
            home,
            flushed: home,
            sealed: 0,
            device_writes: config.device_writes,
            moved: false,
            end: End::None,
        };
        let first = Holder::BOTH.map(|holder| {
            let waker = Waker::new(holder, config, &engine.scene);
            engine.wakers.number(waker)
        });
        let vars = Vars { wakers: first, knobs: engine.chosen.number(knobs), memory };
        (engine, vars)
    }

    /// A word of the bay, as memory has it.
    pub(crate) fn word(&self, offset: u64) -> u64 {
        self.scene.machine.read_phys_u64(self.scene.bay_word(offset))
    }

    /// Physical address of the bay that the CPU is in.
    fn home(&self, vars: &Vars) -> u64 {
        match &self.scene.second {
            Some(second) if vars.memory.moved => second.bay_phys,
            _ => self.scene.bay_phys,
        }
    }

    /// The stage in the second lot's bay.
    pub(crate) fn second_stage(&self) -> u64 {
        self.scene.second.as_ref().map_or(0, |second| self.scene.machine.read_phys_u64(second.bay_phys + bay::STAGE))
    }

    pub(crate) fn restore(&mut self, vars: &Vars, image: &[u8]) {
        let fits = self.scene.machine.unpack_one(PARKED, &OTHERS, &self.scene.regions, image);
        debug_assert!(fits, "an image that this engine packed");
        self.scene.machine.knobs = self.chosen.value(vars.knobs).values;
        self.check_in();
    }

    pub(crate) fn image(&self, out: &mut Vec<u8>) {
        self.scene.machine.pack_one(PARKED, &OTHERS, &self.scene.regions, out);
    }

    pub(crate) fn before(&mut self) -> Before {
        let cpu = self.scene.machine.cpu(PARKED);
        Before {
            doorbell: Doorbell(self.word(bay::DOORBELL)),
            stage: self.word(bay::STAGE),
            second_stage: self.second_stage(),
            handles_mc: cpu.msr.mcg_status() & MCIP != 0 && !self.scene.at_work(cpu.rip),
            gif: cpu.gif,
            in_smm: cpu.in_smm(),
            rip: cpu.rip,
        }
    }

    /// Whether a step of the CPU does something; a knob that decides it counts as yes.
    fn cpu_moves(&mut self, vars: &Vars) -> bool {
        if !self.goes_on(&vars.memory) {
            return false;
        }
        if vars.memory.landed
            && self.scene.second.is_none()
            && self.at_an_entry()
            && !self.scene.machine.event_pending(PARKED)
        {
            return false;
        }
        self.scene.machine.take_knobs_read();
        let can = self.scene.machine.can_step(PARKED);
        let open = self.scene.machine.take_knobs_read().minus(self.chosen.value(vars.knobs).set);
        can || !open.is_empty()
    }

    /// Makes the machine's TLB the choice of the search: each translation that a walk would not yield again may go.
    fn evictions(&mut self, out: &mut Vec<Action>) {
        let current = self.keys.current(&mut self.scene);
        let entries = self.scene.machine.cpu(PARKED).tlb.all();
        let stale = (0u32..).zip(entries).filter(|(at, _)| current & (1 << at) == 0);
        out.extend(stale.map(|(_, entry)| Action::Evict(entry.linear)));
    }

    fn at_an_entry(&self) -> bool {
        let rip = self.scene.machine.cpu(PARKED).rip;
        self.scene.entries.iter().any(|entry| entry.rip == rip)
    }

    /// All moves from the state that the machine holds. True beside them if everyone is at rest: nothing but an event,
    /// or a death, would change anything.
    pub(crate) fn moves(&mut self, vars: &Vars, out: &mut Vec<Action>) -> bool {
        out.clear();
        let cpu_moves = self.cpu_moves(vars);
        if cpu_moves {
            out.push(Action::Cpu);
        }
        let mut drains = false;
        for cpu in [PARKED, OTHERS[0], OTHERS[1]] {
            if self.scene.machine.cpu(cpu).stores_waiting() {
                drains = true;
                out.push(Action::Drain(cpu as u8));
            }
        }
        let moves_on = self.config.time == Time::Hasty || !(cpu_moves || drains);
        let clock = if moves_on { Clock::MovesOn } else { Clock::Stands };
        let mut holders_rest = true;
        for holder in Holder::BOTH {
            holders_rest &= !self.holder_moves(vars, holder, clock, out);
        }
        if cpu_moves {
            self.evictions(out);
        }
        let rests = holders_rest && !drains && (!cpu_moves || self.polls(vars));
        for holder in Holder::BOTH {
            let waker = self.wakers.value(vars.wakers[holder as usize]);
            let mortal = match holder {
                Holder::Old => matches!(self.config.mortality, Mortality::MayDie | Mortality::BothMayDie),
                Holder::New => {
                    let may = matches!(self.config.mortality, Mortality::NewMayDie | Mortality::BothMayDie);
                    may && waker.begun && waker.is_second()
                }
            };
            if mortal && !waker.dead {
                out.push(Action::Die(holder as u8));
            }
        }
        let waits = self.scene.machine.cpu(PARKED).activity.is_mwait_family();
        if vars.memory.device_writes > 0 && vars.memory.end == End::None && waits {
            out.push(Action::DeviceWrite);
        }
        if vars.memory.budget > 0 && self.may_raise(vars) {
            out.extend(self.config.exceptions.iter().map(|vector| Action::Raise(*vector)));
        }
        if vars.memory.budget > 0 && self.goes_on(&vars.memory) {
            let waits = self.scene.machine.cpu(PARKED).activity.is_mwait_family();
            let landed = vars.memory.landed;
            let possible = |kind: &&EventKind| match kind {
                EventKind::FalseWake => waits,
                // After the entry an INIT is its owner's affair.
                EventKind::Init => !landed,
                _ => true,
            };
            out.extend(self.config.events.iter().filter(possible).map(|kind| Action::Event(*kind)));
        }
        rests
    }

    /// Whether anything more can happen at the parked CPU.
    fn goes_on(&self, memory: &Memory) -> bool {
        match memory.end {
            End::None => true,
            End::Taken | End::Shutdown => self.config.afterwards == Afterwards::GoesOn,
            End::Over => false,
        }
    }

    /// Whether the parked CPU is about to execute an instruction of the bay code.
    fn may_raise(&self, vars: &Vars) -> bool {
        let cpu = self.scene.machine.cpu(PARKED);
        let executes = cpu.activity == Activity::Running && !cpu.in_smm() && !self.scene.machine.event_pending(PARKED);
        executes && vars.memory.end == End::None && !vars.memory.landed && self.coverage.has(cpu.rip)
    }

    /// The CPU turns in its wait, with nothing to see, or has stopped: where GIF = 0, a held event may end its HLT for ever.
    fn polls(&self, vars: &Vars) -> bool {
        if vars.memory.landed && !vars.memory.moved {
            return false;
        }
        let bay_phys = self.home(vars);
        let word = |offset| self.scene.machine.read_phys_u64(bay_phys + offset);
        let quiet = Doorbell(word(bay::DOORBELL)).phase() == Some(Phase::Quiet);
        let stage = word(bay::STAGE);
        stage == Stage::Faulted as u64 || quiet && stage == Stage::Waiting as u64
    }

    /// Makes one move in the state that the machine holds.
    pub(crate) fn perform(&mut self, vars: &Vars, action: Action, before: &Before) -> Result<Vars, Violation> {
        let mut next = *vars;
        match action {
            Action::Cpu => self.step_cpu(&mut next, before)?,
            Action::Drain(cpu) => {
                self.scene.machine.drain_one(usize::from(cpu));
            }
            Action::Access(number) => self.access(&mut next, number, Clock::Stands, before)?,
            Action::Tick(number) => {
                let at = usize::from(number & 1);
                let mut waker = self.wakers.value(vars.wakers[at]);
                waker.tick();
                next.wakers[at] = self.wakers.number(waker);
                self.access(&mut next, number, Clock::MovesOn, before)?;
            }
            Action::Die(number) => {
                let at = usize::from(number & 1);
                let waker = self.wakers.value(vars.wakers[at]).dies(self.config, &self.scene);
                next.wakers[at] = self.wakers.number(waker);
            }
            Action::DeviceWrite => {
                next.memory.device_writes -= 1;
                let phys = self.scene.bay_word(bay::DOORBELL);
                let word = self.scene.machine.read_phys_u64(phys);
                self.scene.machine.dma_write(phys, &word.to_le_bytes());
            }
            Action::Raise(vector) => {
                next.memory.budget -= 1;
                self.scene.machine.raise_exception(PARKED, vector);
            }
            Action::Evict(linear) => self.scene.machine.evict_tlb(PARKED, Evict::Page(linear)),
            Action::Event(kind) => {
                next.memory.budget -= 1;
                let cpu = self.scene.machine.cpu(PARKED);
                let alone = cpu.latches == Latches::default() && !cpu.in_smm();
                self.scene.machine.inject(Event::at(PARKED, kind));
                self.forget_elsewhere();
                // Taken at once where it can be: what others do in between, they could have done before it came.
                if alone && self.config.reduction == Reduction::Full && self.scene.machine.event_pending(PARKED) {
                    self.step_cpu(&mut next, before)?;
                }
            }
        }
        self.drain_private();
        self.check(&mut next, action, before)?;
        self.forget(vars, &mut next);
        let cpu = self.scene.machine.cpu(PARKED);
        let activity = if cpu.in_smm() { None } else { Some(cpu.activity) };
        next.memory.end = match (vars.memory.end, next.memory.end, activity) {
            (_, End::Shutdown, _) if self.scene.machine.was_reset().is_some() => End::Over,
            (End::Taken, End::Shutdown, _) => End::Over,
            // An NMI ends a shutdown where the vendor says so.
            (End::Shutdown, End::Shutdown, Some(Activity::Running)) => End::None,
            (_, end, _) => end,
        };
        if !self.goes_on(&next.memory) {
            next.knobs = self.chosen.number(self.closed);
        }
        Ok(next)
    }

    /// Lets the parked CPU's oldest stores become visible at once while they go to words that no other CPU reads or
    /// writes, and no monitor but its own watches: such a drain commutes with every other move.
    fn drain_private(&mut self) {
        if self.config.reduction != Reduction::Full {
            return;
        }
        let second = self.scene.second.as_ref().map_or(self.scene.bay_phys, |second| second.bay_phys);
        let bays = [self.scene.bay_phys, second];
        let private = |phys: u64| bays.iter().any(|bay| (bay + bay::EVENTS..bay + bay::LEN).contains(&phys));
        let machine = &mut self.scene.machine;
        while machine.cpu(PARKED).stores.iter().next().is_some_and(|store| private(store.phys)) {
            machine.drain_one(PARKED);
        }
    }

    /// An SMI comes to all CPUs at once where firmware makes them meet: the others, which execute host-modelled code, have
    /// checked in by the time the parked CPU looks, and leave when it does.
    fn check_in(&mut self) {
        self.scene.machine.check_in(PARKED, &OTHERS);
    }

    /// What a broadcast left at CPUs that execute host-modelled code, and in the banks, which nothing reads.
    fn forget_elsewhere(&mut self) {
        for other in OTHERS {
            self.scene.machine.cpu_mut(other).latches = Latches::default();
        }
        self.check_in();
        for bank in &mut self.scene.machine.cpu_mut(PARKED).msr.banks {
            *bank = Default::default();
        }
    }

    fn step_cpu(&mut self, next: &mut Vars, before: &Before) -> Result<(), Violation> {
        let machine = &mut self.scene.machine;
        match machine.step(PARKED) {
            Outcome::Executed => {
                next.memory.flushed |= self.coverage.executed(before.rip);
            }
            Outcome::Stopped => return Err(Violation::Unsupported(format!("{:?}", machine.stopped()))),
            Outcome::Delivered(Delivered::Init) => next.memory.end = End::Taken,
            Outcome::Delivered(Delivered::Shutdown) => {
                // A machine check while the last one is handled (SDM vol. 3, "MCIP"), and one with GIF = 0 where the
                // implementation can't hold it (APM vol. 2, table 15-10), are the architecture's own; one in SMM is the
                // firmware's.
                let declared = before.handles_mc || !before.gif || before.in_smm || next.memory.end == End::Taken;
                if !declared {
                    return Err(Violation::Shutdown);
                }
                next.memory.end = End::Shutdown;
            }
            _ => {}
        }
        Ok(())
    }

    /// The state as a reduced key sees it, with values in place of their numbers, so that searches can be compared.
    pub(crate) fn projection(&mut self, vars: &Vars) -> u128 {
        let key = self.keys.projection(&mut self.scene, &Vars { wakers: [0; 2], knobs: 0, ..*vars });
        let wakers = vars.wakers.map(|waker| self.wakers.value(waker));
        super::hash::of(&(key, wakers, self.chosen.value(vars.knobs)))
    }

    /// How a state of rest turned out: what the holders and the CPU came to.
    pub(crate) fn outcome(&self, vars: &Vars) -> u128 {
        let memory = Memory { budget: 0, device_writes: 0, ..vars.memory };
        let wakers = vars.wakers.map(|waker| self.wakers.value(waker).outcome());
        super::hash::of(&(memory, self.word(bay::DOORBELL), self.word(bay::STAGE), self.second_stage(), wakers))
    }

    /// The knobs that the last move consulted and this path had not chosen.
    pub(crate) fn open_knob(&mut self, chosen: &Chosen) -> Option<Knob> {
        self.scene.machine.take_knobs_read().minus(chosen.set).minus(self.pinned).iter().next()
    }
}
