//! What an explorer asks of the machine beside steps: which translations of a CPU are what its page tables say now, so that they may come and
//! go without a trace; exceptions out of nowhere; a meeting in SMM.

use super::activity::Outcome;
use super::fault::Fault;
use super::interrupt::Source;
use super::paging::Dir;
use super::{AccessKind, Machine};

/// Vectors whose exceptions push an error code (S:Table 6-1; A: #VC and #SX too).
const WITH_ERROR: [u8; 10] = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30];

impl Machine {
    /// For each translation that `c` holds, by its place among them: whether a walk would now yield the same, and touch nothing that is not
    /// the CPU's. Bit 0 is the first one's. The CPU's translations end up as they were, and so does everything else but decoded shortcuts.
    pub(crate) fn current_translations(&mut self, c: usize) -> u64 {
        let entries = self.cpus[c].tlb.all().to_vec();
        let cr2 = self.cpus[c].cr2;
        let breaches = core::mem::take(&mut self.breaches);
        let knobs_read = self.knobs_read.get();
        let mut current = 0;
        for (at, entry) in (0u32..).zip(&entries) {
            self.cpus[c].tlb.flush_all();
            let walked = self.translate(c, entry.linear, Dir::Read, AccessKind::Read).is_ok();
            let same = self.cpus[c].tlb.all() == [*entry];
            if walked && same && self.breaches.is_empty() {
                current |= 1 << at.min(u64::BITS - 1);
            }
            self.breaches.clear();
        }
        self.knobs_read.set(knobs_read);
        self.breaches = breaches;
        self.cpus[c].cr2 = cr2;
        self.cpus[c].tlb.restore(entries.into_iter());
        current
    }

    /// Knob `monitor-lost`: the next store is the first of its alternation again.
    pub(crate) const fn forget_lost_store(&mut self) {
        self.lost_toggle = false;
    }

    /// The next instruction of `c` raises this exception, whatever it is; error codes are 0.
    pub(crate) fn raise_exception(&mut self, c: usize, vector: u8) -> Outcome {
        let error = WITH_ERROR.contains(&vector).then_some(0);
        self.raise(c, Fault { vector, error }, Source::Fault)
    }

    /// An SMI that is on its way to `c`, or holds it, holds these CPUs too: they execute host-modelled code.
    pub(crate) fn check_in(&mut self, c: usize, cpus: &[usize]) {
        let inside = self.cpus[c].latches.smi || self.cpus[c].smm.inside;
        for cpu in cpus {
            self.cpus[*cpu].smm.inside = inside;
        }
        self.smm_released = false;
    }
}
