//! Delivering exceptions and interrupts: IVT, 32-bit gates, 64-bit gates with IST, FRED, double and triple faults (S:6).

use super::Machine;
use super::activity::{Activity, Delivered, Outcome};
use super::bits::{cr0, cr4, flags, vector};
use super::breach::AccessKind;
use super::cpu::{Gpr, Seg, Segment};
use super::fault::{Cause, Exec, Fault, GP0, Missing, Trap, fault_with};
use super::rules::Rule;

/// Where an event comes from: decides DPL checks, RF and the EXT bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A fault of the instruction: saved RIP is its own, RF is set in the image.
    Fault,
    /// A trap, NMI, #MC or interrupt.
    External,
    /// INT n, INT3.
    Software,
}

/// Gate types (S:Table 3-2).
const GATE_INTERRUPT: u64 = 0xe;
const GATE_TRAP: u64 = 0xf;
/// IDT bit of a selector error code (S:6.13).
const IDT: u32 = 1 << 1;
const EXT: u32 = 1 << 0;
/// First IST entry of a 64-bit TSS (S:7.7).
const TSS_IST1: u64 = 0x24;
/// FRED: how far the ring-0 entry lies behind the ring-3 entry; redzone units; frame words (FRED specification 5).
const FRED_RING0_ENTRY: u64 = 256;
const FRED_REDZONE_UNIT: u64 = 64;
const FRED_FRAME_ALIGN: u64 = 64;

/// Exception classes (S:Table 6-4; #CP: SDM; #SX: A:8.2.19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

const fn class(vector: u8) -> Class {
    match vector {
        vector::DE | vector::TS | vector::NP | vector::SS | vector::GP | vector::CP | vector::SX => Class::Contributory,
        vector::PF => Class::PageFault,
        vector::DF => Class::DoubleFault,
        _ => Class::Benign,
    }
}

impl Machine {
    /// Delivers an event, turning faults during delivery into what S:Table 6-5 says.
    pub(crate) fn raise(&mut self, c: usize, first: Fault, source: Source) -> Outcome {
        let mut current = first;
        let mut how = source;
        loop {
            if current.vector == vector::PF {
                self.cpus[c].cr2 = self.cpus[c].fault_linear;
            }
            match self.deliver(c, current, how) {
                Ok(()) => {
                    self.disarm_by_transfer(c);
                    return Outcome::Delivered(Delivered::Vector(current.vector));
                }
                Err(trap) => {
                    let Cause::Fault(next) = trap.cause() else {
                        self.stop_unsupported(c, trap);
                        return Outcome::Stopped;
                    };
                    let external = how != Source::Software;
                    let next = Fault {
                        error: next
                            .error
                            .map(|error| if external && next.vector != vector::PF { error | EXT } else { error }),
                        ..next
                    };
                    how = Source::Fault;
                    current = match (class(current.vector), class(next.vector)) {
                        (Class::DoubleFault, Class::Contributory | Class::PageFault | Class::DoubleFault) => {
                            if self.rules.on(Rule::TripleFaultShutsDown) {
                                return self.shut_down(c, "triple fault");
                            }
                            self.stop_unsupported(c, Trap::missing(Missing::TripleFaultRuleOff));
                            return Outcome::Stopped;
                        }
                        (Class::Contributory, Class::Contributory)
                        | (Class::PageFault, Class::Contributory | Class::PageFault) => {
                            Fault { vector: vector::DF, error: Some(0) }
                        }
                        _ => next,
                    };
                }
            }
        }
    }

    /// The CPU shuts down (S:6.15 #DF; A:8.2.9).
    pub(crate) fn shut_down(&mut self, c: usize, why: &'static str) -> Outcome {
        let in_nmi_handler = self.cpus[c].nmi_blocked;
        let cpu = &mut self.cpus[c];
        cpu.activity = Activity::Shutdown;
        // With GIF = 0 only RESET leads out as well (A:15.27.6): NMI and INIT are held, and nothing is executed that sets GIF.
        cpu.shutdown_sticky = in_nmi_handler || cpu.smm.inside;
        cpu.attention = true;
        self.note_shutdown(c, why);
        if self.knob::<super::knobs::ShutdownResets>() == super::knobs::ShutdownResets::Yes {
            self.reset_machine(super::activity::ResetCause::CpuShutdown { cpu: c });
        }
        Outcome::Delivered(Delivered::Shutdown)
    }

    fn deliver(&mut self, c: usize, event: Fault, source: Source) -> Exec<()> {
        let cpu = &self.cpus[c];
        if cpu.cr4 & cr4::FRED != 0 && cpu.long_mode() && self.rules.on(Rule::FredReplacesIdt) {
            return self.deliver_fred(c, event);
        }
        if cpu.cr0 & cr0::PE == 0 {
            self.deliver_real(c, event)
        } else if cpu.long_mode() {
            self.deliver_long(c, event, source)
        } else {
            self.deliver_protected(c, event, source)
        }
    }

    /// Real mode: IVT (S:20.1.4).
    fn deliver_real(&mut self, c: usize, event: Fault) -> Exec<()> {
        let idtr = self.cpus[c].idtr;
        let offset = u64::from(event.vector) * 4;
        if offset + 3 > u64::from(idtr.limit) {
            return Err(fault_with(vector::GP, 0));
        }
        let entry = self.read_descriptor_bytes(c, idtr.base.wrapping_add(offset), 4)?;
        let rsp = self.cpus[c].reg(Gpr::Rsp);
        let words = [self.cpus[c].rflags, u64::from(self.cpus[c].seg(Seg::Cs).selector), self.cpus[c].rip];
        for word in words {
            self.push(c, 2, word, AccessKind::Push).inspect_err(|_| self.cpus[c].set_reg(Gpr::Rsp, rsp))?;
        }
        let selector = (entry >> 16) as u16;
        let cpu = &mut self.cpus[c];
        let code = &mut cpu.segs[Seg::Cs as usize];
        code.selector = selector;
        code.base = u64::from(selector) << 4;
        cpu.rip = entry & 0xffff;
        cpu.rflags &= !(flags::IF | flags::TF | flags::RF | flags::AC);
        cpu.refresh_mode();
        Ok(())
    }

    fn gate_error(event: Fault, number: u8) -> Trap {
        fault_with(number, u32::from(event.vector) * 8 + IDT)
    }

    /// Protected mode without long mode: 32-bit gates, no privilege change.
    fn deliver_protected(&mut self, c: usize, event: Fault, source: Source) -> Exec<()> {
        let idtr = self.cpus[c].idtr;
        let offset = u64::from(event.vector) * 8;
        if offset + 7 > u64::from(idtr.limit) {
            return Err(Self::gate_error(event, vector::GP));
        }
        let gate = self.read_descriptor_bytes(c, idtr.base.wrapping_add(offset), 8)?;
        let kind = (gate >> 40) & 0x1f;
        if kind != GATE_INTERRUPT && kind != GATE_TRAP {
            return Err(if matches!(kind, 5..=7) {
                Trap::missing(Missing::ProtectedGate)
            } else {
                Self::gate_error(event, vector::GP)
            });
        }
        if gate & (1 << 47) == 0 {
            return Err(Self::gate_error(event, vector::NP));
        }
        let code = self.code_segment(c, (gate >> 16) as u16)?;
        let target = (gate & 0xffff) | ((gate >> 32) & 0xffff_0000);
        if target > u64::from(code.limit) {
            return Err(GP0);
        }
        let rsp = self.cpus[c].reg(Gpr::Rsp);
        let image = self.flags_image(c, source);
        let mut words = [
            Some(image),
            Some(u64::from(self.cpus[c].seg(Seg::Cs).selector)),
            Some(self.cpus[c].rip),
            event.error.map(u64::from),
        ];
        for word in words.iter_mut().filter_map(Option::take) {
            self.push(c, 4, word, AccessKind::Push).inspect_err(|_| self.cpus[c].set_reg(Gpr::Rsp, rsp))?;
        }
        self.enter_handler(c, code, target, kind);
        Ok(())
    }

    fn flags_image(&self, c: usize, source: Source) -> u64 {
        let rf = if source == Source::Fault { flags::RF } else { 0 };
        self.cpus[c].rflags | rf
    }

    fn enter_handler(&mut self, c: usize, code: Segment, target: u64, gate_kind: u64) {
        let cpu = &mut self.cpus[c];
        cpu.segs[Seg::Cs as usize] = code;
        cpu.rip = target;
        cpu.rflags &= !(flags::TF | flags::NT | flags::RF | flags::VM);
        if gate_kind == GATE_INTERRUPT {
            cpu.rflags &= !flags::IF;
        }
        cpu.refresh_mode();
    }

    /// Long mode: 16-byte gates (S:6.14).
    fn deliver_long(&mut self, c: usize, event: Fault, source: Source) -> Exec<()> {
        let idtr = self.cpus[c].idtr;
        let offset = u64::from(event.vector) * 16;
        if offset + 15 > u64::from(idtr.limit) {
            return Err(Self::gate_error(event, vector::GP));
        }
        let at = idtr.base.wrapping_add(offset);
        let low = self.read_descriptor_bytes(c, at, 8)?;
        let high = self.read_descriptor_bytes(c, at.wrapping_add(8), 8)?;
        let kind = (low >> 40) & 0x1f;
        if kind != GATE_INTERRUPT && kind != GATE_TRAP {
            return Err(Self::gate_error(event, vector::GP));
        }
        if low & (1 << 47) == 0 {
            return Err(Self::gate_error(event, vector::NP));
        }
        let selector = (low >> 16) as u16;
        let code = self.code_segment(c, selector & !3)?;
        if code.attr & Segment::LONG == 0 || code.attr & Segment::DEFAULT_32 != 0 {
            return Err(fault_with(vector::GP, u32::from(selector & !3)));
        }
        let target = (low & 0xffff) | ((low >> 32) & 0xffff_0000) | (high << 32);
        let ist = ((low >> 32) & 7) as u8;
        let old_rsp = self.cpus[c].reg(Gpr::Rsp);
        let top =
            if ist != 0 && self.rules.on(Rule::IstSwitchesStack) { self.interrupt_stack(c, ist)? } else { old_rsp };
        if !self.canonical(c, target) {
            return Err(GP0);
        }
        let mut rsp = top & !0xf;
        let cpu = &self.cpus[c];
        let (ss, cs, rip) = (u64::from(cpu.seg(Seg::Ss).selector), cpu.seg(Seg::Cs).selector, cpu.rip);
        let image = self.flags_image(c, source);
        let words = [Some(ss), Some(old_rsp), Some(image), Some(u64::from(cs)), Some(rip), event.error.map(u64::from)];
        for word in words.into_iter().flatten() {
            rsp = rsp.wrapping_sub(8);
            if !self.canonical(c, rsp) {
                return Err(fault_with(vector::SS, 0));
            }
            self.write_linear(c, rsp, 8, word, AccessKind::Push)?;
        }
        self.shadow_event(c, ist, cs, rip)?;
        self.cpus[c].set_reg(Gpr::Rsp, rsp);
        self.enter_handler(c, code, target, kind);
        self.track_indirect(c);
        Ok(())
    }

    /// RSP from the interrupt stack table (S:6.14.5, S:7.7).
    fn interrupt_stack(&mut self, c: usize, ist: u8) -> Exec<u64> {
        let tr = self.cpus[c].tr;
        let offset = TSS_IST1 + 8 * (u64::from(ist) - 1);
        if tr.attr & Segment::PRESENT == 0 || offset + 7 > u64::from(tr.limit) {
            return Err(fault_with(vector::TS, u32::from(tr.selector & !3)));
        }
        self.read_descriptor_bytes(c, tr.base.wrapping_add(offset), 8)
    }

    /// FRED event delivery at CPL 0: the IDT is not used (FRED specification 5.1).
    fn deliver_fred(&mut self, c: usize, event: Fault) -> Exec<()> {
        let cpu = &self.cpus[c];
        let config = cpu.msr.fred_config();
        let stack_level = match event.vector {
            vector if vector < 32 => (cpu.msr.fred_stklvls() >> (2 * u32::from(vector))) & 3,
            _ => (config >> 9) & 3,
        };
        let old_rsp = cpu.reg(Gpr::Rsp);
        let top = if stack_level > (config & 3) {
            let base = super::msr::num::FRED_STKLVLS - 4;
            cpu.msr.stored(base + stack_level as u32)
        } else {
            old_rsp.wrapping_sub(((config >> 6) & 7) * FRED_REDZONE_UNIT)
        };
        let mut rsp = top & !(FRED_FRAME_ALIGN - 1);
        let words = [
            0,
            if event.vector == vector::PF { cpu.cr2 } else { 0 },
            u64::from(cpu.seg(Seg::Ss).selector) | (u64::from(event.vector) << 32),
            old_rsp,
            cpu.rflags,
            u64::from(cpu.seg(Seg::Cs).selector) | (stack_level << 16),
            cpu.rip,
            u64::from(event.error.unwrap_or(0)),
        ];
        let target = (config & !0xfff).wrapping_add(FRED_RING0_ENTRY);
        if !self.canonical(c, target) {
            return Err(GP0);
        }
        for word in words {
            rsp = rsp.wrapping_sub(8);
            if !self.canonical(c, rsp) {
                return Err(fault_with(vector::SS, 0));
            }
            self.write_linear(c, rsp, 8, word, AccessKind::Push)?;
        }
        let cpu = &mut self.cpus[c];
        cpu.set_reg(Gpr::Rsp, rsp);
        cpu.rip = target;
        cpu.rflags &= !(flags::TF | flags::NT | flags::RF | flags::IF | flags::AC);
        cpu.refresh_mode();
        Ok(())
    }
}
