//! Where everything lies in physical memory, and the allocator of pages.
//!
//! The image identity-maps the low 4 GiB, so a physical address is also a pointer. Regions are fixed; before the
//! first one is touched, [`check`] compares them with the machine's memory map.

use core::fmt;

use park_core::PhysAddr;

use crate::pvh::{MEMORY_TYPE_RAM, MemoryRange};

/// Bytes of a page.
pub const PAGE_BYTES: u64 = 0x1000;
/// The identity map ends here.
pub const IDENTITY_MAP_END: PhysAddr = PhysAddr(1 << 32);
/// CPUs that the image can hold.
pub const MAX_CPUS: usize = 64;
/// Bytes of one CPU's area (tables and stacks), and its alignment: a handler finds the area by masking RSP.
pub const CPU_AREA_BYTES: u64 = 0x1_0000;

/// A stretch of memory that the image uses for one thing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Region {
    /// What for.
    pub name: &'static str,
    /// Its first byte.
    pub start: PhysAddr,
    /// Its length in bytes.
    pub len_bytes: u64,
}

impl Region {
    /// The first byte behind the region.
    #[must_use]
    pub const fn end(&self) -> PhysAddr {
        PhysAddr(self.start.0 + self.len_bytes)
    }
}

/// The page a started CPU begins in: below 1 MiB, since a STARTUP IPI carries 8 bits of page number
/// (Intel SDM vol. 3, "Local Vector Table" chapter, ICR vector field).
pub const TRAMPOLINE: Region = Region { name: "trampoline", start: PhysAddr(0x8000), len_bytes: PAGE_BYTES };
/// Text and data; link.ld holds the same bounds.
pub const IMAGE: Region = Region { name: "image", start: PhysAddr(0x10_0000), len_bytes: 0x70_0000 };
/// What [`PageBump`] gives out: the areas of all CPUs, and as much again.
pub const PAGE_POOL: Region = Region { name: "page-pool", start: PhysAddr(0x80_0000), len_bytes: 0x80_0000 };
/// The lot under test.
pub const LOT: Region = Region { name: "lot", start: PhysAddr(0x100_0000), len_bytes: 0x100_0000 };

/// All regions.
pub const REGIONS: [Region; 4] = [TRAMPOLINE, IMAGE, PAGE_POOL, LOT];

const _: () = assert!(MAX_CPUS as u64 * CPU_AREA_BYTES <= PAGE_POOL.len_bytes / 2, "the pool is too small");

/// A region that this machine has no usable memory for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NotUsable {
    /// The region.
    pub region: Region,
}

impl fmt::Display for NotUsable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Region { name, start, .. } = self.region;
        write!(f, "no usable memory for {name} at {start} to {}; give the machine 64 MiB", self.region.end())
    }
}

impl core::error::Error for NotUsable {}

/// Checks that every region lies in one range of usable memory, and returns the bytes of all usable memory.
///
/// # Errors
/// [`NotUsable`] names the first region that does not.
pub fn check(ranges: impl Iterator<Item = MemoryRange> + Clone, regions: &[Region]) -> Result<u64, NotUsable> {
    let ram = ranges.filter(|range| range.kind == MEMORY_TYPE_RAM);
    for &region in regions {
        if !ram.clone().any(|range| range.contains(region.start, region.len_bytes)) {
            return Err(NotUsable { region });
        }
    }
    Ok(ram.fold(0, |sum: u64, range| sum.saturating_add(range.len_bytes)))
}

/// Gives out pages from a region, in order, and takes none back.
#[derive(PartialEq, Eq, Hash, Debug)]
pub struct PageBump {
    next: u64,
    end: u64,
}

impl PageBump {
    /// An allocator of all of `region`.
    #[must_use]
    pub const fn new(region: Region) -> Self {
        Self { next: region.start.0, end: region.end().0 }
    }

    /// The next `len_bytes` bytes at a multiple of `align_bytes`, a power of two; `None` if the region is used up.
    /// The contents are whatever lay there.
    #[must_use]
    pub fn take(&mut self, len_bytes: u64, align_bytes: u64) -> Option<PhysAddr> {
        let start = self.next.checked_next_multiple_of(align_bytes)?;
        let end = start.checked_add(len_bytes)?.checked_next_multiple_of(PAGE_BYTES)?;
        if end > self.end {
            return None;
        }
        self.next = end;
        Some(PhysAddr(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ram(start: u64, end: u64) -> MemoryRange {
        MemoryRange { start: PhysAddr(start), len_bytes: end - start, kind: MEMORY_TYPE_RAM }
    }

    #[test]
    fn regions_are_pages_apart_and_mapped() {
        for (index, region) in REGIONS.iter().enumerate() {
            assert!(region.start.is_aligned(PAGE_BYTES) && region.len_bytes % PAGE_BYTES == 0, "{region:?}");
            assert!(region.end() <= IDENTITY_MAP_END, "{region:?}");
            for other in &REGIONS[index + 1..] {
                assert!(region.end() <= other.start || other.end() <= region.start, "{region:?} {other:?}");
            }
        }
        assert!(TRAMPOLINE.end() <= PhysAddr(0x10_0000));
    }

    #[test]
    fn a_machine_of_64_mib_is_enough() {
        let map = [ram(0, 0x9_fc00), MemoryRange { kind: 2, ..ram(0xf_0000, 0x10_0000) }, ram(0x10_0000, 0x400_0000)];
        assert_eq!(check(map.into_iter(), &REGIONS), Ok(0x9_fc00 + 0x3f0_0000));
    }

    #[test]
    fn reserved_or_missing_memory_is_refused_by_name() {
        let small = [ram(0, 0x9_fc00), ram(0x10_0000, 0x1ff_f000)];
        assert_eq!(check(small.into_iter(), &REGIONS), Err(NotUsable { region: LOT }));
        let reserved = [MemoryRange { kind: 2, ..ram(0, 0x400_0000) }];
        assert_eq!(check(reserved.into_iter(), &REGIONS), Err(NotUsable { region: TRAMPOLINE }));
    }

    #[test]
    fn pages_come_aligned_in_order_until_they_are_used_up() {
        let mut pages = PageBump::new(Region { name: "test", start: PhysAddr(0x1000), len_bytes: 0x4000 });
        assert_eq!(pages.take(1, PAGE_BYTES), Some(PhysAddr(0x1000)));
        assert_eq!(pages.take(0x1000, 0x4000), Some(PhysAddr(0x4000)));
        assert_eq!(pages.take(1, PAGE_BYTES), None);
        assert_eq!(pages.take(u64::MAX, PAGE_BYTES), None);
    }
}
