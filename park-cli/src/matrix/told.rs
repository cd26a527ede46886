//! Measurements of a cell as people would tell them: each verdict once, with when it holds.

use super::column::Measured;
use std::collections::BTreeMap;

/// A verdict, and when it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// The verdict.
    pub verdict: String,
    /// When it holds: values of knobs, or a kind of CPU; `else` for the usual one if that takes many words; empty if always.
    pub when: String,
    /// Whether all of it is as claimed, or a named deviation.
    pub agrees: bool,
    /// Why it deviates, where that has a name.
    pub deviation: Option<String>,
    /// What one should know about it.
    pub note: Option<&'static str>,
}

/// Values of knobs under which something holds, any of the values of each.
type Alternative = BTreeMap<&'static str, Vec<&'static str>>;

/// Tells the measurements of one cell on one rig. The verdict that most cases have comes last.
#[must_use]
pub fn told(measured: &[&Measured]) -> Vec<Told> {
    let mut verdicts: Vec<&str> = Vec::new();
    for one in measured {
        if !verdicts.contains(&one.verdict.as_str()) {
            verdicts.push(&one.verdict);
        }
    }
    let count = |verdict: &str| measured.iter().filter(|one| one.verdict == verdict).count();
    let by_knobs = measured.iter().any(|one| !one.knobs.is_empty());
    let usual = verdicts.iter().copied().max_by_key(|verdict| count(verdict)).filter(|_| by_knobs);
    verdicts.sort_by_key(|verdict| Some(*verdict) == usual);
    let processors = measured.iter().map(|one| one.processors.len()).sum::<usize>();
    let tell = |verdict: &str| {
        let of_verdict: Vec<&Measured> = measured.iter().copied().filter(|one| one.verdict == verdict).collect();
        let alternatives = alternatives(&of_verdict, processors);
        let when = match alternatives.as_slice() {
            _ if verdicts.len() == 1 => String::new(),
            [one] => one.clone(),
            _ if Some(verdict) == usual => "else".to_owned(),
            more => more.join(" or "),
        };
        Told {
            verdict: verdict.to_owned(),
            when,
            agrees: !of_verdict.iter().any(|one| one.contradicts()),
            deviation: of_verdict.iter().find_map(|one| one.deviation.clone()),
            note: of_verdict.iter().find_map(|one| one.note),
        }
    };
    verdicts.iter().map(|verdict| tell(verdict)).collect()
}

/// All that a verdict holds for.
fn alternatives(measured: &[&Measured], processors: usize) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    let alternatives = measured.iter().filter(|one| !one.knobs.is_empty());
    let alternatives = alternatives.map(|one| one.knobs.iter().map(|(knob, value)| (*knob, vec![*value])).collect());
    for alternative in joined(alternatives.collect()) {
        let values = alternative.iter().map(|(knob, values)| format!("{knob}={}", values.join("|")));
        told.push(values.collect::<Vec<_>>().join(", "));
    }
    for one in measured.iter().filter(|one| one.knobs.is_empty()) {
        if !one.machines.is_empty() {
            told.push(one.machines.join(", "));
        } else if one.processors.len() < processors {
            told.push(one.processors.join(", "));
        }
    }
    told
}

/// Joins alternatives that differ in the value of one knob alone, until none do.
fn joined(mut alternatives: Vec<Alternative>) -> Vec<Alternative> {
    loop {
        let pair = (0..alternatives.len()).find_map(|left| {
            let rights = left + 1..alternatives.len();
            rights.map(|right| (left, right)).find_map(|(left, right)| {
                let knob = differs_in(alternatives.get(left)?, alternatives.get(right)?)?;
                Some((left, right, knob))
            })
        });
        let Some((left, right, knob)) = pair else { return alternatives };
        let more = alternatives.remove(right).remove(knob).unwrap_or_default();
        if let Some(values) = alternatives.get_mut(left).and_then(|alternative| alternative.get_mut(knob)) {
            values.extend(more);
        }
    }
}

/// The one knob in whose values two alternatives on the same knobs differ.
fn differs_in(left: &Alternative, right: &Alternative) -> Option<&'static str> {
    if !left.keys().eq(right.keys()) {
        return None;
    }
    let mut differing = left.iter().filter(|(knob, values)| right.get(*knob) != Some(*values));
    let (knob, _) = differing.next()?;
    differing.next().is_none().then_some(*knob)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(verdict: &str, processors: &[&'static str], knobs: &[(&'static str, &'static str)]) -> Measured {
        Measured {
            rig: "simulator".to_owned(),
            machines: Vec::new(),
            processors: processors.to_vec(),
            verdict: verdict.to_owned(),
            knobs: knobs.iter().copied().collect(),
            runs: 1,
            agrees: true,
            deviation: None,
            note: None,
        }
    }

    fn lines(all: &[Measured]) -> Vec<(String, String)> {
        told(&all.iter().collect::<Vec<_>>()).into_iter().map(|told| (told.verdict, told.when)).collect()
    }

    fn pair(verdict: &str, when: &str) -> (String, String) {
        (verdict.to_owned(), when.to_owned())
    }

    #[test]
    fn one_verdict_needs_no_condition() {
        assert_eq!(lines(&[measured("laps", &["ap", "bsp"], &[])]), [pair("laps", "")]);
        assert_eq!(lines(&[measured("taken", &["ap"], &[])]), [pair("taken", "")]);
    }

    #[test]
    fn kinds_of_cpus_are_named() {
        let all = [measured("taken", &["ap"], &[]), measured("reset", &["bsp"], &[])];
        assert_eq!(lines(&all), [pair("taken", "ap"), pair("reset", "bsp")]);
    }

    #[test]
    fn machines_of_a_rig_are_named_where_they_differ() {
        let on = |verdict: &str, machine: &str| Measured {
            machines: vec![machine.to_owned()],
            ..measured(verdict, &["ap"], &[])
        };
        assert_eq!(lines(&[on("laps", "one")]), [pair("laps", "")]);
        let all = [on("laps", "one"), on("held", "another")];
        assert_eq!(lines(&all), [pair("laps", "one"), pair("held", "another")]);
    }

    #[test]
    fn the_usual_verdict_is_the_rest() {
        let all = [
            measured("unnoticed", &["ap"], &[("all", "local")]),
            measured("shutdown", &["ap"], &[("all", "all"), ("wfs", "pend")]),
            measured("shutdown", &["ap"], &[("all", "all"), ("wfs", "shutdown")]),
            measured("unnoticed", &["ap"], &[("all", "all"), ("wfs", "ignore")]),
            measured("unnoticed", &["ap"], &[("all", "none")]),
        ];
        assert_eq!(lines(&all), [pair("shutdown", "all=all, wfs=pend|shutdown"), pair("unnoticed", "else")]);
    }
}
