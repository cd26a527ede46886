//! What the colours and the numbers mean.

use super::shape::{Anchor, Canvas, width};
use super::{Panel, words};
use park_sim::recording::State;

/// Size of text.
const SIZE: f64 = 11.5;
/// A sample of a colour, and the room after it.
const SAMPLE: f64 = 14.0;
const SAMPLE_GAP: f64 = 6.0;
/// Room between two entries.
const ENTRY_GAP: f64 = 20.0;
/// Height of a line.
const LINE: f64 = 20.0;
/// How many steps a picture names; a page names all.
pub(super) const ACTS_NAMED: usize = 14;
/// Width of a column of steps.
const COLUMN: f64 = 440.0;

/// The states that occur in some panel, in the order of the list.
pub(super) fn states(panels: &[Panel<'_>]) -> Vec<State> {
    let occurs = |state: &State| {
        let mut intervals = panels.iter().flat_map(|panel| &panel.recording.lanes).flat_map(|lane| &lane.intervals);
        intervals.any(|interval| interval.state.name() == state.name())
    };
    State::ALL.into_iter().filter(occurs).collect()
}

/// Draws the key of colours, so wide; returns its height.
pub(super) fn draw_states(canvas: &mut Canvas, panels: &[Panel<'_>], room: f64, top: f64) -> f64 {
    let (mut x, mut y) = (0.0, top);
    for state in states(panels) {
        let text = words::state(state);
        let taken = SAMPLE + SAMPLE_GAP + width(text, SIZE);
        if x > 0.0 && x + taken > room {
            (x, y) = (0.0, y + LINE);
        }
        canvas.open(&format!("state s-{}", state.name()));
        canvas.rect("bar", [x, y, SAMPLE, SAMPLE]);
        canvas.close();
        canvas.text("key", (x + SAMPLE + SAMPLE_GAP, y + 11.0), Anchor::Start, text);
        x += taken + ENTRY_GAP;
    }
    y + LINE - top
}

/// Draws the steps by their numbers, in columns, so wide; returns the height.
pub(super) fn draw_acts(canvas: &mut Canvas, panel: &Panel<'_>, room: f64, top: f64) -> f64 {
    let acts = &panel.recording.acts;
    let mut lines: Vec<String> =
        acts.iter().enumerate().take(ACTS_NAMED).map(|(index, act)| format!("{}  {}", index + 1, act.what)).collect();
    if acts.len() > ACTS_NAMED {
        lines.push(format!("…  and {} more", acts.len() - ACTS_NAMED));
    }
    let columns = ((room / COLUMN) as usize).clamp(1, 3);
    let rows = lines.len().div_ceil(columns).max(1);
    let most = (room / columns as f64 / (SIZE * 0.53)) as usize;
    for (index, line) in lines.iter().enumerate() {
        let x = (index / rows) as f64 * room / columns as f64;
        let y = top + (index % rows) as f64 * LINE * 0.85 + 11.0;
        canvas.text("key", (x, y), Anchor::Start, &shortened(line, most));
    }
    rows as f64 * LINE * 0.85 + 4.0
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).collect::<String>() + "…"
}
