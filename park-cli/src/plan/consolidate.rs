//! Whom the load leaves idle, at one look.
//!
//! One moment tells nothing of the next: what decides over time, with hysteresis, is for a kernel that measures again and
//! again. Here whoever does nothing sleeps.

use cpu_park::core::op::Processor;
use cpu_park::policy::CpuView;
use std::collections::BTreeSet;

/// Bits of a word of marks.
const WORD_BITS: usize = 64;
/// What is assumed, in a sentence.
pub(super) const NOTE: &str = "this is one look at the loads: CPUs at 0 % sleep, but of each package one goes on";

/// A bit for every CPU that sleeps: the idle ones, but neither the bootstrap processor nor the last CPU of a package.
pub(super) fn marks(cpus: &[CpuView<'_>]) -> Vec<u64> {
    let works = |cpu: &&CpuView<'_>| cpu.load_percent > 0 || cpu.processor == Processor::Bootstrap;
    let mut awake: BTreeSet<u32> = cpus.iter().filter(works).map(|cpu| cpu.package).collect();
    let mut marks = vec![0u64; cpus.len().div_ceil(WORD_BITS)];
    for (index, cpu) in cpus.iter().enumerate() {
        // The first of a package in which nobody works goes on for it.
        let goes_on = works(&cpu) || awake.insert(cpu.package);
        if let Some(word) = marks.get_mut(index / WORD_BITS).filter(|_| !goes_on) {
            *word |= 1 << (index % WORD_BITS);
        }
    }
    marks
}
