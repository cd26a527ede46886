//! Arguments of `park demo`.

use crate::args::number;

/// Arguments of `park demo`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug, Default)]
#[command(after_help = "Example:
  park demo --seed 7")]
pub struct Arguments {
    /// Draws the schedule and the moments at which events happen [default: 1]
    #[arg(long, value_name = "N", value_parser = number)]
    pub seed: Option<u64>,
    /// Print one JSON document of schema park.demo/1
    #[arg(long)]
    pub json: bool,
}
