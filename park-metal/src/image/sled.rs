//! Overwriting memory with something that a CPU can't execute unseen.
//!
//! Every page becomes a slide that leads to a recorder in the image. A CPU whose page tables survived, in memory or in
//! its TLB, lands there by name; one whose tables are gone shuts down, which the machine shows.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use park_core::PhysAddr;

use crate::image::percpu;
use crate::image::serial;
use crate::image::world::World;
use crate::memory::{IMAGE, MAX_CPUS, PAGE_BYTES, Region, pages_outside};
use crate::pvh::MEMORY_TYPE_RAM;
use crate::report::Value;

/// Landings that are recorded.
const LANDINGS_MAX: usize = MAX_CPUS;

/// Regions that are kept beside the counters: the image, the lot, and what callers name, which may be an area of each CPU.
const KEPT_MAX: usize = 6 + MAX_CPUS;

/// How many there were, then for each one APIC id and address, in pairs from the second pair on.
static LANDINGS: [AtomicU64; 2 + 2 * LANDINGS_MAX] = [const { AtomicU64::new(0) }; 2 + 2 * LANDINGS_MAX];

global_asm!(
    include_str!("sled.s"),
    LANDINGS = sym LANDINGS,
    LANDINGS_MAX = const LANDINGS_MAX,
    options(att_syntax)
);

unsafe extern "C" {
    safe static metal_sled_page: [u64; PAGE_BYTES as usize / 8];
}

/// Overwrites every usable byte below 4 GiB outside the image, the lot, the counters of each CPU, and `also_kept`;
/// returns how many.
///
/// # Safety
/// Every CPU but the boot CPU is parked, or has never been started, or may be lost, or `also_kept` has its area.
pub(crate) unsafe fn overwrite(world: &World, also_kept: &[Region]) -> u64 {
    let mut kept = [Region { name: "counters", start: PhysAddr(0), len_bytes: PAGE_BYTES }; MAX_CPUS + KEPT_MAX];
    let mut count = 0;
    let counters = percpu::cpus().map(|cpu| Region {
        start: PhysAddr(core::ptr::from_ref(cpu).expose_provenance() as u64),
        name: "counters",
        len_bytes: PAGE_BYTES,
    });
    for (slot, region) in
        kept.iter_mut().zip([IMAGE, world.plan.lot].into_iter().chain(also_kept.iter().copied()).chain(counters))
    {
        *slot = region;
        count += 1;
    }
    let kept = kept.get(..count).unwrap_or_default();
    let mut bytes = 0;
    for range in world.map.ranges().filter(|range| range.kind == MEMORY_TYPE_RAM) {
        for page in pages_outside(range, kept).filter(|page| page.0 != 0) {
            let target: *mut [u64; PAGE_BYTES as usize / 8] = core::ptr::with_exposed_provenance_mut(page.0 as usize);
            // SAFETY: usable memory at identity in which nothing of the image lies but what CPUs left behind: stacks and
            // tables of areas, page tables and the trampoline, which are written again before they are used.
            unsafe { target.write_volatile(metal_sled_page) };
            bytes += PAGE_BYTES;
        }
    }
    bytes
}

/// True if the page at `page` is the sled.
pub(crate) fn is_sled(page: PhysAddr) -> bool {
    let target: *const [u64; PAGE_BYTES as usize / 8] = core::ptr::with_exposed_provenance(page.0 as usize);
    // SAFETY: usable memory at identity; whatever is there, it is read as numbers.
    let found = unsafe { target.read_volatile() };
    found == metal_sled_page
}

/// Reports every landing since the last call, and returns how many there were.
pub(crate) fn report_landings() -> u64 {
    let [count, _, records @ ..] = &LANDINGS;
    let landed = count.swap(0, Ordering::AcqRel);
    for record in records.chunks_exact(2).take(usize::try_from(landed).unwrap_or(usize::MAX)) {
        let [apic_id, address] = record else { continue };
        let fields = [
            ("apic_id", Value::Number(apic_id.load(Ordering::Acquire))),
            ("at", Value::Hex(address.load(Ordering::Acquire))),
        ];
        serial::emit("landed", &fields);
    }
    landed
}
