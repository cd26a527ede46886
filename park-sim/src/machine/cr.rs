//! Control registers, EFER and XCR0: what can be written, and what writing flushes (S:2.5, S:4.10.4, S:9.8.5).

use super::bits::{cr0, cr4, efer};
use super::fault::{Exec, GP0, UD};
use super::knobs::SvmeOffGif0;
use super::rules::Rule;
use super::{Machine, Segment, cpu::Seg};

/// VM_CR.SVMDIS (A:15.30.1).
const VM_CR_SVMDIS: u64 = 1 << 4;
/// CR3 bit 63 with PCIDE: keep the translations of the new PCID (S:4.10.4.1).
const CR3_NO_FLUSH: u64 = 1 << 63;
/// What CR0 must keep in VMX operation (S:23.8): PE, NE, PG.
const VMX_FIXED_CR0: u64 = cr0::PE | cr0::NE | cr0::PG;
/// XCR0: x87 must be 1; SSE, AVX, AVX-512, PKRU, AMX.
const XCR0_KNOWN: u64 = 0x602e7;

impl Machine {
    /// Earlier stores become visible, as before every serialising instruction (S:8.3).
    #[inline]
    pub(crate) fn serialise(&mut self, c: usize) {
        if self.rules.on(Rule::SerialisingDrains) {
            self.drain_all(c);
        }
    }

    const fn cet_without_wp(&self, cr0: u64, cr4: u64) -> bool {
        cr4 & cr4::CET != 0 && cr0 & cr0::WP == 0 && self.rules.on(Rule::CetNeedsWp)
    }

    pub(crate) fn write_cr0(&mut self, c: usize, value: u64) -> Exec<()> {
        let cpu = &self.cpus[c];
        let old = cpu.cr0;
        if value >> 32 != 0
            || (value & cr0::PG != 0 && value & cr0::PE == 0)
            || (value & cr0::NW != 0 && value & cr0::CD == 0)
            || self.cet_without_wp(value, cpu.cr4)
            || (cpu.vmx_root && value & VMX_FIXED_CR0 != VMX_FIXED_CR0)
        {
            return Err(GP0);
        }
        let value = (value & cr0::KNOWN) | cr0::ET;
        let turns_on = old & cr0::PG == 0 && value & cr0::PG != 0;
        let turns_off = old & cr0::PG != 0 && value & cr0::PG == 0;
        let code = cpu.seg(Seg::Cs).attr;
        let mut new_efer = cpu.efer;
        if turns_on && cpu.efer & efer::LME != 0 {
            // S:9.8.5: PAE must be on, CS must not be 64-bit code.
            if cpu.cr4 & cr4::PAE == 0 || code & Segment::LONG != 0 {
                return Err(GP0);
            }
            new_efer |= efer::LMA;
        }
        if turns_off {
            if cpu.cr4 & cr4::PCIDE != 0 || cpu.code_bits == 64 {
                return Err(GP0);
            }
            new_efer &= !efer::LMA;
        }
        self.serialise(c);
        self.disarm_by_transfer(c);
        let cpu = &mut self.cpus[c];
        cpu.cr0 = value;
        // WP and CD decide what shortcuts took for settled.
        cpu.forget_shortcuts();
        cpu.efer = new_efer;
        if turns_on || turns_off {
            cpu.tlb.flush_all();
        }
        cpu.refresh_mode();
        cpu.attention = true;
        Ok(())
    }

    pub(crate) fn write_cr3(&mut self, c: usize, value: u64) -> Exec<()> {
        let cpu = &self.cpus[c];
        let pcide = cpu.cr4 & cr4::PCIDE != 0;
        let keep = pcide && value & CR3_NO_FLUSH != 0;
        let value = if pcide { value & !CR3_NO_FLUSH } else { value };
        let width = u32::from(self.features.max_phys_bits);
        let too_high = !((1u64 << width) - 1) & !self.config.encryption_mask;
        if cpu.long_mode() && value & too_high != 0 {
            return Err(GP0);
        }
        self.serialise(c);
        self.disarm_by_transfer(c);
        let keep_global = self.rules.on(Rule::MovCr3KeepsGlobals);
        let keep_others = self.rules.on(Rule::PcidKeepsOthers);
        let cpu = &mut self.cpus[c];
        cpu.cr3 = value;
        if !keep {
            // Without PCIDE: those of PCID 000h.
            let pcid = if pcide { (value & 0xfff) as u16 } else { 0 };
            match (keep_others, keep_global) {
                (true, true) => cpu.tlb.flush_pcid(pcid),
                (true, false) => cpu.tlb.flush_pcid_and_globals(pcid),
                (false, true) => cpu.tlb.flush_not_global(),
                (false, false) => cpu.tlb.flush_all(),
            }
        }
        cpu.forget_shortcuts();
        Ok(())
    }

    /// The CR4 bits that this CPU has.
    fn cr4_bits(&self) -> u64 {
        let has = |on: bool, bits: u64| if on { bits } else { 0 };
        let f = &self.features;
        cr4::INERT
            | cr4::TSD
            | cr4::PSE
            | cr4::PAE
            | cr4::UMIP
            | has(f.mce, cr4::MCE)
            | has(f.pge, cr4::PGE)
            | has(f.la57, cr4::LA57)
            | has(f.vmx, cr4::VMXE | cr4::SMXE)
            | has(f.fsgsbase, cr4::FSGSBASE)
            | has(f.pcid, cr4::PCIDE)
            | has(f.xsave, cr4::OSXSAVE)
            | has(f.smep, cr4::SMEP)
            | has(f.smap, cr4::SMAP)
            | cr4::PKE
            | has(f.cet_ss || f.cet_ibt, cr4::CET)
            | has(f.pks, cr4::PKS)
            | has(f.lass, cr4::LASS)
            | has(f.fred, cr4::FRED | cr4::UINTR)
    }

    pub(crate) fn write_cr4(&mut self, c: usize, value: u64) -> Exec<()> {
        let cpu = &self.cpus[c];
        let old = cpu.cr4;
        let changed = old ^ value;
        let on = changed & value;
        let long = cpu.long_mode();
        if value & !self.cr4_bits() != 0
            || (long && value & cr4::PAE == 0)
            || (long && changed & cr4::LA57 != 0 && self.rules.on(Rule::La57FixedInLongMode))
            || (on & cr4::PCIDE != 0 && (!long || cpu.cr3 & 0xfff != 0))
            || self.cet_without_wp(cpu.cr0, value)
            || (on & cr4::FRED != 0 && !long)
            || (cpu.vmx_root && value & cr4::VMXE == 0)
        {
            return Err(GP0);
        }
        self.serialise(c);
        self.disarm_by_transfer(c);
        // S:4.10.4.1: everything, globals included, when PGE or PAE change, PCIDE is cleared, or SMEP is set; LA57 and SMAP, PKS likewise here.
        let flushing =
            changed & (cr4::PGE | cr4::PAE | cr4::LA57) != 0 || changed & old & cr4::PCIDE != 0 || on & cr4::SMEP != 0;
        let flush = flushing && self.rules.on(Rule::Cr4ChangeFlushes);
        let cpu = &mut self.cpus[c];
        cpu.cr4 = value;
        if flush {
            cpu.tlb.flush_all();
        }
        cpu.forget_shortcuts();
        cpu.attention = true;
        Ok(())
    }

    pub(crate) fn write_cr8(&mut self, c: usize, value: u64) -> Exec<()> {
        if value > 0xf {
            return Err(GP0);
        }
        let cpu = &mut self.cpus[c];
        cpu.apic.tpr = (value as u32) << 4;
        cpu.attention = true;
        Ok(())
    }

    pub(crate) fn write_efer(&mut self, c: usize, value: u64) -> Exec<()> {
        let f = self.features;
        let cpu = &self.cpus[c];
        let amd = if f.svm { efer::SVME | efer::AMD_INERT } else { 0 };
        let known = efer::SCE | efer::LME | efer::LMA | if f.nx { efer::NXE } else { 0 } | amd;
        let changed = cpu.efer ^ value;
        let sets_svme = changed & value & efer::SVME != 0;
        if value & !known != 0
            || (changed & efer::LME != 0 && cpu.paging())
            || (sets_svme && cpu.msr.vm_cr() & VM_CR_SVMDIS != 0 && self.rules.on(Rule::SvmdisRefusesSvme))
        {
            return Err(GP0);
        }
        let clears_svme_held = changed & cpu.efer & efer::SVME != 0 && !cpu.gif;
        if clears_svme_held && self.knob::<SvmeOffGif0>() == SvmeOffGif0::BecomesSet {
            self.cpus[c].gif = true;
        }
        let cpu = &mut self.cpus[c];
        cpu.efer = (value & !efer::LMA) | (cpu.efer & efer::LMA);
        cpu.tlb.generation += 1;
        cpu.attention = true;
        Ok(())
    }

    pub(crate) fn write_xcr0(&mut self, c: usize, value: u64) -> Exec<()> {
        if !self.features.xsave || self.cpus[c].cr4 & cr4::OSXSAVE == 0 {
            return Err(UD);
        }
        let amx = value & 0x60000;
        let avx512 = value & 0xe0;
        if value & !XCR0_KNOWN != 0
            || value & 1 == 0
            || value & 6 == 4
            || (amx != 0 && amx != 0x60000)
            || (avx512 != 0 && (avx512 != 0xe0 || value & 6 != 6))
        {
            return Err(GP0);
        }
        self.cpus[c].xcr0 = value;
        Ok(())
    }

    /// MOV DR with DR4 and DR5 as aliases, and the reserved bits of DR6 and DR7 (S:17.2).
    pub(crate) fn write_dr(&mut self, c: usize, n: u8, value: u64) -> Exec<()> {
        let n = if n == 4 || n == 5 { n + 2 } else { n & 7 };
        if n >= 6 && value >> 32 != 0 {
            return Err(GP0);
        }
        let value = match n {
            6 => (value & 0xe00f) | 0xffff_0ff0,
            7 => (value & 0xffff_2bff) | 0x400,
            _ => value,
        };
        let cpu = &mut self.cpus[c];
        cpu.dr[usize::from(n)] = value;
        cpu.forget_shortcuts();
        cpu.attention = true;
        Ok(())
    }
}
