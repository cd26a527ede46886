//! Following a machine while it runs.

use super::touched::touched;
use super::{
    Act, Death, Front, INTERVALS_MAX, Interval, KernelSpan, Lane, MARKS_MAX, Mark, MarkKind, Recording, Registers,
    State,
};
use crate::machine::{AccessKind, Activity, Delivered, EventKind, Machine, Outcome, PhysRange};
use park_core::lot::{Doorbell, Phase, Stage, bay};

/// Ticks that overwriting a range takes.
const FRONT_TICKS: u64 = 240;
/// Ticks that a CPU's sanitising takes, which is no steps of the machine.
const SANITISE_TICKS: u64 = 16;
/// Ticks after the last step, so that every CPU's end is seen.
const LAST_TICKS: u64 = 40;
/// Ticks between two acts, at least.
const ACT_TICKS: u64 = 4;
/// Equal marks that follow each other so soon are one.
const SAME_MARK_TICKS: u64 = 2;
/// IRET, and its 64-bit form's prefix (SDM vol. 2, "IRET").
const IRET: u8 = 0xcf;
const REX_W: u8 = 0x48;

/// Where a CPU is, as the world knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Kernel,
    /// On its way into the bay at this physical address, or in it.
    Bay(u64),
    Leaving,
    Foreign,
}

/// One step of a CPU, as its machine tells it.
#[derive(Debug)]
pub(crate) struct Stepped<'s> {
    pub(crate) cpu: usize,
    pub(crate) before: Registers,
    pub(crate) outcome: Outcome,
    /// The bytes at RIP, if the instruction was fetched.
    pub(crate) bytes: &'s [u8],
    /// Bits of the code.
    pub(crate) bits: u8,
}

/// What is known of a CPU beyond its lane.
#[derive(Clone, Debug)]
struct Track {
    place: Place,
    has_arrived: bool,
    handler: Option<u8>,
    was_reset: bool,
    is_astray: bool,
    event: Option<MarkKind>,
    doorbell: u64,
}

const AT_HOME: Track = Track {
    place: Place::Kernel,
    has_arrived: false,
    handler: None,
    was_reset: false,
    is_astray: false,
    event: None,
    doorbell: 0,
};

/// A recording under way.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    recording: Recording,
    tracks: Vec<Track>,
    padding: u64,
    /// The kernel's own code, linear.
    kernel_text: [u64; 2],
    front: Option<Front>,
}

impl Recorder {
    pub(crate) fn new(machine: &Machine) -> Self {
        let cpus = machine.cpu_count();
        let recording = Recording {
            lanes: vec![Lane::default(); cpus],
            marks: Vec::new(),
            fronts: Vec::new(),
            kernels: Vec::new(),
            acts: Vec::new(),
            lot: None,
            end_tick: 0,
            is_truncated: false,
        };
        let mut recorder =
            Self { recording, tracks: vec![AT_HOME; cpus], padding: 0, kernel_text: [0; 2], front: None };
        for cpu in 0..cpus {
            recorder.enter(machine, cpu);
        }
        recorder
    }

    /// The end of the run.
    pub(crate) fn finish(mut self, machine: &Machine) -> Recording {
        for cpu in 0..self.tracks.len() {
            self.enter(machine, cpu);
        }
        let end = self.tick(machine) + LAST_TICKS;
        self.recording.end_tick = end;
        for lane in &mut self.recording.lanes {
            if let Some(last) = lane.intervals.last_mut() {
                last.end_tick = end;
            }
        }
        self.recording
    }

    fn tick(&self, machine: &Machine) -> u64 {
        machine.steps() + self.padding
    }

    pub(crate) fn lot(&mut self, range: PhysRange) {
        self.recording.lot = Some(range);
    }

    pub(crate) fn kernel(&mut self, machine: &Machine, range: PhysRange, text: [u64; 2]) {
        self.kernel_text = text;
        let (tick, number) = (self.tick(machine), self.recording.kernels.len() + 1);
        self.recording.kernels.push(KernelSpan { tick, number, range });
    }

    pub(crate) fn act(&mut self, machine: &Machine, what: String, line: usize) {
        self.padding += ACT_TICKS;
        let tick = self.tick(machine);
        self.recording.acts.push(Act { tick, what, line });
    }

    /// A CPU is somewhere else now.
    pub(crate) fn place(&mut self, machine: &Machine, cpu: usize, place: Place) {
        let Some(track) = self.tracks.get_mut(cpu) else { return };
        let doorbell = match place {
            Place::Bay(phys) => machine.read_phys_u64(phys + bay::DOORBELL),
            _ => 0,
        };
        *track = Track { place, doorbell, event: track.event, is_astray: track.is_astray, ..AT_HOME };
        if place == Place::Kernel {
            track.is_astray = false;
        }
        self.enter(machine, cpu);
    }

    /// A CPU has put itself in order.
    pub(crate) const fn sanitised(&mut self) {
        self.padding += SANITISE_TICKS;
    }

    pub(crate) fn front_begins(&mut self, machine: &Machine, by: usize, range: PhysRange) {
        let start_tick = self.tick(machine);
        self.front = Some(Front { start_tick, end_tick: start_tick + FRONT_TICKS, range, by });
    }

    pub(crate) fn front_ends(&mut self) {
        if let Some(front) = self.front.take() {
            self.padding += FRONT_TICKS;
            self.recording.fronts.push(front);
        }
    }

    /// An event was thrown or sent at a CPU.
    pub(crate) fn event(&mut self, machine: &Machine, cpu: usize, kind: EventKind, by: Option<usize>) {
        if let Some(kind) = MarkKind::of(kind) {
            let tick = self.tick(machine);
            self.mark(Mark { tick, cpu, kind, by });
        }
    }

    /// The whole machine was reset.
    pub(crate) fn reset(&mut self, machine: &Machine) {
        for cpu in 0..self.tracks.len() {
            self.tracks[cpu].was_reset = true;
            self.enter(machine, cpu);
        }
    }

    /// A store became visible.
    pub(crate) fn stored(&mut self, machine: &Machine, by: usize, phys: u64, value: u64) {
        let mut tick = self.tick(machine);
        if let Some(front) = self.front.as_ref().filter(|front| front.range.contains(phys)) {
            tick += (phys - front.range.start) * FRONT_TICKS / front.range.len.max(1);
        }
        for cpu in 0..self.tracks.len() {
            if self.tracks[cpu].place == Place::Bay(phys.wrapping_sub(bay::DOORBELL)) {
                self.doorbell(tick, cpu, by, value);
                return;
            }
            if self.tracks[cpu].place == Place::Bay(phys.wrapping_sub(bay::RELEASE)) && by != cpu {
                self.mark(Mark { tick, cpu, kind: MarkKind::Store, by: Some(by) });
                return;
            }
        }
        for cpu in (0..self.tracks.len()).filter(|cpu| *cpu != by) {
            let state = machine.cpu(cpu);
            let line = state.monitor.line;
            let watches = state.activity.is_mwait_family() && state.monitor.triggered;
            if watches && phys >= line && phys < line + machine.features().monitor_smallest.max(1) {
                self.mark(Mark { tick, cpu, kind: MarkKind::Store, by: Some(by) });
            }
        }
    }

    /// A swap that found another value writes what it found: only changes count.
    fn doorbell(&mut self, tick: u64, cpu: usize, by: usize, value: u64) {
        let track = &mut self.tracks[cpu];
        let last = core::mem::replace(&mut track.doorbell, value);
        if last == value {
            return;
        }
        let (bell, was_rung) = (Doorbell(value), Doorbell(last).phase() == Some(Phase::Rung));
        let kind = match (bell.phase(), by == cpu) {
            (Some(Phase::Rung), false) => bell.command().map(MarkKind::Ring),
            (Some(Phase::Claimed), true) => Some(MarkKind::Claim),
            (Some(Phase::Quiet), true) => Some(MarkKind::Done),
            (Some(Phase::Quiet), false) if was_rung => Some(MarkKind::Revoke),
            _ => None,
        };
        if let Some(kind) = kind {
            self.mark(Mark { tick, cpu, kind, by: Some(by) });
        }
    }

    fn mark(&mut self, mark: Mark) {
        let Some(track) = self.tracks.get_mut(mark.cpu) else { return };
        if mark.kind.is_event() {
            track.event = Some(mark.kind);
        }
        let marks = &mut self.recording.marks;
        let soon = |last: &&Mark| mark.tick - last.tick.min(mark.tick) <= SAME_MARK_TICKS;
        let mut recent = marks.iter().rev().take_while(soon);
        if recent.any(|last| Mark { tick: mark.tick, ..*last } == mark) {
            return;
        }
        if marks.len() == MARKS_MAX {
            self.recording.is_truncated = true;
            return;
        }
        marks.push(mark);
    }

    /// A CPU took a step.
    pub(crate) fn stepped(&mut self, machine: &Machine, step: &Stepped<'_>) {
        let cpu = step.cpu;
        let Some(track) = self.tracks.get_mut(cpu) else { return };
        match step.outcome {
            Outcome::Delivered(Delivered::Vector(vector)) => track.handler = Some(vector),
            Outcome::Delivered(Delivered::Init | Delivered::Sipi | Delivered::Shutdown) => track.handler = None,
            Outcome::Executed => {
                let code = match step.bytes {
                    [REX_W, rest @ ..] => rest,
                    bytes => bytes,
                };
                if code.first() == Some(&IRET) || machine.cpu(cpu).activity != Activity::Running {
                    track.handler = None;
                }
            }
            _ => {}
        }
        self.follow(machine, cpu);
        self.look_for_death(machine, step);
        self.enter(machine, cpu);
    }

    /// Where it is, by what its bay says and where its RIP is.
    fn follow(&mut self, machine: &Machine, cpu: usize) {
        let tick = self.tick(machine);
        let track = &mut self.tracks[cpu];
        let kind = match track.place {
            Place::Bay(phys) => match Stage::from_raw(machine.read_phys_u64(phys + bay::STAGE)) {
                Some(Stage::Waiting) if !track.has_arrived => {
                    track.has_arrived = true;
                    MarkKind::Parked
                }
                Some(Stage::Leaving) if track.has_arrived => {
                    track.place = Place::Leaving;
                    return;
                }
                _ => return,
            },
            Place::Leaving => {
                let [start, end] = self.kernel_text;
                if machine.cpu(cpu).rip < start || machine.cpu(cpu).rip >= end {
                    return;
                }
                track.place = Place::Kernel;
                track.has_arrived = false;
                MarkKind::Landed
            }
            Place::Kernel | Place::Foreign => return,
        };
        self.mark(Mark { tick, cpu, kind, by: None });
    }

    fn look_for_death(&mut self, machine: &Machine, step: &Stepped<'_>) {
        let (cpu, tick) = (step.cpu, self.tick(machine));
        let state = machine.cpu(cpu);
        let why = (state.activity == Activity::Shutdown).then(|| state.shutdown_why.unwrap_or("no reason is known"));
        let lane = &mut self.recording.lanes[cpu];
        if let Some(death) = &mut lane.death {
            if death.shutdown.is_none() {
                death.shutdown = why.map(|why| (tick, why));
            }
            return;
        }
        let breach = machine.breaches.first().iter().find(|breach| breach.cpu == cpu && breach.step == machine.steps());
        let what = match (breach, why) {
            (Some(breach), _) => touched(breach),
            (None, Some(why)) => why.to_owned(),
            (None, None) => return,
        };
        self.tracks[cpu].is_astray = true;
        let is_fetched = !matches!(breach.map(|breach| breach.kind), Some(AccessKind::Walk | AccessKind::WalkWrite));
        let is_fetched = is_fetched && !step.bytes.is_empty();
        lane.death = Some(Death {
            tick,
            what,
            instruction: is_fetched.then(|| machine.disassemble_bytes(step.bytes, step.bits, step.before.rip)),
            event: self.tracks[cpu].event,
            access: breach.map(|breach| (breach.kind, breach.phys)),
            registers: step.before,
            shutdown: why.map(|why| (tick, why)),
        });
    }

    /// Begins a new interval if the CPU's state is another one.
    fn enter(&mut self, machine: &Machine, cpu: usize) {
        let (state, tick) = (self.state(machine, cpu), self.tick(machine));
        let Some(lane) = self.recording.lanes.get_mut(cpu) else { return };
        // What lasted no tick was not.
        if lane.intervals.last().is_some_and(|last| last.state != state && last.start_tick == tick) {
            lane.intervals.pop();
        }
        if let Some(last) = lane.intervals.last_mut() {
            if last.state == state {
                return;
            }
            last.end_tick = tick;
        }
        if lane.intervals.len() >= INTERVALS_MAX && !matches!(state, State::Shutdown | State::Reset) {
            self.recording.is_truncated = true;
            return;
        }
        let registers = Registers::of(machine.cpu(cpu));
        lane.intervals.push(Interval { start_tick: tick, end_tick: tick, state, registers });
    }

    fn state(&self, machine: &Machine, cpu: usize) -> State {
        let (track, state) = (&self.tracks[cpu], machine.cpu(cpu));
        if track.was_reset {
            return State::Reset;
        }
        match state.activity {
            Activity::Shutdown => return State::Shutdown,
            Activity::ResetVector => return State::Reset,
            _ if state.in_smm() => return State::Smm,
            Activity::WaitForSipi => return State::WaitForSipi,
            _ if track.is_astray => return State::Astray,
            _ => {}
        }
        if let Some(vector) = track.handler {
            return State::Handler(vector);
        }
        match (track.place, state.activity) {
            (Place::Kernel, _) => State::Kernel,
            (Place::Leaving, _) => State::Leaving,
            (Place::Bay(_), _) if !track.has_arrived => State::Arriving,
            (Place::Bay(phys), _) if machine.read_phys_u64(phys + bay::STAGE) == Stage::Faulted as u64 => {
                State::BayFaulted
            }
            (Place::Bay(_), _) if !state.gif => State::LotClgi,
            (Place::Bay(_), Activity::Hlt) => State::LotHlt,
            (Place::Bay(_), Activity::Running) => State::BayCode,
            (Place::Bay(_), _) => State::LotMwait,
            (Place::Foreign, Activity::Hlt) => State::ForeignHlt,
            (Place::Foreign, Activity::Running) => State::ForeignCode,
            (Place::Foreign, _) => State::ForeignMwait,
        }
    }
}
