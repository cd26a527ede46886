//! Which translations of a CPU are what its page tables say now: those may come and go without a trace.

use super::paging::Dir;
use super::{AccessKind, Machine};

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
}
