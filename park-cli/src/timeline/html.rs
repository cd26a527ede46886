//! A timeline as a page: the same drawing beside names that stay in place, and everything that hovering tells in a field
//! of its own, for keyboards and fingers too.

use super::panel::Layout;
use super::shape::{Canvas, Short};
use super::style::DRAWING;
use super::svg::{NAMES, SCALE_NOTE, class};
use super::{Panel, Picture, details, key, words};
use crate::page::{Page, escape, page};
use crate::sim::words::{fate, is_well};
use core::fmt::Write;

/// Least and greatest width of a plot; it scrolls where the window is narrower.
const PLOT_MIN: f64 = 1180.0;
const PLOT_MAX: f64 = 12_000.0;
/// Room below a plot, where a scroll bar may be.
const BELOW: f64 = 6.0;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole file.
#[must_use]
pub fn html(picture: &Picture<'_>) -> String {
    let mut body = String::new();
    for (number, panel) in picture.panels.iter().enumerate() {
        section(&mut body, panel, number);
    }
    body.push_str("<h2>What the colours mean</h2>\n<ul class=\"key park-timeline\">\n");
    for state in key::states(&picture.panels) {
        let _ = writeln!(
            body,
            "<li><svg class=\"state s-{}\" width=\"14\" height=\"14\" aria-hidden=\"true\">\
             <rect width=\"14\" height=\"14\"/></svg> {}</li>",
            state.name(),
            escape(words::state(state))
        );
    }
    let _ = write!(body, "</ul>\n<p class=\"faint\">{}</p>\n", escape(SCALE_NOTE));
    let _ = write!(body, "<footer>Made by <code>{}</code>.</footer>", escape(&picture.command));
    let style = format!("{DRAWING}{STYLE}");
    page(&Page { title: &picture.title, lead: &picture.lead, body: &body, style: &style, script: SCRIPT })
}

fn section(body: &mut String, panel: &Panel<'_>, number: usize) {
    let layout = Layout::new(panel, number, PLOT_MIN, PLOT_MAX);
    let (verdict, tone) = &panel.verdict;
    let _ = write!(
        body,
        "<section aria-labelledby=\"p{number}\">\n<h2 id=\"p{number}\">{}</h2>\n<p class=\"summary\">{}</p>\n\
         <p class=\"verdict {}\">{}</p>\n",
        escape(&panel.title),
        escape(&panel.summary),
        class(*tone),
        escape(verdict)
    );
    body.push_str("<div class=\"figure\" role=\"group\" aria-label=\"Timeline\">\n");
    let mut names = Canvas::default();
    layout.draw_names(&mut names);
    drawing(body, &names.finish(), "names", (NAMES, layout.height));
    body.push_str(
        "<div class=\"scroll plot\" tabindex=\"0\" aria-label=\"Lanes; arrow keys go from one thing to the next\">\n",
    );
    let mut plot = Canvas::default();
    layout.draw(&mut plot);
    drawing(body, &plot.finish(), "lanes", (layout.scale.width, layout.height));
    body.push_str("</div>\n</div>\n");
    let fatal = panel.recording.lanes.iter().enumerate().find_map(|(cpu, lane)| Some((cpu, lane.death.as_ref()?)));
    let first = fatal.map_or_else(String::new, |(cpu, death)| format!("\n\n{}", details::death(cpu, death)));
    let _ = writeln!(
        body,
        "<pre class=\"details\" aria-live=\"polite\">Point at anything in the picture, or move through it with the arrow keys: what it is, and the registers, stand here.{}</pre>",
        escape(&first)
    );
    fates(body, panel);
    acts(body, panel);
    body.push_str("</section>\n");
}

fn drawing(body: &mut String, content: &str, kind: &str, (width, height): (f64, f64)) {
    let (width, height) = (Short(width), Short(height + BELOW));
    let _ = write!(
        body,
        "<svg class=\"park-timeline {kind}\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n{content}</svg>\n"
    );
}

fn fates(body: &mut String, panel: &Panel<'_>) {
    body.push_str("<h3>What became of each CPU</h3>\n<ul class=\"fates\">\n");
    for report in panel.cpus {
        let is_boss = report.mechanism == "none" && is_well(report);
        let class = match (is_boss, is_well(report)) {
            (true, _) => "faint",
            (false, true) => "good",
            (false, false) => "bad",
        };
        let by = if report.mechanism == "none" { "not parked" } else { &report.mechanism };
        let lane = panel.recording.lanes.get(report.cpu);
        let death = lane.and_then(|lane| lane.death.as_ref()).map(|death| words::death(death, &panel.recording.fronts));
        let death = death.map_or_else(String::new, |text| format!("<br><code>{}</code>", escape(&text)));
        let _ = writeln!(
            body,
            "<li><b>CPU {}</b> <span class=\"faint\">APIC id {}, {}</span><br><span class=\"{class}\">{}</span>{death}</li>",
            report.cpu,
            report.apic_id,
            escape(by),
            escape(&fate(report))
        );
    }
    body.push_str("</ul>\n");
}

fn acts(body: &mut String, panel: &Panel<'_>) {
    body.push_str("<details class=\"acts\" open><summary>Steps and facts</summary>\n<ol>\n");
    for act in &panel.recording.acts {
        let line =
            if act.line > 0 { format!(" <span class=\"faint\">line {}</span>", act.line) } else { String::new() };
        let _ = writeln!(body, "<li>{}{line}</li>", escape(&act.what));
    }
    body.push_str("</ol>\n<ul class=\"facts\">\n");
    for fact in &panel.facts {
        let _ = writeln!(body, "<li>{}</li>", escape(fact));
    }
    if panel.recording.is_truncated {
        body.push_str("<li>More happened than a picture holds: the rest is left out.</li>\n");
    }
    body.push_str("</ul>\n</details>\n");
}
