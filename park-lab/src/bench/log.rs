//! What `t=bench` reported.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::LabError;
use crate::line::Line;

/// A row and one of its stamps, by their names in the image's report: `mwait/seen`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Series {
    /// How the target waits.
    pub row: String,
    /// From where to where.
    pub stamp: String,
}

impl Series {
    /// The series of a row and a stamp.
    #[must_use]
    pub fn new(row: &str, stamp: &str) -> Self {
        Self { row: row.to_owned(), stamp: stamp.to_owned() }
    }
}

impl core::fmt::Display for Series {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}", self.row, self.stamp)
    }
}

/// What is counted of a row beside its samples.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RowCount {
    /// Wakes, the cold one included.
    pub wakes: u64,
    /// Kicks or STARTUPs beyond the first.
    pub kicked_again: u64,
    /// Laps of the wait loop for nothing.
    pub spurious: u64,
}

/// One run of `t=bench`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Log {
    /// Ticks in a second.
    pub tsc_hz: u64,
    /// Samples in ticks, in the order in which they were taken, without the cold ones.
    pub samples: BTreeMap<Series, Vec<u64>>,
    /// The first wake of each row.
    pub cold: BTreeMap<Series, u64>,
    /// Pairs of readings of the TSC with nothing in between.
    pub empty: Vec<u64>,
    /// By row.
    pub rows: BTreeMap<String, RowCount>,
    /// What the waker of so many CPUs spends outside its waits, in ticks, for each repetition.
    pub groups: BTreeMap<u64, Vec<u64>>,
    /// SMIs of the target, if it counts them.
    pub smis: Option<u64>,
    /// Thousandths of the run that the target was in C0, if it counts that.
    pub c0_permille: Option<u64>,
    /// The target's own rate in thousandths of the TSC's, if it counts that.
    pub speed_permille: Option<u64>,
}

impl Log {
    /// Reads a serial line. What other tests or firmware wrote is skipped; of several runs the last one counts.
    ///
    /// # Errors
    /// [`LabError::Input`] if it holds no run that came to its end, or a sample that is not a number.
    pub fn parse<'t>(lines: impl IntoIterator<Item = &'t str>) -> Result<Self, LabError> {
        let (mut log, mut tsc_hz, mut complete) = (Self::default(), None, None);
        for line in lines.into_iter().filter_map(Line::parse) {
            match line.event() {
                "boot" => tsc_hz = line.number("tsc_hz"),
                "bench" => log = Self { empty: numbers(&line, "empty")?, ..Self::default() },
                "sample" => log.samples.entry(series(&line)?).or_default().append(&mut numbers(&line, "ticks")?),
                "cold" => {
                    if let Some(&ticks) = numbers(&line, "ticks")?.first() {
                        log.cold.insert(series(&line)?, ticks);
                    }
                }
                "row" => {
                    let count = |key| line.number(key).unwrap_or(0);
                    let [wakes, kicked_again, spurious] = ["wakes", "kicked_again", "spurious"].map(count);
                    if let Some(row) = line.text("row").filter(|_| wakes > 0) {
                        log.rows.insert(row.to_owned(), RowCount { wakes, kicked_again, spurious });
                    }
                }
                "group" => {
                    let cpus = line.number("cpus").ok_or_else(|| wrong("a group without cpus"))?;
                    log.groups.insert(cpus, numbers(&line, "ticks")?);
                }
                "counters" => {
                    log.smis = line.number("smis");
                    log.c0_permille = line.number("c0_permille");
                    log.speed_permille = line.number("speed_permille");
                }
                "complete" if line.text("test") == Some("bench") => complete = line.truth("ok"),
                _ => {}
            }
        }
        log.tsc_hz = tsc_hz.filter(|&hz| hz > 0).ok_or_else(|| wrong("no line `boot` with the TSC's rate"))?;
        match complete {
            Some(true) if !log.samples.is_empty() => Ok(log),
            Some(true) => Err(wrong("no sample: the lines `sample` are missing")),
            Some(false) => Err(wrong("the image says that the run failed")),
            None => Err(wrong("no line `complete` of t=bench: the run did not come to its end")),
        }
    }

    /// The samples of a series; empty if the machine does not have that row.
    #[must_use]
    pub fn ticks(&self, row: &str, stamp: &str) -> &[u64] {
        self.samples.get(&Series::new(row, stamp)).map_or(&[], Vec::as_slice)
    }

    /// Ticks as microseconds.
    #[must_use]
    pub fn us(&self, ticks: u64) -> f64 {
        ticks as f64 * 1e6 / self.tsc_hz as f64
    }

    /// All samples as CSV, with a line of names: row, stamp, `cold` or the sample's number from 1 on, ticks, microseconds.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut text = "row,stamp,sample,ticks,us\n".to_owned();
        let mut put = |series: &Series, sample: &str, ticks: u64| {
            text += &format!("{},{},{sample},{ticks},{:.4}\n", series.row, series.stamp, self.us(ticks));
        };
        for (series, &ticks) in &self.cold {
            put(series, "cold", ticks);
        }
        for (series, ticks) in &self.samples {
            for (index, &ticks) in ticks.iter().enumerate() {
                put(series, &(index + 1).to_string(), ticks);
            }
        }
        text
    }
}

fn wrong(what: &str) -> LabError {
    LabError::Input(format!("the log of t=bench has {what}"))
}

fn series(line: &Line) -> Result<Series, LabError> {
    match (line.text("row"), line.text("stamp")) {
        (Some(row), Some(stamp)) => Ok(Series::new(row, stamp)),
        _ => Err(wrong("a sample without row or stamp")),
    }
}

fn numbers(line: &Line, key: &str) -> Result<Vec<u64>, LabError> {
    let values = line.array(key).ok_or_else(|| wrong(&format!("a line without {key}")))?;
    values
        .iter()
        .map(|value| Value::as_u64(value).ok_or_else(|| wrong(&format!("{key} that are no numbers"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"SeaBIOS
{"event":"boot","tsc_hz":2000000}
{"event":"bench","samples":2,"empty":[3,4]}
{"event":"cold","row":"mwait","stamp":"seen","ticks":[90]}
{"event":"sample","row":"mwait","stamp":"seen","ticks":[7]}
{"event":"sample","row":"mwait","stamp":"seen","ticks":[9,8]}
{"event":"row","row":"mwait","wakes":4,"kicked_again":1,"spurious":2}
{"event":"row","row":"clgi","wakes":0,"kicked_again":0,"spurious":0}
{"event":"counters","smis":5,"c0_permille":"absent","speed_permille":900}
{"event":"group","cpus":1,"ticks":[70,70]}
{"event":"complete","test":"bench","ok":true}
"#;

    #[test]
    fn a_run_is_read_whole() {
        let log = Log::parse(RUN.lines()).unwrap();
        assert_eq!(
            (log.tsc_hz, log.ticks("mwait", "seen"), log.ticks("clgi", "seen")),
            (2_000_000, &[7, 9, 8][..], &[][..])
        );
        assert_eq!(log.cold.get(&Series::new("mwait", "seen")), Some(&90));
        assert_eq!((log.empty.as_slice(), log.groups.get(&1)), (&[3, 4][..], Some(&vec![70, 70])));
        assert_eq!(log.rows.keys().collect::<Vec<_>>(), ["mwait"]);
        assert_eq!((log.smis, log.c0_permille, log.speed_permille), (Some(5), None, Some(900)));
        assert_eq!(log.us(7), 3.5);
        assert_eq!(
            log.csv(),
            "row,stamp,sample,ticks,us\nmwait,seen,cold,90,45.0000\nmwait,seen,1,7,3.5000\nmwait,seen,2,9,4.5000\nmwait,seen,3,8,4.0000\n"
        );
    }

    #[test]
    fn the_last_of_two_runs_counts() {
        let twice = format!("{RUN}{}", RUN.replace("[9,8]", "[1]"));
        assert_eq!(Log::parse(twice.lines()).unwrap().ticks("mwait", "seen"), [7, 1]);
    }

    #[test]
    fn what_is_no_whole_run_is_refused() {
        for (changed, named) in [
            (RUN.replace("tsc_hz", "hz"), "rate"),
            (RUN.replace("\"ok\":true", "\"ok\":false"), "failed"),
            (RUN.replace("complete", "halted"), "complete"),
            (RUN.replace("\"sample\"", "\"other\""), "no sample"),
            (RUN.replace("[9,8]", "[9,-8]"), "numbers"),
            (RUN.replace("\"stamp\":\"seen\",\"ticks\":[7]", "\"ticks\":[7]"), "stamp"),
            (String::new(), "rate"),
        ] {
            let error = Log::parse(changed.lines()).unwrap_err().to_string();
            assert!(error.contains(named), "{named}: {error}");
        }
    }
}
