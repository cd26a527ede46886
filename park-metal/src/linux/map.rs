//! The memory map that Linux gets: the machine's, with what is kept cut out of usable memory.

use core::iter;

use park_core::PhysAddr;

use super::LinuxError;
use super::boot_params::MAP_ENTRIES_MAX;
use crate::memory::{PAGE_BYTES, Region};
use crate::pvh::{MEMORY_TYPE_RAM, MemoryRange};

/// e820: memory that nobody but its owner touches, for ever: the lot (ACPI 6.6, table 15.6, AddressRangeReserved).
pub const RESERVED: u32 = 2;
/// e820: ACPI tables, kept until the operating system has read them; Linux keeps them (AddressRangeACPI).
pub const ACPI_TABLES: u32 = 3;
/// e820: what firmware and operating system share, as the mailbox (AddressRangeNVS; section 5.2.12.19 demands it).
pub const ACPI_NVS: u32 = 4;

/// A memory map, in order of addresses, no two ranges over each other if the machine's are not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LinuxMap {
    ranges: [MemoryRange; MAP_ENTRIES_MAX],
    len: usize,
}

impl LinuxMap {
    /// The machine's map with `kept` cut out of usable memory and put in by itself, each with its type.
    ///
    /// # Errors
    /// [`LinuxError::LongMap`].
    pub fn new(machine: impl Iterator<Item = MemoryRange>, kept: &[(Region, u32)]) -> Result<Self, LinuxError> {
        let mut map =
            Self { ranges: [MemoryRange { start: PhysAddr(0), len_bytes: 0, kind: 0 }; MAP_ENTRIES_MAX], len: 0 };
        for range in machine {
            if range.kind == MEMORY_TYPE_RAM {
                map.push_around(range, kept)?;
            } else {
                map.push(range)?;
            }
        }
        for (region, kind) in kept {
            map.push(MemoryRange { start: region.start, len_bytes: region.len_bytes, kind: *kind })?;
        }
        let len = map.len;
        if let Some(ranges) = map.ranges.get_mut(..len) {
            ranges.sort_unstable_by_key(|range| range.start);
        }
        Ok(map)
    }

    /// Puts in what is left of `range` without `kept`.
    fn push_around(&mut self, range: MemoryRange, kept: &[(Region, u32)]) -> Result<(), LinuxError> {
        let range_end = range.start.0.saturating_add(range.len_bytes);
        let mut next = range.start.0;
        while next < range_end {
            let ahead = || kept.iter().map(|(region, _)| region).filter(|region| region.end().0 > next);
            let first = ahead().min_by_key(|region| region.start);
            let end = first.map_or(range_end, |region| region.start.0.clamp(next, range_end));
            if end > next {
                self.push(MemoryRange { start: PhysAddr(next), len_bytes: end - next, ..range })?;
            }
            next = first.map_or(range_end, |region| region.end().0.max(end));
        }
        Ok(())
    }

    fn push(&mut self, range: MemoryRange) -> Result<(), LinuxError> {
        *self.ranges.get_mut(self.len).ok_or(LinuxError::LongMap)? = range;
        self.len += 1;
        Ok(())
    }

    /// The ranges.
    pub fn ranges(&self) -> impl Iterator<Item = MemoryRange> + Clone + '_ {
        self.ranges.iter().take(self.len).copied()
    }
}

/// The highest `len_bytes` bytes, whole pages, in usable memory below `end` that touch nothing that is `taken`.
#[must_use]
pub fn highest(
    machine: impl Iterator<Item = MemoryRange> + Clone,
    wanted: (&'static str, u64),
    end: PhysAddr,
    taken: &[Region],
) -> Option<Region> {
    let (name, len_bytes) = wanted;
    let ram = machine.filter(|range| range.kind == MEMORY_TYPE_RAM);
    // The highest place ends where its range does, or where something that is taken begins.
    let ends = ram.clone().map(|range| range.start.0.saturating_add(range.len_bytes).min(end.0));
    let ends = ends.chain(taken.iter().map(|region| region.start.0)).chain(iter::once(end.0));
    let starts = ends.filter_map(|end| Some(end.checked_sub(len_bytes)? / PAGE_BYTES * PAGE_BYTES));
    let place = |start| Region { name, start: PhysAddr(start), len_bytes };
    let is_free = |place: &Region| {
        let apart = |other: &Region| place.end() <= other.start || other.end() <= place.start;
        place.start.0 != 0
            && place.end() <= end
            && taken.iter().all(apart)
            && ram.clone().any(|range| range.contains(place.start, len_bytes))
    };
    starts.map(place).filter(is_free).max_by_key(|place| place.start)
}

/// Fails unless `region` lies in usable memory and touches none of `others`.
///
/// # Errors
/// [`LinuxError::NotInMemory`], [`LinuxError::Over`].
pub fn check_place(
    mut machine: impl Iterator<Item = MemoryRange>,
    region: Region,
    others: &[Region],
) -> Result<(), LinuxError> {
    if let Some(&other) = others.iter().find(|other| region.start < other.end() && other.start < region.end()) {
        return Err(LinuxError::Over { region, other });
    }
    let in_memory =
        machine.any(|range| range.kind == MEMORY_TYPE_RAM && range.contains(region.start, region.len_bytes));
    if in_memory { Ok(()) } else { Err(LinuxError::NotInMemory { region }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64, kind: u32) -> MemoryRange {
        MemoryRange { start: PhysAddr(start), len_bytes: end - start, kind }
    }

    fn region(start: u64, end: u64) -> Region {
        Region { name: "kept", start: PhysAddr(start), len_bytes: end - start }
    }

    /// As of QEMU's SeaBIOS.
    fn machine() -> impl Iterator<Item = MemoryRange> + Clone {
        [range(0, 0x9_fc00, 1), range(0xf_0000, 0x10_0000, 2), range(0x10_0000, 0x400_0000, 1)].into_iter()
    }

    fn triples(map: &LinuxMap) -> Vec<(u64, u64, u32)> {
        map.ranges().map(|range| (range.start.0, range.start.0 + range.len_bytes, range.kind)).collect()
    }

    #[test]
    fn what_is_kept_is_cut_out_of_memory_and_named() {
        let kept = [(region(0x300_0000, 0x310_0000), 2), (region(0x310_0000, 0x310_1000), 4)];
        let map = LinuxMap::new(machine(), &kept).unwrap();
        let expected = [
            (0, 0x9_fc00, 1),
            (0xf_0000, 0x10_0000, 2),
            (0x10_0000, 0x300_0000, 1),
            (0x300_0000, 0x310_0000, 2),
            (0x310_0000, 0x310_1000, 4),
            (0x310_1000, 0x400_0000, 1),
        ];
        assert_eq!(triples(&map), expected);
    }

    #[test]
    fn whole_ranges_their_ends_and_overlapping_pieces_go_too() {
        let cut = |kept: &[Region]| {
            let kept: Vec<_> = kept.iter().map(|region| (*region, 2)).collect();
            let map = LinuxMap::new([range(0x1000, 0x9000, 1)].into_iter(), &kept).unwrap();
            let ram = triples(&map).into_iter().filter(|range| range.2 == 1);
            ram.map(|(start, end, _)| (start, end)).collect::<Vec<_>>()
        };
        assert_eq!(cut(&[region(0x1000, 0x9000)]), []);
        assert_eq!(cut(&[region(0, 0xf000)]), []);
        assert_eq!(cut(&[region(0x1000, 0x2000), region(0x8000, 0x9000)]), [(0x2000, 0x8000)]);
        assert_eq!(cut(&[region(0x3000, 0x5000), region(0x4000, 0x6000)]), [(0x1000, 0x3000), (0x6000, 0x9000)]);
        assert_eq!(cut(&[region(0x9000, 0xa000)]), [(0x1000, 0x9000)]);
        // Too many pieces are an error, not a map that lacks some.
        let kept = [(region(0x1000, 0x2000), 2); MAP_ENTRIES_MAX + 1];
        assert_eq!(LinuxMap::new(machine(), &kept), Err(LinuxError::LongMap));
    }

    #[test]
    fn the_highest_place_is_below_what_is_taken() {
        let end = PhysAddr(1 << 32);
        let find = |len, taken: &[Region]| highest(machine(), ("x", len), end, taken).map(|place| place.start.0);
        assert_eq!(find(0x1000, &[]), Some(0x3ff_f000));
        assert_eq!(find(0x1000, &[region(0x3ff_f800, 0x3ff_f900)]), Some(0x3ff_e000));
        assert_eq!(find(0x2000, &[region(0x200_0000, 0x400_0000)]), Some(0x1ff_e000));
        assert_eq!(find(0x1000, &[region(0x10_0000, 0x400_0000)]), Some(0x9_e000));
        assert_eq!(find(0x400_0000, &[]), None);
        // Never page 0, and never above the end.
        assert_eq!(highest([range(0, 0x1000, 1)].into_iter(), ("x", 0x1000), end, &[]), None);
        let high = || [range(0, 1 << 33, 1)].into_iter();
        assert_eq!(highest(high(), ("x", 0x1000), end, &[]).map(|place| place.start.0), Some(0xffff_f000));
    }

    #[test]
    fn what_lies_over_something_or_nowhere_is_named() {
        let check = |start, end, others: &[Region]| check_place(machine(), region(start, end), others);
        assert_eq!(check(0x20_0000, 0x30_0000, &[region(0x30_0000, 0x40_0000)]), Ok(()));
        assert!(matches!(check(0x20_0000, 0x30_1000, &[region(0x30_0000, 0x40_0000)]), Err(LinuxError::Over { .. })));
        assert!(matches!(check(0x3ff_f000, 0x400_1000, &[]), Err(LinuxError::NotInMemory { .. })));
        assert!(matches!(check(0x9_f000, 0x10_1000, &[]), Err(LinuxError::NotInMemory { .. })));
    }
}
