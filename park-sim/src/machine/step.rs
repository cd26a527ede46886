//! One step of a CPU: what its boundary asks for, else one instruction.

use super::Machine;
use super::activity::{Activity, Outcome};
use super::bits::flags;
use super::breach::AccessKind;
use super::cpu::{FetchPage, Seg};
use super::decode::{self, DecodeError, MAX_INSTRUCTION, OpRef};
use super::fault::{Cause, Exec, Trap, UD};
use super::interrupt::Source;
use super::memory::NO_FRAME;
use super::op::Op;
use super::paging::{Dir, Place};
use super::rules::Rule;
use super::trace::{TraceRecord, TraceSink, TraceWhat};

/// DR6 bits (S:17.2.3): single step.
const DR6_BS: u64 = 1 << 14;
/// [`super::Cpu::code_bits`] of 64-bit code.
const CODE_64: u8 = 64;

impl Machine {
    /// Executes one instruction of `cpu`, or takes one event at its boundary.
    pub fn step(&mut self, cpu: usize) -> Outcome {
        if self.over || cpu >= self.cpus.len() {
            return Outcome::Stopped;
        }
        if !self.trace.is_on() {
            return self.step_inner(cpu);
        }
        self.step_recorded(cpu)
    }

    #[inline]
    pub(super) fn step_inner(&mut self, c: usize) -> Outcome {
        self.steps += 1;
        if self.cpus[c].attention {
            return self.step_attentively(c);
        }
        let fetched = match self.fetch_quickly(c) {
            Some(at) => Ok(at),
            None => self.fetch(c),
        };
        let done = match fetched {
            Ok(at) => {
                // Copied in one go, from where it was decoded to: fields that come in pieces cost as much as the instruction.
                let op = *self.memory.code.op(at);
                self.run_op(c, &op)
            }
            Err(trap) => Err(trap),
        };
        match done {
            Ok(()) => core::mem::replace(&mut self.outcome, Outcome::Executed),
            Err(trap) => self.trapped(c, trap),
        }
    }

    /// A step at a boundary that has something to look at: held events, traps, the branch tracker.
    #[inline(never)]
    fn step_attentively(&mut self, c: usize) -> Outcome {
        if let Some(outcome) = self.boundary(c) {
            return outcome;
        }
        let traps = self.cpus[c].rflags & (flags::TF | flags::RF);
        let done = self.fetch(c).and_then(|at| {
            let op = *self.memory.code.op(at);
            if self.cpus[c].wait_for_endbranch {
                self.check_endbranch(c, op.kind)?;
            }
            self.run_op_aside(c, &op)
        });
        match done {
            Ok(()) => {
                if traps != 0 {
                    self.after_trapping(c, traps);
                }
                core::mem::replace(&mut self.outcome, Outcome::Executed)
            }
            Err(trap) => self.trapped(c, trap),
        }
    }

    /// An instruction did not complete.
    #[cold]
    fn trapped(&mut self, c: usize, trap: Trap) -> Outcome {
        if let Cause::Fault(fault) = trap.cause() {
            return self.raise(c, fault, Source::Fault);
        }
        self.stop_unsupported(c, trap);
        Outcome::Stopped
    }

    /// As [`Machine::run_op`], out of the way of the steps that happen most.
    #[inline(never)]
    fn run_op_aside(&mut self, c: usize, op: &Op) -> Exec<()> {
        self.run_op(c, op)
    }

    #[inline(always)]
    fn run_op(&mut self, c: usize, op: &Op) -> Exec<()> {
        let cpu = &mut self.cpus[c];
        let wrap = if cpu.code_bits == 64 { u64::MAX } else { 0xffff_ffff };
        cpu.next_rip = cpu.rip.wrapping_add(u64::from(op.len)) & wrap;
        self.execute(c, op)?;
        self.cpus[c].instructions += 1;
        Ok(())
    }

    /// After an instruction that began with TF or RF set (S:17.3.1.4, S:17.3.1.1).
    #[cold]
    fn after_trapping(&mut self, c: usize, traps: u64) {
        let traced = traps & flags::TF != 0 && self.rules.on(Rule::TrapFlagTraps);
        let cpu = &mut self.cpus[c];
        if traps & flags::RF != 0 {
            cpu.rflags &= !flags::RF;
        }
        if traced {
            cpu.latches.db |= DR6_BS;
            cpu.attention = true;
        }
    }

    /// Steps `cpu` until it waits, stops, does I/O, or `max_steps` steps are done. Returns the last outcome and how many steps it took.
    pub fn run(&mut self, cpu: usize, max_steps: u64) -> (Outcome, u64) {
        let mut outcome = Outcome::Waiting;
        for taken in 1..=max_steps {
            outcome = self.step(cpu);
            if matches!(outcome, Outcome::Waiting | Outcome::Stopped | Outcome::Out { .. }) {
                return (outcome, taken);
            }
        }
        (outcome, max_steps)
    }

    /// As [`Machine::run`], until `until` holds after a step as well.
    pub fn run_until(&mut self, cpu: usize, max_steps: u64, mut until: impl FnMut(&Self) -> bool) -> (Outcome, u64) {
        let mut outcome = Outcome::Waiting;
        for taken in 1..=max_steps {
            outcome = self.step(cpu);
            if matches!(outcome, Outcome::Waiting | Outcome::Stopped | Outcome::Out { .. }) || until(self) {
                return (outcome, taken);
            }
        }
        (outcome, max_steps)
    }

    /// As [`Machine::run`], telling `sink` of every step.
    pub fn run_traced(&mut self, cpu: usize, max_steps: u64, sink: &mut dyn TraceSink) -> (Outcome, u64) {
        let mut outcome = Outcome::Waiting;
        for taken in 1..=max_steps {
            let rip = self.cpu(cpu).rip;
            outcome = self.step(cpu);
            sink.record(&TraceRecord { step: self.steps, cpu, rip, what: TraceWhat::Step(outcome) });
            if matches!(outcome, Outcome::Waiting | Outcome::Stopped | Outcome::Out { .. }) {
                return (outcome, taken);
            }
        }
        (outcome, max_steps)
    }

    /// The instruction at RIP of 64-bit code, if the page of the last fetch has it decoded and nothing stands against it.
    #[inline(always)]
    fn fetch_quickly(&self, c: usize) -> Option<OpRef> {
        let cpu = &self.cpus[c];
        let known = &cpu.fetch;
        let hit = cpu.code_bits == CODE_64
            && known.linear_page == cpu.rip >> 12
            && known.generation == cpu.tlb.generation
            && !cpu.stores_near_code;
        if hit { self.memory.code.find(known.code, CODE_64, (cpu.rip & 0xfff) as usize) } else { None }
    }

    /// The instruction at RIP.
    #[inline(never)]
    fn fetch(&mut self, c: usize) -> Exec<OpRef> {
        let cpu = &self.cpus[c];
        let bits = cpu.code_bits;
        let linear = if bits == CODE_64 { cpu.rip } else { self.linear_fetch(c)? };
        let known = &cpu.fetch;
        if known.linear_page == linear >> 12
            && known.generation == cpu.tlb.generation
            && !cpu.stores_near_code
            && let Some(at) = self.memory.code.find(known.code, bits, (linear & 0xfff) as usize)
        {
            return Ok(at);
        }
        self.fetch_slowly(c, linear, bits)
    }

    fn fetch_slowly(&mut self, c: usize, linear: u64, bits: u8) -> Exec<OpRef> {
        let offset = (linear & 0xfff) as usize;
        let (frame, code, page) = self.fetch_page(c, linear)?;
        self.check_tag(c, frame, page | offset as u64, AccessKind::Fetch);
        if self.cpus[c].stores.touches(frame) {
            // Self-modifying code sees its own stores (S:8.1.3).
            self.drain_all(c);
        }
        let near = self.cpus[c].stores.iter().any(|entry| self.memory.code.holds(entry.frame));
        self.cpus[c].stores_near_code = near;
        match self.memory.code.find(code, bits, offset) {
            Some(at) => Ok(at),
            None => self.decode_at(c, frame, linear, bits),
        }
    }

    #[cold]
    fn linear_fetch(&self, c: usize) -> Exec<u64> {
        let cpu = &self.cpus[c];
        if cpu.rip > u64::from(cpu.seg(Seg::Cs).limit) {
            return Err(super::fault::GP0);
        }
        Ok(cpu.seg(Seg::Cs).base.wrapping_add(cpu.rip) & 0xffff_ffff)
    }

    #[cold]
    fn fetch_page(&mut self, c: usize, linear: u64) -> Exec<(u32, u32, u64)> {
        if self.cpus[c].code_bits == 64 && !self.canonical(c, linear) {
            return Err(super::fault::GP0);
        }
        self.lass(c, linear, Dir::Fetch, AccessKind::Fetch)?;
        let Place { phys, frame, .. } = self.translate(c, linear, Dir::Fetch, AccessKind::Fetch)?;
        let code = self.memory.code.page_of(frame);
        let lasts = frame != NO_FRAME && self.is_allowed(c, frame) && !self.translations_are_short_lived();
        let cpu = &mut self.cpus[c];
        cpu.fetch = FetchPage {
            linear_page: linear >> 12,
            generation: if lasts { cpu.tlb.generation } else { 0 },
            code,
            frame,
        };
        Ok((frame, code, phys & !0xfff))
    }

    #[cold]
    fn decode_at(&mut self, c: usize, frame: u32, linear: u64, bits: u8) -> Exec<OpRef> {
        let offset = (linear & 0xfff) as usize;
        let mut bytes = [0xff; MAX_INSTRUCTION];
        let here = (4096 - offset).min(MAX_INSTRUCTION);
        if frame != NO_FRAME
            && let (Some(to), Some(from)) =
                (bytes.get_mut(..here), self.memory.frame_bytes(frame).get(offset..offset + here))
        {
            to.copy_from_slice(from);
        }
        match decode::decode(bytes.get(..here).unwrap_or(&[]), bits) {
            Ok(op) => {
                let at = self.memory.code.insert(frame, bits, offset, op);
                self.cpus[c].fetch.code = self.memory.code.page_of(frame);
                Ok(at)
            }
            Err(DecodeError::Invalid) => Err(UD),
            Err(DecodeError::NeedMore) => {
                // The rest lies in the next page. The fetch shortcut stays on this one.
                let next = linear.wrapping_add(here as u64);
                let shortcut = self.cpus[c].fetch;
                let (second, _, page) = self.fetch_page(c, next)?;
                self.cpus[c].fetch = shortcut;
                self.check_tag(c, second, page, AccessKind::Fetch);
                if self.cpus[c].stores.touches(second) {
                    self.drain_all(c);
                }
                let rest = MAX_INSTRUCTION - here;
                if second != NO_FRAME
                    && let (Some(to), Some(from)) = (bytes.get_mut(here..), self.memory.frame_bytes(second).get(..rest))
                {
                    to.copy_from_slice(from);
                }
                let op = decode::decode(&bytes, bits).map_err(|_| UD)?;
                Ok(self.memory.code.keep_uncached(op))
            }
        }
    }

    /// The bytes at RIP by the TLB and tables as they are, without side effects; FFh where nothing is mapped.
    pub(crate) fn bytes_at_rip(&mut self, c: usize) -> [u8; MAX_INSTRUCTION] {
        let mut bytes = [0xff; MAX_INSTRUCTION];
        let mut probe = self.clone_for_probe(c);
        for (n, byte) in (0u64..).zip(bytes.iter_mut()) {
            let cpu = &probe.cpus[c];
            let rip = cpu.rip.wrapping_add(n);
            let linear = if cpu.code_bits == 64 { rip } else { cpu.seg(Seg::Cs).base.wrapping_add(rip) & 0xffff_ffff };
            let Ok(place) = probe.translate(c, linear, Dir::Fetch, AccessKind::Fetch) else { break };
            *byte = probe.memory.read(place.frame, (place.phys & 0xfff) as usize, 1) as u8;
        }
        bytes
    }

    /// A copy whose page walks disturb nobody. Only for stops and disassembly: it copies all touched memory.
    fn clone_for_probe(&self, c: usize) -> Self {
        let mut probe = self.clone();
        if let Some(cpu) = probe.cpus.get_mut(c) {
            cpu.allowed_tags = u64::MAX;
        }
        probe
    }

    /// The instruction at `cpu`'s RIP as text; `(bad)` where there is none. Slow: for messages and traces of counterexamples.
    #[must_use]
    pub fn disassemble(&self, cpu: usize) -> String {
        let cpu = cpu.min(self.cpus.len() - 1);
        let bytes = self.clone_for_probe(cpu).bytes_at_rip(cpu);
        decode::disassemble(&bytes, self.cpus[cpu].code_bits, self.cpus[cpu].rip)
    }

    /// Whether a step of `cpu` would do something other than wait.
    #[must_use]
    #[inline]
    pub fn can_step(&self, cpu: usize) -> bool {
        if self.over {
            return false;
        }
        let Some(target) = self.cpus.get(cpu) else { return false };
        match target.activity {
            Activity::Running => true,
            _ if target.smm.inside => true,
            Activity::ResetVector => false,
            _ => !target.is_undisturbed() && self.boundary_pending(cpu),
        }
    }
}
