//! Counts of instructions: as they are found, and as they were recorded.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use core::time::Duration;

use serde_json::{Value, json};

use crate::LabError;
use crate::bench::Log;
use crate::bench::log::Series;
use crate::bench::statistics::quantile;
use crate::deadline::Deadline;
use crate::group::output;
use crate::tool;

/// How long a compiler may take to tell its version.
const VERSION_LIMIT: Duration = Duration::from_secs(60);
/// Stamps whose count is the fewest over all turns of the target: when they are told depends on who has the turn.
const FEWEST: [&str; 2] = ["seen", "switch"];
/// Rows whose counts up to `seen` and `entry`, and in `switch`, are those of assembly alone.
const ASSEMBLY: [&str; 6] = ["mwait", "pause", "clgi", "hand-mwait", "hand-pause", "hand-clgi"];
/// Rows that are no count: emulators deliver INIT and STARTUP whenever they like.
const NO_COUNT: [&str; 2] = ["init-sipi", "init-sipi-mps"];

/// By a part in so many a count with compiled code may differ from what was recorded: code elsewhere in the image decides what is
/// inlined, and moves such counts by some instructions.
const COMPILED_PART: u64 = 50;

/// Counts, and by whom they were made.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// The compiler's version: it decides the counts that hold compiled code.
    pub rustc: String,
    /// QEMU's version: it decides what a turn is.
    pub qemu: String,
    /// Instructions, by what is counted.
    pub counts: BTreeMap<String, u64>,
}

impl Counts {
    /// The counts of a run that counted.
    ///
    /// # Errors
    /// [`LabError`] if the versions can't be told.
    pub fn of(log: &Log, deadline: Deadline) -> Result<Self, LabError> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        let limit = Deadline::after(VERSION_LIMIT).or_before(deadline);
        let rustc = output(command.arg("--version").stderr(Stdio::null()), limit)?.trim().to_owned();
        Ok(Self { rustc, qemu: tool::qemu_version()?, counts: table(log) })
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// [`LabError::File`]; [`LabError::Input`] if it is something else.
    pub fn read(path: &Path) -> Result<Self, LabError> {
        let text = std::fs::read_to_string(path).map_err(LabError::file(path))?;
        let wrong =
            || LabError::Input(format!("{} holds no counts; `cargo xtask bless-counts` makes them", path.display()));
        let value: Value = serde_json::from_str(&text).map_err(|_| wrong())?;
        let word = |key| value.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(wrong);
        let counts = value.get("counts").and_then(Value::as_object).ok_or_else(wrong)?;
        let counts = counts.iter().map(|(name, count)| Ok((name.clone(), count.as_u64().ok_or_else(wrong)?)));
        Ok(Self { rustc: word("rustc")?, qemu: word("qemu")?, counts: counts.collect::<Result<_, LabError>>()? })
    }

    /// The table as a file holds it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { rustc, qemu, counts } = self;
        format!("{:#}\n", json!({ "rustc": rustc, "qemu": qemu, "counts": counts }))
    }

    /// Whether these were made by the same programs as `other`.
    #[must_use]
    pub fn is_comparable(&self, other: &Self) -> bool {
        (&self.rustc, &self.qemu) == (&other.rustc, &other.qemu)
    }

    /// What differs from what was `recorded`: a line for each. Counts of assembly alone must be the same. Those with compiled code
    /// may differ by 2 %, and are left out unless they are [comparable](Self::is_comparable).
    #[must_use]
    pub fn differences(&self, recorded: &Self) -> Vec<String> {
        let all = self.is_comparable(recorded);
        let names = self.counts.keys().chain(recorded.counts.keys().filter(|name| !self.counts.contains_key(*name)));
        let concerned = names.filter(|name| all || is_assembly(name));
        let told = |count: Option<&u64>| count.map_or_else(|| "nothing".to_owned(), u64::to_string);
        concerned
            .filter_map(|name| {
                let (found, before) = (self.counts.get(name), recorded.counts.get(name));
                let differs = match (found, before) {
                    (Some(found), Some(before)) if !is_assembly(name) => {
                        found.abs_diff(*before) > before / COMPILED_PART
                    }
                    _ => found != before,
                };
                differs.then(|| format!("{name}: {}, and {} was recorded", told(found), told(before)))
            })
            .collect()
    }
}

/// Whether a count is decided by assembly alone, whatever compiler made the rest.
#[must_use]
pub fn is_assembly(name: &str) -> bool {
    let (row, stamp) = name.split_once('/').unwrap_or((name, ""));
    ASSEMBLY.contains(&row) && matches!(stamp, "seen" | "entry")
}

/// The table of a run.
#[must_use]
pub fn table(log: &Log) -> BTreeMap<String, u64> {
    let mut table = BTreeMap::new();
    for (series, ticks) in &log.samples {
        if let Some(count) = count(series, ticks) {
            table.insert(series.to_string(), count);
        }
    }
    for (cpus, ticks) in &log.groups {
        if let Some(count) = ticks.iter().min() {
            table.insert(format!("group/{cpus}"), *count);
        }
    }
    table
}

/// The count of a series; `None` for what is none.
fn count(series: &Series, ticks: &[u64]) -> Option<u64> {
    // When an arrival is half over is not for the target to say, and so depends on its turns.
    if NO_COUNT.contains(&series.row.as_str()) || matches!(series.stamp.as_str(), "arrived" | "back" | "acknowledged") {
        return None;
    }
    if FEWEST.contains(&series.stamp.as_str()) { ticks.iter().min().copied() } else { quantile(ticks, 0.5) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log {
        let mut log = Log::default();
        for (row, stamp, ticks) in [
            ("mwait", "seen", vec![54, 51, 60]),
            ("mwait", "entry", vec![52, 52, 49]),
            ("mwait", "arrived", vec![9]),
            ("hlt", "sanitised", vec![700, 700, 700]),
            ("init-sipi", "seen", vec![1]),
        ] {
            log.samples.insert(Series::new(row, stamp), ticks);
        }
        log.groups.insert(1, vec![90, 80]);
        log
    }

    fn counts() -> Counts {
        Counts { rustc: "rustc 1".to_owned(), qemu: "7.2".to_owned(), counts: table(&log()) }
    }

    #[test]
    fn a_count_is_the_fewest_or_the_usual_one() {
        let found: Vec<(String, u64)> = counts().counts.into_iter().collect();
        let expected = [("group/1", 80), ("hlt/sanitised", 700), ("mwait/entry", 52), ("mwait/seen", 51)];
        assert_eq!(found, expected.map(|(name, count)| (name.to_owned(), count)));
    }

    #[test]
    fn what_is_written_is_read() {
        let path = std::env::temp_dir().join(format!("park-lab-counts-{}.json", std::process::id()));
        std::fs::write(&path, counts().to_json()).unwrap();
        assert_eq!(Counts::read(&path).unwrap(), counts());
        std::fs::write(&path, "{\"rustc\":\"x\",\"qemu\":\"y\",\"counts\":{\"a\":-1}}").unwrap();
        assert!(Counts::read(&path).unwrap_err().to_string().contains("bless-counts"));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Counts::read(&path), Err(LabError::File { .. })));
    }

    #[test]
    fn compiled_code_is_compared_only_with_its_like() {
        let mut found = counts();
        found.counts.insert("hlt/sanitised".to_owned(), 715);
        found.counts.insert("mwait/entry".to_owned(), 53);
        found.counts.remove("mwait/seen");
        let lines = found.differences(&counts());
        assert_eq!(
            lines,
            [
                "hlt/sanitised: 715, and 700 was recorded",
                "mwait/entry: 53, and 52 was recorded",
                "mwait/seen: nothing, and 51 was recorded"
            ]
        );
        found.rustc = "rustc 2".to_owned();
        assert_eq!(found.differences(&counts()).len(), 2);
        let mut moved = counts();
        moved.counts.insert("hlt/sanitised".to_owned(), 686);
        assert!(moved.differences(&counts()).is_empty() && counts().differences(&counts()).is_empty());
    }
}
