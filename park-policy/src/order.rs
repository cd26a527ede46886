//! In which order CPUs are parked: a counting sort, so that thousands cost no more than one after another.

use crate::cpu::CpuView;
use park_core::op::Processor;

/// Threads of one core that are told apart; further ones go together, first.
const THREADS: usize = 16;
/// For each thread index: other packages, and the package that stays.
const PER_THREAD: usize = 2;
/// All classes; the last is the bootstrap processor's.
const CLASSES: usize = THREADS * PER_THREAD + 1;

/// Where the CPUs of each class go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    next: [usize; CLASSES],
    end: [usize; CLASSES],
    home: Option<u32>,
}

impl Order {
    /// An empty order; the CPUs of package `home`, where somebody goes on, come after those of others.
    pub(crate) const fn new(home: Option<u32>) -> Self {
        Self { next: [0; CLASSES], end: [0; CLASSES], home }
    }

    /// The class of a CPU: the last threads of their cores first, so that a core whose sibling is parked runs faster for
    /// what is left to do; then packages from which nobody rings; the bootstrap processor last.
    fn class(&self, cpu: &CpuView<'_>) -> usize {
        if cpu.processor == Processor::Bootstrap {
            return CLASSES - 1;
        }
        let thread = usize::try_from(cpu.thread).unwrap_or(usize::MAX).min(THREADS - 1);
        (THREADS - 1 - thread) * PER_THREAD + usize::from(self.home == Some(cpu.package))
    }

    /// Makes room for a CPU.
    pub(crate) fn count(&mut self, cpu: &CpuView<'_>) {
        let class = self.class(cpu);
        if let Some(count) = self.next.get_mut(class) {
            *count += 1;
        }
    }

    /// Turns counts into places. Returns how many CPUs there are.
    pub(crate) fn settle(&mut self) -> usize {
        let mut total = 0;
        for (next, end) in self.next.iter_mut().zip(&mut self.end) {
            let count = core::mem::replace(next, total);
            total += count;
            *end = total;
        }
        total
    }

    /// The place of a CPU, after [`settle`](Self::settle); in its class CPUs keep the order of the calls. `None` if more CPUs
    /// of its class come than were counted.
    pub(crate) fn place(&mut self, cpu: &CpuView<'_>) -> Option<usize> {
        let class = self.class(cpu);
        let (next, end) = (self.next.get_mut(class)?, *self.end.get(class)?);
        let place = *next;
        *next += 1;
        (place < end).then_some(place)
    }
}
