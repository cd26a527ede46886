//! Where everything lies in physical memory, and the allocator of pages.
//!
//! The image identity-maps the low 4 GiB, so a physical address is also a pointer. The image itself is where it was
//! linked to; every other region is found in the machine's memory map by [`plan`], before anything is touched.

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
pub const CPU_AREA_BYTES: u64 = 0x2_0000;

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

/// Text and data; link.ld holds the same bounds.
pub const IMAGE: Region = Region { name: "image", start: PhysAddr(0x10_0000), len_bytes: 0x70_0000 };
/// What the page pool holds: the areas of all CPUs. The boot CPU's is elsewhere, so that room for one is left.
const POOL_BYTES: u64 = MAX_CPUS as u64 * CPU_AREA_BYTES;
/// Bytes of the lot's region: 512 for each bay, and 84 KiB at most beside them (docs/abi.md), with room to spare.
const LOT_BYTES: u64 = 0x10_0000;
/// Where the search for the trampoline begins and ends. A STARTUP IPI names a page below 1 MiB (Intel SDM vol. 3,
/// 10.6.1, the ICR's vector field); the first pages hold the real-mode IVT and what firmware keeps beside it, and from
/// 0xa0000 on there is no memory.
const TRAMPOLINE_FROM: u64 = 0x8000;
const TRAMPOLINE_END: u64 = 0xa_0000;

/// Where everything lies on this machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Plan {
    /// The page a started CPU begins in.
    pub trampoline: Region,
    /// The page that STARTUPs of events lead to.
    pub landing: Region,
    /// What [`PageBump`] gives out.
    pub pool: Region,
    /// The lot under test.
    pub lot: Region,
}

impl Plan {
    /// All regions, the image's own among them.
    #[must_use]
    pub const fn regions(&self) -> [Region; 5] {
        [self.trampoline, self.landing, IMAGE, self.pool, self.lot]
    }
}

/// Why a lot can't lie where it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BadLot {
    /// It does not begin with a page.
    Unaligned {
        /// Where it was asked for.
        start: PhysAddr,
    },
    /// It would lie over something that the image uses.
    Over {
        /// The lot.
        lot: Region,
        /// What it would lie over.
        other: Region,
    },
    /// Not all of it is usable memory: reserved, or not there.
    Reserved {
        /// The lot.
        lot: Region,
    },
}

impl fmt::Display for BadLot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned { start } => write!(f, "a lot at {start} does not begin with a page"),
            Self::Over { lot, other } => write!(
                f,
                "a lot of {:#x} bytes at {} lies over the {}, {} to {}",
                lot.len_bytes,
                lot.start,
                other.name,
                other.start,
                other.end()
            ),
            Self::Reserved { lot } => write!(
                f,
                "a lot of {:#x} bytes at {} lies in memory that the memory map does not call usable",
                lot.len_bytes, lot.start
            ),
        }
    }
}

impl core::error::Error for BadLot {}

impl Plan {
    /// The same plan with the lot at `start`.
    ///
    /// # Errors
    /// [`BadLot`] says what is there.
    pub fn with_lot_at(self, start: PhysAddr, mut ranges: impl Iterator<Item = MemoryRange>) -> Result<Self, BadLot> {
        let lot = Region { start, ..self.lot };
        if !start.is_aligned(PAGE_BYTES) {
            return Err(BadLot::Unaligned { start });
        }
        let Some(end) = start.checked_add(lot.len_bytes).filter(|end| *end <= IDENTITY_MAP_END) else {
            return Err(BadLot::Reserved { lot });
        };
        let others = self.regions().into_iter().filter(|region| region.name != lot.name);
        for other in others {
            if other.start < end && start < other.end() {
                return Err(BadLot::Over { lot, other });
            }
        }
        if !ranges.any(|range| range.kind == MEMORY_TYPE_RAM && range.contains(start, lot.len_bytes)) {
            return Err(BadLot::Reserved { lot });
        }
        Ok(Self { lot, ..self })
    }
}

/// No usable memory for a region.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NotUsable {
    /// The region; it begins where the search began.
    pub region: Region,
}

impl fmt::Display for NotUsable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Region { name, start, len_bytes } = self.region;
        write!(f, "no usable memory for {name}: {len_bytes:#x} bytes from {start} on; give the machine 64 MiB")
    }
}

impl core::error::Error for NotUsable {}

/// Finds a place for every region in usable memory, the lowest one.
///
/// # Errors
/// [`NotUsable`] names the first region that has none; the image, which the loader has placed, among them.
pub fn plan(ranges: impl Iterator<Item = MemoryRange> + Clone) -> Result<Plan, NotUsable> {
    let fits = |region: &Region| {
        let mut ram = ranges.clone().filter(|range| range.kind == MEMORY_TYPE_RAM);
        ram.any(|range| range.contains(region.start, region.len_bytes))
    };
    let find = |region: Region, align_bytes: u64, end: u64| {
        let starts = ranges.clone().filter(|range| range.kind == MEMORY_TYPE_RAM).map(|range| range.start.0);
        let starts = core::iter::once(region.start.0).chain(starts.filter(|&start| start > region.start.0));
        let aligned = starts.filter_map(|start| start.checked_next_multiple_of(align_bytes));
        let places = aligned.map(|start| Region { start: PhysAddr(start), ..region });
        places
            .filter(|place| fits(place) && place.end().0 <= end)
            .min_by_key(|place| place.start)
            .ok_or(NotUsable { region })
    };
    if !fits(&IMAGE) {
        return Err(NotUsable { region: IMAGE });
    }
    let region = |name, start, len_bytes| Region { name, start: PhysAddr(start), len_bytes };
    let trampoline = find(region("trampoline", TRAMPOLINE_FROM, PAGE_BYTES), PAGE_BYTES, TRAMPOLINE_END)?;
    let landing = find(region("landing", trampoline.end().0, PAGE_BYTES), PAGE_BYTES, TRAMPOLINE_END)?;
    let map_end = IDENTITY_MAP_END.0;
    let pool = find(region("page-pool", IMAGE.end().0, POOL_BYTES), CPU_AREA_BYTES, map_end)?;
    let lot = find(region("lot", pool.end().0, LOT_BYTES), PAGE_BYTES, map_end)?;
    Ok(Plan { trampoline, landing, pool, lot })
}

/// The pages of `range` that lie in none of `kept`, each by its first byte.
///
/// Pages that the range holds in part are left out.
pub fn pages_outside<'a>(range: MemoryRange, kept: &'a [Region]) -> impl Iterator<Item = PhysAddr> + 'a {
    let end = range.start.0.saturating_add(range.len_bytes).min(IDENTITY_MAP_END.0);
    let mut next = range.start.0.checked_next_multiple_of(PAGE_BYTES);
    core::iter::from_fn(move || {
        loop {
            let page = next?;
            let page_end = page.checked_add(PAGE_BYTES).filter(|&page_end| page_end <= end)?;
            let inside = kept.iter().find(|region| page < region.end().0 && page_end > region.start.0);
            // Over a region that is kept at once, not page by page.
            next = match inside {
                Some(region) => region.end().0.checked_next_multiple_of(PAGE_BYTES),
                None => Some(page_end),
            };
            if inside.is_none() {
                return Some(PhysAddr(page));
            }
        }
    })
}

/// The longest memory map that is kept.
pub const MAP_RANGES_MAX: usize = 256;

/// A copy of the machine's memory map: the loader's lies in memory that may be used for something else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemoryMap {
    ranges: [MemoryRange; MAP_RANGES_MAX],
    len: usize,
}

impl MemoryMap {
    /// A copy of `ranges`; `None` if there are more than [`MAP_RANGES_MAX`].
    pub fn copy(ranges: impl Iterator<Item = MemoryRange>) -> Option<Self> {
        let mut map =
            Self { ranges: [MemoryRange { start: PhysAddr(0), len_bytes: 0, kind: 0 }; MAP_RANGES_MAX], len: 0 };
        for range in ranges {
            *map.ranges.get_mut(map.len)? = range;
            map.len += 1;
        }
        Some(map)
    }

    /// The ranges, as the loader had them.
    pub fn ranges(&self) -> impl Iterator<Item = MemoryRange> + Clone + '_ {
        self.ranges.iter().take(self.len).copied()
    }

    /// Bytes of all usable memory.
    #[must_use]
    pub fn ram_bytes(&self) -> u64 {
        let ram = self.ranges().filter(|range| range.kind == MEMORY_TYPE_RAM);
        ram.fold(0, |sum: u64, range| sum.saturating_add(range.len_bytes))
    }
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

    /// As of QEMU's SeaBIOS with 64 MiB.
    fn small() -> Vec<MemoryRange> {
        vec![ram(0, 0x9_fc00), MemoryRange { kind: 2, ..ram(0xf_0000, 0x10_0000) }, ram(0x10_0000, 0x400_0000)]
    }

    fn check(plan: &Plan, map: &[MemoryRange]) {
        let regions = plan.regions();
        for (index, region) in regions.iter().enumerate() {
            assert!(region.start.is_aligned(PAGE_BYTES) && region.len_bytes % PAGE_BYTES == 0, "{region:?}");
            assert!(region.end() <= IDENTITY_MAP_END, "{region:?}");
            for other in &regions[index + 1..] {
                assert!(region.end() <= other.start || other.end() <= region.start, "{region:?} {other:?}");
            }
            assert!(map.iter().any(|range| range.kind == 1 && range.contains(region.start, region.len_bytes)));
        }
        assert!(plan.trampoline.end() <= PhysAddr(0xa_0000) && plan.pool.start.is_aligned(CPU_AREA_BYTES));
    }

    #[test]
    fn a_machine_of_64_mib_is_enough() {
        let plan = plan(small().into_iter()).unwrap();
        check(&plan, &small());
        assert_eq!((plan.trampoline.start, plan.pool.start), (PhysAddr(0x8000), PhysAddr(0x80_0000)));
    }

    #[test]
    fn regions_go_round_what_firmware_keeps_in_the_middle() {
        // As of OVMF: ACPI NVS at 8 MiB.
        let map = [
            ram(0x1000, 0x8000),
            ram(0xc000, 0xa_0000),
            ram(0x10_0000, 0x80_0000),
            MemoryRange { kind: 4, ..ram(0x80_0000, 0x80_8000) },
            ram(0x80_8000, 0x81_0000),
            MemoryRange { kind: 4, ..ram(0x81_0000, 0x90_0000) },
            ram(0x90_0800, 0x1e00_0000),
        ];
        let plan = plan(map.into_iter()).unwrap();
        check(&plan, &map);
        assert_eq!((plan.trampoline.start, plan.pool.start), (PhysAddr(0xc000), PhysAddr(0x92_0000)));
    }

    #[test]
    fn reserved_or_missing_memory_is_refused_by_name() {
        let refused = |map: Vec<MemoryRange>| plan(map.into_iter()).unwrap_err().region.name;
        assert_eq!(refused(vec![ram(0, 0x9_fc00), ram(0x10_0000, 0x108_0000)]), "lot");
        assert_eq!(refused(vec![MemoryRange { kind: 2, ..ram(0, 0x400_0000) }]), "image");
        assert_eq!(refused(vec![ram(0, 0x8fff), ram(0xa_0000, 0x800_0000)]), "trampoline");
        assert_eq!(refused(vec![ram(0, 0x9_f000), ram(0x10_0000, 0x90_0000)]), "page-pool");
        assert_eq!(refused(vec![ram(0, 0x9_f000), ram(0x10_0000, 0x80_0000), ram(1 << 32, 1 << 33)]), "page-pool");
    }

    #[test]
    fn a_lot_lies_where_it_is_asked_for_or_nowhere() {
        let plan = plan(small().into_iter()).unwrap();
        let at = |start| plan.with_lot_at(PhysAddr(start), small().into_iter());
        let moved = at(0x200_0000).unwrap();
        assert_eq!((moved.lot.start, moved.lot.len_bytes), (PhysAddr(0x200_0000), plan.lot.len_bytes));
        assert_eq!(at(plan.lot.start.0), Ok(plan));
        assert_eq!(at(0x200_0800), Err(BadLot::Unaligned { start: PhysAddr(0x200_0800) }));
        let over = |start| match at(start) {
            Err(BadLot::Over { other, .. }) => other.name,
            other => panic!("{other:?}"),
        };
        assert_eq!((over(IMAGE.start.0), over(IMAGE.end().0 - PAGE_BYTES)), ("image", "image"));
        assert_eq!((over(plan.pool.end().0 - PAGE_BYTES), over(0)), ("page-pool", "trampoline"));
        let in_reserved = [0x400_0000 - plan.lot.len_bytes + PAGE_BYTES, 0xfee0_0000, 1 << 32, !0xfff];
        for start in in_reserved {
            assert!(matches!(at(start), Err(BadLot::Reserved { .. })), "{start:#x}");
        }
        at(0x400_0000 - plan.lot.len_bytes).unwrap();
    }

    #[test]
    fn a_map_is_kept_whole_or_not_at_all() {
        let map = MemoryMap::copy(small().into_iter()).unwrap();
        assert_eq!(map.ranges().collect::<Vec<_>>(), small());
        assert_eq!(map.ram_bytes(), 0x9_fc00 + 0x3f0_0000);
        assert!(MemoryMap::copy(core::iter::repeat_n(ram(0, 1), MAP_RANGES_MAX + 1)).is_none());
    }

    #[test]
    fn whole_pages_outside_what_is_kept() {
        let kept = |start, len_bytes| Region { name: "kept", start: PhysAddr(start), len_bytes };
        let of = |range, kept: &[Region]| pages_outside(range, kept).map(|page| page.0).collect::<Vec<_>>();
        assert_eq!(of(ram(0x800, 0x3fff), &[]), [0x1000, 0x2000]);
        assert_eq!(of(ram(0, 0x6000), &[kept(0x4800, 8), kept(0x1000, 0x2000)]), [0, 0x3000, 0x5000]);
        assert_eq!(of(ram(0, 0x2000), &[kept(0, 0x10_0000)]), [0_u64; 0]);
        assert_eq!(of(ram(0xffff_f000, 0x1_0000_2000), &[]), [0xffff_f000]);
        assert_eq!(of(ram(u64::MAX - 0x1800, u64::MAX), &[]), [0_u64; 0]);
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
