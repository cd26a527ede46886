//! Where a machine tells a recorder or a trace what it does. Nothing here runs while both are off.

use super::activity::Outcome;
use super::decode::{self, MAX_INSTRUCTION};
use super::event::{Event, EventKind, Target};
use super::trace::{TraceRecord, TraceWhat};
use super::{AccessKind, Machine};
use crate::recording::{Recorder, Registers, Stepped};

impl Machine {
    /// As an unrecorded step.
    #[cold]
    pub(super) fn step_recorded(&mut self, cpu: usize) -> Outcome {
        let (rip, bits) = (self.cpus[cpu].rip, self.cpus[cpu].code_bits);
        let before = Registers::of(&self.cpus[cpu]);
        let outcome = self.step_inner(cpu);
        let bytes = self.bytes_fetched(cpu, rip);
        let what = match outcome {
            Outcome::Executed => TraceWhat::Instruction { bytes, bits },
            other => TraceWhat::Step(other),
        };
        self.trace.push(TraceRecord { step: self.steps, cpu, rip, what });
        let is_fetched = outcome == Outcome::Executed || self.fetched_now(cpu);
        let bytes = if is_fetched { &bytes[..] } else { &[] };
        self.recorded(|recorder, machine| recorder.stepped(machine, &Stepped { cpu, before, outcome, bytes, bits }));
        outcome
    }

    /// Whether this step's first breach is that of an instruction which was fetched and did something.
    fn fetched_now(&self, cpu: usize) -> bool {
        let first = self.breaches.first().iter().find(|breach| breach.cpu == cpu && breach.step == self.steps);
        first.is_some_and(|breach| matches!(breach.kind, AccessKind::Fetch | AccessKind::Read | AccessKind::Write))
    }

    /// The bytes at `rip` in the page that `c` fetched from last.
    fn bytes_fetched(&self, c: usize, rip: u64) -> [u8; MAX_INSTRUCTION] {
        let mut bytes = [0; MAX_INSTRUCTION];
        let frame = self.cpus[c].fetch.frame;
        for (offset, byte) in ((rip & 0xfff) as usize..4096).zip(&mut bytes) {
            *byte = self.memory.read(frame, offset, 1) as u8;
        }
        bytes
    }

    /// A store became visible.
    #[cold]
    pub(super) fn record_store(&mut self, c: usize, phys: u64, value: u64) {
        let rip = self.cpus[c].rip;
        self.trace.push(TraceRecord { step: self.steps, cpu: c, rip, what: TraceWhat::Store { phys, value } });
        self.recorded(|recorder, machine| recorder.stored(machine, c, phys, value));
    }

    /// An event was thrown.
    #[cold]
    pub(super) fn record_event(&mut self, event: Event) {
        let cpus = self.cpus.len();
        let cpu = match event.target {
            Target::Cpu(cpu) => cpu,
            Target::All | Target::AllBut(_) => cpus,
        };
        self.trace.push(TraceRecord { step: self.steps, cpu, rip: 0, what: TraceWhat::Injected(event.kind) });
        let is_hit = |cpu: &usize| match event.target {
            Target::Cpu(one) => one == *cpu,
            Target::All => true,
            Target::AllBut(one) => one != *cpu,
        };
        self.recorded(|recorder, machine| {
            (0..cpus).filter(is_hit).for_each(|cpu| recorder.event(machine, cpu, event.kind, None));
        });
    }

    /// A machine check reaches `cpu`, which the event did not name.
    #[cold]
    pub(super) fn record_spread(&mut self, cpu: usize) {
        self.recorded(|recorder, machine| recorder.event(machine, cpu, EventKind::MachineCheck, None));
    }

    /// An IPI left `sender` for `cpu`.
    #[cold]
    pub(super) fn record_ipi(&mut self, sender: usize, cpu: usize, kind: EventKind) {
        self.recorded(|recorder, machine| recorder.event(machine, cpu, kind, Some(sender)));
    }

    /// Tells the recorder, if there is one.
    pub(crate) fn recorded(&mut self, tell: impl FnOnce(&mut Recorder, &Self)) {
        if let Some(mut recorder) = self.trace.recorder.take() {
            tell(&mut recorder, self);
            self.trace.recorder = Some(recorder);
        }
    }

    /// An instruction as text.
    pub(crate) fn disassemble_bytes(&self, bytes: &[u8], bits: u8, rip: u64) -> String {
        decode::disassemble(bytes, bits, rip)
    }
}
