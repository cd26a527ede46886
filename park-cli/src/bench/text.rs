//! What `park bench` shows to people: progress on standard error, results on standard output.

use super::document::{BenchDocument, CountDocument, RatioDocument, SeriesDocument};
use crate::exit::Failure;
use crate::output::Output;
use crate::paint::{Cell, Tone};
use park_lab::line::Line;
use std::io::Write;

/// Any width.
const FREE: usize = usize::MAX;
/// Most characters of a reason.
const WHY_WIDTH: usize = 80;
/// Progress is told in so many steps.
const STEPS: u64 = 10;

/// Tells something while it goes on.
pub fn told(line: &str) {
    // If nobody hears it, the document still has what matters.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// How far a run is, by the samples of one row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    samples: u64,
    seen: u64,
    step: u64,
}

/// The row that every machine has.
const EVERYWHERE: (&str, &str) = ("hlt", "seen");

impl Progress {
    /// Of a run with so many samples.
    #[must_use]
    pub fn new(samples: u32) -> Self {
        Self { samples: samples.into(), seen: 0, step: 0 }
    }

    /// Hears a line of the image.
    pub fn hear(&mut self, line: &Line) {
        if line.event() != "sample"
            || (line.text("row"), line.text("stamp")) != (Some(EVERYWHERE.0), Some(EVERYWHERE.1))
        {
            return;
        }
        self.seen += line.array("ticks").map_or(0, <[_]>::len) as u64;
        let step = (self.seen * STEPS).checked_div(self.samples).unwrap_or(STEPS);
        if step > self.step {
            self.step = step;
            told(&format!("park: {} of {} wakes of each row", self.seen, self.samples));
        }
    }
}

/// Prints a document.
///
/// # Errors
/// [`Failure::Output`].
pub fn print(document: &BenchDocument, out: &mut Output<'_>) -> Result<(), Failure> {
    if let Some(version) = &document.qemu {
        out.line(&format!("QEMU {version}, TCG, 2 CPUs"))?;
    }
    match (&document.loaded, &document.not_pinned) {
        (None, None) if document.source == "qemu" => out.toned("the machine was quiet", Tone::Good)?,
        (None, None) => {}
        (why, not_pinned) => {
            let why = why.iter().chain(not_pinned).map(String::as_str).collect::<Vec<_>>().join("; ");
            out.toned(&format!("the machine was loaded: {why}"), Tone::Bad)?;
        }
    }
    out.line("")?;
    let rows: Vec<Vec<Cell>> = document.series.iter().map(series).collect();
    let heads = ["µs", "n", "cold", "min", "p10", "p50", "p99", "p99.9", "max"];
    out.table(&heads, &rows, &[FREE; 9])?;
    out.line("")?;
    let rows: Vec<Vec<Cell>> = document.ratios.iter().map(ratio).collect();
    out.table(&["times", "of", "ratio", "95 %", "wanted", "verdict"], &rows, &[FREE; 6])?;
    if !document.counts.is_empty() {
        out.line("")?;
        let rows: Vec<Vec<Cell>> = document.counts.iter().map(count).collect();
        out.table(&["counts", "found", "at most", "verdict", ""], &rows, &[FREE, FREE, FREE, FREE, WHY_WIDTH])?;
    }
    out.line("")?;
    document.notes.iter().try_for_each(|note| out.toned(note, Tone::Faint))
}

/// A number with three digits that matter.
#[must_use]
pub fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn plain(text: impl Into<String>) -> Cell {
    Cell::new(text, Tone::Plain)
}

fn series(series: &SeriesDocument) -> Vec<Cell> {
    let cold = series.cold_us.map_or_else(String::new, short);
    let numbers = [series.min_us, series.p10_us, series.p50_us, series.p99_us, series.p999_us, series.max_us];
    let name = format!("{}/{}", series.row, series.stamp);
    let first = [plain(name), plain(series.n.to_string()), plain(cold)];
    first.into_iter().chain(numbers.map(|number| plain(short(number)))).collect()
}

fn ratio(ratio: &RatioDocument) -> Vec<Cell> {
    let interval = match (ratio.low, ratio.high) {
        (Some(low), Some(high)) => format!("{} to {}", short(low), short(high)),
        _ => String::new(),
    };
    let sign = if ratio.bound == "at-most" { "≤" } else { "≥" };
    let tone = match ratio.verdict {
        "met" => Tone::Good,
        "not-met" => Tone::Bad,
        _ => Tone::Faint,
    };
    vec![
        plain(format!("{} by {}", ratio.over, ratio.under)),
        plain(ratio.of),
        plain(ratio.value.map_or_else(String::new, short)),
        plain(interval),
        plain(format!("{sign} {}", short(ratio.limit))),
        Cell::new(ratio.verdict, tone),
    ]
}

fn count(count: &CountDocument) -> Vec<Cell> {
    let reached = count.value.is_some_and(|value| value <= count.limit);
    let (verdict, tone) = match (reached, count.holds) {
        (true, _) => ("met", Tone::Good),
        (false, true) => ("not met, as known", Tone::Plain),
        (false, false) => ("WORSE", Tone::Bad),
    };
    vec![
        plain(count.name.clone()),
        plain(count.value.map_or_else(String::new, short)),
        plain(short(count.limit)),
        Cell::new(verdict, tone),
        plain(if reached { "" } else { count.why.unwrap_or_default() }),
    ]
}
