//! The page: distributions, ratios, counts, and what to know before a number is quoted.

use super::chart::{self, distributions, ratios};
use super::document::{BenchDocument, CountDocument, RatioDocument, SeriesDocument};
use super::text::short;
use crate::page::{Page, escape, page};
use core::fmt::Write;
use park_lab::bench::Log;

/// What is drawn: a stamp, and what it says.
const STAMPS: [(&str, &str); 5] = [
    ("seen", "Wake: until the waker sees the first store behind the claim"),
    ("entry", "Wake: until the first instruction of the entry"),
    ("back", "Wake: there and back, by the waker's clock alone"),
    ("switch", "Park: from the owner's text to the acknowledgement"),
    ("acknowledged", "Park: from the request to the acknowledgement"),
];

/// The whole file.
#[must_use]
pub fn html(document: &BenchDocument, log: &Log) -> String {
    let mut body = String::new();
    standing(&mut body, document);
    body.push_str("<h2>Ratios</h2>\n<p>Bars begin at 1; whiskers are 95 % bootstrap intervals; the dashed mark is what is wanted.</p>\n");
    let _ = write!(body, "<div class=\"scroll\">{}</div>\n<div class=\"scroll\">", ratios(document));
    table(&mut body, &["times", "of", "ratio", "95 %", "wanted", "verdict"], document.ratios.iter().map(ratio_row));
    body.push_str("</div>\n");
    if !document.counts.is_empty() {
        body.push_str("<h2>Instructions</h2>\n<p>Counted by QEMU, the same in each run: no machine's speed, and no other load, is in them.</p>\n<div class=\"scroll\">");
        table(&mut body, &["what", "found", "at most", "verdict", "why"], document.counts.iter().map(count_row));
        body.push_str("</div>\n");
    }
    for (stamp, title) in STAMPS {
        let drawing = distributions(log, stamp);
        if !drawing.is_empty() {
            let _ = write!(body, "<h2>{title}</h2>\n<div class=\"scroll\">{drawing}</div>\n");
        }
    }
    body.push_str(
        "<p class=\"faint\">Heights go by the square root of the count. A thick mark is p10, a dashed one the median, a circle the first, \
         cold wake. Blue is park, grey assembly by hand, brown INIT and STARTUP.</p>\n<h2>All series, in µs</h2>\n<div class=\"scroll\">",
    );
    let heads = ["row/stamp", "n", "cold", "min", "p10", "p50", "p99", "p99.9", "max"];
    table(&mut body, &heads, document.series.iter().map(series_row));
    body.push_str("</div>\n<footer>Made by <code>park bench --html</code>.</footer>");
    let style = format!("{}ul.notes{{max-width:80ch}}", chart::STYLE);
    let lead = "One CPU parked and woken by every mechanism, and by what others do instead: all in one run, in an order drawn anew for each round, \
                each wake after a random idle time.";
    page(&Page { title: "What parking and waking cost", lead, body: &body, style: &style, ..Page::default() })
}

fn standing(body: &mut String, document: &BenchDocument) {
    let machine = document.qemu.as_ref().map_or_else(
        || "A machine's serial log.".to_owned(),
        |version| format!("QEMU {version}, TCG, two virtual CPUs. Emulator times, no C-states, no hardware claim."),
    );
    let why: Vec<&str> = document.loaded.iter().chain(&document.not_pinned).map(String::as_str).collect();
    let (class, standing) = match (why.as_slice(), document.source) {
        ([], "qemu") => ("good", "The host was quiet.".to_owned()),
        ([], _) => ("faint", String::new()),
        (why, _) => ("bad", format!("The host was loaded: {}. Verdicts on times are withheld.", why.join("; "))),
    };
    let _ = write!(
        body,
        "<p><b>{}</b> <span class=\"{class}\">{}</span></p>\n<ul class=\"notes\">\n",
        escape(&machine),
        escape(&standing)
    );
    for note in &document.notes {
        let _ = writeln!(body, "<li>{}</li>", escape(note));
    }
    body.push_str("</ul>\n");
}

/// A table; cells are HTML.
fn table(body: &mut String, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    body.push_str("<table><thead><tr>");
    heads.iter().for_each(|head| body.push_str(&format!("<th>{}</th>", escape(head))));
    body.push_str("</tr></thead><tbody>\n");
    for row in rows {
        body.push_str("<tr>");
        row.iter().for_each(|cell| body.push_str(&format!("<td>{cell}</td>")));
        body.push_str("</tr>\n");
    }
    body.push_str("</tbody></table>\n");
}

fn toned(class: &str, text: &str) -> String {
    format!("<span class=\"{class}\">{}</span>", escape(text))
}

fn series_row(series: &SeriesDocument) -> Vec<String> {
    let cold = series.cold_us.map_or_else(String::new, short);
    let numbers = [series.min_us, series.p10_us, series.p50_us, series.p99_us, series.p999_us, series.max_us];
    let first = [escape(&format!("{}/{}", series.row, series.stamp)), series.n.to_string(), cold];
    first.into_iter().chain(numbers.map(short)).collect()
}

fn ratio_row(ratio: &RatioDocument) -> Vec<String> {
    let interval = match (ratio.low, ratio.high) {
        (Some(low), Some(high)) => format!("{} to {}", short(low), short(high)),
        _ => String::new(),
    };
    let (class, word) = match ratio.verdict {
        "met" => ("good", "met"),
        "not-met" => ("bad", "not met"),
        other => ("faint", other),
    };
    let sign = if ratio.bound == "at-most" { "≤" } else { "≥" };
    vec![
        escape(&format!("{} by {}", ratio.over, ratio.under)),
        ratio.of.to_owned(),
        ratio.value.map_or_else(String::new, short),
        interval,
        format!("{sign} {}", short(ratio.limit)),
        toned(class, word),
    ]
}

fn count_row(count: &CountDocument) -> Vec<String> {
    let reached = count.value.is_some_and(|value| value <= count.limit);
    let verdict = match (reached, count.holds) {
        (true, _) => toned("good", "met"),
        (false, true) => toned("open", "not met, as known"),
        (false, false) => toned("bad", "worse than known"),
    };
    let why = if reached { "" } else { count.why.unwrap_or_default() };
    vec![escape(&count.name), count.value.map_or_else(String::new, short), short(count.limit), verdict, escape(why)]
}
