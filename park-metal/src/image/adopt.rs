//! The test `adopt`: the image as a next kernel. It finds the lot that a bootloader has left, by the PARK table, whoever ran
//! in between; takes it over; and wakes every CPU that nobody has taken out of it.
//!
//! No CPU is sent an INIT, but those that wait for SIPI in their bays.

use core::sync::atomic::Ordering;

use park_core::acpi::park::ParkTable;
use park_core::acpi::{AcpiError, Signature, root};
use park_core::lot::{BayView, LeaseState, OwnerState, OwnerWord, Stage, WaitFlags, header, verify};
use park_core::op::{Accept, ConfirmNext, Confirmed, DeadOwner, Patience, Presence, Seize};
use park_core::{Clock, Mechanism, PhysAddr};

use crate::image::failure::Failure;
use crate::image::loader::identity_bytes;
use crate::image::lot::{report_crc, timing};
use crate::image::parking::{Parked, fetch, wake};
use crate::image::world::World;
use crate::image::{percpu, serial, smp, strangers, traps};
use crate::memory::{PAGE_BYTES, PageBump, Region};
use crate::platform::Owner;
use crate::pvh::MEMORY_TYPE_RAM;
use crate::report::Value;

/// Where the BIOS data area holds the segment of the EBDA, and where an RSDP may lie (ACPI 6.6, section 5.2.5.1): the EBDA's
/// first KiB, and the BIOS's read-only memory.
const EBDA_SEGMENT: PhysAddr = PhysAddr(0x40e);
const EBDA_BYTES: usize = 1024;
const BIOS: PhysAddr = PhysAddr(0xe_0000);
const BIOS_BYTES: usize = 0x2_0000;
/// The largest lot that is looked at where only an address is known: that of the most bays takes half of it.
const LOT_BYTES_MAX: u64 = 8 << 20;

/// CPUs of a lot that was taken over.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    /// Bays that belong to a CPU.
    bays: u64,
    /// CPUs that answered, or wait for SIPI.
    alive: u64,
    /// CPUs that are in their job loops, whole.
    woken: u64,
    /// CPUs that an operating system took through the mailbox.
    handed_out: u64,
    /// All others.
    lost: u64,
    /// Interrupts that kernels in between have sent to CPUs in the lot, and that came when those were back.
    strays: u64,
}

/// Finds the lot, by the PARK table or else by `park=`, and reports it.
pub(crate) fn find(world: &World) -> Result<Region, Failure> {
    let by_table = match rsdp(world) {
        Some(rsdp) => by_table(rsdp).map(|table| (rsdp, table)),
        None => Err(AcpiError::NoRsdp),
    };
    let (via, rsdp, lot) = match (by_table, world.options.park) {
        (Ok((rsdp, table)), _) => ("acpi", rsdp, Region { name: "lot", start: table.lot, len_bytes: table.len_bytes }),
        (Err(_), Some(at)) => ("cmdline", PhysAddr(0), by_address(at)?),
        (Err(error), None) => return Err(error.into()),
    };
    let fields = [
        ("via", Value::Text(via)),
        ("rsdp", Value::Hex(rsdp.0)),
        ("phys", Value::Hex(lot.start.0)),
        ("bytes", Value::Number(lot.len_bytes)),
    ];
    serial::emit("found", &fields);
    let out_of_reach = Failure::OutOfReach { what: "the lot", at: lot.start };
    usize::try_from(lot.len_bytes).ok().and_then(|len| identity_bytes(lot.start, len)).ok_or(out_of_reach)?;
    // Whoever ran in between had this map: a lot in usable memory may be anything by now.
    let end = lot.end().0;
    let mut ram = world.map.ranges().filter(|range| range.kind == MEMORY_TYPE_RAM);
    if ram.any(|range| range.start.0 < end && lot.start.0 < range.start.0.saturating_add(range.len_bytes)) {
        return Err(Failure::Machine("the lot lies in memory that the memory map calls usable"));
    }
    Ok(lot)
}

/// The RSDP: as the command line says, as the loader says, or where firmware leaves it.
fn rsdp(world: &World) -> Option<PhysAddr> {
    let searched = |at: PhysAddr, len| {
        let offset = root::search(identity_bytes(at, len)?)?;
        at.checked_add(offset as u64)
    };
    let ebda = || {
        let segment: [u8; 2] = *identity_bytes(EBDA_SEGMENT, 2)?.first_chunk()?;
        searched(PhysAddr(u64::from(u16::from_le_bytes(segment)) << 4), EBDA_BYTES)
    };
    world.options.rsdp.or(world.rsdp).or_else(ebda).or_else(|| searched(BIOS, BIOS_BYTES))
}

fn by_table(rsdp: PhysAddr) -> Result<ParkTable, AcpiError> {
    let root = root::open(rsdp, &identity_bytes)?;
    ParkTable::parse(root.find(Signature::PARK, &identity_bytes)?)
}

/// The lot at an address, as long as its header says; that it is one is `verify`'s to say.
fn by_address(at: PhysAddr) -> Result<Region, Failure> {
    let length = PhysAddr(at.0.saturating_add(header::TOTAL_LEN));
    let bytes = identity_bytes(length, 8).and_then(|bytes| bytes.first_chunk());
    let len_bytes = u64::from_le_bytes(*bytes.ok_or(Failure::OutOfReach { what: "the lot", at })?);
    if !at.is_aligned(PAGE_BYTES) || !(PAGE_BYTES..=LOT_BYTES_MAX).contains(&len_bytes) {
        return Err(Failure::Machine("park= names a place where no lot begins"));
    }
    Ok(Region { name: "lot", start: at, len_bytes })
}

/// Takes the lot over: accepts what was handed over, else the word is that whoever had it is dead.
pub(crate) fn take(world: &World) -> Result<Owner, Failure> {
    let platform = world.platform();
    let lot = verify(&mut platform.memory(), world.plan.lot.start)?;
    let lease = lot.lease(&mut platform.memory())?;
    let (how, taken) = match lease.state {
        LeaseState::Offered => ("accepted", platform.drive(Accept::new(&lot))?),
        _ => ("seized", platform.drive(Seize::new(&lot, DeadOwner::declared()))?),
    };
    let owner = Owner { platform, lease: taken.lease };
    report_crc(&owner)?;
    let fields = [
        ("how", Value::Text(how)),
        ("generation", Value::Number(taken.lease.generation().raw().into())),
        ("bays", Value::Number(lot.header().bay_count.into())),
        ("revoked", Value::Number(taken.revoked.into())),
        ("took_old_entry", Value::Number(taken.took_old_entry.into())),
    ];
    serial::emit("taken", &fields);
    Ok(owner)
}

/// Confirms every CPU of the lot and reports its bay. Those that are there become CPUs of the image, and are told to `each`.
pub(crate) fn survey(
    world: &World,
    owner: &Owner,
    mut each: impl FnMut(Confirmed, Option<Stage>, Option<Parked>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let timing = timing(world);
    let mut clock = world.clock;
    let patience = Patience {
        kick_interval_ticks: timing.kick_interval_ticks,
        timeout_ticks: timing.deadline.saturating_sub(clock.now()),
    };
    let mut pages = PageBump::new(world.plan.pool);
    let mut index = 0;
    while let Some(confirmed) = owner.platform.drive(ConfirmNext::new(&owner.lease, index, patience))? {
        index = confirmed.bay.index() + 1;
        let view = owner.lease.lot().view(&mut owner.platform.memory(), confirmed.bay.index())?;
        report_bay(&confirmed, &view);
        let is_here = matches!(confirmed.presence, Presence::Alive | Presence::WaitsForSipi);
        let parked = match view.mechanism().filter(|_| is_here) {
            Some(mechanism) => {
                let cpu = world.enlist(&mut pages, confirmed.apic_id)?;
                Some(Parked { cpu, mechanism, bay: confirmed.bay })
            }
            None => None,
        };
        each(confirmed, Stage::from_raw(view.stage), parked)?;
    }
    Ok(())
}

fn report_bay(confirmed: &Confirmed, view: &BayView) {
    let word = OwnerWord::from_raw(view.owner).filter(|word| word.state == OwnerState::Reserved);
    let fields = [
        ("bay", Value::Number(confirmed.bay.index().into())),
        ("apic_id", Value::Number(confirmed.apic_id.0.into())),
        ("mechanism", Value::Text(word.map_or("unknown", |word| word.mechanism.name()))),
        ("mailbox", Value::Truth(word.is_some_and(|word| word.flags.contains(WaitFlags::MAILBOX)))),
        ("presence", Value::Text(presence(confirmed.presence, Stage::from_raw(view.stage)))),
    ];
    serial::emit("bay", &fields);
}

const fn presence(presence: Presence, stage: Option<Stage>) -> &'static str {
    match (presence, stage) {
        (_, Some(Stage::LeavingByMailbox)) => "handed-out",
        (Presence::Alive, _) => "alive",
        (Presence::WaitsForSipi, _) => "waits-for-sipi",
        (Presence::Absent, _) => "absent",
        (Presence::Faulted, _) => "faulted",
        (Presence::Arriving, _) => "arriving",
        (Presence::Leaving, _) => "leaving",
        (Presence::Unreachable, _) => "unreachable",
        _ => "uncertain",
    }
}

/// Runs the test.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    if let Some(strangers) = world.options.strangers {
        // As a kernel that knows neither of the lot nor of whom its predecessor has parked.
        strangers::disturb(world, strangers)?;
    }
    traps::take_strays();
    let owner = take(world)?;
    // SAFETY: every other CPU is parked, or another kernel's.
    unsafe { owner.set() };
    let mut tally = Tally::default();
    survey(world, &owner, |_, stage, parked| {
        tally.bays += 1;
        match parked {
            Some(_) => tally.alive += 1,
            None if stage == Some(Stage::LeavingByMailbox) => tally.handed_out += 1,
            None => tally.lost += 1,
        }
        let Some(parked) = parked else { return Ok(()) };
        match parked.mechanism {
            Mechanism::WaitForSipi => fetch(world, &owner, &parked)?,
            _ => wake(world, &owner, &parked)?,
        }
        smp::check_works(world, parked.cpu)?;
        tally.strays += parked.cpu.stray_count.load(Ordering::Acquire);
        tally.woken += 1;
        Ok(())
    })?;
    let fields = [
        ("bays", Value::Number(tally.bays)),
        ("alive", Value::Number(tally.alive)),
        ("woken", Value::Number(tally.woken)),
        ("handed_out", Value::Number(tally.handed_out)),
        ("lost", Value::Number(tally.lost)),
        ("strays", Value::Number(tally.strays)),
    ];
    serial::emit("adopt", &fields);
    let all = tally.woken + tally.handed_out == tally.bays && percpu::cpus().count() as u64 == tally.woken + 1;
    if all { Ok(()) } else { Err(Failure::Machine("a CPU of the lot was lost")) }
}
