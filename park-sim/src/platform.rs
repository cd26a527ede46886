//! park-core's platform traits over a simulated machine: what a kernel's code on one CPU can do.

use crate::machine::{Exception, HostReg, Machine, PhysRange, Special};
use park_core::{Action, ApicId, Clock, Cpu, CpuidResult, IpiSender, LotMemory, PlatformError, Register, Ticks};
use park_x86::registers::apic;

/// Ticks of the simulated TSC in a second.
///
/// A nominal rate: a step of the machine takes one tick, so timeouts count steps.
pub const TICKS_PER_SECOND: u64 = 1_000_000_000;

/// Code of a kernel on one CPU of a machine, with a lot at a physical range.
///
/// Every access goes through that CPU's store buffer and is checked like those of decoded code.
#[derive(Debug)]
pub struct OnCpu<'m> {
    /// The machine.
    pub machine: &'m mut Machine,
    /// Index of the CPU that executes.
    pub cpu: usize,
    /// Where the lot is.
    pub lot: PhysRange,
}

impl OnCpu<'_> {
    fn word(&self, offset: u64) -> Result<u64, PlatformError> {
        if !offset.is_multiple_of(8) || offset.checked_add(8).is_none_or(|end| end > self.lot.len) {
            return Err(PlatformError::OutOfBounds { offset });
        }
        Ok(self.lot.start + offset)
    }

    fn send(&mut self, target: ApicId, icr: u64) -> Result<(), PlatformError> {
        if !self.machine.config().x2apic && target > ApicId::XAPIC_MAX {
            return Err(PlatformError::IdTooWide { apic_id: target.0 });
        }
        // Stores before the IPI must be visible first (events.md rule 13): MFENCE; LFENCE, as park-x86's driver does.
        self.machine.fence(self.cpu);
        let low = u32::try_from(icr).map_err(|_| PlatformError::NoSuchRegister)?;
        self.machine.send_ipi(self.cpu, target.0, low).map_err(fault)
    }
}

fn fault(exception: Exception) -> PlatformError {
    PlatformError::Fault { vector: exception.vector }
}

impl LotMemory for OnCpu<'_> {
    fn len(&self) -> u64 {
        self.lot.len
    }

    fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
        let phys = self.word(offset)?;
        Ok(self.machine.load(self.cpu, phys))
    }

    fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError> {
        let phys = self.word(offset)?;
        self.machine.store(self.cpu, phys, value);
        Ok(())
    }

    fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError> {
        let phys = self.word(offset)?;
        Ok(self.machine.compare_exchange(self.cpu, phys, current, new))
    }
}

impl Clock for OnCpu<'_> {
    fn now(&mut self) -> Ticks {
        self.machine.tsc()
    }

    fn ticks_per_second(&self) -> u64 {
        TICKS_PER_SECOND
    }
}

impl IpiSender for OnCpu<'_> {
    fn send_nmi(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.send(target, apic::ICR_NMI | apic::ICR_ASSERT)
    }

    fn send_init(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.send(target, apic::ICR_INIT | apic::ICR_ASSERT)
    }

    fn send_startup(&mut self, target: ApicId, vector: u8) -> Result<(), PlatformError> {
        self.send(target, apic::ICR_STARTUP | apic::ICR_ASSERT | u64::from(vector))
    }
}

impl Cpu for OnCpu<'_> {
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidResult {
        let regs = self.machine.cpuid(self.cpu, leaf, subleaf);
        [regs.eax, regs.ebx, regs.ecx, regs.edx]
    }

    fn read(&mut self, register: Register) -> Result<u64, PlatformError> {
        let cpu = self.machine.cpu(self.cpu);
        let value = match register {
            Register::Rflags => cpu.rflags,
            Register::Cs => cpu.segs[crate::machine::Seg::Cs as usize].selector.into(),
            Register::Tr => cpu.tr.selector.into(),
            Register::GdtrBase => cpu.gdtr.base,
            Register::IdtrBase => cpu.idtr.base,
            Register::Rsp => cpu.reg(crate::machine::Gpr::Rsp),
            // XINUSE: AMX tile configuration and data are in use, bits 17 and 18 (SDM vol. 1, "XSAVE-Supported Features").
            Register::XInUse => {
                if cpu.tiles_live {
                    0b11 << 17
                } else {
                    0
                }
            }
            Register::Apic(register) => return self.machine.read_apic(self.cpu, register.0).map_err(fault),
            other => return self.machine.read_reg(self.cpu, host(other)?).map_err(fault),
        };
        Ok(value)
    }

    fn write(&mut self, register: Register, value: u64) -> Result<(), PlatformError> {
        if register == Register::Rflags {
            let cpu = self.machine.cpu_mut(self.cpu);
            cpu.rflags = value | park_x86::registers::control::Rflags::ONE.bits();
            return Ok(());
        }
        if let Register::Apic(register) = register {
            return self.machine.write_apic(self.cpu, register.0, value).map_err(fault);
        }
        self.machine.write_reg(self.cpu, host(register)?, value).map_err(fault)
    }

    fn act(&mut self, action: Action) -> Result<(), PlatformError> {
        let special = match action {
            Action::Vmxoff => Special::Vmxoff,
            Action::Stgi => Special::Stgi,
            Action::TileRelease => Special::TileRelease,
            Action::Wbinvd => Special::Wbinvd,
            Action::Cli => Special::Cli,
            _ => return Err(PlatformError::NoSuchRegister),
        };
        self.machine.exec_special(self.cpu, special).map_err(fault)
    }
}

/// The machine's name of a register that its instruction reads or writes.
fn host(register: Register) -> Result<HostReg, PlatformError> {
    Ok(match register {
        Register::Cr0 => HostReg::Cr0,
        Register::Cr3 => HostReg::Cr3,
        Register::Cr4 => HostReg::Cr4,
        Register::Dr7 => HostReg::Dr(7),
        Register::Xcr0 => HostReg::Xcr0,
        Register::Msr(number) => HostReg::Msr(number),
        _ => return Err(PlatformError::NoSuchRegister),
    })
}

/// Memory as a loader sees it, before any CPU runs: for building lots and page tables.
#[derive(Debug)]
pub struct Loader<'m> {
    /// The machine.
    pub machine: &'m mut Machine,
    /// The range that offsets count from.
    pub range: PhysRange,
}

impl LotMemory for Loader<'_> {
    fn len(&self) -> u64 {
        self.range.len
    }

    fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
        if !offset.is_multiple_of(8) || offset.checked_add(8).is_none_or(|end| end > self.range.len) {
            return Err(PlatformError::OutOfBounds { offset });
        }
        Ok(self.machine.read_phys_u64(self.range.start + offset))
    }

    fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError> {
        self.load(offset)?;
        self.machine.write_phys(self.range.start + offset, &value.to_le_bytes());
        Ok(())
    }

    fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError> {
        let found = self.load(offset)?;
        if found == current {
            self.store(offset, new)?;
        }
        Ok(found)
    }
}
