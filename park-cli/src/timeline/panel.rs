//! One run: its steps and kernels, its lanes, its memory.

use super::Panel;
use super::lane::{self, Measured};
use super::memory;
use super::scale::Scale;
use super::shape::{Anchor, Canvas, bold_width, width};

/// Height of the row of steps, and of the row of kernels.
const ACTS: f64 = 22.0;
const KERNELS: f64 = 22.0;
const KERNEL_BAR: f64 = 14.0;
/// Room before the memory.
const BEFORE_MEMORY: f64 = 8.0;
/// Size of the numbers of steps.
const NUMBER_SIZE: f64 = 10.5;
/// Room between two numbers.
const NUMBER_GAP: f64 = 4.0;

/// A panel, measured.
#[derive(Clone, Debug)]
pub(super) struct Layout<'p> {
    panel: &'p Panel<'p>,
    lanes: Vec<Measured<'p>>,
    /// Its scale.
    pub(super) scale: Scale,
    /// Its height.
    pub(super) height: f64,
    /// The name of its hatching, which no other panel has.
    hatch: String,
}

/// Steps that are numbered together, by index.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    first: usize,
    last: usize,
    x: f64,
}

impl Numbers {
    fn text(self) -> String {
        if self.first == self.last {
            (self.first + 1).to_string()
        } else {
            format!("{}–{}", self.first + 1, self.last + 1)
        }
    }

    fn room(self) -> f64 {
        bold_width(&self.text(), NUMBER_SIZE) + 8.0
    }

    /// Where they stand in a plot so wide.
    fn at(self, width: f64) -> f64 {
        self.x.min(width - self.room()).max(0.0)
    }
}

impl<'p> Layout<'p> {
    /// Measures a panel, whose plot is at least and at most so wide.
    pub(super) fn new(panel: &'p Panel<'p>, number: usize, width_min: f64, width_max: f64) -> Self {
        let scale = Scale::new(panel.recording, width_min, width_max);
        let lanes: Vec<Measured<'_>> =
            panel.recording.lanes.iter().enumerate().map(|(cpu, lane)| lane::measure(panel, cpu, lane)).collect();
        let of_lanes: f64 = lanes.iter().map(|lane| lane.height).sum();
        let height = ACTS + KERNELS + of_lanes + BEFORE_MEMORY + memory::height(panel);
        Self { panel, lanes, scale, height, hatch: format!("hatch{number}") }
    }

    fn lanes_at(&self) -> impl Iterator<Item = (f64, &Measured<'p>)> {
        self.lanes.iter().scan(ACTS + KERNELS, |y, lane| {
            let at = *y;
            *y += lane.height;
            Some((at, lane))
        })
    }

    fn memory_at(&self) -> f64 {
        self.height - memory::height(self.panel)
    }

    /// Draws what stands left of the plot.
    pub(super) fn draw_names(&self, canvas: &mut Canvas) {
        canvas.text("way", (0.0, ACTS - 7.0), Anchor::Start, "steps");
        canvas.text("way", (0.0, ACTS + KERNEL_BAR - 3.0), Anchor::Start, "kernels");
        for (y, lane) in self.lanes_at() {
            lane.draw_name(canvas, y);
        }
        memory::draw_names(canvas, self.panel, self.memory_at());
    }

    /// Draws the plot.
    pub(super) fn draw(&self, canvas: &mut Canvas) {
        canvas.raw(&format!(
            "<defs><pattern id=\"{}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
             patternTransform=\"rotate(45)\"><rect class=\"hatch\" width=\"2\" height=\"6\"/></pattern></defs>",
            self.hatch
        ));
        self.draw_fronts(canvas);
        self.draw_acts(canvas);
        self.draw_kernels(canvas);
        for (y, lane) in self.lanes_at() {
            lane.draw(canvas, &self.scale, y);
        }
        memory::draw(canvas, self.panel, &self.scale, &self.hatch, self.memory_at());
    }

    /// While memory is overwritten, all lanes stand in the front's light.
    fn draw_fronts(&self, canvas: &mut Canvas) {
        for front in &self.panel.recording.fronts {
            let (from, to) = (self.scale.x(front.start_tick), self.scale.x(front.end_tick));
            canvas.rect("glow", [from, ACTS, to - from, self.height - ACTS]);
        }
    }

    fn draw_acts(&self, canvas: &mut Canvas) {
        let acts = &self.panel.recording.acts;
        let bottom = self.height;
        for (index, act) in acts.iter().enumerate() {
            let x = self.scale.x(act.tick);
            canvas.open_titled("act", &format!("{}: {}\ntick {}", index + 1, act.what, act.tick));
            canvas.line("actline", [x, ACTS - 4.0, x, bottom]);
            canvas.close();
        }
        for numbers in self.numbers() {
            let (room, at) = (numbers.room(), numbers.at(self.scale.width));
            let shown = acts.get(numbers.first..=numbers.last).unwrap_or_default();
            let titles: Vec<String> =
                (numbers.first + 1..).zip(shown).map(|(number, act)| format!("{number}: {}", act.what)).collect();
            canvas.open_titled("act", &titles.join("\n"));
            canvas.rect("number", [at, 2.0, room, ACTS - 6.0]);
            canvas.text("numbertext", (at + room / 2.0, ACTS - 8.0), Anchor::Middle, &numbers.text());
            canvas.close();
        }
    }

    /// The numbers of steps; those that would run into each other together.
    fn numbers(&self) -> Vec<Numbers> {
        let mut all: Vec<Numbers> = Vec::new();
        for (index, act) in self.panel.recording.acts.iter().enumerate() {
            let next = Numbers { first: index, last: index, x: self.scale.x(act.tick) };
            match all.last_mut() {
                Some(last) if next.at(self.scale.width) < last.at(self.scale.width) + last.room() + NUMBER_GAP => {
                    last.last = index;
                }
                _ => all.push(next),
            }
        }
        all
    }

    fn draw_kernels(&self, canvas: &mut Canvas) {
        let recording = self.panel.recording;
        for (index, kernel) in recording.kernels.iter().enumerate() {
            let next = recording.kernels.get(index + 1).map_or(recording.end_tick, |next| next.tick);
            let (from, to) = (self.scale.x(kernel.tick), self.scale.x(next));
            let title = format!("kernel {}, in memory from {:#x}", kernel.number, kernel.range.start);
            canvas.open_titled("span", &title);
            let class = if index % 2 == 0 { "kernel even" } else { "kernel odd" };
            canvas.rect(class, [from, ACTS, to - from, KERNEL_BAR]);
            let label = format!("kernel {}", kernel.number);
            if width(&label, NUMBER_SIZE) + 8.0 <= to - from {
                canvas.text("inkernel", (from + 6.0, ACTS + KERNEL_BAR - 3.5), Anchor::Start, &label);
            }
            canvas.close();
        }
    }
}
