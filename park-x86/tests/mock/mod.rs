//! A CPU of registers in a map, with a log of every access. It has no rules: those are the simulator's.

use park_core::{Action, ApicRegister, Cpu, CpuidResult, PlatformError, Register};
use std::collections::HashMap;

/// One access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Read(Register),
    Write(Register, u64),
    Act(Action),
}

/// The CPU.
#[derive(Clone, Debug, Default)]
pub(crate) struct MockCpu {
    pub(crate) registers: HashMap<Register, u64>,
    pub(crate) log: Vec<Access>,
    /// An end-of-interrupt clears the highest vector in service.
    pub(crate) eoi_works: bool,
    /// Reads of the ICR that say "pending" before it is idle.
    pub(crate) icr_polls: u32,
    /// VMXOFF faults.
    pub(crate) vmxoff_faults: bool,
}

impl MockCpu {
    pub(crate) fn set(&mut self, register: Register, value: u64) -> &mut Self {
        self.registers.insert(register, value);
        self
    }

    pub(crate) fn get(&self, register: Register) -> u64 {
        self.registers.get(&register).copied().unwrap_or(0)
    }

    /// The accesses that change something.
    #[allow(dead_code, reason = "not every test program that shares this module looks at changes")]
    pub(crate) fn changes(&self) -> Vec<Access> {
        self.log.iter().copied().filter(|access| !matches!(access, Access::Read(_))).collect()
    }
}

const EOI: Register = Register::Apic(ApicRegister(0xb0));
const ICR: Register = Register::Apic(ApicRegister(0x300));

impl Cpu for MockCpu {
    fn cpuid(&mut self, _leaf: u32, _subleaf: u32) -> CpuidResult {
        [0; 4]
    }

    fn read(&mut self, register: Register) -> Result<u64, PlatformError> {
        self.log.push(Access::Read(register));
        if register == ICR && self.icr_polls > 0 {
            self.icr_polls -= 1;
            return Ok(1 << 12);
        }
        Ok(self.get(register))
    }

    fn write(&mut self, register: Register, value: u64) -> Result<(), PlatformError> {
        self.log.push(Access::Write(register, value));
        if register == EOI && self.eoi_works {
            for index in (0..8u16).rev() {
                let isr = self.registers.entry(Register::Apic(ApicRegister(0x100 + index * 0x10))).or_default();
                if *isr != 0 {
                    *isr &= !(1 << (63 - isr.leading_zeros()));
                    break;
                }
            }
        }
        self.registers.insert(register, value);
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<(), PlatformError> {
        self.log.push(Access::Act(action));
        if action == Action::Vmxoff && self.vmxoff_faults {
            return Err(PlatformError::Fault { vector: 6 });
        }
        Ok(())
    }
}
