//! RDMSR and WRMSR: what exists, what faults, what writing does.

use super::config::Vendor;
use super::fault::{Exec, GP0, Missing, Trap};
use super::mc::{EIPV, LMCE_S, MCIP, RIPV};
use super::msr::{self, MAX_MC_BANKS, num};
use super::rules::Rule;
use super::{Machine, cpu::Seg};

/// IA32_MCG_CAP: CTL_P, CMCI_P, LMCE_P (S:15.3.1.1).
const MCG_CTL_P: u64 = 1 << 8;
const MCG_CMCI_P: u64 = 1 << 10;
const MCG_LMCE_P: u64 = 1 << 27;
/// IA32_FEATURE_CONTROL: lock, LMCE_ON (S:Table 35-2).
const FEATURE_LOCK: u64 = 1 << 0;
const FEATURE_LMCE: u64 = 1 << 20;
/// What IA32_MCG_STATUS holds.
const MCG_STATUS_BITS: u64 = RIPV | EIPV | MCIP | LMCE_S;
/// HWCR.McStatusWrEn and .SMMLOCK (PPR).
const HWCR_MC_STATUS_WRITE: u64 = 1 << 18;
const HWCR_SMM_LOCK: u64 = 1 << 0;
/// VM_CR bits (A:15.30.1).
const VM_CR_LOCK: u64 = 1 << 3;
const VM_CR_SVMDIS: u64 = 1 << 4;
/// Last number of the legacy bank MSRs.
const MC_LEGACY_LAST: u32 = num::MC0_CTL + 4 * MAX_MC_BANKS as u32 - 1;
/// Numbers of SMCA banks: 16 per bank.
const SMCA_LAST: u32 = num::SMCA_FIRST + 16 * MAX_MC_BANKS as u32 - 1;
/// Ranges that only hypervisors define; real CPUs answer #GP.
const HYPERVISOR_RANGES: [(u32, u32); 2] = [(0x4000_0000, 0x4fff_ffff), (0x11, 0x12)];
/// Kernels may write canonical addresses only.
const CANONICAL: [u32; 6] = [num::FS_BASE, num::GS_BASE, num::KERNEL_GS_BASE, 0xc000_0082, 0x175, 0x176];

/// WRMSR that does not serialise (S:WRMSR vol 2C and the x2APIC, TSC-deadline, PRED_CMD and HWP sections; A: FS, GS and kernel GS base).
const fn does_not_serialise(number: u32, vendor: Vendor) -> bool {
    match number {
        num::X2APIC_FIRST..=num::X2APIC_LAST | num::TSC_DEADLINE | num::PRED_CMD | num::SPEC_CTRL | 0x774 | 0x6e1 => {
            true
        }
        num::FS_BASE | num::GS_BASE | num::KERNEL_GS_BASE => matches!(vendor, Vendor::Amd),
        _ => false,
    }
}

impl Machine {
    fn mcg_cap(&self) -> u64 {
        let count = u64::from(self.config.mc_banks) | MCG_CTL_P;
        match self.config.vendor {
            Vendor::Intel => count | MCG_CMCI_P | MCG_LMCE_P,
            Vendor::Amd => count,
        }
    }

    /// The bank and register that a machine-check MSR number names; #GP beyond the banks.
    fn bank_register(&self, number: u32) -> Option<Exec<(usize, usize)>> {
        let (bank, register) = match number {
            num::MC0_CTL..=MC_LEGACY_LAST => ((number - num::MC0_CTL) / 4, (number - num::MC0_CTL) % 4),
            num::SMCA_FIRST..=SMCA_LAST if self.config.vendor == Vendor::Amd => {
                ((number - num::SMCA_FIRST) / 16, (number - num::SMCA_FIRST) % 16)
            }
            _ => return None,
        };
        let exists = self.features.mca && bank < u32::from(self.config.mc_banks);
        Some(if exists { Ok((bank as usize, register as usize)) } else { Err(GP0) })
    }

    /// What an MSR number outside the modelled ones means: #GP where that is known, else the model stops.
    fn unknown(&self, number: u32) -> Trap {
        if HYPERVISOR_RANGES.iter().any(|(first, last)| (*first..=*last).contains(&number)) && !self.features.hypervisor
        {
            return GP0;
        }
        Trap::unknown_msr(number)
    }

    fn defined(&self, number: u32) -> Exec<&'static msr::Def> {
        match msr::find(number) {
            Some((_, def)) if def.when.holds(self.config.vendor, &self.features) => Ok(def),
            Some(_) => Err(GP0),
            None => Err(self.unknown(number)),
        }
    }

    pub(crate) fn rdmsr(&mut self, c: usize, number: u32) -> Exec<u64> {
        if let Some(at) = self.bank_register(number) {
            let (bank, register) = at?;
            return Ok(self.cpus[c].msr.banks.get(bank).and_then(|bank| bank.get(register)).copied().unwrap_or(0));
        }
        let cpu = &self.cpus[c];
        Ok(match number {
            num::TSC => self.tsc(),
            num::APIC_BASE => cpu.apic.base,
            num::EFER => cpu.efer,
            num::FS_BASE => cpu.seg(Seg::Fs).base,
            num::GS_BASE => cpu.seg(Seg::Gs).base,
            num::SMI_COUNT if self.config.vendor == Vendor::Intel => cpu.smi_count & 0xffff_ffff,
            num::SMI_COUNT | num::PRED_CMD | num::SVM_KEY => return Err(GP0),
            num::MCG_CAP if self.features.mca => self.mcg_cap(),
            num::MCG_CAP => return Err(GP0),
            num::PERF_GLOBAL_OVF_CTRL => 0,
            num::X2APIC_FIRST..=num::X2APIC_LAST => return self.x2apic_read(c, number),
            num::MPERF | num::APERF => self.tsc(),
            _ => {
                self.defined(number)?;
                cpu.msr.stored(number)
            }
        })
    }

    pub(crate) fn wrmsr(&mut self, c: usize, number: u32, value: u64) -> Exec<()> {
        if !does_not_serialise(number, self.config.vendor) {
            self.serialise(c);
        }
        self.cpus[c].attention = true;
        if CANONICAL.contains(&number) && !self.canonical(c, value) {
            return Err(GP0);
        }
        if let Some(at) = self.bank_register(number) {
            let (bank, register) = at?;
            return self.write_bank(c, bank, register, value);
        }
        match number {
            num::TSC => return Err(Trap::missing(Missing::TscWrite)),
            num::APIC_BASE => return self.write_apic_base(c, value),
            num::EFER => return self.write_efer(c, value),
            num::FS_BASE => self.cpus[c].segs[Seg::Fs as usize].base = value,
            num::GS_BASE => self.cpus[c].segs[Seg::Gs as usize].base = value,
            num::X2APIC_FIRST..=num::X2APIC_LAST => return self.x2apic_write(c, number, value),
            num::SMI_COUNT | num::MCG_CAP => return Err(GP0),
            num::PRED_CMD => {
                if value & !0xc1 != 0 {
                    return Err(GP0);
                }
            }
            num::SVM_KEY if self.features.svm => {}
            num::PERF_GLOBAL_OVF_CTRL => {
                let status = self.cpus[c].msr.stored(num::PERF_GLOBAL_STATUS) & !value;
                self.cpus[c].msr.store(num::PERF_GLOBAL_STATUS, status);
            }
            _ => {
                let def = self.defined(number)?;
                return self.write_stored(c, number, value, def);
            }
        }
        Ok(())
    }

    fn write_bank(&mut self, c: usize, bank: usize, register: usize, value: u64) -> Exec<()> {
        // STATUS, ADDR and MISC take only 0 (S:15.3.2.2), on AMD unless HWCR allows it.
        let writable = self.config.vendor == Vendor::Amd && self.cpus[c].msr.hwcr() & HWCR_MC_STATUS_WRITE != 0;
        if register != 0 && value != 0 && !writable {
            return Err(GP0);
        }
        if let Some(slot) = self.cpus[c].msr.banks.get_mut(bank).and_then(|bank| bank.get_mut(register)) {
            *slot = value;
        }
        Ok(())
    }

    fn write_stored(&mut self, c: usize, number: u32, value: u64, def: &msr::Def) -> Exec<()> {
        let old = self.cpus[c].msr.stored(number);
        let mut value = value;
        match number {
            num::MCG_STATUS => {
                let intel = self.config.vendor == Vendor::Intel;
                if intel && value != 0 && self.rules.on(Rule::McgStatusTakesZeroOnly) {
                    return Err(GP0);
                }
                value &= MCG_STATUS_BITS;
            }
            num::MCG_EXT_CTL => {
                let needed = FEATURE_LOCK | FEATURE_LMCE;
                if self.cpus[c].msr.feature_control() & needed != needed {
                    return Err(GP0);
                }
            }
            num::FEATURE_CONTROL if old & FEATURE_LOCK != 0 => return Err(GP0),
            // Types 2 and 3 do not exist (S:Table 11-10).
            num::PAT if (0..8u32).any(|n| !matches!((value >> (8 * n)) & 0xff, 0 | 1 | 4..=7)) => return Err(GP0),
            num::VM_CR => {
                if value & !def.writable != 0
                    || (value & VM_CR_SVMDIS != 0 && self.cpus[c].efer & super::bits::efer::SVME != 0)
                {
                    return Err(GP0);
                }
                if old & VM_CR_LOCK != 0 {
                    let kept = VM_CR_LOCK | VM_CR_SVMDIS;
                    value = (value & !kept) | (old & kept);
                }
            }
            num::HWCR => value |= old & HWCR_SMM_LOCK,
            num::TSC_DEADLINE if !self.features.tsc_deadline => return Err(GP0),
            // Outside TSC-deadline mode the register reads 0 and ignores writes (S:10.5.4.1).
            num::TSC_DEADLINE if !self.cpus[c].apic.deadline_mode() => value = 0,
            num::MISC_ENABLE => value = (value & def.writable) | (old & !def.writable),
            num::RTIT_OUTPUT_BASE if self.cpus[c].msr.rtit_ctl() & 1 != 0 => return Err(GP0),
            _ => {}
        }
        if value & !def.writable != 0 && number != num::MISC_ENABLE {
            return Err(GP0);
        }
        self.cpus[c].msr.store(number, value);
        if number == num::PAT || number == num::MTRR_DEF_TYPE {
            // Cached translations carry the old type until flushed (S:11.12.4).
            self.cpus[c].forget_shortcuts();
        }
        Ok(())
    }
}
