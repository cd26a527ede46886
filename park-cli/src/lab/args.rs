//! Arguments of `park lab`.

use super::linux::Command;
use crate::args::number;
use std::path::PathBuf;

/// Arguments of `park lab`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug, Default)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  park lab                                     everything, on the simulator and both emulators
  park lab --list                              what that is
  park lab --rig sim                           the conformance cases on the simulator, in a second
  park lab --rig qemu --case torture           parked CPUs under QEMU while all memory is overwritten
  park lab --case bochs-ryzen-4/torture        one trial
  park lab --cpu tigerlake --json
  park lab linux-torture                       parked CPUs of stock Linux and of park in the same kexec

A trial is one test of the image on one machine of an emulator, and named `MACHINE/TEST`. What a trial that failed saw is left
below target/lab. Exit code 1 if one failed, 3 if an emulator or a ROM is missing, 4 if the deadline passed."
)]
pub struct Arguments {
    /// Stock Linux instead of trials.
    #[command(subcommand)]
    pub linux: Option<Command>,
    /// Only this rig: sim, qemu, bochs, or all [default: all]
    #[arg(long, value_name = "RIG")]
    pub rig: Option<String>,
    /// Only machines with this CPU model; may be repeated
    #[arg(long, value_name = "MODEL")]
    pub cpu: Vec<String>,
    /// Only trials whose name, or whose test's name, matches; `*` and `?` stand for others
    #[arg(long, value_name = "GLOB")]
    pub case: Option<String>,
    /// The long trials instead of the short ones
    #[arg(long)]
    pub soak: bool,
    /// List the trials instead of running them
    #[arg(long, conflicts_with_all = ["image", "deadline_s", "json"])]
    pub list: bool,
    /// Run this image instead of building one from the source here
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Give up after so many seconds [default: 900, or 7200 with --soak]
    #[arg(long, value_name = "N", value_parser = number)]
    pub deadline_s: Option<u64>,
    /// Print one JSON document of schema park.lab/1
    #[arg(long)]
    pub json: bool,
}
