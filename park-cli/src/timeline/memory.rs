//! Memory below the lanes: what it holds, and the front at which it is overwritten.

use super::scale::Scale;
use super::shape::{Anchor, Canvas, width};
use super::{Panel, details};
use park_sim::machine::PhysRange;
use park_sim::recording::{Front, KernelSpan};

/// Height of a row of memory.
const ROW: f64 = 24.0;
/// Height of the lot's row.
const LOT_ROW: f64 = 16.0;
/// Room between rows.
const GAP: f64 = 5.0;
/// Size of text in a row.
const SIZE: f64 = 11.0;

/// Something that is in a row from one tick to the next such.
enum Content<'p> {
    Kernel(&'p KernelSpan),
    Overwritten(&'p Front),
}

impl Content<'_> {
    const fn tick(&self) -> u64 {
        match self {
            Self::Kernel(kernel) => kernel.tick,
            Self::Overwritten(front) => front.start_tick,
        }
    }
}

/// The memory of kernels, each place once.
fn places(panel: &Panel<'_>) -> Vec<PhysRange> {
    let mut places: Vec<PhysRange> = Vec::new();
    for kernel in &panel.recording.kernels {
        if !places.contains(&kernel.range) {
            places.push(kernel.range);
        }
    }
    places
}

/// The height of all rows.
pub(super) fn height(panel: &Panel<'_>) -> f64 {
    let lot = if panel.recording.lot.is_some() { LOT_ROW + GAP } else { 0.0 };
    lot + places(panel).len() as f64 * (ROW + GAP)
}

/// Draws the rows' names.
pub(super) fn draw_names(canvas: &mut Canvas, panel: &Panel<'_>, mut y: f64) {
    if panel.recording.lot.is_some() {
        canvas.text("way", (0.0, y + LOT_ROW / 2.0 + 4.0), Anchor::Start, "memory: the lot");
        y += LOT_ROW + GAP;
    }
    for range in places(panel) {
        canvas.text("way", (0.0, y + ROW / 2.0 + 4.0), Anchor::Start, &format!("at {:#x}", range.start));
        y += ROW + GAP;
    }
}

/// Draws the rows.
pub(super) fn draw(canvas: &mut Canvas, panel: &Panel<'_>, scale: &Scale, hatch: &str, mut y: f64) {
    if let Some(lot) = panel.recording.lot {
        let title = format!("The lot, {:#x} to {:#x}: nobody overwrites it", lot.start, lot.end());
        canvas.open_titled("memory", &title);
        canvas.rect("lot", [0.0, y, scale.width, LOT_ROW]);
        canvas.text("inbar", (8.0, y + LOT_ROW / 2.0 + 4.0), Anchor::Start, "reserved: outlives every kernel");
        canvas.close();
        y += LOT_ROW + GAP;
    }
    for range in places(panel) {
        draw_row(canvas, panel, scale, hatch, range, y);
        y += ROW + GAP;
    }
}

fn draw_row(canvas: &mut Canvas, panel: &Panel<'_>, scale: &Scale, hatch: &str, range: PhysRange, y: f64) {
    let recording = panel.recording;
    canvas.rect("empty", [0.0, y, scale.width, ROW]);
    let kernels = recording.kernels.iter().filter(|kernel| kernel.range == range).map(Content::Kernel);
    let fronts = recording.fronts.iter().filter(|front| front.range == range).map(Content::Overwritten);
    let mut contents: Vec<Content<'_>> = kernels.chain(fronts).collect();
    contents.sort_by_key(Content::tick);
    for (index, content) in contents.iter().enumerate() {
        let from = scale.x(content.tick());
        let end = contents.get(index + 1).map_or(recording.end_tick, Content::tick);
        match content {
            Content::Kernel(kernel) => {
                // What is overwritten stays what it was above the front.
                let to = match contents.get(index + 1) {
                    Some(Content::Overwritten(front)) => scale.x(front.end_tick),
                    _ => scale.x(end),
                };
                let title = format!(
                    "Memory of kernel {}, {:#x} to {:#x}",
                    kernel.number,
                    kernel.range.start,
                    kernel.range.end()
                );
                canvas.open_titled("memory", &title);
                canvas.rect("held", [from, y, to - from, ROW]);
                let label = format!("kernel {}", kernel.number);
                if width(&label, SIZE) + 10.0 <= scale.x(end) - from {
                    canvas.text("inbar", (from + 8.0, y + ROW / 2.0 + 4.0), Anchor::Start, &label);
                }
                canvas.close();
            }
            Content::Overwritten(front) => {
                let (done, to) = (scale.x(front.end_tick), scale.x(end));
                canvas.open_titled("memory", &details::front(front));
                // Low addresses are below: the front climbs.
                let gone = [(from, y + ROW), (done, y), (to, y), (to, y + ROW)];
                canvas.polygon("ground", &gone);
                canvas.raw(&format!("<g fill=\"url(#{hatch})\">"));
                canvas.polygon("gone", &gone);
                canvas.raw("</g>");
                canvas.line("front", [from, y + ROW, done, y]);
                let label = "overwritten";
                if width(label, SIZE) + 12.0 <= to - done {
                    let room = width(label, SIZE) + 10.0;
                    canvas.rect("ground", [done + 6.0, y + 5.0, room, ROW - 10.0]);
                    canvas.text("label", (done + 11.0, y + ROW / 2.0 + 4.0), Anchor::Start, label);
                }
                canvas.close();
            }
        }
    }
}
