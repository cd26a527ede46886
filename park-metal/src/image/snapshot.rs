//! The registers that a CPU comes out of a lot with, and whether they are the owner's.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::image::failure::Failure;
use crate::image::insn;
use crate::image::percpu::PerCpu;
use crate::image::smp::expect;

/// IA32_EFER (SDM vol. 4, table 2-2).
const EFER: u32 = 0xc000_0080;
/// Flags that no CPU of the image has set: TF (bit 8), IF (9), DF (10), NT (14), AC (18) (SDM vol. 1, figure 3-8).
const FLAGS_OFF: u64 = 1 << 8 | 1 << 9 | 1 << 10 | 1 << 14 | 1 << 18;
/// How many registers there are.
const COUNT: usize = 5;
/// Their names.
const NAMES: [&str; COUNT] = ["CR0", "CR3", "CR4", "EFER", "RFLAGS (TF, IF, DF, NT, AC)"];

/// Values of the registers, written by one CPU and read by another.
#[derive(Debug)]
pub(crate) struct Snapshot([AtomicU64; COUNT]);

impl Snapshot {
    /// No values yet.
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; COUNT])
    }

    /// Takes the executing CPU's values.
    pub(crate) fn take(&self) {
        for (slot, value) in self.0.iter().zip(values()) {
            slot.store(value, Ordering::Release);
        }
    }

    /// Fails unless `cpu` took what the executing CPU has: all CPUs of the image have the same.
    pub(crate) fn check(&self, cpu: &PerCpu) -> Result<(), Failure> {
        for ((slot, wanted), name) in self.0.iter().zip(values()).zip(NAMES) {
            expect(cpu, name, slot.load(Ordering::Acquire), wanted)?;
        }
        Ok(())
    }
}

fn values() -> [u64; COUNT] {
    [insn::read_cr0(), insn::read_cr3(), insn::read_cr4(), insn::read_msr(EFER), insn::read_rflags() & FLAGS_OFF]
}
