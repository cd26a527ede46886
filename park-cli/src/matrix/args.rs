//! Arguments of `park matrix`.

use std::path::PathBuf;

/// Arguments of `park matrix`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug, Default)]
#[command(after_help = "Examples:
  park matrix                                  every claim beside what the simulator measures
  park matrix --vendor amd
  park matrix --html matrix.html               a page to look at, and to hover over for the citations
  park matrix --json | jq '.vendors[].cells[] | select(.status != \"confirmed\")'

Exit code 1 if anything measured contradicts a claim. With `--json` one document of schema park.matrix/1 is printed;
with `--html` the page is written and a summary is printed.")]
pub struct Arguments {
    /// Only the claims for this vendor's CPUs: intel or amd (Hygon's are AMD's)
    #[arg(long, value_name = "V")]
    pub vendor: Option<String>,
    /// Write a page that stands alone to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print one JSON document of schema park.matrix/1
    #[arg(long)]
    pub json: bool,
}
