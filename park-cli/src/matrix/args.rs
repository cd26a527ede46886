//! Arguments of `park matrix`.

use std::path::PathBuf;

/// Arguments of `park matrix`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug, Default)]
#[command(after_help = "Examples:
  park matrix                                  every claim beside what the simulator measures
  park matrix --vendor amd
  park lab --json > lab.json; park matrix --log lab.json
                                               a column for each emulator, too
  park matrix --log epyc.log                   a column for a machine, from its serial log of `t=conformance`
  park matrix --log lab.json --against docs    whether anything is other than in docs/matrix.json and docs/matrix.html
  park matrix --html matrix.html               a page to look at, and to hover over for the citations
  park matrix --json | jq '.vendors[].cells[] | select(.status != \"confirmed\")'

Exit code 1 if anything measured contradicts a claim, or the simulator, and is no named deviation of the emulator; with
`--against` also if anything differs. With `--json` one document of schema park.matrix/1 is printed;
with `--html` the page is written and a summary is printed.")]
pub struct Arguments {
    /// Only the claims for this vendor's CPUs: intel or amd (Hygon's are AMD's)
    #[arg(long, value_name = "V")]
    pub vendor: Option<String>,
    /// Add what a file tells: a document of `park lab --json`, or the serial log of a machine; may be repeated
    #[arg(long, value_name = "FILE")]
    pub log: Vec<PathBuf>,
    /// Print only what is other than in matrix.json and matrix.html of this folder
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["json", "html"])]
    pub against: Option<PathBuf>,
    /// Write a page that stands alone to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print one JSON document of schema park.matrix/1
    #[arg(long)]
    pub json: bool,
}
