//! [`Cpu`] on the real CPU.
//!
//! A RDMSR or WRMSR that faults can't be caught here: it is the owner's #GP. Callers keep to registers that CPUID says
//! exist; sanitising does.

use crate::registers::apic::{ICR_LOW, x2apic_msr};
use crate::registers::msr;
use core::arch::asm;
use core::ptr::NonNull;
use park_core::{Action, ApicRegister, Cpu, CpuidResult, PlatformError, Register};

/// Vector of #UD.
const VECTOR_UD: u8 = 6;
/// Offset one past the last local APIC register, the AMD extended space among them.
const APIC_LEN: u16 = 0x1000;

/// Whether the executing CPU has executed VMXON and not VMXOFF since. No register says it; its owner knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum VmxOperation {
    /// It is not in VMX operation: VMXOFF would be #UD, and is not executed.
    Outside,
    /// It is in VMX root operation.
    Root,
}

/// How the local APIC is reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Apic {
    Page(NonNull<u32>),
    Msrs,
    Absent,
}

/// The CPU that executes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HardwareCpu {
    apic: Apic,
    vmx: VmxOperation,
}

impl HardwareCpu {
    /// The executing CPU. `apic_page` is the linear address at which the local APIC's registers are mapped; it is
    /// needed in xAPIC mode only, and without it their registers do not exist.
    ///
    /// # Safety
    /// 1. CPL is 0, and stays 0 while the value is used.
    /// 2. The value is used on the CPU that made it: the caller can't migrate, or makes a new one.
    /// 3. `apic_page` maps the 4 KiB at IA32_APIC_BASE, uncached, writable, for as long as the value is used.
    /// 4. `vmx` is true of this CPU.
    /// 5. What is written through the value suits the owner: a control register can unmap the code that runs.
    #[must_use]
    pub unsafe fn new(apic_page: Option<NonNull<u32>>, vmx: VmxOperation) -> Self {
        let mut cpu = Self { apic: Apic::Absent, vmx };
        let base = cpu.rdmsr(msr::APIC_BASE);
        cpu.apic = match apic_page {
            _ if base & msr::APIC_BASE_EN == 0 => Apic::Absent,
            _ if base & msr::APIC_BASE_EXTD != 0 => Apic::Msrs,
            Some(page) => Apic::Page(page),
            None => Apic::Absent,
        };
        cpu
    }

    fn rdmsr(&mut self, number: u32) -> u64 {
        let (low, high): (u32, u32);
        // SAFETY: CPL is 0 by promise 1 of `new`; a number that does not exist is the owner's #GP, as documented.
        unsafe {
            asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
        }
        u64::from(high) << 32 | u64::from(low)
    }

    fn wrmsr(&mut self, number: u32, value: u64) {
        // SAFETY: CPL is 0 by promise 1 of `new`; that the value suits the owner is promise 5. Not `nomem`: an
        // interrupt command makes another CPU look at memory.
        unsafe {
            asm!("wrmsr", in("ecx") number, in("eax") value as u32, in("edx") (value >> 32) as u32,
                options(nostack, preserves_flags));
        }
    }

    fn xgetbv(&mut self, number: u32) -> u64 {
        let (low, high): (u32, u32);
        // SAFETY: callers ask only where CR4.OSXSAVE is set, as `Register::Xcr0` demands; it reads a register.
        unsafe {
            asm!("xgetbv", in("ecx") number, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
        }
        u64::from(high) << 32 | u64::from(low)
    }

    fn apic_slot(page: NonNull<u32>, register: ApicRegister) -> Result<NonNull<u32>, PlatformError> {
        if register.0 % 16 != 0 || register.0 >= APIC_LEN {
            return Err(PlatformError::NoSuchRegister);
        }
        // SAFETY: the offset is below 4096, and the page is mapped by promise 3 of `new`.
        Ok(unsafe { page.byte_add(usize::from(register.0)) })
    }

    fn read_apic(&mut self, register: ApicRegister) -> Result<u64, PlatformError> {
        match self.apic {
            Apic::Page(page) => {
                let slot = Self::apic_slot(page, register)?;
                // SAFETY: an aligned register of the page that promise 3 of `new` speaks of.
                Ok(u64::from(unsafe { slot.read_volatile() }))
            }
            Apic::Msrs => Ok(self.rdmsr(x2apic_msr(register))),
            Apic::Absent => Err(PlatformError::NoSuchRegister),
        }
    }

    fn write_apic(&mut self, register: ApicRegister, value: u64) -> Result<(), PlatformError> {
        match self.apic {
            Apic::Page(page) => {
                let slot = Self::apic_slot(page, register)?;
                // SAFETY: an aligned register of the page that promise 3 of `new` speaks of.
                unsafe { slot.write_volatile(value as u32) };
            }
            Apic::Msrs => {
                if register == ICR_LOW {
                    self.fence();
                }
                self.wrmsr(x2apic_msr(register), value);
            }
            Apic::Absent => return Err(PlatformError::NoSuchRegister),
        }
        Ok(())
    }

    fn fence(&mut self) {
        // SAFETY: orders memory accesses, and does nothing else. Not `nomem`: the compiler must not move stores past it.
        unsafe { asm!("mfence", "lfence", options(nostack, preserves_flags)) };
    }
}

/// Reads a register by one MOV or store instruction.
macro_rules! read_by {
    ($instruction:literal) => {{
        let value: u64;
        // SAFETY: CPL is 0 by promise 1 of `HardwareCpu::new`; the instruction reads a register of this CPU.
        unsafe { asm!($instruction, out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

/// Writes a register by one MOV.
macro_rules! write_by {
    ($instruction:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: CPL is 0 by promise 1 of `HardwareCpu::new`; that the value suits the owner is its promise 5. Not
        // `nomem`: translations and caching may change under the compiler's memory accesses.
        unsafe { asm!($instruction, in(reg) value, options(nostack, preserves_flags)) };
    }};
}

/// Executes an instruction without operands.
macro_rules! execute {
    ($instruction:literal) => {
        // SAFETY: CPL is 0 by promise 1 of `HardwareCpu::new`; the caller asks only where CPUID has the instruction, and
        // that its effect suits the owner is promise 5.
        unsafe { asm!($instruction, options(nostack)) }
    };
}

/// What SGDT and SIDT store in 64-bit mode.
#[repr(C, packed)]
#[derive(Default)]
struct PseudoDescriptor {
    limit: u16,
    base: u64,
}

impl Cpu for HardwareCpu {
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidResult {
        let (eax, ebx, ecx, edx): (u32, u64, u32, u32);
        // SAFETY: CPUID reads; RBX, which the compiler keeps for itself, is put back. (core's own function for it changed
        // from unsafe to safe between the Rust versions that park supports.)
        unsafe {
            asm!("mov {saved}, rbx", "cpuid", "xchg {saved}, rbx", saved = out(reg) ebx,
                inout("eax") leaf => eax, inout("ecx") subleaf => ecx, out("edx") edx,
                options(nomem, nostack, preserves_flags));
        }
        [eax, ebx as u32, ecx, edx]
    }

    fn read(&mut self, register: Register) -> Result<u64, PlatformError> {
        Ok(match register {
            Register::Cr0 => read_by!("mov {}, cr0"),
            Register::Cr3 => read_by!("mov {}, cr3"),
            Register::Cr4 => read_by!("mov {}, cr4"),
            Register::Dr7 => read_by!("mov {}, dr7"),
            Register::Cs => read_by!("mov {}, cs"),
            Register::Tr => read_by!("str {}"),
            Register::Rsp => read_by!("mov {}, rsp"),
            Register::Rflags => {
                let value: u64;
                // SAFETY: pushes eight bytes and pops them again; not `nostack`, so that no red zone is hit.
                unsafe { asm!("pushfq", "pop {}", out(reg) value, options(preserves_flags)) };
                value
            }
            Register::GdtrBase => {
                let mut descriptor = PseudoDescriptor::default();
                // SAFETY: stores ten bytes into a local that has them.
                unsafe { asm!("sgdt [{}]", in(reg) &raw mut descriptor, options(nostack, preserves_flags)) };
                descriptor.base
            }
            Register::IdtrBase => {
                let mut descriptor = PseudoDescriptor::default();
                // SAFETY: stores ten bytes into a local that has them.
                unsafe { asm!("sidt [{}]", in(reg) &raw mut descriptor, options(nostack, preserves_flags)) };
                descriptor.base
            }
            Register::Xcr0 => self.xgetbv(0),
            Register::XInUse => self.xgetbv(1),
            Register::Msr(number) => self.rdmsr(number),
            Register::Apic(register) => self.read_apic(register)?,
            _ => return Err(PlatformError::NoSuchRegister),
        })
    }

    fn write(&mut self, register: Register, value: u64) -> Result<(), PlatformError> {
        match register {
            Register::Cr0 => write_by!("mov cr0, {}", value),
            Register::Cr3 => write_by!("mov cr3, {}", value),
            Register::Cr4 => write_by!("mov cr4, {}", value),
            Register::Dr7 => write_by!("mov dr7, {}", value),
            Register::Rflags => {
                // SAFETY: pushes eight bytes and pops them again; which flags suit the owner is promise 5 of `new`.
                unsafe { asm!("push {}", "popfq", in(reg) value) };
            }
            Register::Msr(number) => self.wrmsr(number, value),
            Register::Apic(register) => self.write_apic(register, value)?,
            _ => return Err(PlatformError::NoSuchRegister),
        }
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<(), PlatformError> {
        match action {
            Action::Vmxoff => match self.vmx {
                VmxOperation::Outside => return Err(PlatformError::Fault { vector: VECTOR_UD }),
                VmxOperation::Root => {
                    execute!("vmxoff");
                    self.vmx = VmxOperation::Outside;
                }
            },
            Action::Stgi => execute!("stgi"),
            Action::TileRelease => execute!("tilerelease"),
            Action::Wbinvd => execute!("wbinvd"),
            Action::Cli => execute!("cli"),
            Action::Fence => self.fence(),
            _ => return Err(PlatformError::NoSuchRegister),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What works at CPL 3 too; the rest runs on the metal.
    fn unprivileged() -> HardwareCpu {
        HardwareCpu { apic: Apic::Absent, vmx: VmxOperation::Outside }
    }

    #[test]
    fn cpuid_is_what_others_read() {
        for (leaf, subleaf) in [(0, 0), (7, 0), (0xd, 0), (0xd, 1), (0x8000_0001, 0)] {
            let theirs = x86::cpuid::native_cpuid::cpuid_count(leaf, subleaf);
            assert_eq!(unprivileged().cpuid(leaf, subleaf), [theirs.eax, theirs.ebx, theirs.ecx, theirs.edx]);
        }
    }

    #[test]
    fn unprivileged_registers_are_read() {
        let mut cpu = unprivileged();
        let local = 0_u8;
        let rsp = cpu.read(Register::Rsp).unwrap_or(0);
        assert!(rsp.abs_diff(core::ptr::from_ref(&local).addr() as u64) < 0x1_0000);
        assert_eq!(cpu.read(Register::Cs).map(|cs| cs & 3), Ok(3), "tests run at CPL 3");
        assert_eq!(cpu.read(Register::Rflags).map(|flags| flags & 0x202), Ok(0x202), "bit 1 and IF are set");
    }

    #[test]
    fn what_is_not_there_is_an_error_and_no_access() {
        let mut cpu = unprivileged();
        assert_eq!(cpu.act(Action::Vmxoff), Err(PlatformError::Fault { vector: 6 }));
        assert_eq!(cpu.read(Register::Apic(ApicRegister(0x20))), Err(PlatformError::NoSuchRegister));
        assert_eq!(cpu.write(Register::Cs, 8), Err(PlatformError::NoSuchRegister));
        let page = NonNull::dangling();
        for offset in [0x21, 0x1000, u16::MAX] {
            assert_eq!(HardwareCpu::apic_slot(page, ApicRegister(offset)), Err(PlatformError::NoSuchRegister));
        }
    }
}
