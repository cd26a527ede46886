//! A timeline as an SVG that stands alone: no script, no font, nothing fetched.

use super::panel::Layout;
use super::scale::Scale;
use super::shape::{Anchor, Canvas, Short};
use super::style::DRAWING;
use super::{Picture, key};
use crate::page::escape;
use crate::paint::{Tone, wrap};

/// Room around everything.
const MARGIN: f64 = 18.0;
/// Width of what stands left of the plots.
pub(super) const NAMES: f64 = 124.0;
/// Least and greatest width of a plot.
const PLOT_MIN: f64 = 820.0;
const PLOT_MAX: f64 = 2400.0;
/// Heights of lines of text.
const TITLE: f64 = 30.0;
const LEAD: f64 = 18.0;
const HEAD: f64 = 26.0;
/// Room after a panel.
const AFTER_PANEL: f64 = 22.0;
/// Characters of the lead in a line, for each unit of width.
const LEAD_CHARACTERS: f64 = 1.0 / 6.6;

/// The whole file.
#[must_use]
pub fn svg(picture: &Picture<'_>) -> String {
    let widths = picture.panels.iter().map(|panel| Scale::new(panel.recording, PLOT_MIN, PLOT_MAX).width);
    let plot = widths.fold(PLOT_MIN, f64::max);
    let numbered = picture.panels.iter().enumerate();
    let layouts: Vec<Layout<'_>> = numbered.map(|(number, panel)| Layout::new(panel, number, plot, plot)).collect();
    let inner = NAMES + plot;
    let mut canvas = Canvas::default();
    let mut y = MARGIN + 18.0;
    canvas.text("title", (MARGIN, y), Anchor::Start, &picture.title);
    y += TITLE - 8.0;
    for line in wrap(&picture.lead, (inner * LEAD_CHARACTERS) as usize) {
        canvas.text("lead", (MARGIN, y), Anchor::Start, &line);
        y += LEAD;
    }
    y += 10.0;
    for (panel, layout) in picture.panels.iter().zip(&layouts) {
        y += HEAD - 10.0;
        let (verdict, tone) = &panel.verdict;
        canvas.text("head", (MARGIN, y), Anchor::Start, &panel.title);
        canvas.text(class(*tone), (MARGIN + inner, y), Anchor::End, verdict);
        y += 10.0;
        canvas.open_at(MARGIN, y);
        layout.draw_names(&mut canvas);
        canvas.close();
        canvas.open_at(MARGIN + NAMES, y);
        layout.draw(&mut canvas);
        canvas.close();
        y += layout.height + 8.0;
        canvas.open_at(MARGIN, y);
        y += key::draw_acts(&mut canvas, panel, inner, 0.0);
        canvas.close();
        y += AFTER_PANEL;
    }
    canvas.open_at(MARGIN, y);
    y += key::draw_states(&mut canvas, &picture.panels, inner, 0.0);
    canvas.close();
    y += 6.0;
    canvas.text("faint", (MARGIN, y + 6.0), Anchor::Start, SCALE_NOTE);
    frame(picture, &canvas.finish(), (inner + 2.0 * MARGIN, y + MARGIN))
}

/// What has to be said about time.
pub(super) const SCALE_NOTE: &str = "Time runs to the right and is not to scale: quiet stretches are shortened. ▼ an event arrives. ✕ a CPU is lost. \
                                     Below a bar, what the CPU acknowledges.";

/// The class of a tone.
pub(super) const fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Bad => "bad",
        _ => "faint",
    }
}

fn frame(picture: &Picture<'_>, content: &str, (width, height): (f64, f64)) -> String {
    let (width, height) = (Short(width), Short(height));
    let title = escape(&picture.title);
    let about = escape(&format!("{} Made by `{}`.", picture.lead, picture.command));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"park-timeline\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\" aria-labelledby=\"t d\">\n\
         <title id=\"t\">{title}</title>\n<desc id=\"d\">{about}</desc>\n<style>\n{DRAWING}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n{content}</svg>\n"
    )
}
