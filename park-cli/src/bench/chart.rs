//! Drawings: how samples lie on a logarithmic axis, and ratios as bars.

use super::document::{BenchDocument, RatioDocument};
use super::text::short;
use crate::page::escape;
use core::fmt::Write;
use park_lab::bench::Log;
use park_lab::bench::log::Series;
use park_lab::bench::statistics::Summary;

/// Width of a drawing, and of the names left of its plot.
const WIDTH: f64 = 980.0;
const NAMES: f64 = 150.0;
/// Room right of a plot.
const RIGHT: f64 = 120.0;
/// Height of one row, and of the axis below.
const ROW: f64 = 44.0;
const AXIS: f64 = 34.0;
/// Height of a bar of a ratio.
const BAR: f64 = 16.0;
const BAR_ROW: f64 = 30.0;
/// Parts of a plot that samples are counted in.
const BINS: usize = 160;

/// Styles of the drawings; colours are the page's.
pub(super) const STYLE: &str = "\
svg.chart{display:block;background:var(--paper);border:1px solid var(--line);max-width:none}
svg.chart text{fill:var(--ink);font-size:12px}
svg.chart .faint{fill:var(--faint);font-size:11px}
svg.chart .grid{stroke:var(--line);stroke-width:1}
svg.chart .hill{fill:var(--accent);opacity:.55}
svg.chart .hand .hill{fill:var(--faint)}
svg.chart .firm .hill{fill:var(--open)}
svg.chart .p10{stroke:var(--ink);stroke-width:2}
svg.chart .p50{stroke:var(--ink);stroke-width:1;stroke-dasharray:3 2}
svg.chart .cold{fill:none;stroke:var(--bad);stroke-width:1.5}
svg.chart .bar{fill:var(--accent);opacity:.6}
svg.chart .whisker{stroke:var(--ink);stroke-width:1.5}
svg.chart .limit{stroke:var(--bad);stroke-width:2;stroke-dasharray:4 3}
";

/// A logarithmic axis from one power of ten to another.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// The least that holds all `values` above 0; `None` if there is none.
    fn around(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| *value > 0.0 && value.is_finite()) {
            (low, high) = (low.min(value.log10()), high.max(value.log10()));
        }
        let (low, high) = (low.floor(), high.ceil());
        (low.is_finite() && high.is_finite()).then(|| Self { low, high: high.max(low + 1.0) })
    }

    /// Where a value lies, from 0 to 1.
    fn part(self, value: f64) -> f64 {
        let part = (value.max(f64::MIN_POSITIVE).log10() - self.low) / (self.high - self.low);
        part.clamp(0.0, 1.0)
    }

    fn x(self, value: f64) -> f64 {
        NAMES + self.part(value) * (WIDTH - NAMES - RIGHT)
    }

    /// The powers of ten.
    fn decades(self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|exponent| 10_f64.powi(exponent))
    }

    fn draw(self, svg: &mut String, height: f64, unit: &str) {
        for decade in self.decades() {
            let (x, label) = (self.x(decade), decade_name(decade));
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" y1=\"6\" x2=\"{x:.1}\" y2=\"{height:.1}\"/>\
                 <text class=\"faint\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}{unit}</text>",
                height + 18.0
            );
        }
    }
}

fn decade_name(decade: f64) -> String {
    if decade >= 1.0 { format!("{decade:.0}") } else { format!("{decade}") }
}

/// How the samples of one stamp lie, a row for each way to wait, those by which a tenth is fastest first. Empty without samples.
#[must_use]
pub fn distributions(log: &Log, stamp: &str) -> String {
    let mut rows: Vec<(&Series, &[u64], Summary)> = log
        .samples
        .iter()
        .filter(|(series, _)| series.stamp == stamp)
        .filter_map(|(series, ticks)| Some((series, ticks.as_slice(), Summary::of(ticks)?)))
        .collect();
    rows.sort_by_key(|(_, _, summary)| summary.p10);
    let all = rows.iter().flat_map(|(_, ticks, _)| ticks.iter()).map(|&ticks| log.us(ticks));
    let Some(axis) = Axis::around(all) else { return String::new() };
    let plot = rows.len() as f64 * ROW + 6.0;
    let mut svg = open(plot + AXIS, &format!("Samples of {stamp}, by how the target waits, on a logarithmic axis"));
    axis.draw(&mut svg, plot, " µs");
    for (index, (series, ticks, summary)) in rows.iter().enumerate() {
        let base = (index + 1) as f64 * ROW;
        let _ = write!(
            svg,
            "<g class=\"{}\"><title>{}: n {}, p10 {} µs, p50 {} µs, p99 {} µs, max {} µs</title>",
            class(&series.row),
            escape(&series.to_string()),
            summary.n,
            short(log.us(summary.p10)),
            short(log.us(summary.p50)),
            short(log.us(summary.p99)),
            short(log.us(summary.max))
        );
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            NAMES - 10.0,
            base - 4.0,
            escape(&series.row)
        );
        hill(&mut svg, axis, log, ticks, base);
        for (mark, ticks) in [("p10", summary.p10), ("p50", summary.p50)] {
            let x = axis.x(log.us(ticks));
            let _ = write!(
                svg,
                "<line class=\"{mark}\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{base:.1}\"/>",
                base - ROW * 0.7
            );
        }
        if let Some(&cold) = log.cold.get(series) {
            let _ = write!(
                svg,
                "<circle class=\"cold\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/>",
                axis.x(log.us(cold)),
                base - 8.0
            );
        }
        let _ = write!(
            svg,
            "<text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\">p10 {}</text></g>",
            WIDTH - RIGHT + 8.0,
            base - 4.0,
            short(log.us(summary.p10))
        );
    }
    svg + "</svg>\n"
}

/// Rivals look otherwise.
fn class(row: &str) -> &'static str {
    match row {
        row if row.starts_with("hand-") => "hand",
        row if row.starts_with("init-") || row == "startup-this-ap" => "firm",
        _ => "park",
    }
}

/// How many samples lie where, as a polygon on a base line. Heights go by the square root: a tail of one in a thousand shows.
fn hill(svg: &mut String, axis: Axis, log: &Log, ticks: &[u64], base: f64) {
    let mut bins = [0_u32; BINS];
    for &ticks in ticks {
        let bin = (axis.part(log.us(ticks)) * (BINS - 1) as f64).round() as usize;
        if let Some(count) = bins.get_mut(bin) {
            *count += 1;
        }
    }
    let most = f64::from(bins.iter().copied().max().unwrap_or(1).max(1));
    let step = (WIDTH - NAMES - RIGHT) / (BINS - 1) as f64;
    let mut points = format!("{NAMES:.1},{base:.1}");
    for (bin, &count) in bins.iter().enumerate() {
        let height = (f64::from(count) / most).sqrt() * ROW * 0.75;
        let _ = write!(points, " {:.1},{:.1}", NAMES + bin as f64 * step, base - height);
    }
    let _ = write!(svg, "<polygon class=\"hill\" points=\"{points} {:.1},{base:.1}\"/>", WIDTH - RIGHT);
}

/// The ratios as bars from 1, with their intervals, and the limit of each.
#[must_use]
pub fn ratios(document: &BenchDocument) -> String {
    let told = document.ratios.iter().filter_map(|ratio| Some((ratio, ratio.value?, ratio.low?, ratio.high?)));
    let told: Vec<(&RatioDocument, f64, f64, f64)> = told.collect();
    let values = told.iter().flat_map(|(ratio, value, low, high)| [*value, *low, *high, ratio.limit]);
    let Some(axis) = Axis::around(values.chain([1.0])) else { return String::new() };
    let plot = told.len() as f64 * BAR_ROW + 6.0;
    let names = 320.0;
    let mut svg = open(plot + AXIS, "Ratios, with 95 % intervals and limits, on a logarithmic axis");
    let x = |value| names + axis.part(value) * (WIDTH - names - RIGHT);
    for decade in axis.decades() {
        let (x, label) = (x(decade), decade_name(decade));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" y1=\"6\" x2=\"{x:.1}\" y2=\"{plot:.1}\"/>\
             <text class=\"faint\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label} ×</text>",
            plot + 18.0
        );
    }
    for (index, (ratio, value, low, high)) in told.iter().enumerate() {
        let top = index as f64 * BAR_ROW + 10.0;
        let middle = top + BAR / 2.0;
        let (from, to) = (x(value.min(1.0)), x(value.max(1.0)));
        let sign = if ratio.bound == "at-most" { "≤" } else { "≥" };
        let name = escape(&format!("{} by {}, {}", ratio.over, ratio.under, ratio.of));
        let _ = write!(
            svg,
            "<g><title>{name}: {}, 95 % from {} to {}, wanted {sign} {}</title>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\
             <rect class=\"bar\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\"/>",
            short(*value),
            short(*low),
            short(*high),
            short(ratio.limit),
            names - 10.0,
            middle + 4.0,
            (to - from).max(1.0)
        );
        let (low, high, limit) = (x(*low), x(*high), x(ratio.limit));
        let _ = write!(
            svg,
            "<line class=\"whisker\" x1=\"{low:.1}\" y1=\"{middle:.1}\" x2=\"{high:.1}\" y2=\"{middle:.1}\"/>\
             <line class=\"limit\" x1=\"{limit:.1}\" y1=\"{:.1}\" x2=\"{limit:.1}\" y2=\"{:.1}\"/>\
             <text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\">{} ×, {sign} {}</text></g>",
            top - 4.0,
            top + BAR + 4.0,
            WIDTH - RIGHT + 4.0,
            middle + 4.0,
            short(*value),
            short(ratio.limit)
        );
    }
    svg + "</svg>\n"
}

fn open(height: f64, title: &str) -> String {
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" role=\"img\">\
         <title>{}</title>\n",
        escape(title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_holds_its_values_and_a_decade_at_least() {
        let axis = Axis::around([0.3, 20.0, 0.0].into_iter()).unwrap();
        assert_eq!(axis, Axis { low: -1.0, high: 2.0 });
        assert_eq!((axis.part(0.1), axis.part(100.0), axis.part(0.0)), (0.0, 1.0, 0.0));
        assert!((axis.part(1.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(Axis::around([1.0].into_iter()), Some(Axis { low: 0.0, high: 1.0 }));
        assert_eq!(Axis::around([0.0, f64::NAN].into_iter()), None);
        assert_eq!(axis.decades().map(decade_name).collect::<Vec<_>>(), ["0.1", "1", "10", "100"]);
    }

    #[test]
    fn the_fastest_row_comes_first_and_nothing_is_drawn_of_nothing() {
        let mut log = Log { tsc_hz: 1_000_000, ..Log::default() };
        log.samples.insert(Series::new("slow<", "seen"), vec![900; 10]);
        log.samples.insert(Series::new("quick", "seen"), vec![3; 10]);
        let svg = distributions(&log, "seen");
        let place = |name: &str| svg.find(name).unwrap();
        assert!(place("quick/seen") < place("slow&lt;/seen"), "{svg}");
        assert_eq!(svg.matches("<polygon").count(), 2);
        assert!(distributions(&log, "entry").is_empty() && distributions(&Log::default(), "seen").is_empty());
    }
}
