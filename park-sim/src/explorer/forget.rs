//! Knobs that a path can't meet again.
//!
//! A knob is chosen where a path first consults it, and is part of every state from there on. Two states that differ in
//! a knob which nothing will consult again behave alike, so the knob is forgotten: it counts as not yet chosen. Whether
//! "nothing will consult it" is true need not be proved: a forgotten knob that is met takes all its values again, which
//! adds paths of a machine that changes its mind, and hides none.

use super::config::Reduction;
use super::engine::Engine;
use super::state::{Chosen, NO_ENTRY, Vars};
use crate::machine::{Knob, KnobSet, Knobs};

/// Knobs of a wait: of no interest to a CPU that has claimed its way out.
const OF_WAITS: &[Knob] = &[
    Knob::McGif0,
    Knob::Gif0WaitEnds,
    Knob::Gif0Monitor,
    Knob::SvmeOffGif0,
    Knob::BlockedNmiMwait,
    Knob::MaskedIntrMwait,
    Knob::MonitorLost,
    Knob::MonitorStale,
    Knob::NearStoreWakes,
    Knob::MwaitWaits,
    Knob::DmaWakesDeep,
    Knob::DmaWakesAmd,
    Knob::MonitorAcrossSmm,
    Knob::AutoHalt,
];

impl Engine<'_> {
    /// Forgets what the move from `before` to `next` put behind the CPU.
    pub(crate) fn forget(&mut self, before: &Vars, next: &mut Vars) {
        let behind = if self.config.reduction != Reduction::Full {
            return;
        } else if next.memory.landed && !before.memory.landed {
            Knob::ALL
        } else if next.memory.claimed != NO_ENTRY && before.memory.claimed == NO_ENTRY {
            OF_WAITS
        } else {
            return;
        };
        let chosen = self.chosen.value(next.knobs);
        let mut set = KnobSet::empty();
        behind.iter().for_each(|knob| set.insert(*knob));
        let set = set.minus(self.pinned);
        let mut values = chosen.values;
        for knob in set.iter() {
            // The first value always exists.
            let _ = values.set_index(knob, Knobs::default().index(knob));
        }
        next.knobs = self.chosen.number(Chosen { values, set: chosen.set.minus(set) });
        self.scene.machine.knobs = values;
        self.scene.machine.forget_lost_store();
    }
}
