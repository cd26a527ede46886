//! One CPU's lane: its states, the marks on them, and where it dies.

use super::marks::{self, LABEL_SIZE};
use super::scale::Scale;
use super::shape::{Anchor, Canvas, width};
use super::{Panel, details, words};
use crate::sim::words::{end, is_well};
use park_sim::recording::{Front, Interval, Lane, Mark};
use park_sim::scenario::{Cause, CpuReport, End};

/// Height of a bar.
const BAR: f64 = 21.0;
/// Room above a bar, with labels and without.
const ABOVE: f64 = 25.0;
const ABOVE_BARE: f64 = 9.0;
/// Room below a bar, with the words for a death and without.
const BELOW_DEATH: f64 = 21.0;
const BELOW: f64 = 9.0;
/// The least height of a lane: its name takes three lines.
const HEIGHT_MIN: f64 = 50.0;
/// Where the fatal instruction's words change sides.
const RIGHT_HALF: f64 = 0.5;
/// Intervals thinner than this are drawn so thick.
const THINNEST: f64 = 0.8;

/// A lane, measured.
#[derive(Clone, Debug)]
pub(super) struct Measured<'p> {
    cpu: usize,
    lane: &'p Lane,
    report: Option<&'p CpuReport>,
    events: Vec<&'p Mark>,
    others: Vec<&'p Mark>,
    bar_y: f64,
    fronts: &'p [Front],
    /// Its height.
    pub(super) height: f64,
}

/// Measures the lane of a CPU.
pub(super) fn measure<'p>(panel: &Panel<'p>, cpu: usize, lane: &'p Lane) -> Measured<'p> {
    let mine = panel.recording.marks.iter().filter(|mark| mark.cpu == cpu);
    let (events, others): (Vec<&Mark>, Vec<&Mark>) = mine.partition(|mark| !words::label(mark.kind).is_empty());
    let above = if events.is_empty() { ABOVE_BARE } else { ABOVE };
    let below = if lane.death.is_some() { BELOW_DEATH } else { BELOW };
    let height = (above + BAR + below).max(HEIGHT_MIN);
    let report = panel.cpus.iter().find(|report| report.cpu == cpu);
    let bar_y = above.max((height - BAR - below) / 2.0);
    Measured { cpu, lane, report, events, others, bar_y, fronts: &panel.recording.fronts, height }
}

impl Measured<'_> {
    /// Draws what stands left of the lane, at most so wide.
    pub(super) fn draw_name(&self, canvas: &mut Canvas, y: f64) {
        let middle = y + self.bar_y + BAR / 2.0;
        let Some(report) = self.report else { return };
        let is_boss = report.mechanism == "none" && is_well(report);
        let (class, sign) = match (is_boss, is_well(report)) {
            (true, _) => ("faint", ""),
            (false, true) => ("good", "✓ "),
            (false, false) => ("bad", "✕ "),
        };
        let title = format!(
            "CPU {}, APIC id {}\nparked by {}\n{}",
            report.cpu,
            report.apic_id,
            report.mechanism,
            crate::sim::words::fate(report)
        );
        canvas.open_titled("name", &title);
        canvas.text("cpu", (0.0, middle - 9.0), Anchor::Start, &format!("CPU {}", self.cpu));
        let way = if report.mechanism == "none" { "not parked" } else { &report.mechanism };
        canvas.text("way", (0.0, middle + 5.0), Anchor::Start, way);
        let fate = match (is_boss, report.end, report.cause) {
            (true, ..) => "runs the kernel",
            (_, End::Running, Cause::AsPlanned) => "woken",
            (_, other, _) => end(other),
        };
        canvas.text(class, (0.0, middle + 19.0), Anchor::Start, &format!("{sign}{fate}"));
        canvas.close();
    }

    /// Draws the lane.
    pub(super) fn draw(&self, canvas: &mut Canvas, scale: &Scale, y: f64) {
        let bar_y = y + self.bar_y;
        canvas.raw(&format!("<g class=\"lane\" data-cpu=\"{}\">", self.cpu));
        for interval in &self.lane.intervals {
            self.draw_interval(canvas, scale, bar_y, interval);
        }
        marks::above(canvas, &self.events, scale, bar_y);
        marks::below(canvas, &self.others, scale, bar_y + BAR);
        self.draw_stores(canvas, scale, bar_y);
        self.draw_death(canvas, scale, bar_y);
        canvas.close();
    }

    fn draw_interval(&self, canvas: &mut Canvas, scale: &Scale, bar_y: f64, interval: &Interval) {
        let (from, to) = (scale.x(interval.start_tick), scale.x(interval.end_tick));
        let name = interval.state.name();
        canvas.open_titled(&format!("state s-{name}"), &details::interval(self.cpu, interval));
        canvas.rect("bar", [from, bar_y, (to - from).max(THINNEST), BAR]);
        let fits = |label: &&&str| width(label, LABEL_SIZE) + 8.0 <= to - from;
        if let Some(label) = words::labels(interval.state).iter().find(fits) {
            canvas.text("inbar", ((from + to) / 2.0, bar_y + BAR / 2.0 + 4.0), Anchor::Middle, label);
        }
        canvas.close();
    }

    /// Below the bar of the CPU whose stores they are, what the fronts are.
    fn draw_stores(&self, canvas: &mut Canvas, scale: &Scale, bar_y: f64) {
        for front in self.fronts.iter().filter(|front| front.by == self.cpu) {
            let (from, to) = (scale.x(front.start_tick), scale.x(front.end_tick));
            let fits = |text: &&&str| width(text, LABEL_SIZE) + 8.0 <= to - from;
            if let Some(text) = ["overwrites the old kernel's memory ▸", "overwrites ▸"].iter().find(fits) {
                canvas.text("label", (from + 4.0, bar_y + BAR + 13.0), Anchor::Start, text);
            }
        }
    }

    fn draw_death(&self, canvas: &mut Canvas, scale: &Scale, bar_y: f64) {
        let Some(death) = &self.lane.death else { return };
        let x = scale.x(death.tick);
        canvas.open_titled("death", &details::death(self.cpu, death));
        canvas.line("deathline", [x, bar_y - 2.0, x, bar_y + BAR + 6.0]);
        let text = words::death(death, self.fronts);
        let room = width(&text, LABEL_SIZE) + 16.0;
        let to_the_left = x + room > scale.width && x > scale.width * RIGHT_HALF;
        let at = if to_the_left { x.max(room.min(scale.width)) } else { x.min((scale.width - room).max(0.0)) };
        let (anchor, sign) = if to_the_left { (Anchor::End, "✕") } else { (Anchor::Start, "✕") };
        canvas.text("deathtext", (at, bar_y + BAR + 16.0), anchor, &format!("{sign} {text}"));
        canvas.close();
    }
}
