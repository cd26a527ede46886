//! The test `mailbox`: the image on both sides of the ACPI mailbox. As firmware it parks CPUs that watch it and publishes the
//! MADT; as operating system it finds the mailbox there, asks in every way that is none, and then for each CPU.
//!
//! Shown of each CPU: what is no request of its own leaves it parked, the command stays; a Test is acknowledged, an NMI and
//! the doorbell still work; a Wakeup is acknowledged once the vector is copied, and leads the CPU there exactly once; it is
//! then a whole CPU, and can be given back through the reset vector and asked for again, or give back its bay.

mod page;

use core::sync::atomic::Ordering;

use park_core::acpi::madt::{self, Wakeup};
use park_core::acpi::{AcpiError, Signature, root};
use park_core::lot::{Stage, bay};
use park_core::op::Confirm;
use park_core::{ApicId, IpiSender, LotMemory, Mechanism, PhysAddr, PlatformError};
use park_x86::orders::Orders;

use self::page::Mailbox;
use crate::image::ap_start;
use crate::image::area::Area;
use crate::image::failure::Failure;
use crate::image::linux::write_region;
use crate::image::loader::identity_bytes;
use crate::image::lot::{self, timing};
use crate::image::parking::{FETCHED, Parked, await_arrival, cpu_field, detect_here, mechanism_field, send_with};
use crate::image::smp::{self, expect};
use crate::image::world::World;
use crate::image::{insn, percpu, serial};
use crate::linux::LinuxError;
use crate::linux::map::highest;
use crate::memory::{IDENTITY_MAP_END, PAGE_BYTES, Region};
use crate::platform::Owner;
use crate::platform::apic::local_apic;
use crate::report::Value;

/// How long it takes to believe that something does *not* happen.
const QUIET_US: u64 = 20_000;
/// From the end of an NMI's handler until a CPU waits again, with room to spare.
const ASLEEP_US: u64 = 1_000;
/// How often every CPU goes in and out by each mechanism.
const ROUNDS: u64 = 2;
/// How often each is given back through the reset vector, in each round.
const RETURNS: u32 = 2;
/// The stage of a bay whose CPU an operating system has.
const HANDED_OUT: u64 = Stage::LeavingByMailbox as u64;
/// How CPUs can watch the mailbox.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Mwait, Mechanism::Hlt];
/// Commands (ACPI 6.6, section 5.2.12.19), and a number that is none.
const NOOP: u16 = 0;
const WAKEUP: u16 = 1;
const TEST: u16 = 2;
const UNKNOWN: u16 = 7;
/// The lowest address that the departure map does not have.
const BEHIND_THE_MAP: u64 = 1 << 32;
/// Laps of a CPU in MWAIT in [`QUIET_US`], at most: something may end a wait, but nothing does so all the time.
const LAPS_MAX: u64 = 2;

/// Runs the test.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    let place = |name, len_bytes, taken: &[Region]| {
        highest(world.map.ranges(), (name, len_bytes), IDENTITY_MAP_END, taken)
            .ok_or(LinuxError::NoRoom { name, len_bytes })
    };
    let [trampoline, landing, image, pool, lot] = world.plan.regions();
    let page = place("mailbox", PAGE_BYTES, &[trampoline, landing, image, pool, lot])?;
    let table = place("MADT", PAGE_BYTES, &[trampoline, landing, image, pool, lot, page])?;
    // SAFETY: usable memory at identity that was found free.
    unsafe { write_region(page, 0, &[]) };
    let lease = lot::build_with(world, world.online(), Some(page.start))?;
    let owner = Owner { platform: world.platform(), lease };
    publish(world, table, page, &owner)?;
    let (mailbox, reset_vector) = found(table)?;
    // SAFETY: every other CPU is in its job loop.
    unsafe { owner.set() };
    let mut shown = 0;
    for mechanism in MECHANISMS {
        match detect_here().orders(mechanism, 0).and_then(Orders::watching_mailbox) {
            Ok(orders) => {
                for _ in 0..ROUNDS {
                    shown += round(world, &owner, (mailbox, reset_vector), &orders)?;
                }
            }
            Err(why) => {
                let why = ("why", Value::Format(format_args!("{why}")));
                serial::emit("not_at_mailbox", &[("mechanism", Value::Text(mechanism.name())), why]);
            }
        }
    }
    serial::emit("mailbox", &[("rounds", Value::Number(ROUNDS)), ("handed", Value::Number(shown))]);
    if shown == 0 { Err(Failure::Machine("two CPUs are needed; use -smp 2")) } else { Ok(()) }
}

/// As firmware: a MADT with the mailbox, which lies in `page`.
fn publish(world: &World, table: Region, page: Region, owner: &Owner) -> Result<(), Failure> {
    let firmware = root::open(world.rsdp.ok_or(AcpiError::NoRsdp)?, &identity_bytes)?;
    let wakeup = Wakeup { mailbox: page.start, reset_vector: owner.lease.lot().header().reset_vector() };
    let mut buffer = [0; PAGE_BYTES as usize];
    let written = madt::write(&mut buffer, firmware.find(Signature::MADT, &identity_bytes)?, &wakeup, |_| true)?;
    // SAFETY: usable memory at identity that was found free.
    unsafe { write_region(table, 0, written) };
    Ok(())
}

/// As operating system: the mailbox that the MADT names, and its reset vector.
fn found(table: Region) -> Result<(Mailbox, PhysAddr), Failure> {
    let out_of_reach = AcpiError::Unreadable { at: table.start };
    let bytes = identity_bytes(table.start, PAGE_BYTES as usize).ok_or(out_of_reach)?;
    let madt = park_core::acpi::table::check(bytes, Signature::MADT)?;
    let wakeup = madt::wakeup(madt)?.ok_or(Failure::Machine("the MADT has no mailbox"))?;
    let reset_vector = wakeup.reset_vector.ok_or(Failure::Machine("the mailbox has no reset vector"))?;
    // SAFETY: the page was found free, and is nothing else from here on.
    Ok((unsafe { Mailbox::new(wakeup.mailbox) }, reset_vector))
}

/// Parks every other CPU at the mailbox, and gets each of them out. Returns how many.
fn round(
    world: &World,
    owner: &Owner,
    (mailbox, reset_vector): (Mailbox, PhysAddr),
    orders: &Orders,
) -> Result<u64, Failure> {
    let mut handed = 0;
    for cpu in world.others() {
        let parked = send_with(owner, cpu, orders.mechanism, orders.wait_flags)?;
        await_arrival(world, owner, &parked)?;
        let laps = waits(world, owner, &parked)?;
        refuses(world, owner, mailbox, &parked)?;
        answers(world, owner, mailbox, &parked)?;
        for _ in 0..RETURNS {
            comes(world, owner, mailbox, &parked, 0)?;
            expect(cpu, "the stage of a bay whose CPU was handed out", stage(owner, &parked)?, HANDED_OUT)?;
            smp::check_works(world, cpu)?;
            cpu.give(page::give_back, reset_vector.0)?;
            world.wait(|| stage(owner, &parked) == Ok(Stage::Waiting as u64), "a CPU that was given back")?;
            answers(world, owner, mailbox, &parked)?;
        }
        leaves(world, owner, mailbox, &parked)?;
        let fields = [cpu_field(&parked), mechanism_field(&parked), ("laps_in_quiet", Value::Number(laps))];
        serial::emit("handed", &fields);
        handed += 1;
    }
    Ok(handed)
}

/// Where MWAIT waits, the CPU sleeps while nobody writes to the mailbox. Returns its laps meanwhile.
fn waits(world: &World, owner: &Owner, parked: &Parked) -> Result<u64, Failure> {
    let laps = || word(owner, parked, bay::LAPS).map(|laps| laps & u64::from(u32::MAX));
    let before = laps()?;
    world.clock.pass_us(QUIET_US);
    let passed = laps()?.wrapping_sub(before);
    // TCG's MWAIT returns at once, and its lines have no size.
    let is_real = detect_here().features().monitor.largest_line != 0;
    if parked.mechanism == Mechanism::Mwait && is_real && passed > LAPS_MAX {
        return Err(Failure::Wrong { index: parked.cpu.index, what: "laps in MWAIT", found: passed, wanted: LAPS_MAX });
    }
    Ok(passed)
}

/// Writes a request: command, APIC id and vector.
///
/// A CPU in MWAIT is made to arm its monitor anew first, with a TLB that does not have the page: where it does, Bochs before
/// 2.8 arms what was accessed last (fixed in Bochs by "Fix two bugs around monitor/mwait", 2022-07-13). A MONITOR here drops
/// the page from every TLB there, and the NMI ends the wait.
fn post(
    world: &World,
    owner: &Owner,
    mailbox: Mailbox,
    parked: &Parked,
    (command, apic_id, vector): (u16, ApicId, u64),
) -> Result<(), Failure> {
    mailbox.set_vector(vector);
    if parked.mechanism == Mechanism::Mwait {
        // An NMI of a ring may still be on its way.
        world.clock.pass_us(ASLEEP_US);
        insn::monitor(mailbox.address());
        disturb(world, owner, parked)?;
        world.clock.pass_us(ASLEEP_US);
    }
    mailbox.ask(command, apic_id);
    Ok(())
}

/// Sends an NMI, and waits until the bay has counted it.
fn disturb(world: &World, owner: &Owner, parked: &Parked) -> Result<(), Failure> {
    let nmis = || word(owner, parked, bay::EVENTS).map(|events| events & u64::from(u32::MAX));
    let before = nmis()?;
    local_apic()?.send_nmi(parked.cpu.apic_id)?;
    Ok(world.wait(|| nmis().is_ok_and(|now| now != before), "the bay to count an NMI")?)
}

/// What is no request of this CPU's leaves it where it is, and the command as it is.
fn refuses(world: &World, owner: &Owner, mailbox: Mailbox, parked: &Parked) -> Result<(), Failure> {
    let own = parked.cpu.apic_id;
    let nobody = (0..ApicId::XAPIC_MAX.0).map(ApicId).find(|id| percpu::with_apic_id(*id).is_none());
    let nobody = nobody.ok_or(Failure::Machine("every APIC id has a CPU"))?;
    let vector = page::entry();
    let requests = [
        ("nothing", NOOP, own, vector),
        ("an unknown command", UNKNOWN, own, vector),
        ("an id that no bay holds", WAKEUP, nobody, vector),
        ("a vector outside the departure map", WAKEUP, own, BEHIND_THE_MAP),
        ("the last vector of all", WAKEUP, own, u64::MAX),
    ];
    for (what, command, apic_id, vector) in requests {
        post(world, owner, mailbox, parked, (command, apic_id, vector))?;
        world.clock.pass_us(QUIET_US);
        expect(parked.cpu, what, mailbox.command().into(), command.into())?;
        expect(parked.cpu, "the stage of a CPU that was not asked", stage(owner, parked)?, Stage::Waiting as u64)?;
        // The vector stays until a CPU that has seen the command, and nothing of this, has read it: it answers afterwards.
        mailbox.withdraw();
        owner.platform.drive(Confirm::new(parked.bay, timing(world)))?;
    }
    Ok(())
}

/// A Test, an NMI and the doorbell, while the CPU watches the mailbox.
fn answers(world: &World, owner: &Owner, mailbox: Mailbox, parked: &Parked) -> Result<(), Failure> {
    let test = || {
        post(world, owner, mailbox, parked, (TEST, parked.cpu.apic_id, 0))?;
        Ok::<(), Failure>(world.wait(|| mailbox.command() == NOOP, "a Test to be acknowledged")?)
    };
    test()?;
    disturb(world, owner, parked)?;
    owner.platform.drive(Confirm::new(parked.bay, timing(world)))?;
    test()?;
    expect(parked.cpu, "the stage after a Test", stage(owner, parked)?, Stage::Waiting as u64)
}

/// A Wakeup: the command is cleared, and whatever the operating system writes from then on, the CPU goes where it was told,
/// with this argument.
fn comes(world: &World, owner: &Owner, mailbox: Mailbox, parked: &Parked, argument: u64) -> Result<(), Failure> {
    let cpu = parked.cpu;
    let area = Area::of(cpu);
    let arrivals = cpu.arrivals.load(Ordering::Acquire);
    cpu.phys_offset.store(0, Ordering::Release);
    // SAFETY: the CPU is parked.
    unsafe { area.write_tables() };
    page::prepare(&ap_start::entry(area.stack_top(), argument));
    post(world, owner, mailbox, parked, (WAKEUP, cpu.apic_id, page::entry()))?;
    world.wait(|| mailbox.command() == NOOP, "a Wakeup to be acknowledged")?;
    // The next request of a hasty operating system.
    mailbox.set_vector(u64::MAX);
    mailbox.ask(NOOP, ApicId(u32::MAX));
    world.wait(|| cpu.arrivals.load(Ordering::Acquire) > arrivals, "a CPU that was asked for in its job loop")?;
    expect(cpu, "the count of its arrivals", cpu.arrivals.load(Ordering::Acquire), arrivals + 1)
}

/// A Wakeup of a CPU that gives back its bay, and finds its registers as they should be.
fn leaves(world: &World, owner: &Owner, mailbox: Mailbox, parked: &Parked) -> Result<(), Failure> {
    let cpu = parked.cpu;
    cpu.entries.store(0, Ordering::Release);
    comes(world, owner, mailbox, parked, FETCHED | u64::from(parked.bay.index()))?;
    expect(cpu, "the count of its entries", cpu.entries.load(Ordering::Acquire), 1)?;
    cpu.registers.check(cpu)?;
    expect(cpu, "the bay's stage after leaving", stage(owner, parked)?, Stage::Out as u64)?;
    smp::check_works(world, cpu)
}

fn stage(owner: &Owner, parked: &Parked) -> Result<u64, PlatformError> {
    word(owner, parked, bay::STAGE)
}

/// A word of the CPU's bay, by its offset there.
fn word(owner: &Owner, parked: &Parked, offset: u64) -> Result<u64, PlatformError> {
    owner.platform.memory().load(parked.bay.offset() + offset)
}
