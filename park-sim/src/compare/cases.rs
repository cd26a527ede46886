//! What becomes of a cell, told by the knobs that decide it.

use super::table::Row;
use crate::machine::Knob;

/// A case: with these values of these knobs, all runs came to the same verdict, whatever other knobs said.
#[derive(Clone, Debug)]
pub struct Case<'t> {
    /// The knobs that decide, with their values; none if they decide nothing.
    pub knobs: Vec<(Knob, &'static str)>,
    /// The runs, at least one; a run that did not consult one of the knobs stands in several cases.
    pub rows: Vec<&'t Row>,
}

/// Tells `rows` of one cell apart in as few cases as possible: the leaves of a decision tree.
#[must_use]
pub fn cases<'t>(rows: &[&'t Row]) -> Vec<Case<'t>> {
    let parted = smallest_tree(rows, &|row| row.verdict().to_string(), &asked);
    parted.into_iter().map(|(knobs, rows)| Case { knobs, rows }).collect()
}

/// The value that a run found in a knob; `None` if it did not ask.
fn asked(row: &Row, knob: Knob) -> Option<&'static str> {
    row.consulted().contains(knob).then(|| row.value_of(knob))
}

/// The leaves of a tree: the values on the way there, and what arrived.
type Leaves<'t, T> = Vec<(Vec<(Knob, &'static str)>, Vec<&'t T>)>;

fn smallest_tree<'t, T>(
    rows: &[&'t T],
    verdict: &dyn Fn(&T) -> String,
    asked: &dyn Fn(&T, Knob) -> Option<&'static str>,
) -> Leaves<'t, T> {
    let Some(first) = rows.first() else { return Vec::new() };
    if rows.iter().all(|row| verdict(row) == verdict(first)) {
        return vec![(Vec::new(), rows.to_vec())];
    }
    let mut best: Option<Leaves<'t, T>> = None;
    for knob in Knob::ALL {
        let values = knob.values().iter().filter(|value| rows.iter().any(|row| asked(row, *knob) == Some(**value)));
        let mut leaves: Leaves<'t, T> = Vec::new();
        let mut branches = 0;
        for value in values {
            let with_value = |row: &&&'t T| asked(row, *knob).is_none_or(|found| found == *value);
            let branch: Vec<&T> = rows.iter().filter(with_value).copied().collect();
            if branch.len() == rows.len() {
                continue; // parts nothing, and would not end
            }
            branches += 1;
            for (mut path, rows) in smallest_tree(&branch, verdict, asked) {
                path.insert(0, (*knob, *value));
                leaves.push((path, rows));
            }
        }
        if branches > 1 && best.as_ref().is_none_or(|best| leaves.len() < best.len()) {
            best = Some(leaves);
        }
    }
    // No knob parts them: each verdict by itself, so that nothing is lost.
    best.unwrap_or_else(|| by_verdict(rows, verdict))
}

fn by_verdict<'t, T>(rows: &[&'t T], verdict: &dyn Fn(&T) -> String) -> Leaves<'t, T> {
    let mut found: Vec<(String, Vec<&'t T>)> = Vec::new();
    for row in rows {
        let verdict = verdict(row);
        match found.iter_mut().find(|(known, _)| *known == verdict) {
            Some((_, rows)) => rows.push(row),
            None => found.push((verdict, vec![row])),
        }
    }
    found.into_iter().map(|(_, rows)| (Vec::new(), rows)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run: its verdict, and the knobs that it asked for.
    type Run = (&'static str, &'static [(Knob, &'static str)]);

    fn tree(runs: &[Run]) -> Vec<(Vec<(Knob, &'static str)>, usize)> {
        let rows: Vec<&Run> = runs.iter().collect();
        let asked = |run: &Run, knob| run.1.iter().find(|(asked, _)| *asked == knob).map(|(_, value)| *value);
        let leaves = smallest_tree(&rows, &|run| run.0.to_owned(), &asked);
        leaves.into_iter().map(|(path, rows)| (path, rows.len())).collect()
    }

    const GIF: Knob = Knob::McGif0;
    const WFS: Knob = Knob::McWfs;
    const ALL: Knob = Knob::McBroadcastAmd;

    #[test]
    fn knobs_that_decide_nothing_are_not_named() {
        assert_eq!(tree(&[]), []);
        let same: &[Run] = &[("held", &[(GIF, "pend")]), ("held", &[(GIF, "shutdown")])];
        assert_eq!(tree(same), [(vec![], 2)]);
        let one_decides: &[Run] = &[
            ("held", &[(GIF, "pend"), (ALL, "local")]),
            ("held", &[(GIF, "pend"), (ALL, "all")]),
            ("shutdown", &[(GIF, "shutdown"), (ALL, "local")]),
            ("shutdown", &[(GIF, "shutdown"), (ALL, "all")]),
        ];
        assert_eq!(tree(one_decides), [(vec![(GIF, "pend")], 2), (vec![(GIF, "shutdown")], 2)]);
    }

    #[test]
    fn a_knob_is_asked_where_it_matters_alone() {
        let runs: &[Run] = &[
            ("unnoticed", &[(ALL, "local")]),
            ("shutdown", &[(ALL, "all"), (WFS, "shutdown")]),
            ("shutdown", &[(ALL, "all"), (WFS, "pend")]),
            ("unnoticed", &[(ALL, "all"), (WFS, "ignore")]),
        ];
        let leaves = tree(runs);
        assert_eq!(leaves.first(), Some(&(vec![(ALL, "local")], 1)));
        assert_eq!(leaves.len(), 4, "{leaves:?}");
    }

    #[test]
    fn what_no_knob_parts_is_still_told() {
        let runs: &[Run] = &[("held", &[]), ("shutdown", &[])];
        assert_eq!(tree(runs), [(vec![], 1), (vec![], 1)]);
    }
}
