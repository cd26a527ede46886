//! Arguments of `park image`.

use crate::args::number;
use std::path::PathBuf;

/// Arguments of `park image`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug, Default)]
#[command(after_help = "Examples:
  park image park-metal.elf                    for QEMU's -kernel, or kexec
  park image --iso park.iso                    boots from BIOS and UEFI; write it to a stick with dd
  park image --iso park.iso --command-line 't=torture generations=100 exit=halt'

The image is built from park's source, in which park must be called. Exit code 3 if a tool is missing.")]
pub struct Arguments {
    /// Write the image itself, an ELF file for multiboot2 and PVH
    #[arg(value_name = "FILE", required_unless_present = "iso")]
    pub elf: Option<PathBuf>,
    /// Write an ISO that boots it
    #[arg(long, value_name = "FILE")]
    pub iso: Option<PathBuf>,
    /// What the ISO passes to the image [default: t=skeleton exit=halt]
    #[arg(long, value_name = "WORDS", requires = "iso")]
    pub command_line: Option<String>,
    /// Put this image into the ISO instead of building one from the source here
    #[arg(long, value_name = "FILE", requires = "iso", conflicts_with = "elf")]
    pub image: Option<PathBuf>,
    /// Give up after so many seconds [default: 600]
    #[arg(long, value_name = "N", value_parser = number)]
    pub deadline_s: Option<u64>,
}
