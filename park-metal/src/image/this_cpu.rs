//! The executing CPU, as park's operations want to see it.

use core::arch::x86_64::__cpuid_count;

use park_core::{Action, Cpu, CpuidResult, PlatformError, Register};

use crate::image::insn;

/// The CPU that executes the method.
#[derive(Debug)]
pub(crate) struct ThisCpu;

impl Cpu for ThisCpu {
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidResult {
        let result = __cpuid_count(leaf, subleaf);
        [result.eax, result.ebx, result.ecx, result.edx]
    }

    fn read(&mut self, register: Register) -> Result<u64, PlatformError> {
        Ok(match register {
            Register::Cr3 => insn::read_cr3(),
            Register::Cr4 => insn::read_cr4(),
            Register::GdtrBase => insn::read_gdtr_base(),
            Register::IdtrBase => insn::read_idtr_base(),
            Register::Rsp => insn::read_rsp(),
            Register::Msr(msr) => insn::read_msr(msr),
            _ => return Err(PlatformError::NoSuchRegister),
        })
    }

    fn write(&mut self, _register: Register, _value: u64) -> Result<(), PlatformError> {
        Err(PlatformError::NoSuchRegister)
    }

    fn act(&mut self, _action: Action) -> Result<(), PlatformError> {
        Err(PlatformError::NoSuchRegister)
    }
}
