//! Arguments of `park lot`.

use crate::args::number;
use std::path::PathBuf;

/// Arguments of `park lot`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
#[command(after_help = "Examples:
  park lot vmcore                              the lot in an ELF core: QEMU's dump-guest-memory, /proc/vmcore
  park lot memory.raw                          a flat dump, in which offset = physical address, or a lot alone
  park lot /dev/mem --at 0x8000000             the lot at this physical address
  park lot vmcore --json | jq '.bays[] | select(.state == \"faulted\")'

Without --at the file is searched for a lot at every multiple of 4 KiB. Exit code 1 if the lot is damaged: what can be read
of it is printed all the same. With `--json` one document of schema park.lot/1 is printed.
Linux leaves reserved memory, and so a lot, out of /proc/vmcore; QEMU's dump-guest-memory has all of it.")]
pub struct Arguments {
    /// A dump of physical memory: an ELF core, or a flat file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The lot's physical address, a multiple of 4096
    #[arg(long, value_name = "ADDR", value_parser = number)]
    pub at: Option<u64>,
    /// Print one JSON document of schema park.lot/1
    #[arg(long)]
    pub json: bool,
}
