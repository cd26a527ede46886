//! Which CPUs are parked.

use crate::cpu::CpuView;
use park_core::ApicId;
use park_core::op::Processor;

/// Which CPUs a plan parks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Which<'a> {
    /// All but the one with this id, which goes on.
    AllBut(ApicId),
    /// All but the bootstrap processor.
    Applications,
    /// All threads but the first of each core; never the bootstrap processor.
    Siblings,
    /// Those whose bit is set: bit n % 64 of word n / 64 stands for the n-th CPU of the list. What is beyond is not parked.
    Marked(&'a [u64]),
}

impl Which<'_> {
    /// True if the CPU at `index` of the list is to be parked.
    #[must_use]
    pub fn includes(&self, index: usize, cpu: &CpuView<'_>) -> bool {
        match self {
            Self::AllBut(running) => cpu.apic_id != *running,
            Self::Applications => cpu.processor == Processor::Application,
            Self::Siblings => cpu.thread > 0 && cpu.processor == Processor::Application,
            Self::Marked(words) => words.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1),
        }
    }
}
