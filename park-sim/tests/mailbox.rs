//! The ACPI mailbox as a second doorbell: the bay code's mailbox mode, executed.

use park_core::lot::{Layout, Stage, WaitFlags, bay};
use park_core::op::{Confirm, Lease};
use park_core::{Mechanism, PhysAddr};
use park_sim::machine::{Activity, Event, EventKind, Machine, MachineConfig, PhysRange, Tag};
use park_sim::platform::Loader;
use park_sim::world::{DEFAULT_LOT, LotInWorld, ParkRequest, TAG_LOT, World, allow};
use park_x86::builder::{LotParameters, build};

/// Where the mailbox is.
const MAILBOX: u64 = 0x6000;
/// Where the operating system wants its CPUs.
const VECTOR: u64 = 0xa000;
/// Wakeup and Test (ACPI 6.6, "Multiprocessor Wakeup Mailbox Structure").
const WAKEUP: u16 = 1;
const TEST: u16 = 2;
/// The tag of mailbox and vector page.
const TAG_FIRMWARE: Tag = Tag(20);
/// Steps after which everything that will happen has happened.
const SETTLED: u64 = 20_000;

fn parked(mechanism: Mechanism) -> (World, park_core::op::Bay) {
    let config = if mechanism == Mechanism::Clgi { MachineConfig::amd(2) } else { MachineConfig::intel(2) };
    let mut world = World::boot(config, park_core::lot::PagingLevels::Four, 7).expect("a world");
    let layout = Layout::new(2, 64).expect("a layout");
    let range = PhysRange::new(DEFAULT_LOT.0, layout.total_len());
    let parameters = LotParameters {
        phys: DEFAULT_LOT,
        layout,
        lot_id: [1, 2],
        encryption_mask: 0,
        mailbox: Some(PhysAddr(MAILBOX)),
    };
    let lot = build(&mut Loader { machine: &mut world.machine, range }, &parameters).expect("a lot");
    world.machine.set_tag(range, TAG_LOT);
    world.machine.set_tag(PhysRange::new(MAILBOX, 0x1000), TAG_FIRMWARE);
    world.machine.set_tag(PhysRange::new(VECTOR, 0x1000), TAG_FIRMWARE);
    world.machine.write_phys(MAILBOX, &[0; 64]);
    world.machine.write_phys(VECTOR, &[0xf4, 0xeb, 0xfd]); // 1: hlt; jmp 1b
    world.kernel.map_lot(&mut world.machine, &lot).expect("a transit root");
    world.lot = Some(LotInWorld { range, lot, lease: Lease::first(lot) });
    let bay = world.park(0, ParkRequest::new(1, mechanism, WaitFlags::MAILBOX, 0, [])).expect("parked");
    // The world knows nothing of a mailbox: it is the parked CPU's to touch, and the operating system's on CPU 0.
    world.machine.set_allowed(1, allow(&[TAG_LOT, TAG_FIRMWARE]));
    world.machine.set_allowed(0, u64::MAX);
    world.machine.breaches.clear();
    (world, bay)
}

/// What the operating system writes: vector and id first, then the command.
fn command(machine: &mut Machine, command: u16, apic_id: u32, vector: u64) {
    let low = u64::from(apic_id) << 32;
    machine.store(0, MAILBOX + 8, vector);
    machine.store(0, MAILBOX, low);
    machine.store(0, MAILBOX, low | u64::from(command));
    machine.drain_all(0);
}

fn mailbox_command(world: &World) -> u16 {
    world.machine.read_phys_u64(MAILBOX) as u16
}

fn stage(world: &World, bay: park_core::op::Bay) -> u64 {
    world.machine.read_phys_u64(DEFAULT_LOT.0 + bay.offset() + bay::STAGE)
}

#[test]
fn wakeup_sends_the_cpu_to_the_vector_on_the_departure_map() {
    for mechanism in [Mechanism::Mwait, Mechanism::Hlt] {
        let (mut world, bay) = parked(mechanism);
        command(&mut world.machine, WAKEUP, 1, VECTOR);
        world.run(SETTLED).expect("runs");
        let cpu = world.machine.cpu(1);
        assert!((VECTOR..VECTOR + 3).contains(&cpu.rip), "{mechanism}: {:#x}", cpu.rip);
        assert_eq!(cpu.activity, Activity::Hlt);
        assert_eq!(mailbox_command(&world), 0, "the command is acknowledged");
        assert_eq!(stage(&world, bay), Stage::LeavingByMailbox as u64);
        assert!(world.machine.breaches.is_empty(), "{:?}", world.machine.breaches.first());
    }
}

#[test]
fn test_is_acknowledged_and_the_cpu_stays() {
    let (mut world, bay) = parked(Mechanism::Mwait);
    command(&mut world.machine, TEST, 1, 0);
    world.run(SETTLED).expect("runs");
    assert_eq!(mailbox_command(&world), 0);
    assert_eq!(stage(&world, bay), Stage::Waiting as u64);
}

#[test]
fn another_id_an_unknown_command_and_a_vector_outside_the_map_leave_the_cpu_parked() {
    for (what, id, vector) in [(WAKEUP, 0, VECTOR), (7, 1, VECTOR), (WAKEUP, 1, 1 << 32), (WAKEUP, 1, u64::MAX)] {
        let (mut world, bay) = parked(Mechanism::Mwait);
        command(&mut world.machine, what, id, vector);
        world.run(SETTLED).expect("runs");
        assert_eq!(mailbox_command(&world), what, "nobody took it");
        assert_eq!(stage(&world, bay), Stage::Waiting as u64);
    }
}

#[test]
fn the_doorbell_still_works_and_an_nmi_is_survived() {
    for mechanism in [Mechanism::Mwait, Mechanism::Hlt] {
        let (mut world, bay) = parked(mechanism);
        world.machine.inject(Event::at(1, EventKind::Nmi));
        world.machine.inject(Event::at(1, EventKind::MachineCheck));
        let timing = world.timing();
        world.drive(0, Confirm::new(bay, timing)).expect("confirmed");
        assert_eq!(stage(&world, bay), Stage::Waiting as u64);
    }
}

#[test]
fn an_event_at_any_instruction_of_the_way_out_neither_loses_the_cpu_nor_eats_another_command() {
    for kind in [EventKind::Nmi, EventKind::MachineCheck] {
        for at in 0..40 {
            let (mut world, _) = parked(Mechanism::Mwait);
            world.run(SETTLED).expect("waits");
            command(&mut world.machine, WAKEUP, 1, VECTOR);
            for _ in 0..at {
                world.machine.step(1);
                world.machine.drain_all(1);
            }
            let taken = mailbox_command(&world) == 0;
            if taken {
                // The operating system is on to the next CPU.
                command(&mut world.machine, WAKEUP, 0, VECTOR);
            }
            world.machine.inject(Event::at(1, kind));
            world.run(SETTLED).expect("runs");
            let rip = world.machine.cpu(1).rip;
            assert!((VECTOR..VECTOR + 3).contains(&rip), "{kind:?} at {at}: {rip:#x}");
            assert_eq!(mailbox_command(&world), if taken { WAKEUP } else { 0 }, "{kind:?} at {at}");
        }
    }
}

/// Makes the code at the vector send its CPU to the reset vector at once: `mov eax, RESET; jmp rax`.
fn gives_back(world: &mut World) -> u64 {
    let reset = world.lot.as_ref().expect("a lot").lot.header().reset_vector().expect("a reset vector").0;
    let mut code = vec![0xb8];
    code.extend_from_slice(&u32::try_from(reset).expect("below 4 GiB").to_le_bytes());
    code.extend_from_slice(&[0xff, 0xe0]);
    world.machine.write_phys(VECTOR, &code);
    reset
}

#[test]
fn a_cpu_that_is_given_back_waits_in_its_bay_and_can_be_asked_for_again() {
    for mechanism in [Mechanism::Mwait, Mechanism::Hlt] {
        let (mut world, bay) = parked(mechanism);
        gives_back(&mut world);
        for _ in 0..3 {
            command(&mut world.machine, WAKEUP, 1, VECTOR);
            world.run(SETTLED).expect("runs");
            assert_eq!(mailbox_command(&world), 0, "{mechanism}: the command is acknowledged");
            assert_eq!(stage(&world, bay), Stage::Waiting as u64, "{mechanism}: {:#x}", world.machine.cpu(1).rip);
            command(&mut world.machine, TEST, 1, 0);
            world.run(SETTLED).expect("runs");
            assert_eq!(mailbox_command(&world), 0, "{mechanism}: proof that it is back");
        }
        // The doorbell works again, and handlers are the lot's.
        world.machine.inject(Event::at(1, EventKind::Nmi));
        world.machine.inject(Event::at(1, EventKind::MachineCheck));
        let timing = world.timing();
        world.drive(0, Confirm::new(bay, timing)).expect("confirmed");
        assert!(world.machine.breaches.is_empty(), "{:?}", world.machine.breaches.first());
        world.machine.write_phys(VECTOR, &[0xf4, 0xeb, 0xfd]);
        command(&mut world.machine, WAKEUP, 1, VECTOR);
        world.run(SETTLED).expect("runs");
        assert!((VECTOR..VECTOR + 3).contains(&world.machine.cpu(1).rip), "{mechanism}");
    }
}

#[test]
fn a_cpu_that_no_bay_handed_out_stops_at_the_reset_vector() {
    let (mut world, bay) = parked(Mechanism::Mwait);
    gives_back(&mut world);
    world.run(SETTLED).expect("waits");
    command(&mut world.machine, WAKEUP, 1, VECTOR);
    while !(VECTOR..VECTOR + 7).contains(&world.machine.cpu(1).rip) {
        world.machine.step(1);
        world.machine.drain_all(1);
    }
    // Its bay is a faulted one by now.
    world.machine.write_phys(DEFAULT_LOT.0 + bay.offset() + bay::STAGE, &(Stage::Faulted as u64).to_le_bytes());
    world.run(SETTLED).expect("runs");
    assert_eq!(world.machine.cpu(1).activity, Activity::Hlt);
    assert_eq!(stage(&world, bay), Stage::Faulted as u64);
    assert!(world.machine.breaches.is_empty(), "{:?}", world.machine.breaches.first());
}

#[test]
fn the_way_back_needs_no_more_of_the_operating_systems_map_than_its_own_page() {
    let (mut world, bay) = parked(Mechanism::Mwait);
    let reset = gives_back(&mut world);
    world.run(SETTLED).expect("waits");
    // As Linux 6.12 maps a lot, which is reserved memory: the vector's page, and that of the code that goes there.
    let tables = [0x2_0000_u64, 0x2_1000, 0x2_2000, 0x2_3000, 0x2_4000];
    let mut entry = |table: u64, index: u64, value: u64| {
        world.machine.write_phys(table + index * 8, &value.to_le_bytes());
    };
    let (page, own) = (reset & !0xfff, VECTOR & !0xfff);
    // Two page directories and two page tables are enough wherever the lot is below 1 GiB.
    entry(tables[0], 0, tables[1] | 0x23);
    entry(tables[1], 0, tables[2] | 0x23);
    for (table, mapped) in [(tables[3], own), (tables[4], page)] {
        entry(tables[2], mapped >> 21 & 511, table | 0x23);
        entry(table, mapped >> 12 & 511, mapped | 0x61);
    }
    world.machine.set_tag(PhysRange::new(tables[0], 0x5000), TAG_FIRMWARE);
    // mov eax, TABLES; mov cr3, rax; mov eax, RESET; jmp rax
    let mut code = vec![0xb8];
    code.extend_from_slice(&(tables[0] as u32).to_le_bytes());
    code.extend_from_slice(&[0x0f, 0x22, 0xd8, 0xb8]);
    code.extend_from_slice(&(reset as u32).to_le_bytes());
    code.extend_from_slice(&[0xff, 0xe0]);
    world.machine.write_phys(VECTOR, &code);
    command(&mut world.machine, WAKEUP, 1, VECTOR);
    world.run(SETTLED).expect("runs");
    assert_eq!(stage(&world, bay), Stage::Waiting as u64, "{:#x}", world.machine.cpu(1).rip);
    assert!(world.machine.breaches.is_empty(), "{:?}", world.machine.breaches.first());
}

#[test]
fn an_event_on_the_way_back_is_survived_from_the_lots_own_tables_on() {
    let home = park_x86::code::bay_labels().home;
    for kind in [EventKind::Nmi, EventKind::MachineCheck] {
        let (mut before, mut behind) = (0, 0);
        for at in 0..120 {
            let (mut world, bay) = parked(Mechanism::Mwait);
            let reset = gives_back(&mut world);
            world.run(SETTLED).expect("waits");
            command(&mut world.machine, WAKEUP, 1, VECTOR);
            while world.machine.cpu(1).rip != reset {
                world.machine.step(1);
                world.machine.drain_all(1);
            }
            for _ in 0..at {
                world.machine.step(1);
                world.machine.drain_all(1);
            }
            let code = DEFAULT_LOT.0 + park_core::lot::header::CODE_OFFSET;
            let is_home = stage(&world, bay) != Stage::LeavingByMailbox as u64
                && world.machine.cpu(1).rip == code + u64::from(home);
            behind += u64::from(is_home || behind != 0);
            before += u64::from(behind == 0);
            if behind != 0 {
                world.machine.inject(Event::at(1, kind));
                world.run(SETTLED).expect("runs");
                assert_eq!(
                    stage(&world, bay),
                    Stage::Waiting as u64,
                    "{kind:?} at {at}: {:#x}",
                    world.machine.cpu(1).rip
                );
            }
        }
        assert!(before > 20 && behind > 20, "{kind:?}: {before} before its own tables, {behind} behind");
    }
}
