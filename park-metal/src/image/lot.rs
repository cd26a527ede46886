//! The lot under test: where it lies, how it is built, how operations on it are carried out.

use park_core::lot::{Crc32, Layout, OwnerState, OwnerWord, WaitFlags, header};
use park_core::op::{Lease, Timing};
use park_core::{LotMemory, PhysAddr};
use park_x86::builder::{self, LotParameters};

use crate::image::failure::Failure;
use crate::image::parking::detect_here;
use crate::image::serial;
use crate::image::world::World;
use crate::platform::Owner;
use crate::report::Value;

/// Tells this image's lots apart; any constant will do for a lot that no other kernel will see.
pub(crate) const LOT_ID: [u64; 2] = [u64::from_le_bytes(*b"park-met"), u64::from_le_bytes(*b"al-skel\0")];
/// Time between two NMIs to a CPU that does not claim; long, since one that is on its way already is counted.
const KICK_INTERVAL_US: u64 = 500_000;

/// Builds a lot with a bay for every CPU, and reports it.
pub(crate) fn build(world: &World) -> Result<Lease, Failure> {
    build_with(world, world.online(), None)
}

/// Builds a lot with so many bays, which may watch an ACPI mailbox, and reports it. What was in its place is gone.
pub(crate) fn build_with(world: &World, bays: u32, mailbox: Option<PhysAddr>) -> Result<Lease, Failure> {
    let detected = detect_here();
    let phys = world.plan.lot.start;
    let layout = Layout::new(bays, detected.features().monitor.largest_line.into())?;
    let parameters = LotParameters { phys, layout, lot_id: LOT_ID, encryption_mask: 0, mailbox };
    let lot = builder::build(&mut world.platform().memory(), &parameters)?;
    serial::emit(
        "lot",
        &[
            ("phys", Value::Hex(phys.0)),
            ("bytes", Value::Number(layout.total_len())),
            ("bays", Value::Number(layout.bay_count.into())),
        ],
    );
    Ok(Lease::first(lot))
}

/// How long a ring may take in this world.
pub(crate) fn timing(world: &World) -> Timing {
    Timing { kick_interval_ticks: world.clock.ticks_of_us(KICK_INTERVAL_US), deadline: world.deadline() }
}

/// Reports the CRC of everything that is never written again: all of the lot but the lease word and the bays.
pub(crate) fn report_crc(owner: &Owner) -> Result<(), Failure> {
    let header = *owner.lease.lot().header();
    let mut memory = owner.platform.memory();
    let bays_end = header.bay_offset + u64::from(header.bay_count) * header.bay_stride;
    let mut crc = Crc32::new();
    for offset in (0..header.bay_offset).chain(bays_end..header.total_len).step_by(8) {
        let word = if offset == header::LEASE { 0 } else { memory.load(offset)? };
        crc = crc.word(word);
    }
    let fields = [
        ("fixed", Value::Hex(crc.finish().into())),
        ("lease_offset", Value::Number(header::LEASE)),
        ("bays_offset", Value::Number(header.bay_offset)),
        ("bays_end", Value::Number(bays_end)),
    ];
    serial::emit("lot_crc", &fields);
    Ok(())
}

/// Reports every bay that belongs to a CPU.
pub(crate) fn report_bays(owner: &Owner) -> Result<(), Failure> {
    let lot = *owner.lease.lot();
    for index in 0..lot.header().bay_count {
        let view = lot.view(&mut owner.platform.memory(), index)?;
        if let Some(word) = OwnerWord::from_raw(view.owner).filter(|word| word.state == OwnerState::Reserved) {
            let fields = [
                ("bay", Value::Number(index.into())),
                ("apic_id", Value::Number(view.apic_id().0.into())),
                ("mechanism", Value::Text(word.mechanism.name())),
                ("mailbox", Value::Truth(word.flags.contains(WaitFlags::MAILBOX))),
            ];
            serial::emit("bay", &fields);
        }
    }
    Ok(())
}
