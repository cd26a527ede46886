//! The test `linux`: park as a bootloader. Some CPUs wait on the ACPI mailbox, others as they do for any kernel; then a
//! stock Linux is entered, which asks for the former by the mailbox and knows nothing of the latter.
//!
//! Everything is checked before anybody parks. The last line that the image writes is `handover`.

mod enter;
mod handing;
mod tables;

pub(crate) use self::enter::write as write_region;

use park_core::PhysAddr;
use park_core::op::HandOver;

use crate::cmdline::Options;
use crate::image::failure::Failure;
use crate::image::loader::identity_bytes;
use crate::image::world::World;
use crate::image::{lot, serial};
use crate::linux::boot_params::{self, BootParams};
use crate::linux::bzimage::BzImage;
use crate::linux::map::{ACPI_NVS, ACPI_TABLES, LinuxMap, RESERVED, check_place, highest};
use crate::linux::{File, LinuxError};
use crate::memory::{IDENTITY_MAP_END, MemoryMap, PAGE_BYTES, Plan, Region};
use crate::platform::Owner;
use crate::report::Value;

/// Bytes of the ACPI tables that the image writes, together.
const TABLES_BYTES: u64 = 4 * PAGE_BYTES;

/// The files in memory, as the command line names them.
fn files(options: &Options) -> Result<(File, Option<File>), LinuxError> {
    Ok((options.kernel.ok_or(LinuxError::NoKernel)?, options.initrd))
}

/// What the command line's files and the kernel's own place take, with the image's regions.
fn taken(options: &Options, plan: &Plan) -> Result<[Region; 8], LinuxError> {
    let (kernel, initrd) = files(options)?;
    let unpacked = bzimage(kernel)?.region().ok_or(LinuxError::NoRoom { name: "kernel", len_bytes: 0 })?;
    let file = kernel.region("kernel's file");
    let initrd = initrd.map_or(file, |initrd| initrd.region("initrd"));
    let [trampoline, landing, image, pool, lot] = plan.regions();
    Ok([file, initrd, unpacked, trampoline, landing, image, pool, lot])
}

/// The kernel in its file.
fn bzimage(file: File) -> Result<BzImage<'static>, LinuxError> {
    let len_bytes = usize::try_from(file.len_bytes).unwrap_or(usize::MAX);
    let no_room = LinuxError::NotInMemory { region: file.region("kernel's file") };
    BzImage::parse(identity_bytes(file.at, len_bytes).ok_or(no_room)?)
}

/// Where the lot goes: the highest place, so that no kernel wants it.
pub(crate) fn place_of_lot(options: &Options, map: &MemoryMap, plan: &Plan) -> Result<PhysAddr, Failure> {
    let [others @ .., lot] = taken(options, plan)?;
    let place = highest(map.ranges(), ("lot", lot.len_bytes), IDENTITY_MAP_END, &others);
    Ok(place.ok_or(LinuxError::NoRoom { name: "lot", len_bytes: lot.len_bytes })?.start)
}

/// What Linux finds in memory.
struct Places {
    /// The ACPI mailbox.
    mailbox: Region,
    /// ACPI tables.
    tables: Region,
    /// Where the kernel unpacks itself.
    kernel: Region,
    /// Boot parameters, and behind them the command line.
    parameters: Region,
}

impl Places {
    /// Finds them, and checks that files and kernel lie where they can.
    fn find(world: &World, kernel: &BzImage<'_>) -> Result<Self, LinuxError> {
        let [file, initrd, unpacked, ours @ ..] = taken(&world.options, &world.plan)?;
        let ranges = || world.map.ranges();
        check_place(ranges(), file, &ours)?;
        if world.options.initrd.is_some() {
            let [trampoline, landing, image, pool, lot] = ours;
            check_place(ranges(), initrd, &[file, trampoline, landing, image, pool, lot])?;
            if initrd.end().0 > kernel.initrd_max.0.saturating_add(1) {
                return Err(LinuxError::InitrdTooHigh { region: initrd, max: kernel.initrd_max });
            }
        }
        let [trampoline, landing, image, pool, lot] = ours;
        check_place(ranges(), unpacked, &[file, initrd, trampoline, landing, image, pool, lot])?;
        let place = |name, len_bytes, taken: &[Region]| {
            highest(ranges(), (name, len_bytes), IDENTITY_MAP_END, taken).ok_or(LinuxError::NoRoom { name, len_bytes })
        };
        let all = [file, initrd, unpacked, trampoline, landing, image, pool, lot];
        let mailbox = place("mailbox", PAGE_BYTES, &all)?;
        let [a, b, c, d, e, f, g, h] = all;
        let tables = place("ACPI tables", TABLES_BYTES, &[a, b, c, d, e, f, g, h, mailbox])?;
        let taken = [a, b, c, d, e, f, g, h, mailbox, tables];
        let parameters = place("boot parameters", 2 * PAGE_BYTES, &taken)?;
        Ok(Self { mailbox, tables, kernel: unpacked, parameters })
    }
}

/// Runs the test. Comes back only in failure.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    let (file, initrd) = files(&world.options)?;
    let kernel = bzimage(file)?;
    let max_bytes = kernel.command_line_max;
    if world.append.len_bytes() > max_bytes {
        return Err(LinuxError::LongCommandLine { len_bytes: world.append.len_bytes(), max_bytes }.into());
    }
    let places = Places::find(world, &kernel)?;
    // SAFETY: usable memory at identity that `Places::find` found free. As for every region that is written from here on.
    unsafe { enter::write(places.mailbox, 0, &[]) };
    let lease = lot::build_with(world, world.online(), Some(places.mailbox.start))?;
    let owner = Owner { platform: world.platform(), lease };
    // SAFETY: every other CPU is in its job loop.
    unsafe { owner.set() };
    let handed = handing::park_all(world, &owner)?;
    let rsdp = tables::write(world, &owner, &places, handed)?;
    let kept = [(world.plan.lot, RESERVED), (places.mailbox, ACPI_NVS), (places.tables, ACPI_TABLES)];
    let map = LinuxMap::new(world.map.ranges(), &kept)?;
    let command_line = PhysAddr(places.parameters.start.0 + PAGE_BYTES);
    let parameters = BootParams { kernel: &kernel, command_line, initrd, rsdp, map: &map }.encode()?;
    // SAFETY: as above.
    unsafe { enter::write(places.parameters, 0, &parameters) };
    // SAFETY: as above.
    unsafe { enter::write(places.parameters, boot_params::BYTES, world.append.with_zero()) };
    // SAFETY: as above; every other CPU is in the lot, and the boot CPU's stack and tables are in the image.
    unsafe { enter::write(places.kernel, 0, kernel.kernel) };
    report(world, &owner, &places, &kernel)?;
    // Whoever finds the lot after Linux, which knows nothing of it, may accept it.
    owner.platform.drive(HandOver::new(&owner.lease))?;
    let kept = world.others().count() as u64 - u64::from(handed);
    let fields =
        [("handed", Value::Number(handed.into())), ("kept", Value::Number(kept)), ("rsdp", Value::Hex(rsdp.0))];
    serial::emit("handover", &fields);
    // SAFETY: the kernel was checked and lies where it wants to lie; parameters are complete; all is mapped at identity.
    unsafe { enter::enter(places.kernel.start, places.parameters.start) }
}

/// Reports what Linux gets, and what the lot is like.
fn report(world: &World, owner: &Owner, places: &Places, kernel: &BzImage<'_>) -> Result<(), Failure> {
    let fields = [
        ("at", Value::Hex(places.kernel.start.0)),
        ("bytes", Value::Number(kernel.kernel.len() as u64)),
        ("init_bytes", Value::Number(kernel.init_bytes)),
        ("protocol", Value::Hex(kernel.version.into())),
    ];
    serial::emit("kernel", &fields);
    if let Some(initrd) = world.options.initrd {
        serial::emit("initrd", &[("at", Value::Hex(initrd.at.0)), ("bytes", Value::Number(initrd.len_bytes))]);
    }
    lot::report_bays(owner)?;
    lot::report_crc(owner)
}
