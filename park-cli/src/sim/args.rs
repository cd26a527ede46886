//! Arguments of `park sim`.

use crate::args::number;
use std::path::PathBuf;

/// Arguments of `park sim`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug, Default)]
#[command(after_help = "Examples:
  park sim linux-mwait-kexec --trace           every step until the CPU dies
  park sim linux-mwait-kexec --mechanism hlt   the same machine, parked in a lot
  park sim lot-hlt --knob all=all              every value of every undocumented cell that the run asks for
  park sim mine.toml --knob nmi-depth=2 --json
  park sim linux-mwait-kexec --html dies.html  a picture of it, to look at in a browser

A name that contains `/` or ends in `.toml` is a file; docs/scenario.md says what stands in one.
With `--json` one document of schema park.sim/1 is printed; `--trace` then adds its lines to the document.")]
pub struct Arguments {
    /// A scenario that is built in, or a file
    #[arg(value_name = "NAME|FILE.toml", required_unless_present = "list")]
    pub scenario: Option<String>,
    /// List the scenarios that are built in
    #[arg(long, conflicts_with_all = ["scenario", "seed", "knob", "without", "mechanism", "trace", "deadline_s", "svg", "html"])]
    pub list: bool,
    /// Draws the schedule and the moments at which events happen, never knobs [default: 1]
    #[arg(long, value_name = "N", value_parser = number)]
    pub seed: Option<u64>,
    /// Choose a value for an undocumented cell, or run every value with K=all; all=all (or all) varies each that the run asks for, one at a time
    #[arg(long, value_name = "K=V|all")]
    pub knob: Vec<String>,
    /// Leave an event out; the run should then lead to what the scenario says of its deadly event
    #[arg(long, value_name = "EVENT")]
    pub without: Option<String>,
    /// Park by this mechanism of the lot instead of the scenario's parkers
    #[arg(long, value_name = "M")]
    pub mechanism: Option<String>,
    /// Print what happened, step by step, to standard output
    #[arg(long)]
    pub trace: bool,
    /// Draw what happened as an SVG that stands alone; with several runs, the one that decides
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Write what happened as an HTML page, one file that works offline
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print one JSON document of schema park.sim/1, or park.scenarios/1 with --list
    #[arg(long)]
    pub json: bool,
    /// Give up after so many seconds [default: 600]
    #[arg(long, value_name = "N", value_parser = number)]
    pub deadline_s: Option<u64>,
}
