//! Arguments of `park survey`.

use std::path::PathBuf;

/// Arguments of `park survey`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug, Default)]
#[command(after_help = "Examples:
  park survey
  park survey --cpuid dump.txt --json

A dump has lines such as `CPUID 00000000: 0000000D-756E6547-6C65746E-49656E69`, or is the output of `cpuid -r`.")]
pub struct Arguments {
    /// The machine whose CPUID registers were dumped into this file, instead of this one
    #[arg(long, value_name = "FILE")]
    pub cpuid: Option<PathBuf>,
    /// Print one JSON document of schema park.survey/1
    #[arg(long)]
    pub json: bool,
}
