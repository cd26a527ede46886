//! Timelines: what runs of the simulator looked like, as an SVG that stands alone or as an HTML page.
//!
//! One lane for each CPU with its states in colour, events as marks on it, the place where a CPU dies; above them the steps
//! of the scenario and the kernels, below them memory, with the front at which it is overwritten. Equal runs give equal
//! bytes.

mod details;
mod html;
mod key;
mod lane;
mod marks;
mod memory;
mod panel;
mod scale;
mod shape;
mod style;
mod svg;
mod words;

pub use html::html;
pub use svg::svg;

use crate::paint::Tone;
use park_sim::recording::Recording;
use park_sim::scenario::CpuReport;

/// What is shown: one run, or several below each other.
#[derive(Clone, Debug)]
pub struct Picture<'p> {
    /// The title.
    pub title: String,
    /// What is to be seen, in a sentence or two.
    pub lead: String,
    /// The command that makes it.
    pub command: String,
    /// The runs.
    pub panels: Vec<Panel<'p>>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Panel<'p> {
    /// What it is called.
    pub title: String,
    /// What it shows, in a sentence.
    pub summary: String,
    /// The verdict, and whether it is a good one.
    pub verdict: (String, Tone),
    /// Further facts, one a line: seed, knobs, what was changed.
    pub facts: Vec<String>,
    /// What became of each CPU.
    pub cpus: &'p [CpuReport],
    /// What the run looked like.
    pub recording: &'p Recording,
}
