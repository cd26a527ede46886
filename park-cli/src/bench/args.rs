//! Arguments of `park bench`.

use crate::args::number;
use std::path::PathBuf;

/// Arguments of `park bench`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug, Default)]
#[command(after_help = "Examples:
  park bench                                   everything, next to what others do
  park bench --quick --html bench.html         in a minute, as a page
  park bench --log serial.txt --csv raw.csv    what a real machine wrote to COM1 with t=bench

Times are an emulator's, unless --log names a real machine's: TCG has no C-states, and MWAIT is PAUSE there. Ratios compare tenths
of the samples (p10): the mean and the median tell of the host's scheduler. No verdict on times changes the exit code; 1 if a count
of instructions is worse than what is known, 3 if QEMU is missing, 4 if the deadline passed.")]
pub struct Arguments {
    /// Fewer samples, no UEFI, and no waiting for a quiet machine
    #[arg(long)]
    pub quick: bool,
    /// What decides the order of rows and the idle times [default: 1]
    #[arg(long, value_name = "N", value_parser = number)]
    pub seed: Option<u64>,
    /// Write a page with distributions and ratios
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write every sample
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Read the serial log of a machine that ran t=bench, instead of running QEMU
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "seed", "image", "deadline_s"])]
    pub log: Option<PathBuf>,
    /// Run this image instead of building one from the source here
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Give up after so many seconds [default: 900]
    #[arg(long, value_name = "N", value_parser = number)]
    pub deadline_s: Option<u64>,
    /// Print one JSON document of schema park.bench/1
    #[arg(long)]
    pub json: bool,
}
