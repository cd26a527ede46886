//! The document of schema `park.bench/1`.

use park_lab::bench::gates::{self, Bound, TimeGate};
use park_lab::bench::quiet::Verdict;
use park_lab::bench::run::Pinned;
use park_lab::bench::statistics::Summary;
use park_lab::bench::{Counts, Log};
use serde::Serialize;

/// The document's schema.
pub const SCHEMA: &str = "park.bench/1";

/// What was timed.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct BenchDocument {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// `qemu`, or `log`: a machine's serial line, of which nobody here knows more.
    pub source: &'static str,
    /// QEMU's version.
    pub qemu: Option<String>,
    /// Ticks in a second.
    pub tsc_hz: u64,
    /// Why times are the host's more than park's; absent if the host was quiet, or is not known.
    pub loaded: Option<String>,
    /// Why virtual CPUs shared CPUs of the host; absent if they did not.
    pub not_pinned: Option<String>,
    /// SMIs of the target meanwhile, if it counts them.
    pub smis: Option<u64>,
    /// Each row and stamp.
    pub series: Vec<SeriesDocument>,
    /// What times must reach.
    pub ratios: Vec<RatioDocument>,
    /// What counts of instructions must reach.
    pub counts: Vec<CountDocument>,
    /// What to know before the numbers are quoted.
    pub notes: Vec<&'static str>,
}

/// A row and stamp.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SeriesDocument {
    /// How the target waits.
    pub row: String,
    /// From where to where.
    pub stamp: String,
    /// Samples.
    pub n: usize,
    /// The first wake, in microseconds: cold caches and code that is not translated.
    pub cold_us: Option<f64>,
    /// The shortest.
    pub min_us: f64,
    /// A tenth is not longer.
    pub p10_us: f64,
    /// Half is not longer.
    pub p50_us: f64,
    /// 99 % are not longer.
    pub p99_us: f64,
    /// 99.9 % are not longer.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// What a ratio must be, and is.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RatioDocument {
    /// Row and stamp above.
    pub over: String,
    /// Row and stamp below.
    pub under: String,
    /// Which quantiles are compared: `p10` or `p50`.
    pub of: &'static str,
    /// `at-most` or `at-least`.
    pub bound: &'static str,
    /// What it is compared with.
    pub limit: f64,
    /// What it is; absent without samples.
    pub value: Option<f64>,
    /// Where 95 % of resamplings lie: from.
    pub low: Option<f64>,
    /// To.
    pub high: Option<f64>,
    /// `met`, `not-met`, `loaded` if the host was not quiet, `absent` without samples.
    pub verdict: &'static str,
}

/// What a count must be, and is.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CountDocument {
    /// What is counted.
    pub name: String,
    /// What it is; absent if a count is missing.
    pub value: Option<f64>,
    /// What it must not be above.
    pub limit: f64,
    /// Whether it is no worse than the limit, or than what is known.
    pub holds: bool,
    /// Why the limit is known to be missed.
    pub why: Option<&'static str>,
}

/// Where the samples come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// QEMU, just now.
    Qemu {
        /// Its version.
        version: String,
        /// What the host did beside it.
        verdict: Verdict,
        /// Whether virtual CPUs had CPUs to themselves.
        pinned: Pinned,
    },
    /// A file.
    Log,
}

/// True of every run under QEMU.
const NOTES_QEMU: [&str; 5] = [
    "All times are an emulator's. QEMU's TCG has no C-states and executes MWAIT as PAUSE: nothing here is a claim about hardware.",
    "10 ms of StartupThisAP are one constant of EDK2's, PcdCpuInitIpiDelayInMicroSeconds; its AP loop could be configured to do without an INIT each time.",
    "StartupThisAP's entry is stamped in firmware's procedure, in the same boot but before the other rows take their turns.",
    "INIT and STARTUP without delays are not safe everywhere; the row with the MP specification's delays is.",
    "Percentiles above p10 tell of the host's scheduler as soon as it has anything else to do.",
];
/// True of every log.
const NOTES_LOG: [&str; 2] = [
    "Read from a log: whether that machine was quiet, nobody here knows.",
    "The stamp `entry` is the target's own time: of use where the TSCs of all CPUs are alike.",
];

/// The document of a run.
#[must_use]
pub fn document(log: &Log, counts: Option<&Counts>, source: Source) -> BenchDocument {
    let (name, qemu, loaded, not_pinned) = match source {
        Source::Log => ("log", None, None, None),
        Source::Qemu { version, verdict, pinned } => {
            let loaded = if let Verdict::Loaded(why) = verdict { Some(why) } else { None };
            let not_pinned = if let Pinned::No(why) = pinned { Some(why) } else { None };
            ("qemu", Some(version), loaded, not_pinned)
        }
    };
    let standing = if loaded.is_some() || not_pinned.is_some() { Standing::Loaded } else { Standing::AsSeen };
    BenchDocument {
        schema: SCHEMA,
        source: name,
        qemu,
        tsc_hz: log.tsc_hz,
        loaded,
        not_pinned,
        smis: log.smis,
        series: series(log),
        ratios: gates::of_times(log).iter().map(|gate| ratio(gate, standing)).collect(),
        counts: counts.map(count_documents).unwrap_or_default(),
        notes: if name == "qemu" { NOTES_QEMU.to_vec() } else { NOTES_LOG.to_vec() },
    }
}

fn series(log: &Log) -> Vec<SeriesDocument> {
    let summaries = log.samples.iter().filter_map(|(series, ticks)| Some((series, Summary::of(ticks)?)));
    let us = |ticks| (log.us(ticks) * 1e4).round() / 1e4;
    summaries
        .map(|(series, summary)| SeriesDocument {
            row: series.row.clone(),
            stamp: series.stamp.clone(),
            n: summary.n,
            cold_us: log.cold.get(series).map(|&ticks| us(ticks)),
            min_us: us(summary.min),
            p10_us: us(summary.p10),
            p50_us: us(summary.p50),
            p99_us: us(summary.p99),
            p999_us: us(summary.p999),
            max_us: us(summary.max),
        })
        .collect()
}

/// Whether verdicts on times are given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// Yes.
    AsSeen,
    /// The host had something else to do.
    Loaded,
}

fn ratio(gate: &TimeGate, standing: Standing) -> RatioDocument {
    let (bound, limit) = match gate.bound {
        Bound::AtMost(limit) => ("at-most", limit),
        Bound::AtLeast(limit) => ("at-least", limit),
    };
    let verdict = match (gate.is_met(), standing) {
        (None, _) => "absent",
        (Some(_), Standing::Loaded) => "loaded",
        (Some(true), Standing::AsSeen) => "met",
        (Some(false), Standing::AsSeen) => "not-met",
    };
    let name = |(row, stamp): (&str, &str)| format!("{row}/{stamp}");
    RatioDocument {
        over: name(gate.over),
        under: name(gate.under),
        of: if gate.share < 0.5 { "p10" } else { "p50" },
        bound,
        limit,
        value: gate.ratio.map(|ratio| ratio.value),
        low: gate.ratio.map(|ratio| ratio.low),
        high: gate.ratio.map(|ratio| ratio.high),
        verdict,
    }
}

fn count_documents(counts: &Counts) -> Vec<CountDocument> {
    let gates = gates::of_counts(counts).into_iter();
    gates
        .map(|gate| CountDocument {
            holds: gate.holds(),
            value: gate.found,
            limit: gate.limit,
            why: gate.miss.map(|miss| miss.why),
            name: gate.name,
        })
        .collect()
}
