//! Arguments of `park plan`.

use crate::args::number;
use crate::machine::MachineArguments;

/// Arguments of `park plan`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug, Default)]
#[command(after_help = "Examples:
  park plan --situation kexec
  park plan --situation no-smt --topology 2x8x2 --vendor amd --json
  park plan --situation crash-kexec --topology 1x4x1 --on 2
  park plan --situation offline --require survives-init,foreign-kernel-cannot-take
  park plan --situation consolidate --topology 1x4x1 --load 80,10,0,0

Situations: offline, no-smt, kexec, crash-kexec, hibernate, shutdown, boot, consolidate; docs/guarantees.md says what
each requires, and what guarantees mean. Exit code 1: there is no plan, and for each mechanism it is said what it lacks.")]
pub struct Arguments {
    /// Why CPUs are parked: says which, and what is required
    #[arg(long, value_name = "S")]
    pub situation: String,
    /// The machine.
    #[command(flatten)]
    pub machine: MachineArguments,
    /// How busy each CPU is, in percent, in the order of APIC ids: what consolidate decides by [default: all idle]
    #[arg(long, value_name = "PCT,…")]
    pub load: Option<String>,
    /// Guarantees to require too
    #[arg(long, value_name = "G,…", value_delimiter = ',')]
    pub require: Vec<String>,
    /// Guarantees to prefer too
    #[arg(long, value_name = "G,…", value_delimiter = ',')]
    pub prefer: Vec<String>,
    /// Mechanisms not to use
    #[arg(long, value_name = "M,…", value_delimiter = ',')]
    pub exclude: Vec<String>,
    /// Mechanisms to use although nobody does unasked: wait-for-sipi
    #[arg(long, value_name = "M,…", value_delimiter = ',')]
    pub allow: Vec<String>,
    /// The longest time that a CPU may take to wake, in microseconds [default: the situation's]
    #[arg(long, value_name = "N", value_parser = number)]
    pub latency_us: Option<u64>,
    /// The APIC id of the CPU that goes on [default: the bootstrap processor's]
    #[arg(long, value_name = "ID", value_parser = number)]
    pub on: Option<u64>,
    /// Print one JSON document of schema park.plan/1
    #[arg(long)]
    pub json: bool,
}
