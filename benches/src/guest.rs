//! Samples of the image's `t=bench`, for Criterion: each iteration is one sample.
//!
//! Where they come from: `PARK_BENCH_LOG=serial.txt`, what a real machine wrote; else QEMU, in real time with its CPUs pinned, and
//! counting instructions.

use core::time::Duration;
use std::path::{Path, PathBuf};

use park_lab::artifacts::Run;
use park_lab::bench::log::Series;
use park_lab::bench::run::{self, Firmware, Pinned, Timing};
use park_lab::bench::{Log, counts};
use park_lab::deadline::Deadline;
use park_lab::{LabError, image};

/// The variable that names a serial log.
pub const LOG: &str = "PARK_BENCH_LOG";
/// The longest that building and running may take.
const LIMIT: Duration = Duration::from_secs(600);
/// What is timed: enough for p10 of Criterion's own samples.
const TIMING: Timing = Timing { samples: 200, seed: 1, idle_us: 1000, firmware: Firmware::None };
/// Where runs leave their logs if they fail.
const ARTIFACTS: &str = "target/lab";

/// A run, and what its ticks are.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The group's name.
    pub name: &'static str,
    /// The samples.
    pub log: Log,
}

/// All runs that this machine can make; what it can't is told, with the reason, to `left_out`.
pub fn guests(left_out: &mut dyn FnMut(String)) -> Vec<Guest> {
    if let Some(path) = std::env::var_os(LOG) {
        let path = PathBuf::from(path);
        return match read(&path) {
            Ok(log) => vec![Guest { name: "machine", log }],
            Err(error) => {
                left_out(format!("guest: {}: {error}", path.display()));
                Vec::new()
            }
        };
    }
    match emulated(left_out) {
        Ok(guests) => guests,
        Err(error) => {
            left_out(format!("guest: {error}"));
            Vec::new()
        }
    }
}

fn read(path: &Path) -> Result<Log, LabError> {
    let bytes = std::fs::read(path).map_err(|error| LabError::Input(error.to_string()))?;
    Log::parse(String::from_utf8_lossy(&bytes).lines())
}

fn emulated(left_out: &mut dyn FnMut(String)) -> Result<Vec<Guest>, LabError> {
    let deadline = Deadline::after(LIMIT);
    let workspace = image::workspace(Path::new(env!("CARGO_MANIFEST_DIR")))?;
    let image = image::build(&workspace, deadline)?;
    let run = Run::new(&workspace.join(ARTIFACTS))?;
    let folder = run.folder("guest-counted")?;
    let counted = only_counts(run::counted(&image, &folder, deadline)?);
    let timed_in = run.folder("guest-timed")?;
    let (timed, pinned) = run::timed(&image, &timed_in, TIMING, deadline, |_| {})?;
    if let Pinned::No(why) = pinned {
        left_out(format!("guest: virtual CPUs are not pinned, {why}: medians are the host scheduler's"));
    }
    for folder in [folder, timed_in] {
        // What is left of it is in nobody's way.
        let _ = std::fs::remove_dir_all(folder);
    }
    run.remove_if_empty();
    Ok(vec![Guest { name: "counted", log: counted }, Guest { name: "timed", log: timed }])
}

/// Each series that has a count as that count alone, one tick a nanosecond.
fn only_counts(log: Log) -> Log {
    let counts = counts::table(&log);
    let kept = log.samples.keys().filter_map(|series| Some((series.clone(), vec![*counts.get(&series.to_string())?])));
    Log { samples: kept.collect(), tsc_hz: 1_000_000_000, ..log }
}

impl Guest {
    /// Time of `iterations` samples of a series, one after the other, and from the first one again when all were taken.
    #[must_use]
    pub fn time(&self, series: &Series, iterations: u64) -> Duration {
        let Some(ticks) = self.log.samples.get(series).filter(|ticks| !ticks.is_empty()) else { return Duration::ZERO };
        let len = ticks.len() as u64;
        let whole: u128 = ticks.iter().map(|&ticks| u128::from(ticks)).sum();
        let rest: u128 = ticks.iter().take((iterations % len) as usize).map(|&ticks| u128::from(ticks)).sum();
        let total = whole * u128::from(iterations / len) + rest;
        let nanos = total * 1_000_000_000 / u128::from(self.log.tsc_hz.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iterations_take_samples_in_turn() {
        let series = Series::new("mwait", "seen");
        let mut log = Log { tsc_hz: 500_000_000, ..Log::default() };
        log.samples.insert(series.clone(), vec![10, 20, 60]);
        let guest = Guest { name: "timed", log };
        for (iterations, nanos) in [(0, 0), (1, 20), (2, 60), (3, 180), (4, 200), (6, 360)] {
            assert_eq!(guest.time(&series, iterations), Duration::from_nanos(nanos), "{iterations}");
        }
        assert_eq!(guest.time(&Series::new("clgi", "seen"), 5), Duration::ZERO);
    }

    #[test]
    fn a_log_that_is_none_is_left_out_by_name() {
        assert!(read(Path::new("/no/such/log")).is_err());
    }
}
