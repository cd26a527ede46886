//! Arguments of `park lab linux-…`.

use crate::args::number;
use std::path::PathBuf;

/// What stock Linux is asked to show.
#[derive(clap::Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Parked CPUs in a kexec, stock Linux's and park's in the same one: who survives what
    LinuxTorture(Arguments),
    /// Stock Linux takes its CPUs out of a lot, by the ACPI mailbox
    LinuxMailbox(Arguments),
    /// One Linux after the other, and a lot that outlives them
    LinuxChain(Arguments),
}

/// Arguments of each.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug, Default)]
#[command(after_help = "Examples:
  park lab linux-torture                       the failure and its control, and park beside them: six boots
  park lab linux-torture --long --json         every way of parking, and every event
  park lab linux-mailbox --kernel vmlinuz      a kernel of your own

The kernel is Debian's current one and comes by apt-get download, as does what runs in it; both stay below target/linux.
Nothing is installed, and root is not needed. Exit code 1 if something came out otherwise than it must, 3 if a tool or a
package is missing, 4 if the deadline passed.")]
pub struct Arguments {
    /// Everything, not only the short form
    #[arg(long)]
    pub long: bool,
    /// This bzImage instead of Debian's
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// This image instead of one built from the source here
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Only what has a name that matches; `*` and `?` stand for others
    #[arg(long, value_name = "GLOB")]
    pub case: Option<String>,
    /// Give up after so many seconds [default: 900, or 7200 with --long]
    #[arg(long, value_name = "N", value_parser = number)]
    pub deadline_s: Option<u64>,
    /// Print one JSON document of schema park.lab-linux/1
    #[arg(long)]
    pub json: bool,
}

impl Command {
    /// The arguments.
    #[must_use]
    pub const fn arguments(&self) -> &Arguments {
        match self {
            Self::LinuxTorture(arguments) | Self::LinuxMailbox(arguments) | Self::LinuxChain(arguments) => arguments,
        }
    }
}
