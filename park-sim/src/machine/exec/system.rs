//! System instructions: what needs CPL 0, touches control state, or waits.

use super::super::Machine;
use super::super::activity::{Activity, Outcome};
use super::super::bits::{cr0, cr4, efer, flags, vector};
use super::super::breach::AccessKind;
use super::super::cpu::{Gpr, Seg, Shadow};
use super::super::fault::{Exec, Fault, GP0, Missing, Trap, UD};
use super::super::interrupt::Source;
use super::super::op::{Kind as K, Op, Opnd};
use super::super::paging::Dir;
use super::super::rules::Rule;
use super::super::tlb::Evict;
use super::mask;
use super::registers::XINUSE_TILES;

/// The line of CLFLUSH (S:CLFLUSH vol 2A).
const LINE_MASK: u64 = !(super::super::dirty::LINE_BYTES - 1);
/// APM command port: an SMI to every CPU (chipset).
const PORT_APM: u16 = 0xb2;
/// CPUID.1:ECX bits that follow control state.
const CPUID_OSXSAVE: u32 = 1 << 27;
const CPUID_MONITOR: u32 = 1 << 3;

impl Machine {
    fn finish(&mut self, c: usize) -> Exec<()> {
        let cpu = &mut self.cpus[c];
        cpu.rip = cpu.next_rip;
        Ok(())
    }

    pub(crate) fn system(&mut self, c: usize, op: &Op) -> Exec<()> {
        match op.kind {
            K::Hlt => {
                let cpu = &mut self.cpus[c];
                cpu.activity = Activity::Hlt;
                cpu.attention = true;
            }
            K::Cli => self.cpus[c].set_flag(flags::IF, false),
            K::Sti => {
                let cpu = &mut self.cpus[c];
                if !cpu.interrupts_enabled() && self.rules.on(Rule::StiShadow) {
                    cpu.shadow = Shadow::Sti;
                }
                cpu.set_flag(flags::IF, true);
                cpu.attention = true;
            }
            K::Int | K::Int3 | K::Int1 => return self.software_interrupt(c, op),
            K::Cpuid => {
                self.serialise(c);
                let cpu = &self.cpus[c];
                let regs = self.cpuid_as_seen(c, cpu.gpr[0] as u32, cpu.gpr[1] as u32);
                let gpr = &mut self.cpus[c].gpr;
                gpr[0] = u64::from(regs.eax);
                gpr[3] = u64::from(regs.ebx);
                gpr[1] = u64::from(regs.ecx);
                gpr[2] = u64::from(regs.edx);
            }
            K::Rdtsc | K::Rdtscp => {
                let tsc = self.tsc();
                if op.kind == K::Rdtscp {
                    if !self.features.rdtscp {
                        return Err(UD);
                    }
                    self.cpus[c].gpr[1] = self.cpus[c].msr.tsc_aux();
                }
                self.set_pair(c, tsc);
            }
            K::Rdmsr => {
                let value = self.rdmsr(c, self.cpus[c].gpr[1] as u32)?;
                self.set_pair(c, value);
            }
            K::Wrmsr | K::Wrmsrns => {
                let cpu = &self.cpus[c];
                let value = (cpu.gpr[2] << 32) | (cpu.gpr[0] & 0xffff_ffff);
                self.wrmsr(c, cpu.gpr[1] as u32, value)?;
            }
            K::MovToCr
            | K::MovFromCr
            | K::MovToDr
            | K::MovFromDr
            | K::Clts
            | K::Lmsw
            | K::Smsw
            | K::Xgetbv
            | K::Xsetbv => self.control(c, op)?,
            K::Lgdt | K::Lidt | K::Sgdt | K::Sidt => self.table_register(c, op)?,
            K::Ltr => {
                if self.cpus[c].cr0 & cr0::PE == 0 {
                    return Err(UD);
                }
                let selector = self.get(c, op, op.dst, 2)? as u16;
                self.load_task_register(c, selector)?;
                self.serialise(c);
            }
            K::Lldt => {
                if self.cpus[c].cr0 & cr0::PE == 0 {
                    return Err(UD);
                }
                let selector = self.get(c, op, op.dst, 2)? as u16;
                self.load_local_table(c, selector)?;
                self.serialise(c);
            }
            K::Str | K::Sldt => {
                let cpu = &self.cpus[c];
                let selector = if op.kind == K::Str { cpu.tr.selector } else { cpu.ldtr.selector };
                let size = if op.dst == Opnd::Mem { 2 } else { op.size };
                self.put(c, op, op.dst, size, u64::from(selector))?;
            }
            K::MovToSeg => {
                let selector = self.get(c, op, op.src, 2)? as u16;
                let Opnd::Seg(n) = op.dst else { return Err(UD) };
                if n == Seg::Cs as u8 {
                    return Err(UD);
                }
                self.load_segment(c, n, selector)?;
                if n == Seg::Ss as u8 {
                    self.cpus[c].shadow = Shadow::MovSs;
                    self.cpus[c].attention = true;
                }
            }
            K::MovFromSeg => {
                let selector = self.get(c, op, op.src, 2)?;
                let size = if op.dst == Opnd::Mem { 2 } else { op.size };
                self.put(c, op, op.dst, size, selector)?;
            }
            K::Verr | K::Verw => {
                let selector = self.get(c, op, op.dst, 2)? as u16;
                let ok = self.verify_segment(c, selector, if op.kind == K::Verw { Dir::Write } else { Dir::Read })?;
                self.cpus[c].set_flag(flags::ZF, ok);
                if op.kind == K::Verw && self.config.vendor == super::super::Vendor::Amd {
                    // VERW cancels an armed MONITOR on AMD (Xen cpu_idle.c).
                    self.disarm_by_transfer(c);
                }
            }
            K::Swapgs => {
                if self.cpus[c].code_bits != 64 {
                    return Err(UD);
                }
                let cpu = &mut self.cpus[c];
                let kernel = cpu.msr.kernel_gs_base();
                let user = core::mem::replace(&mut cpu.segs[Seg::Gs as usize].base, kernel);
                cpu.msr.store(super::super::msr::num::KERNEL_GS_BASE, user);
            }
            K::RdFsBase | K::RdGsBase | K::WrFsBase | K::WrGsBase => self.segment_base(c, op)?,
            K::Invlpg => {
                let linear = self.effective_address(c, op);
                let linear = if op.seg >= Seg::Fs as u8 {
                    linear.wrapping_add(self.cpus[c].segs[usize::from(op.seg.min(5))].base)
                } else {
                    linear
                };
                self.serialise(c);
                let cpu = &mut self.cpus[c];
                let pcid = cpu.pcid();
                cpu.tlb.flush_page(linear, pcid);
                cpu.forget_shortcuts();
            }
            K::Invpcid => self.invpcid(c, op)?,
            K::Wbinvd | K::Wbnoinvd => {
                // Without the feature WBNOINVD's prefix is ignored: WBINVD.
                self.serialise(c);
                self.cpus[c].dirty.clear();
            }
            K::Invd => {
                self.serialise(c);
                self.cpus[c].dirty.discard();
            }
            K::Clflush | K::Clflushopt | K::Clwb => self.flush_line(c, op)?,
            K::Mfence => {
                if self.rules.on(Rule::FenceDrains) {
                    self.drain_all(c);
                }
            }
            K::Serialize => {
                if !self.features.serialize {
                    return Err(UD);
                }
                self.serialise(c);
            }
            // Stores stay in order and loads are performed in order here: nothing to add (S:8.2.5).
            K::Lfence | K::Sfence => {}
            K::Monitor | K::Monitorx | K::Umonitor => self.monitor_op(c, op)?,
            K::Mwait | K::Mwaitx | K::Umwait | K::Tpause => return self.wait_op(c, op),
            K::Clgi | K::Stgi => self.global_interrupt_flag(c, op)?,
            K::Vmxon | K::Vmxoff => self.vmx_state(c, op)?,
            K::Rsm => return Err(UD),
            K::In => {
                // No device answers.
                let value = mask(op.size);
                self.set_gpr(c, 0, op.size, value);
            }
            K::Out => return self.port_out(c, op),
            K::Tilerelease => {
                if !self.features.amx
                    || self.cpus[c].cr4 & cr4::OSXSAVE == 0
                    || self.cpus[c].xcr0 & XINUSE_TILES != XINUSE_TILES
                {
                    return Err(UD);
                }
                self.cpus[c].tiles_live = false;
            }
            _ => return Err(Trap::missing(Missing::Instruction)),
        }
        self.finish(c)
    }

    /// CPUID with the bits that follow control registers: OSXSAVE, MONITOR (S:CPUID vol 2A).
    pub(crate) fn cpuid_as_seen(&self, c: usize, leaf: u32, subleaf: u32) -> super::super::CpuidRegs {
        let cpu = &self.cpus[c];
        let mut regs = self.config.cpuid.get(leaf, subleaf);
        match leaf {
            1 => {
                regs.ebx = (regs.ebx & 0x00ff_ffff) | ((cpu.apic.id & 0xff) << 24);
                if cpu.cr4 & cr4::OSXSAVE == 0 {
                    regs.ecx &= !CPUID_OSXSAVE;
                }
                if !self.monitor_enabled(c) {
                    regs.ecx &= !CPUID_MONITOR;
                }
            }
            0xb | 0x1f => regs.edx = cpu.apic.id,
            0x8000_001e => regs.eax = cpu.apic.id,
            _ => {}
        }
        regs
    }

    pub(super) fn set_pair(&mut self, c: usize, value: u64) {
        let gpr = &mut self.cpus[c].gpr;
        gpr[0] = value & 0xffff_ffff;
        gpr[2] = value >> 32;
    }

    /// INT n and INT3 push the RIP behind themselves (S:6.12.1.2).
    fn software_interrupt(&mut self, c: usize, op: &Op) -> Exec<()> {
        let (number, source) = match op.kind {
            K::Int => (op.imm as u8, Source::Software),
            K::Int3 => (vector::BP, Source::Software),
            _ => (vector::DB, Source::External),
        };
        let cpu = &mut self.cpus[c];
        let before = cpu.rip;
        cpu.rip = cpu.next_rip;
        let outcome = self.raise(c, Fault { vector: number, error: None }, source);
        if self.stop.is_some() {
            self.cpus[c].rip = before;
        }
        self.outcome = outcome;
        Ok(())
    }

    fn invpcid(&mut self, c: usize, op: &Op) -> Exec<()> {
        if !self.features.invpcid {
            return Err(UD);
        }
        let kind = self.get(c, op, op.dst, 8)?;
        let at = self.operand_linear(c, op, 16)?;
        let pcid = self.read_linear(c, at, 8, AccessKind::Read)?;
        let linear = self.read_linear(c, at.wrapping_add(8), 8, AccessKind::Read)?;
        if kind > 3
            || pcid >> 12 != 0
            || (kind == 0 && !self.canonical(c, linear))
            || (kind < 2 && self.cpus[c].cr4 & cr4::PCIDE == 0 && pcid != 0)
        {
            return Err(GP0);
        }
        let tlb = &mut self.cpus[c].tlb;
        match kind {
            0 => tlb.flush_page(linear, pcid as u16),
            1 => tlb.flush_pcid(pcid as u16),
            2 => tlb.evict(Evict::All),
            _ => tlb.flush_not_global(),
        }
        self.cpus[c].forget_shortcuts();
        Ok(())
    }

    /// CLFLUSH and kin: a byte load to paging; the line is written back everywhere (S:CLFLUSH vol 2A).
    fn flush_line(&mut self, c: usize, op: &Op) -> Exec<()> {
        let exists = match op.kind {
            K::Clflush => self.features.clflush,
            K::Clflushopt => self.features.clflushopt,
            _ => self.features.clwb,
        };
        if !exists {
            return Err(UD);
        }
        let linear = self.operand_linear(c, op, 1)?;
        self.lass(c, linear, Dir::Read, AccessKind::Read)?;
        let place = self.translate(c, linear, Dir::Read, AccessKind::Read)?;
        self.check_tag(c, place.frame, place.phys, AccessKind::Read);
        let line = place.phys & LINE_MASK;
        // CLFLUSH is ordered with stores to its own line (S:CLFLUSH vol 2A).
        if self.cpus[c].stores.iter().any(|entry| entry.phys & LINE_MASK == line) {
            self.drain_all(c);
        }
        for cpu in &mut self.cpus {
            cpu.dirty.clean(line);
        }
        if op.kind != K::Clwb {
            self.cpus[c].last_flushed_line = line;
        }
        Ok(())
    }

    /// CLGI and STGI (A:15.4, A:15.17, A:15.31).
    fn global_interrupt_flag(&mut self, c: usize, op: &Op) -> Exec<()> {
        if !self.features.svm {
            return Err(UD);
        }
        let svme = self.cpus[c].efer & efer::SVME != 0;
        let legal = svme || (op.kind == K::Stgi && self.features.skinit);
        if !legal && self.rules.on(Rule::ClgiNeedsSvme) {
            return Err(UD);
        }
        let cpu = &mut self.cpus[c];
        cpu.gif = op.kind == K::Stgi;
        cpu.attention = true;
        Ok(())
    }

    /// VMXON and VMXOFF as far as INIT cares: the state (S:23.7).
    fn vmx_state(&mut self, c: usize, op: &Op) -> Exec<()> {
        let cpu = &self.cpus[c];
        if !self.features.vmx || cpu.cr4 & cr4::VMXE == 0 {
            return Err(UD);
        }
        let entering = op.kind == K::Vmxon;
        if !entering && !cpu.vmx_root {
            return Err(UD);
        }
        let cpu = &mut self.cpus[c];
        cpu.vmx_root = entering;
        cpu.attention = true;
        cpu.rflags &= !flags::STATUS;
        Ok(())
    }

    fn port_out(&mut self, c: usize, op: &Op) -> Exec<()> {
        let port = match op.dst {
            Opnd::Imm => op.imm as u16 & 0xff,
            _ => self.cpus[c].reg(Gpr::Rdx) as u16,
        };
        let value = (self.cpus[c].gpr[0] & mask(op.size)) as u32;
        // OUT waits for earlier stores (S:8.2.5).
        self.serialise(c);
        if port == PORT_APM {
            for target in 0..self.cpus.len() {
                self.arrive(target, super::super::EventKind::Smi);
            }
        }
        let cpu = &mut self.cpus[c];
        cpu.rip = cpu.next_rip;
        self.outcome = Outcome::Out { port, value };
        Ok(())
    }

    /// A write breakpoint check for read-modify-write operands.
    #[inline]
    pub(crate) fn watch_write(&mut self, c: usize, linear: u64, size: u8) {
        if self.cpus[c].dr[7] & 0xff != 0 {
            self.match_data_breakpoint(c, linear, size, Dir::Write);
        }
    }
}
