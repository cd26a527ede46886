//! UEFI's memory map, as GetMemoryMap writes it.
//!
//! Source: UEFI specification 2.10, 7.2.3 (EFI_MEMORY_DESCRIPTOR, and table 7.10 for what may be used once boot services have
//! ended). Parsing takes bytes and trusts nothing among them.

use park_core::PhysAddr;

use crate::memory::PAGE_BYTES;
use crate::pvh::{MEMORY_TYPE_RAM, MemoryRange};

/// The kind of everything that is not usable: reserved, as e820 and PVH have it.
const MEMORY_TYPE_RESERVED: u32 = 2;
/// Offsets in a descriptor: PhysicalStart and NumberOfPages; the type comes first.
const START: usize = 8;
const PAGES: usize = 24;
/// EfiLoaderCode, EfiLoaderData, EfiBootServicesCode, EfiBootServicesData, EfiConventionalMemory.
const USABLE: [u32; 5] = [1, 2, 3, 4, 7];

/// The ranges of a map whose descriptors take `entry_bytes` each; those that go on where the one before ends, and are as usable
/// as it, are one with it. A last descriptor that is cut off is left out.
pub fn memory_ranges(bytes: &[u8], entry_bytes: usize) -> impl Iterator<Item = MemoryRange> + Clone + '_ {
    let mut entries = bytes.chunks_exact(entry_bytes.max(1)).filter_map(range).peekable();
    core::iter::from_fn(move || {
        let mut range = entries.next()?;
        while let Some(next) = entries.next_if(|next| follows(&range, next)) {
            range.len_bytes = range.len_bytes.saturating_add(next.len_bytes);
        }
        Some(range)
    })
}

/// One descriptor; `None` if it is too short.
fn range(entry: &[u8]) -> Option<MemoryRange> {
    let word = |at: usize| Some(u64::from_le_bytes(*entry.get(at..)?.first_chunk()?));
    let kind = u32::from_le_bytes(*entry.first_chunk()?);
    let kind = if USABLE.contains(&kind) { MEMORY_TYPE_RAM } else { MEMORY_TYPE_RESERVED };
    Some(MemoryRange { start: PhysAddr(word(START)?), len_bytes: word(PAGES)?.saturating_mul(PAGE_BYTES), kind })
}

fn follows(range: &MemoryRange, next: &MemoryRange) -> bool {
    next.kind == range.kind && range.start.checked_add(range.len_bytes) == Some(next.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OVMF's descriptors are longer than the structure, so that nobody steps by its size.
    const ENTRY_BYTES: usize = 48;

    fn map(entries: &[(u32, u64, u64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, start, pages) in entries {
            let mut entry = kind.to_le_bytes().to_vec();
            entry.resize(START, 0xee);
            entry.extend_from_slice(&start.to_le_bytes());
            entry.resize(PAGES, 0xee);
            entry.extend_from_slice(&pages.to_le_bytes());
            entry.resize(ENTRY_BYTES, 0xee);
            bytes.extend(entry);
        }
        bytes
    }

    fn ranges(entries: &[(u32, u64, u64)]) -> Vec<(u64, u64, u32)> {
        let bytes = map(entries);
        memory_ranges(&bytes, ENTRY_BYTES).map(|range| (range.start.0, range.len_bytes, range.kind)).collect()
    }

    #[test]
    fn what_may_be_used_afterwards_is_ram_and_neighbours_are_one() {
        let entries = [(7, 0, 1), (4, 0x1000, 2), (0, 0x3000, 1), (10, 0x4000, 1), (3, 0x5000, 1), (7, 0x7000, 1)];
        let expected = [(0, 0x3000, 1), (0x3000, 0x2000, 2), (0x5000, 0x1000, 1), (0x7000, 0x1000, 1)];
        assert_eq!(ranges(&entries), expected);
    }

    #[test]
    fn nothing_is_trusted() {
        assert_eq!(ranges(&[(7, u64::MAX, u64::MAX), (7, 0, 1)]), [(u64::MAX, u64::MAX, 1), (0, 0x1000, 1)]);
        let bytes = map(&[(7, 0, 1), (7, 0x9000, 1)]);
        assert_eq!(memory_ranges(&bytes[..ENTRY_BYTES + 40], ENTRY_BYTES).count(), 1);
        for entry_bytes in [0, 1, 31] {
            assert_eq!(memory_ranges(&bytes, entry_bytes).count(), 0, "{entry_bytes}");
        }
    }
}
