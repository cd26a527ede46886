//! Which knobs decide what becomes of a cell.

use super::table::Row;
use crate::machine::{Knob, KnobSet};

/// The smallest set of knobs whose values decide the verdict among `rows` of one cell; empty if all verdicts are equal.
///
/// Among sets of one size the first in the order of the knobs. A knob that one of two runs did not consult can't be what
/// parts them.
#[must_use]
pub fn deciding(rows: &[&Row]) -> KnobSet {
    let consulted = rows.iter().fold(KnobSet::empty(), |all, row| all.union(row.consulted()));
    let all: Vec<Knob> = consulted.iter().collect();
    let differing: Vec<KnobSet> = rows
        .iter()
        .enumerate()
        .flat_map(|(index, row)| rows.iter().skip(index + 1).map(move |other| (*row, *other)))
        .filter(|(row, other)| row.verdict() != other.verdict())
        .map(|(row, other)| parting(row, other))
        .collect();
    smallest_hitting(&all, &differing).unwrap_or(consulted)
}

/// The knobs in which two runs that both consulted them differ.
fn parting(row: &Row, other: &Row) -> KnobSet {
    let mut set = KnobSet::empty();
    for knob in row.consulted().iter() {
        if other.consulted().contains(knob) && row.value_of(knob) != other.value_of(knob) {
            set.insert(knob);
        }
    }
    set
}

/// The smallest subset of `knobs` that meets every one of `sets`; `None` if one of them is empty.
fn smallest_hitting(knobs: &[Knob], sets: &[KnobSet]) -> Option<KnobSet> {
    (0..=knobs.len()).find_map(|size| with_size(knobs, size, KnobSet::empty(), sets))
}

fn with_size(knobs: &[Knob], size: usize, chosen: KnobSet, sets: &[KnobSet]) -> Option<KnobSet> {
    if size == 0 {
        let meets = |set: &KnobSet| set.iter().any(|knob| chosen.contains(knob));
        return sets.iter().all(meets).then_some(chosen);
    }
    let (first, rest) = knobs.split_first()?;
    let mut with_first = chosen;
    with_first.insert(*first);
    with_size(rest, size - 1, with_first, sets).or_else(|| with_size(rest, size, chosen, sets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(knobs: &[Knob]) -> KnobSet {
        let mut set = KnobSet::empty();
        knobs.iter().for_each(|knob| set.insert(*knob));
        set
    }

    #[test]
    fn no_more_knobs_than_it_takes() {
        let knobs = [Knob::McGif0, Knob::McWfs, Knob::McBroadcastAmd];
        assert_eq!(smallest_hitting(&knobs, &[]), Some(KnobSet::empty()));
        let shared = [set(&[Knob::McGif0, Knob::McWfs]), set(&[Knob::McWfs, Knob::McBroadcastAmd])];
        assert_eq!(smallest_hitting(&knobs, &shared), Some(set(&[Knob::McWfs])));
        let apart = [set(&[Knob::McGif0]), set(&[Knob::McBroadcastAmd])];
        assert_eq!(smallest_hitting(&knobs, &apart), Some(set(&[Knob::McGif0, Knob::McBroadcastAmd])));
        assert_eq!(smallest_hitting(&knobs, &[KnobSet::empty()]), None);
    }
}
