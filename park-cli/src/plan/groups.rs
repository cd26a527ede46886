//! CPUs that are treated alike, shown as one.

use super::document::PlannedCpu;

/// Ranges of APIC ids that are written out before the rest is left to a count.
const RANGES_SHOWN: usize = 8;
/// Ids that make a range worth writing as one.
const RANGE_MIN: usize = 3;

/// CPUs with the same mechanism, reason and timeout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Group<'d> {
    pub(super) mechanism: &'static str,
    pub(super) reason: &'d str,
    pub(super) timeout_us: u32,
    /// In the order of parking.
    pub(super) apic_ids: Vec<u32>,
}

/// The groups, in the order of their first CPU.
pub(super) fn groups(cpus: &[PlannedCpu]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for cpu in cpus {
        let alike = |group: &&mut Group<'_>| {
            group.mechanism == cpu.mechanism && group.reason == cpu.reason && group.timeout_us == cpu.timeout_us
        };
        match groups.iter_mut().find(alike) {
            Some(group) => group.apic_ids.push(cpu.apic_id),
            None => groups.push(Group {
                mechanism: cpu.mechanism,
                reason: &cpu.reason,
                timeout_us: cpu.timeout_us,
                apic_ids: vec![cpu.apic_id],
            }),
        }
    }
    groups
}

/// Ids as ranges, in the order given: `1-3, 5, 8-14 by 2`; where there are many, the first ones and how many follow.
pub(super) fn ranges(ids: &[u32]) -> String {
    let mut shown = Vec::new();
    let mut rest = ids;
    while let [first, ..] = *rest {
        if shown.len() == RANGES_SHOWN {
            shown.push(format!("and {} more", rest.len()));
            break;
        }
        let (len, step) = run(rest);
        let last = rest.get(len.saturating_sub(1)).copied().unwrap_or(first);
        shown.push(match (len, step) {
            (1, _) => first.to_string(),
            (_, 1) => format!("{first}-{last}"),
            (_, step) => format!("{first}-{last} by {step}"),
        });
        rest = rest.get(len.max(1)..).unwrap_or_default();
    }
    shown.join(", ")
}

/// How many ids at the start rise by one step, and by which.
fn run(ids: &[u32]) -> (usize, u32) {
    let [first, second, ..] = *ids else { return (1, 1) };
    let Some(step) = second.checked_sub(first).filter(|step| *step > 0) else { return (1, 1) };
    let rising = ids.windows(2).take_while(|pair| matches!(**pair, [one, next] if next.checked_sub(one) == Some(step)));
    let len = rising.count() + 1;
    if len < RANGE_MIN { (1, 1) } else { (len, step) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shown_as_ranges() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[7]), "7");
        assert_eq!(ranges(&[1, 2, 3, 9, 10]), "1-3, 9, 10");
        assert_eq!(ranges(&[1, 3, 5, 7, 2, 4, 6, 0]), "1-7 by 2, 2-6 by 2, 0");
        assert_eq!(ranges(&[5, 4, 3]), "5, 4, 3");
        assert_eq!(ranges(&[1, 1, 1]), "1, 1, 1");
        let uneven: Vec<u32> = (0..20).map(|n| n * n).collect();
        assert_eq!(ranges(&uneven), "0, 1, 4, 9, 16, 25, 36, 49, and 12 more");
    }
}
