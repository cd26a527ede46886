//! Which knob values an event implies, which are the unkind ones, and all that a run can meet.

use crate::machine::{Knob, KnobSet, Knobs};
use park_core::Event;

/// On which side of what the manuals allow a machine stands, for one cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kindness {
    /// It does the kind thing wherever there is a choice.
    Kind,
    /// It does the worst of what is allowed wherever there is a choice.
    Unkind,
    /// Some of each.
    Mixed,
}

/// Values that are the worst of what is allowed; every other value of the same knob is kinder.
///
/// The other knobs change how things happen and not which of two claims holds: their values are neither.
const UNKIND: &[(Knob, &[&str])] = &[
    (Knob::McGif0, &["shutdown"]),
    // Held until the STARTUP, it finds CR4.MCE = 0 then.
    (Knob::McWfs, &["shutdown", "pend"]),
    (Knob::McBroadcastAmd, &["all"]),
    (Knob::SmmRendezvous, &["hang"]),
    (Knob::MonitorLost, &["always"]),
    (Knob::MonitorStale, &["yes"]),
    (Knob::NmiWfsIntel, &["pend"]),
    (Knob::NmiApicSoftOff, &["wake-only"]),
];

/// Values that are neither kind nor unkind: sometimes the one, sometimes the other.
const IN_BETWEEN: &[(Knob, &str)] = &[(Knob::MonitorLost, "alternate")];

/// The side on which `knobs` stand among those that a run of `event` `consulted`, and that the event leaves open.
#[must_use]
pub fn kindness(event: Event, knobs: &Knobs, consulted: KnobSet) -> Kindness {
    let open = |knob| consulted.contains(knob) && allowed(event, knob).len() > 1;
    let mut sides = UNKIND.iter().filter(|(knob, _)| open(*knob)).map(|(knob, unkind)| {
        let value = knobs.value_name(*knob);
        if IN_BETWEEN.contains(&(*knob, value)) {
            Kindness::Mixed
        } else if unkind.contains(&value) {
            Kindness::Unkind
        } else {
            Kindness::Kind
        }
    });
    let Some(first) = sides.next() else { return Kindness::Kind };
    if sides.all(|side| side == first) { first } else { Kindness::Mixed }
}

/// The values that an event itself implies, each with those that it allows.
///
/// Whether an SMI handler leaves the auto-HALT flag, and whether it waits for other CPUs, is part of these events.
#[must_use]
pub const fn stipulated(event: Event) -> &'static [(Knob, &'static [&'static str])] {
    match event {
        Event::Smi => &[(Knob::AutoHalt, &["keep"]), (Knob::SmmRendezvous, &["none"])],
        Event::SmiNoRestart => &[(Knob::AutoHalt, &["clear"]), (Knob::SmmRendezvous, &["none"])],
        Event::SmiRendezvous => &[(Knob::AutoHalt, &["keep"]), (Knob::SmmRendezvous, &["time-out", "hang"])],
        Event::McLocal => &[(Knob::McBroadcastAmd, &["local"])],
        _ => &[],
    }
}

/// The values of a knob that `event` allows.
fn allowed(event: Event, knob: Knob) -> &'static [&'static str] {
    stipulated(event).iter().find(|(stipulated, _)| *stipulated == knob).map_or(knob.values(), |(_, values)| *values)
}

/// Runs `run` with every combination of values of the knobs that any run consults, under `event`.
///
/// `run` returns what it measured and the knobs that it consulted. Starts from the defaults and adds a knob once a run
/// has consulted it, so that nothing is run for knobs that do not matter.
pub fn valuations<T>(event: Event, mut run: impl FnMut(&Knobs) -> (T, KnobSet)) -> Vec<(Knobs, KnobSet, T)> {
    let mut base = Knobs::default();
    for (knob, values) in stipulated(event) {
        if let Some(first) = values.first() {
            let _ = base.set(*knob, first);
        }
    }
    let mut done: Vec<(Knobs, KnobSet, T)> = Vec::new();
    let mut open = vec![base];
    while let Some(knobs) = open.pop() {
        // A run that consulted nothing in which these differ was this run.
        let same = |seen: &Knobs, consulted: KnobSet| {
            consulted.iter().all(|knob| seen.value_name(knob) == knobs.value_name(knob))
        };
        if done.iter().any(|(seen, consulted, _)| same(seen, *consulted)) {
            continue;
        }
        let (result, consulted) = run(&knobs);
        for knob in consulted.iter() {
            for value in allowed(event, knob) {
                let mut next = knobs;
                if next.set(knob, value).is_ok() && !done.iter().any(|(seen, ..)| *seen == next) {
                    open.push(next);
                }
            }
        }
        done.push((knobs, consulted, result));
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_consulted_knobs_is_run_once() {
        let consulted = |knobs: &Knobs| {
            let mut set = KnobSet::empty();
            set.insert(Knob::McGif0);
            // A knob that matters only after another's value.
            if knobs.value_name(Knob::McGif0) == "shutdown" {
                set.insert(Knob::McWfs);
            }
            set
        };
        let runs = valuations(Event::Nmi, |knobs| ((), consulted(knobs)));
        assert_eq!(runs.len(), 1 + Knob::McWfs.values().len());
    }

    #[test]
    fn values_of_the_table_exist() {
        for (knob, values) in UNKIND {
            for value in *values {
                assert!(knob.values().contains(value), "{} has no value {value}", knob.name());
            }
        }
        for event in Event::ALL {
            for (knob, values) in stipulated(event) {
                assert!(values.iter().all(|value| knob.values().contains(value)), "{event}");
            }
        }
    }
}
