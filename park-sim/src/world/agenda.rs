//! What happens in a world by itself: events whose time has come, and what the architecture allows at any time.

use super::World;
use crate::machine::{Event, EventKind, Evict};

impl World {
    /// What the architecture allows at any time: translations vanish, and MWAIT ends for no reason.
    #[inline]
    pub(super) fn disturb(&mut self, cpu: usize) {
        if self.scheduler.rng.one_in(self.scheduler.rates.evict) {
            self.machine.evict_tlb(cpu, Evict::All);
        }
        if self.scheduler.rng.one_in(self.scheduler.rates.false_wake) {
            self.machine.inject(Event::all(EventKind::FalseWake));
        }
    }

    /// Throws `event` in so many ticks of the machine's clock; a step takes one.
    pub fn schedule(&mut self, ticks: u64, event: Event) {
        self.agenda.entry(self.machine.tsc() + ticks).or_default().push(event);
    }

    #[inline]
    pub(super) fn throw_due(&mut self) {
        if !self.agenda.is_empty() {
            self.throw();
        }
    }

    #[cold]
    fn throw(&mut self) {
        while let Some(due) = self.agenda.first_entry() {
            if *due.key() > self.machine.tsc() {
                return;
            }
            for event in due.remove() {
                self.machine.inject(event);
            }
        }
    }

    /// Nothing moves: lets the time pass until the next scheduled event, or until `until`; false if that was sooner.
    pub(super) fn pass_time(&mut self, until: u64) -> bool {
        let due = self.agenda.first_key_value().map(|(due, _)| *due).filter(|due| *due <= until);
        let rest = due.unwrap_or(until).saturating_sub(self.machine.tsc());
        self.machine.advance_tsc(rest);
        self.throw_due();
        due.is_some()
    }
}
