//! The ACPI tables that Linux gets: firmware's, but with a MADT that has the mailbox, and with PARK.

use park_core::acpi::madt::{self, Wakeup};
use park_core::acpi::park::ParkTable;
use park_core::acpi::root::{self, RSDP_BYTES};
use park_core::acpi::{AcpiError, Signature};
use park_core::{ApicId, PhysAddr};

use super::{Places, enter};
use crate::choices::MailboxVersion;
use crate::image::failure::Failure;
use crate::image::loader::identity_bytes;
use crate::image::serial;
use crate::image::world::World;
use crate::memory::PAGE_BYTES;
use crate::platform::Owner;
use crate::report::Value;

/// Where each table lies in its region, one to a page, so that none moves when another grows.
const RSDP: u64 = 0;
/// Behind the RSDP, in its page.
const PARK: u64 = 64;
const XSDT: u64 = PAGE_BYTES;
const MADT: u64 = 2 * PAGE_BYTES;

const _: () = assert!(RSDP_BYTES as u64 <= PARK);

/// Writes them, and returns where the RSDP is. The MADT has the boot CPU and the first `handed` others.
pub(super) fn write(world: &World, owner: &Owner, places: &Places, handed: u32) -> Result<PhysAddr, Failure> {
    let at = |offset| PhysAddr(places.tables.start.0 + offset);
    let mut page = [0; PAGE_BYTES as usize];
    let put = |offset: u64, bytes: &[u8]| {
        let region = crate::memory::Region { start: at(offset), len_bytes: bytes.len() as u64, ..places.tables };
        // SAFETY: inside the region, which is free memory at identity: tables are no longer than their pages.
        unsafe { enter::write(region, 0, bytes) };
    };
    let firmware = root::open(world.rsdp.ok_or(AcpiError::NoRsdp)?, &identity_bytes)?;
    let stays = |apic_id: ApicId| {
        let cpu = world.cpus().find(|cpu| cpu.apic_id == apic_id);
        cpu.is_some_and(|cpu| cpu.index <= handed)
    };
    let reset_vector = match world.options.mailbox {
        MailboxVersion::V0 => None,
        MailboxVersion::V1 => owner.lease.lot().header().reset_vector(),
    };
    let wakeup = Wakeup { mailbox: places.mailbox.start, reset_vector };
    let old = firmware.find(Signature::MADT, &identity_bytes)?;
    // Two pages for the MADT: 64 CPUs have 1 KiB.
    put(MADT, madt::write(&mut page, old, &wakeup, stays)?);
    let lot = owner.lease.lot().header();
    let park = ParkTable { lot: lot.self_phys, len_bytes: lot.total_len };
    put(PARK, park.write(&mut page)?);
    let replaced = firmware.position(Signature::MADT, &identity_bytes);
    let others = firmware.tables().filter(|&table| Some(table) != replaced);
    put(XSDT, root::write_xsdt(&mut page, others.chain([at(MADT), at(PARK)]))?);
    put(RSDP, &root::rsdp(at(XSDT)));
    let fields = [
        ("rsdp", Value::Hex(at(RSDP).0)),
        ("mailbox", Value::Hex(places.mailbox.start.0)),
        ("reset_vector", Value::Hex(reset_vector.map_or(0, |vector| vector.0))),
        ("madt", Value::Hex(at(MADT).0)),
        ("park", Value::Hex(at(PARK).0)),
        ("bytes", Value::Number(places.tables.len_bytes)),
    ];
    serial::emit("tables", &fields);
    Ok(at(RSDP))
}
