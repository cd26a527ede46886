//! Idle loops of kernels, and how a CPU is called out of one to park: a store, then an interrupt.
//!
//! Each looks for work with interrupts masked and then waits in the one way that loses no call: what it relies on is
//! said beside it. A call can come at any of its instructions.

use super::{World, WorldError};
use crate::machine::host::icr;
use crate::machine::{Activity, Gpr};
use iced_x86::code_asm::{CodeAssembler, CodeLabel, eax, ecx, edx, gpr64::*, qword_ptr};
use iced_x86::{BlockEncoderOptions, IcedError};

/// How a kernel's idle loop waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdleLoop {
    /// `sti; hlt`: an interrupt that is requested already comes behind HLT's first cycle and not before it (Linux
    /// `native_safe_halt()`).
    StiHlt,
    /// `sti; mwait`: the same with MWAIT, which an interrupt ends (Linux `mwait_idle()` before 6.2).
    StiMwait,
    /// MWAIT with `ECX[0]` = 1 and interrupts masked: a requested one ends it all the same (Linux
    /// `mwait_idle_with_hints()`).
    MwaitBreak,
    /// TPAUSE with interrupts masked: a requested one ends it all the same (ISA Extensions, TPAUSE).
    Tpause,
}

/// Vector of the call: the first behind the exceptions.
const CALL_VECTOR: u8 = 0x20;
/// Bytes of an IDT with a gate for it.
const IDT_LIMIT: u16 = 16 * (CALL_VECTOR as u16 + 1) - 1;
/// Offset of the loops behind the code of foreign parkers.
const TEXT_OFFSET: u64 = 0x1000;
/// Offset of the word that says whether there is work, and of the line that is monitored, in a CPU's data: not one line,
/// so that the interrupt alone ends the wait.
const WORK: u64 = 0;
const LINE: u64 = 0x40;
/// PAUSEs between the look for work and the wait: where a kernel's governor chooses how to wait.
const GOVERNOR_TURNS: u32 = 24;
/// The call comes within so many steps of the loop's beginning: two thirds of them before it waits.
const CALL_STEPS: u64 = 3 * GOVERNOR_TURNS as u64;
/// Steps in which a called CPU must have come.
const COMING_STEPS: u64 = 2000;
/// Gate: present, 64-bit interrupt (Intel SDM vol. 3, "64-Bit Mode IDT").
const GATE: u64 = 0x8e00 << 32;

/// The code for one linear address: where the loop begins, and the call's handler.
struct Text {
    bytes: Vec<u8>,
    start: u64,
    handler: u64,
}

impl IdleLoop {
    /// RDI = the CPU's data. Goes on at `called` once there is work.
    fn assemble(self, base: u64, called: u64) -> Result<Text, IcedError> {
        let mut a = CodeAssembler::new(64)?;
        let [mut start, mut work, mut handler, mut turn] = core::array::from_fn(|_| a.create_label());
        a.set_label(&mut start)?;
        a.cli()?;
        if matches!(self, Self::StiMwait | Self::MwaitBreak) {
            a.lea(rax, qword_ptr(rdi + LINE))?;
            a.xor(ecx, ecx)?;
            a.xor(edx, edx)?;
            a.monitor()?;
        }
        a.cmp(qword_ptr(rdi + WORK), 0)?;
        a.jne(work)?;
        a.mov(ecx, GOVERNOR_TURNS)?;
        a.set_label(&mut turn)?;
        a.pause()?;
        a.dec(ecx)?;
        a.jnz(turn)?;
        self.wait(&mut a, start)?;
        a.set_label(&mut work)?;
        a.mov(rax, called)?;
        a.jmp(rax)?;
        // Who called has stored what is wanted; the end of interrupt is the sanitising's business.
        a.set_label(&mut handler)?;
        a.iretq()?;
        let code = a.assemble_options(base, BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS)?;
        let (start, handler) = (code.label_ip(&start)?, code.label_ip(&handler)?);
        Ok(Text { bytes: code.inner.code_buffer, start, handler })
    }

    fn wait(self, a: &mut CodeAssembler, again: CodeLabel) -> Result<(), IcedError> {
        a.xor(eax, eax)?;
        a.xor(ecx, ecx)?;
        match self {
            Self::StiHlt => {
                a.sti()?;
                a.hlt()?;
            }
            Self::StiMwait => {
                a.sti()?;
                a.mwait()?;
            }
            Self::MwaitBreak => {
                a.inc(ecx)?;
                a.mwait()?;
                a.sti()?;
                a.nop()?;
            }
            Self::Tpause => {
                a.dec(eax)?;
                a.mov(edx, eax)?; // a deadline that does not come
                a.tpause(ecx)?;
                a.sti()?;
                a.nop()?;
            }
        }
        a.jmp(again)
    }
}

impl World {
    /// Lets a CPU of the kernel go idle by such a loop, and calls it, at a moment that the seed draws, to where it parks.
    ///
    /// # Errors
    /// [`WorldError::NoSuchCpu`]; [`WorldError::NotLanded`] if it does not come.
    pub fn call_out_of_idle(&mut self, boss: usize, cpu: usize, idle: IdleLoop) -> Result<(), WorldError> {
        let target = self.apic_id(cpu)?;
        let (base, data) = (self.kernel.foreign_text() + TEXT_OFFSET, self.kernel.foreign_data(cpu));
        let called = self.kernel.code.host;
        let text = idle.assemble(base, called)?;
        let mut write = |linear: u64, bytes: &[u8]| self.machine.write_phys(self.kernel.phys(linear), bytes);
        write(base, &text.bytes);
        write(data + WORK, &0u64.to_le_bytes());
        let handler = text.handler;
        let low = handler & 0xffff | u64::from(super::KERNEL_CS) << 16 | GATE | (handler >> 16 & 0xffff) << 48;
        let [_, (idt, _)] = self.kernel.tables();
        let gate = idt + 16 * u64::from(CALL_VECTOR);
        write(gate, &low.to_le_bytes());
        write(gate + 8, &(handler >> 32).to_le_bytes());
        self.machine.enable_apic(cpu);
        let state = self.machine.cpu_mut(cpu);
        state.idtr.limit = IDT_LIMIT;
        state.activity = Activity::Running;
        state.rip = text.start;
        state.set_reg(Gpr::Rdi, data);
        for _ in 0..self.scheduler.rng.below(CALL_STEPS) {
            if self.machine.can_step(cpu) {
                self.step(cpu)?;
            }
        }
        self.machine.store(boss, self.kernel.phys(data + WORK), 1);
        self.machine.fence(boss);
        let sent = self.machine.send_ipi(boss, target.0, icr::FIXED | u32::from(CALL_VECTOR));
        sent.map_err(|_| WorldError::NotLanded { cpu })?;
        for _ in 0..COMING_STEPS {
            if self.machine.cpu(cpu).rip == called {
                return Ok(());
            }
            if !self.machine.can_step(cpu) {
                break;
            }
            self.step(cpu)?;
        }
        Err(WorldError::NotLanded { cpu })
    }
}
