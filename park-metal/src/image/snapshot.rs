//! The registers that a CPU comes out of a lot with, and whether they are the owner's.

use core::sync::atomic::{AtomicU64, Ordering};

use park_core::{Cpu, PlatformError, Register};
use park_x86::registers::control::Rflags;
use park_x86::registers::msr;

use crate::cpu_tables::{CODE_SELECTOR, TSS_SELECTOR};
use crate::image::area::Area;
use crate::image::failure::Failure;
use crate::image::percpu::PerCpu;
use crate::image::smp::expect;
use crate::platform::apic::this_cpu;

/// Flags that no CPU of the image has set.
const FLAGS_OFF: u64 = Rflags::TF.union(Rflags::IF).union(Rflags::DF).union(Rflags::NT).union(Rflags::AC).bits();
/// How many registers there are.
const COUNT: usize = 9;
/// What is looked at, with its name.
const REGISTERS: [(Register, &str); COUNT] = [
    (Register::Cr0, "CR0"),
    (Register::Cr3, "CR3"),
    (Register::Cr4, "CR4"),
    (Register::Msr(msr::EFER), "EFER"),
    (Register::Rflags, "RFLAGS (TF, IF, DF, NT, AC)"),
    (Register::Cs, "CS"),
    (Register::Tr, "TR"),
    (Register::GdtrBase, "GDTR"),
    (Register::IdtrBase, "IDTR"),
];

/// Values of the registers, written by one CPU and read by another.
#[derive(Debug)]
pub(crate) struct Snapshot([AtomicU64; COUNT]);

impl Snapshot {
    /// No values yet.
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; COUNT])
    }

    /// Takes the executing CPU's values.
    pub(crate) fn take(&self) -> Result<(), PlatformError> {
        for (slot, (register, _)) in self.0.iter().zip(REGISTERS) {
            slot.store(value(register)?, Ordering::Release);
        }
        Ok(())
    }

    /// Fails unless `cpu` took what it should have. What is not its own is the executing CPU's: all CPUs of the image
    /// have the same control registers.
    pub(crate) fn check(&self, cpu: &'static PerCpu) -> Result<(), Failure> {
        let area = Area::of(cpu);
        for (slot, (register, name)) in self.0.iter().zip(REGISTERS) {
            let wanted = match register {
                Register::Cs => CODE_SELECTOR.into(),
                Register::Tr => TSS_SELECTOR.into(),
                Register::GdtrBase => area.gdt().0,
                Register::IdtrBase => area.idt().0,
                shared => value(shared)?,
            };
            expect(cpu, name, slot.load(Ordering::Acquire), wanted)?;
        }
        Ok(())
    }
}

fn value(register: Register) -> Result<u64, PlatformError> {
    let value = this_cpu().read(register)?;
    Ok(if register == Register::Rflags { value & FLAGS_OFF } else { value })
}
