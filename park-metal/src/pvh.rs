//! What the PVH boot protocol hands over: `struct hvm_start_info` and the memory map behind it.
//!
//! Source: Xen `xen/include/public/arch-x86/hvm/start_info.h`, version 1. Parsing takes bytes, so that it runs on
//! the host as well; who turns an address into bytes is the caller's business.

use core::fmt;

use park_core::PhysAddr;

/// `XEN_HVM_START_MAGIC_VALUE`: "xEn3" with the 0x80 bit of the "E" set.
pub const START_INFO_MAGIC: u32 = 0x336e_c578;
/// The first version with a memory map.
pub const MEMORY_MAP_VERSION: u32 = 1;
/// Bytes of `struct hvm_start_info` in version 1.
pub const START_INFO_BYTES: usize = 56;
/// Bytes of `struct hvm_memmap_table_entry`.
pub const MEMORY_MAP_ENTRY_BYTES: usize = 24;
/// `XEN_HVM_MEMMAP_TYPE_RAM`, the only type that may be used freely.
pub const MEMORY_TYPE_RAM: u32 = 1;

/// The fields that the image uses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StartInfo {
    /// The zero-terminated command line, if there is one.
    pub cmdline: Option<PhysAddr>,
    /// The ACPI RSDP, if there is one.
    pub rsdp: Option<PhysAddr>,
    /// The memory map's first entry.
    pub memory_map: PhysAddr,
    /// Entries of the memory map.
    pub memory_map_entries: u32,
}

/// Why the start info was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PvhError {
    /// Whatever entered the image, it was not PVH.
    BadMagic {
        /// What was there instead of [`START_INFO_MAGIC`].
        found: u32,
    },
    /// A loader so old that it has no memory map.
    NoMemoryMap {
        /// The structure's version.
        version: u32,
    },
}

impl fmt::Display for PvhError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMagic { found } => write!(f, "start info begins with {found:#x}, not {START_INFO_MAGIC:#x}"),
            Self::NoMemoryMap { version } => write!(f, "start info of version {version} has no memory map"),
        }
    }
}

impl core::error::Error for PvhError {}

impl StartInfo {
    /// Parses the structure. Its addresses are not checked.
    ///
    /// # Errors
    /// [`PvhError`] if it is no start info, or one without memory map.
    pub fn parse(bytes: &[u8; START_INFO_BYTES]) -> Result<Self, PvhError> {
        // Offsets of start_info.h: magic 0, version 4, flags 8, nr_modules 12, modlist 16, cmdline 24, rsdp 32,
        // memmap 40, memmap_entries 48.
        let found = u32_at(bytes, 0);
        if found != START_INFO_MAGIC {
            return Err(PvhError::BadMagic { found });
        }
        let version = u32_at(bytes, 4);
        if version < MEMORY_MAP_VERSION {
            return Err(PvhError::NoMemoryMap { version });
        }
        Ok(Self {
            cmdline: present(u64_at(bytes, 24)),
            rsdp: present(u64_at(bytes, 32)),
            memory_map: PhysAddr(u64_at(bytes, 40)),
            memory_map_entries: u32_at(bytes, 48),
        })
    }
}

/// 0 means absent, says start_info.h.
fn present(address: u64) -> Option<PhysAddr> {
    (address != 0).then_some(PhysAddr(address))
}

/// A stretch of physical memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemoryRange {
    /// Its first byte.
    pub start: PhysAddr,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// Its type; [`MEMORY_TYPE_RAM`] is usable.
    pub kind: u32,
}

impl MemoryRange {
    /// True if the `len_bytes` bytes from `start` on lie in this range.
    #[must_use]
    pub fn contains(&self, start: PhysAddr, len_bytes: u64) -> bool {
        start
            .0
            .checked_sub(self.start.0)
            .and_then(|offset| self.len_bytes.checked_sub(offset))
            .is_some_and(|rest| len_bytes <= rest)
    }
}

/// The entries of a memory map; a last one that is cut off is left out.
pub fn memory_ranges(bytes: &[u8]) -> impl Iterator<Item = MemoryRange> + Clone + '_ {
    bytes.chunks_exact(MEMORY_MAP_ENTRY_BYTES).map(|entry| MemoryRange {
        start: PhysAddr(u64_at(entry, 0)),
        len_bytes: u64_at(entry, 8),
        kind: u32_at(entry, 16),
    })
}

/// The little-endian number at `offset`; bytes beyond the end read as 0.
fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    bytes.iter().skip(offset).take(8).rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// As [`u64_at`], 4 bytes.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes.iter().skip(offset).take(4).rev().fold(0, |number, &byte| number << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_info(magic: u32, version: u32) -> [u8; START_INFO_BYTES] {
        let mut bytes = [0; START_INFO_BYTES];
        bytes[0..4].copy_from_slice(&magic.to_le_bytes());
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        bytes[24..32].copy_from_slice(&0x1111_2222_3333_4444_u64.to_le_bytes());
        bytes[40..48].copy_from_slice(&0x5000_u64.to_le_bytes());
        bytes[48..52].copy_from_slice(&7_u32.to_le_bytes());
        bytes
    }

    #[test]
    fn fields_come_from_their_offsets() {
        assert_eq!(
            StartInfo::parse(&start_info(START_INFO_MAGIC, 1)),
            Ok(StartInfo {
                cmdline: Some(PhysAddr(0x1111_2222_3333_4444)),
                rsdp: None,
                memory_map: PhysAddr(0x5000),
                memory_map_entries: 7,
            })
        );
    }

    #[test]
    fn other_structures_are_refused() {
        assert_eq!(StartInfo::parse(&start_info(0x36d7_6289, 1)), Err(PvhError::BadMagic { found: 0x36d7_6289 }));
        assert_eq!(StartInfo::parse(&start_info(START_INFO_MAGIC, 0)), Err(PvhError::NoMemoryMap { version: 0 }));
    }

    #[test]
    fn a_cut_off_entry_is_left_out() {
        let mut bytes = [0_u8; 2 * MEMORY_MAP_ENTRY_BYTES - 1];
        bytes[1] = 0x10;
        bytes[8] = 0x20;
        bytes[16] = 2;
        let mut ranges = memory_ranges(&bytes);
        assert_eq!(ranges.next(), Some(MemoryRange { start: PhysAddr(0x1000), len_bytes: 0x20, kind: 2 }));
        assert_eq!(ranges.next(), None);
    }

    #[test]
    fn contains_knows_its_edges() {
        let range = MemoryRange { start: PhysAddr(0x1000), len_bytes: 0x1000, kind: MEMORY_TYPE_RAM };
        assert!(range.contains(PhysAddr(0x1000), 0x1000));
        assert!(range.contains(PhysAddr(0x1fff), 1));
        assert!(!range.contains(PhysAddr(0x1fff), 2));
        assert!(!range.contains(PhysAddr(0xfff), 1));
        assert!(!range.contains(PhysAddr(0x2001), 0));
        assert!(!range.contains(PhysAddr(0x1800), u64::MAX));
    }
}
