//! Whom the load leaves idle.

use cpu_park::core::op::Processor;
use cpu_park::policy::CpuView;

/// Bits of a word of marks.
const WORD_BITS: usize = 64;

/// A bit for every CPU that sleeps: the idle ones, but never the bootstrap processor.
pub(super) fn marks(cpus: &[CpuView<'_>]) -> Vec<u64> {
    let mut marks = vec![0u64; cpus.len().div_ceil(WORD_BITS)];
    for (index, cpu) in cpus.iter().enumerate() {
        let sleeps = cpu.load_percent == 0 && cpu.processor == Processor::Application;
        if let Some(word) = marks.get_mut(index / WORD_BITS).filter(|_| sleeps) {
            *word |= 1 << (index % WORD_BITS);
        }
    }
    marks
}
