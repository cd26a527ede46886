//! Booting a stock Linux: what can be computed of it. The image does what needs the machine, in the test `linux`.
//!
//! Source: Linux, Documentation/arch/x86/boot.rst ("The Linux/x86 Boot Protocol") and arch/x86/include/uapi/asm/bootparam.h.

pub mod boot_params;
pub mod bzimage;
pub mod command_line;
pub mod map;

use core::fmt;

use park_core::PhysAddr;

use crate::memory::{PAGE_BYTES, Region};

/// A file that whoever started the machine has put into memory: `kernel=0x8000000:8247232`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct File {
    /// Its first byte.
    pub at: PhysAddr,
    /// Its length in bytes.
    pub len_bytes: u64,
}

impl File {
    /// `0x8000000:8247232`: address in hexadecimal, length in decimal. `None` for anything else, and for a file of no
    /// bytes, at address 0, or beyond the end of memory.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (at, len_bytes) = text.strip_prefix("0x")?.split_once(':')?;
        let file = Self { at: PhysAddr(u64::from_str_radix(at, 16).ok()?), len_bytes: len_bytes.parse().ok()? };
        let end = file.at.checked_add(file.len_bytes)?.checked_add(PAGE_BYTES);
        (file.at.0 != 0 && file.len_bytes != 0 && end.is_some()).then_some(file)
    }

    /// The pages that it lies in.
    #[must_use]
    pub const fn region(&self, name: &'static str) -> Region {
        let start = self.at.0 / PAGE_BYTES * PAGE_BYTES;
        let end = (self.at.0 + self.len_bytes).next_multiple_of(PAGE_BYTES);
        Region { name, start: PhysAddr(start), len_bytes: end - start }
    }
}

/// Why Linux can't be entered. Nobody has been parked for it then, or everybody stays where they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum LinuxError {
    /// The command line names no kernel.
    NoKernel,
    /// The file is too short to hold a header.
    NoHeader {
        /// Its length in bytes.
        len_bytes: u64,
    },
    /// The file is no bzImage.
    NotBzImage {
        /// What stands where `HdrS` should.
        found: u32,
    },
    /// The boot protocol is older than any that has what is needed.
    OldProtocol {
        /// Its version, as `0x20c`.
        version: u16,
    },
    /// The kernel has no 64-bit entry.
    No64BitEntry,
    /// The file ends before the kernel does.
    Truncated {
        /// Its length in bytes.
        len_bytes: u64,
        /// What its header says, in bytes.
        wanted_bytes: u64,
    },
    /// What the kernel needs to unpack itself is impossible.
    BadInitSize {
        /// Bytes that it wants.
        init_bytes: u64,
        /// Bytes that it has.
        kernel_bytes: u64,
    },
    /// Two things would lie over each other.
    Over {
        /// The one.
        region: Region,
        /// The other.
        other: Region,
    },
    /// Something does not lie in usable memory.
    NotInMemory {
        /// What.
        region: Region,
    },
    /// The initrd ends behind the last byte that this kernel reaches.
    InitrdTooHigh {
        /// The initrd.
        region: Region,
        /// The last address that the kernel allows.
        max: PhysAddr,
    },
    /// The command line is longer than this kernel takes.
    LongCommandLine {
        /// Its length in bytes.
        len_bytes: usize,
        /// The most that the kernel takes.
        max_bytes: usize,
    },
    /// The memory map has more pieces than boot parameters hold.
    LongMap,
    /// There is no room for something.
    NoRoom {
        /// What.
        name: &'static str,
        /// Bytes that it needs.
        len_bytes: u64,
    },
}

impl fmt::Display for LinuxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKernel => f.write_str("`t=linux` needs kernel=ADDRESS:BYTES"),
            Self::NoHeader { len_bytes } => write!(f, "a kernel of {len_bytes} bytes has no room for its header"),
            Self::NotBzImage { found } => write!(f, "the kernel is no bzImage: {found:#010x} stands for HdrS"),
            Self::OldProtocol { version } => {
                write!(f, "the kernel's boot protocol is {version:#x}; 0x20c or later is needed")
            }
            Self::No64BitEntry => f.write_str("the kernel has no 64-bit entry: it is not an x86-64 kernel"),
            Self::Truncated { len_bytes, wanted_bytes } => {
                write!(f, "the kernel is truncated: {len_bytes} bytes of {wanted_bytes} are there")
            }
            Self::BadInitSize { init_bytes, kernel_bytes } => {
                write!(f, "a kernel of {kernel_bytes} bytes says that it unpacks in {init_bytes}")
            }
            Self::Over { region, other } => write!(
                f,
                "the {}, {} to {}, lies over the {}, {} to {}",
                region.name,
                region.start,
                region.end(),
                other.name,
                other.start,
                other.end()
            ),
            Self::NotInMemory { region } => {
                write!(f, "the {}, {} to {}, does not fit into usable memory", region.name, region.start, region.end())
            }
            Self::InitrdTooHigh { region, max } => {
                write!(
                    f,
                    "the initrd does not fit: it ends at {}, and this kernel reaches no further than {max}",
                    region.end()
                )
            }
            Self::LongCommandLine { len_bytes, max_bytes } => {
                write!(f, "a command line of {len_bytes} bytes is more than the {max_bytes} that this kernel takes")
            }
            Self::LongMap => write!(f, "the memory map has more than {} pieces", boot_params::MAP_ENTRIES_MAX),
            Self::NoRoom { name, len_bytes } => write!(f, "no usable memory for the {name}: {len_bytes:#x} bytes"),
        }
    }
}

impl core::error::Error for LinuxError {}

/// The little-endian number of 4 bytes at `offset`.
fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_an_address_and_a_length() {
        let file = File::parse("0x8000800:4096").unwrap();
        assert_eq!((file.at, file.len_bytes), (PhysAddr(0x800_0800), 4096));
        let region = file.region("kernel");
        assert_eq!((region.start, region.end()), (PhysAddr(0x800_0000), PhysAddr(0x800_2000)));
        for text in
            ["", "0x:1", "8000:1", "0x1000", "0x1000:", "0x1000:0x10", "0x0:1", "0x1000:0", "0xfffffffffffff000:1"]
        {
            assert_eq!(File::parse(text), None, "{text}");
        }
    }
}
