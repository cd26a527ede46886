//! What counts and times must reach.

use crate::bench::statistics::{Ratio, ratio};
use crate::bench::{Counts, Log};

/// A row of park and the hand-written assembly that does the same work.
pub const PAIRS: [(&str, &str); 3] = [("mwait", "hand-mwait"), ("clgi", "hand-clgi"), ("pause", "hand-pause")];
/// Instructions that park may take more than assembly by hand.
const MORE_MAX: u64 = 8;
/// How often park's switch into a bay may be a hand-written one.
const SWITCH_MAX: f64 = 1.5;
/// How often the waker's work for a further CPU may be that for the first.
const FURTHER_MAX: f64 = 1.1;
/// How often park's p10 may be a hand-written one's.
const HAND_MAX: f64 = 1.1;
/// How many wakes by doorbell INIT and STARTUP must take.
const DOORBELL_MIN: f64 = 50.0;
/// How many wakes by HLT and NMI they must take.
const HLT_MIN: f64 = 2.0;

/// How many wakes by doorbell firmware's start of a CPU must take; the entry is further than the first store.
const FIRMWARE_SEEN_MIN: f64 = 5000.0;
const FIRMWARE_ENTRY_MIN: f64 = 500.0;

/// Why a limit is missed for now, and by how much it may be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Miss {
    /// More than this is a regression.
    pub at_most: f64,
    /// What the instructions are for.
    pub why: &'static str,
}

/// One thing that counts must reach.
#[derive(Clone, PartialEq, Debug)]
pub struct CountGate {
    /// What is compared.
    pub name: String,
    /// What was found; `None` if a count is missing.
    pub found: Option<f64>,
    /// It may be no more.
    pub limit: f64,
    /// Set if the limit is known to be missed.
    pub miss: Option<Miss>,
}

impl CountGate {
    /// Whether it is as good as it must be, or as bad as is known.
    #[must_use]
    pub fn holds(&self) -> bool {
        let limit = self.miss.map_or(self.limit, |miss| miss.at_most);
        self.found.is_some_and(|found| found <= limit)
    }
}

impl core::fmt::Display for CountGate {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { name, found, limit, miss } = self;
        match found {
            Some(found) => write!(f, "{name}: {found:.3}, at most {limit}")?,
            None => write!(f, "{name}: a count is missing")?,
        }
        match miss {
            Some(miss) => write!(f, "; not reached, and no worse than {}: {}", miss.at_most, miss.why),
            None => Ok(()),
        }
    }
}

/// The profile of a wake by doorbell, instruction by instruction (park-x86/src/code/bay.s).
const WAKE: &str = "bay code counts the lap (2), refuses commands that it does not know (3), asks whether GIF is to be opened (2), tells \
                    Wake from Confirm, Flush and Hold (6) and forgets machine checks in a row (1); the entry also gets RSP, \
                    its argument and an IDT that still counts NMIs (4)";
/// The same where the mailbox is watched beside the doorbell.
const WAKE_BY_PAUSE: &str = "as for mwait, and each lap reads the ACPI mailbox, too";
/// The same with GIF = 0.
const WAKE_BY_CLGI: &str = "as for mwait, and a bay that was opened by a command before must not execute STGI again";
/// The profile of an arrival.
const SWITCH: &str = "park tells what the CPU has (7: CET, FRED, MCA), what it is to do (6: WBINVD, GIF, a fault before), which root fits its paging \
                      depth (3), hands on what its early handlers counted (4), and says that it arrives (1)";

/// All gates on counts.
#[must_use]
pub fn of_counts(counts: &Counts) -> Vec<CountGate> {
    let count = |name: &str| counts.counts.get(name).copied();
    let mut gates = Vec::new();
    for (row, by_hand) in PAIRS {
        for stamp in ["seen", "entry"] {
            let more = || Some(count(&format!("{row}/{stamp}"))?.saturating_sub(count(&format!("{by_hand}/{stamp}"))?));
            gates.push(CountGate {
                name: format!("{row}/{stamp}: instructions more than {by_hand}"),
                found: more().map(|more| more as f64),
                limit: MORE_MAX as f64,
                miss: known_miss(row, stamp),
            });
        }
    }
    let quotient =
        |over: Option<u64>, under: Option<u64>| Some(over? as f64 / under.filter(|&under| under != 0)? as f64);
    gates.push(CountGate {
        name: "hlt/switch by hand-park/switch: park without sanitising".to_owned(),
        found: quotient(count("hlt/switch"), count("hand-park/switch")),
        limit: SWITCH_MAX,
        miss: Some(Miss { at_most: 1.52, why: SWITCH }),
    });
    let largest = (2..).take_while(|cpus| count(&format!("group/{cpus}")).is_some()).last();
    let further = largest.and_then(|cpus| {
        let (first, all) = (count("group/1")?, count(&format!("group/{cpus}"))?);
        Some(all.saturating_sub(first) as f64 / (cpus - 1) as f64 / first as f64)
    });
    gates.push(CountGate {
        name: "group: each further CPU by the first".to_owned(),
        found: further,
        limit: FURTHER_MAX,
        miss: None,
    });
    gates
}

/// What is known to be missed.
fn known_miss(row: &str, stamp: &str) -> Option<Miss> {
    let (at_most, why) = match (row, stamp) {
        ("mwait", "seen") => (14.0, WAKE),
        ("mwait", "entry") => (18.0, WAKE),
        ("pause", "seen") => (19.0, WAKE_BY_PAUSE),
        ("pause", "entry") => (23.0, WAKE_BY_PAUSE),
        ("clgi", "seen") => (17.0, WAKE_BY_CLGI),
        ("clgi", "entry") => (21.0, WAKE_BY_CLGI),
        _ => return None,
    };
    Some(Miss { at_most, why })
}

/// Which way a ratio must go.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Bound {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// One thing that times must reach. They are reported; no test fails for them.
#[derive(Clone, PartialEq, Debug)]
pub struct TimeGate {
    /// The series above: row and stamp.
    pub over: (&'static str, &'static str),
    /// The series below.
    pub under: (&'static str, &'static str),
    /// Which of their quantiles are compared: 0.1 is p10.
    pub share: f64,
    /// What the quotient must be.
    pub bound: Bound,
    /// What it is; `None` if the machine lacks a row.
    pub ratio: Option<Ratio>,
}

impl TimeGate {
    /// Whether the ratio is what it must be; `None` without one.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        let Ratio { value, .. } = self.ratio?;
        Some(match self.bound {
            Bound::AtMost(limit) => value <= limit,
            Bound::AtLeast(limit) => value >= limit,
        })
    }
}

/// The share of samples that is compared.
const P10: f64 = 0.1;
/// The same where most of what is compared is a delay that somebody configured, and so never short.
const P50: f64 = 0.5;

/// All gates on times.
#[must_use]
pub fn of_times(log: &Log) -> Vec<TimeGate> {
    let mut gates = Vec::new();
    let mut gate_at = |share, over: (&'static str, &'static str), under: (&'static str, &'static str), bound| {
        let ratio = ratio(log.ticks(over.0, over.1), log.ticks(under.0, under.1), share);
        gates.push(TimeGate { over, under, share, bound, ratio });
    };
    let mut gate = |over, under, bound| gate_at(P10, over, under, bound);
    for (row, by_hand) in PAIRS {
        for stamp in ["seen", "entry"] {
            gate((row, stamp), (by_hand, stamp), Bound::AtMost(HAND_MAX));
        }
    }
    for row in ["mwait", "clgi", "pause"] {
        gate(("init-sipi", "seen"), (row, "seen"), Bound::AtLeast(DOORBELL_MIN));
    }
    gate(("init-sipi", "seen"), ("hlt", "seen"), Bound::AtLeast(HLT_MIN));
    gate(("hlt", "switch"), ("hand-park", "switch"), Bound::AtMost(SWITCH_MAX));
    for row in ["mwait", "clgi"] {
        gate_at(P50, ("startup-this-ap", "entry"), (row, "seen"), Bound::AtLeast(FIRMWARE_SEEN_MIN));
        gate_at(P50, ("startup-this-ap", "entry"), (row, "entry"), Bound::AtLeast(FIRMWARE_ENTRY_MIN));
    }
    gates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::log::Series;

    fn counts(changes: &[(&str, u64)]) -> Counts {
        let mut counts = Counts::default();
        for (row, by_hand) in PAIRS {
            for stamp in ["seen", "entry"] {
                counts.counts.insert(format!("{row}/{stamp}"), 48);
                counts.counts.insert(format!("{by_hand}/{stamp}"), 40);
            }
        }
        let others =
            [("hlt/switch", 90), ("hand-park/switch", 60), ("group/1", 100), ("group/2", 210), ("group/3", 320)];
        counts.counts.extend(others.iter().chain(changes).map(|&(name, count)| (name.to_owned(), count)));
        counts
    }

    fn failing(changes: &[(&str, u64)]) -> usize {
        of_counts(&counts(changes)).iter().filter(|gate| !gate.holds()).count()
    }

    #[test]
    fn what_is_at_its_limit_holds_and_one_more_does_not() {
        assert_eq!(failing(&[]), 0);
        for (name, count) in [("group/3", 321), ("hlt/switch", 92), ("mwait/seen", 60), ("clgi/entry", 70)] {
            assert_eq!(failing(&[(name, count)]), 1, "{name}");
        }
    }

    #[test]
    fn a_missing_count_holds_nothing() {
        let mut lacking = counts(&[]);
        lacking.counts.remove("hand-mwait/seen");
        assert_eq!(of_counts(&lacking).iter().filter(|gate| !gate.holds()).count(), 1);
        assert!(of_counts(&Counts::default()).iter().all(|gate| !gate.holds()));
    }

    #[test]
    fn times_are_judged_by_p10() {
        let mut log = Log::default();
        for (row, tenth) in [("mwait", 110), ("hand-mwait", 100), ("init-sipi", 5499), ("hlt", 2000)] {
            // Nine tenths are the host's.
            let samples = (0..100).map(|index| if index < 11 { tenth } else { 1_000_000 + index }).collect();
            log.samples.insert(Series::new(row, "seen"), samples);
        }
        let gates = of_times(&log);
        let met = |over: &str, under: &str| {
            gates.iter().find(|gate| gate.over.0 == over && gate.under.0 == under).and_then(TimeGate::is_met)
        };
        assert_eq!(met("mwait", "hand-mwait"), Some(true));
        assert_eq!(met("init-sipi", "mwait"), Some(false));
        assert_eq!((met("init-sipi", "hlt"), met("clgi", "hand-clgi")), (Some(true), None));
    }
}
