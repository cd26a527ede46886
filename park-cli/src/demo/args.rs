//! Arguments of `park demo`.

use crate::args::number;
use crate::machine::{MachineArguments, VendorArgument};
use std::path::PathBuf;

/// Arguments of `park demo`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug, Default)]
#[command(after_help = "Examples:
  park demo --seed 7
  park demo --topology 1x4x2 --vendor amd
  park demo --cpuid dump.txt --json
  park demo --topology 1x4x1 --html kexec.html   both runs as a picture, to look at in a browser")]
pub struct Arguments {
    /// The machine.
    #[command(flatten)]
    pub machine: MachineArguments,
    /// Draws the schedule and the moments at which events happen [default: 1]
    #[arg(long, value_name = "N", value_parser = number)]
    pub seed: Option<u64>,
    /// Draw both runs as an SVG that stands alone
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Write both runs as an HTML page, one file that works offline
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print one JSON document of schema park.demo/1
    #[arg(long)]
    pub json: bool,
}

impl Arguments {
    /// The command line that plays the same demo.
    #[must_use]
    pub fn command(&self, seed: u64) -> String {
        let mut command = "park demo".to_owned();
        command.extend(self.machine.cpuid.iter().map(|path| format!(" --cpuid {}", path.display())));
        command.extend(self.machine.topology.iter().map(|shape| format!(" --topology {shape}")));
        if self.machine.vendor == Some(VendorArgument::Amd) {
            command.push_str(" --vendor amd");
        }
        command + &format!(" --seed {seed}")
    }
}
