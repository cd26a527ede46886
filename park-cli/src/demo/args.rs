//! Arguments of `park demo`.

use crate::args::number;
use crate::machine::MachineArguments;

/// Arguments of `park demo`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug, Default)]
#[command(after_help = "Examples:
  park demo --seed 7
  park demo --topology 1x4x2 --vendor amd
  park demo --cpuid dump.txt --json")]
pub struct Arguments {
    /// The machine.
    #[command(flatten)]
    pub machine: MachineArguments,
    /// Draws the schedule and the moments at which events happen [default: 1]
    #[arg(long, value_name = "N", value_parser = number)]
    pub seed: Option<u64>,
    /// Print one JSON document of schema park.demo/1
    #[arg(long)]
    pub json: bool,
}
