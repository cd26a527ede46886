//! The table of registers on each way in and out, checked against simulated CPUs.

use park_core::lot::{Command, PagingLevels, Stage, bay};
use park_core::op::{Bay, Publish, Wake};
use park_core::{Mechanism, PhysAddr};
use park_sim::machine::{Activity, Event, EventKind, HostReg, MachineConfig, Seg};
use park_sim::world::{DEFAULT_LOT, FrameKind, KERNEL_CS, ParkRequest, World};
use park_x86::features::{FeatureSet, Features};
use park_x86::registers::control::Cr4;
use park_x86::registers::msr;
use park_x86::state::{CR0_IN_LOT, Holds, Moment, Row, StateRegister, TABLE};

/// Which CPU parks.
const CPU: usize = 1;
/// The simulated kernel's data segment.
const KERNEL_SS: u64 = 0x18;

fn world(mechanism: Mechanism, levels: PagingLevels) -> (World, Bay) {
    let config = if mechanism == Mechanism::Clgi { MachineConfig::amd(2) } else { MachineConfig::intel(2) };
    let cpuid = config.cpuid.clone();
    let features = Features::read(|leaf, subleaf| {
        let regs = cpuid.get(leaf, subleaf);
        [regs.eax, regs.ebx, regs.ecx, regs.edx]
    });
    let orders = if mechanism == Mechanism::Clgi {
        park_amd::Capabilities::from_features(features).map(|machine| machine.orders(mechanism, u32::MAX))
    } else {
        park_intel::Capabilities::from_features(features).map(|machine| machine.orders(mechanism, u32::MAX))
    };
    let orders = orders.expect("the vendor").expect("the mechanism");
    let mut world = World::boot(config, levels, 3).expect("a world");
    world.build_lot(DEFAULT_LOT, 2).expect("a lot");
    // A kernel with more in its registers than a simulated one has by itself.
    world.machine.write_reg(CPU, HostReg::Dr(7), 0x455).expect("a breakpoint");
    if features.has(FeatureSet::SPEC_CTRL) {
        world.machine.write_reg(CPU, HostReg::Msr(msr::SPEC_CTRL), 1).expect("IBRS");
    }
    let request = ParkRequest::new(CPU, mechanism, orders.wait_flags, orders.mwait_hint, orders.steps());
    let bay = world.park(0, request).expect("parked");
    world.run(500).expect("waits");
    (world, bay)
}

/// The value of a register, where the machine shows it; the second one for pairs such as base and limit.
fn value(world: &mut World, register: StateRegister) -> Option<u64> {
    let msr_value = |world: &mut World, number| world.machine.read_reg(CPU, HostReg::Msr(number)).ok();
    let apic = |world: &mut World, offset| world.machine.read_apic(CPU, offset).ok();
    let cpu = world.machine.cpu(CPU);
    Some(match register {
        StateRegister::Cr0 => cpu.cr0,
        StateRegister::Cr3 => cpu.cr3,
        StateRegister::Cr4 => cpu.cr4,
        StateRegister::Efer => cpu.efer,
        StateRegister::Rflags => cpu.rflags,
        StateRegister::Cs => cpu.seg(Seg::Cs).selector.into(),
        StateRegister::Ss => cpu.seg(Seg::Ss).selector.into(),
        StateRegister::DataSegments => {
            let [ds, es] = [cpu.seg(Seg::Ds).selector, cpu.seg(Seg::Es).selector];
            assert_eq!(ds, es);
            ds.into()
        }
        StateRegister::Gdtr => cpu.gdtr.base,
        StateRegister::Idtr => cpu.idtr.base,
        StateRegister::Tr => cpu.tr.selector.into(),
        StateRegister::Rsp => cpu.gpr[4],
        StateRegister::Rdi => cpu.gpr[7],
        StateRegister::Dr7 => cpu.dr[7],
        StateRegister::NmiBlocked => cpu.nmi_blocked.into(),
        StateRegister::Gif => cpu.gif.into(),
        StateRegister::Mcip => msr_value(world, msr::MCG_STATUS)? & msr::MCG_STATUS_MCIP,
        StateRegister::SpecCtrl => msr_value(world, msr::SPEC_CTRL)?,
        StateRegister::Pat => msr_value(world, msr::PAT)?,
        StateRegister::SupervisorCet => msr_value(world, msr::S_CET)?,
        StateRegister::InService => (0..8).map(|index| apic(world, 0x100 + 0x10 * index)).sum::<Option<u64>>()?,
        _ => return None,
    })
}

/// Checks a row at a moment; true if there was something to check.
fn check(world: &mut World, row: &Row, moment: Moment) -> bool {
    let Some(found) = value(world, row.register) else { return false };
    let lot = world.lot.expect("a lot").range;
    let la57 = world.machine.cpu(CPU).cr4 & Cr4::LA57.bits();
    let kernel = &world.kernel;
    let departure = kernel.placement(CPU, FrameKind::Departure).frame;
    let what = format!("{} at {}: {found:#x}", row.name, moment.name());
    match row.at(moment) {
        Holds::Value(expected) => assert_eq!(found, expected, "{what}"),
        Holds::ValueAndLa57(expected) => assert_eq!(found, expected | la57, "{what}"),
        Holds::Bits { mask, value } => assert_eq!(found & mask, value, "{what}"),
        Holds::InLot => assert!(found >= lot.start && found <= lot.end(), "{what}"),
        Holds::OfEntry("cr3") => assert_eq!(Some(found), kernel.transit_root, "{what}"),
        Holds::OfEntry("rsp") => assert_eq!(found, kernel.stack_top(CPU), "{what}"),
        Holds::OfEntry("arg") => assert_eq!(found, departure, "{what}"),
        Holds::OfFrame("root") => assert_eq!(found, kernel.root, "{what}"),
        Holds::OfFrame("cs") => assert_eq!(found, KERNEL_CS.into(), "{what}"),
        Holds::OfFrame("ss") => assert_eq!(found, KERNEL_SS, "{what}"),
        Holds::OfFrame("cr0") => assert_eq!(found, CR0_IN_LOT.bits(), "{what}: `World::entry` keeps it"),
        Holds::OfFrame("cr4") => assert_eq!(found, world.machine.cpu(0).cr4, "{what}: as on the waking CPU"),
        Holds::OfFrame("gdt") => assert_eq!(found, kernel.tables()[0].0, "{what}"),
        Holds::OfFrame("idt") => assert_eq!(found, kernel.tables()[1].0, "{what}"),
        Holds::OfFrame("tr") => assert_eq!(found, kernel.tr(CPU).into(), "{what}"),
        Holds::OfFrame("rsp") => assert_eq!(found, kernel.stack_top(CPU) - 8, "{what}: below the zero return address"),
        Holds::OfFrame("arg") => assert_eq!(found, kernel.witness_address(CPU), "{what}"),
        Holds::Owners | Holds::AsParked => return false,
        _ => return false,
    }
    true
}

fn check_all(world: &mut World, moment: Moment, at_least: usize) {
    let checked = TABLE.iter().filter(|row| check(world, row, moment)).count();
    assert!(checked >= at_least, "only {checked} rows could be checked at {}", moment.name());
}

fn step_to(world: &mut World, rip: u64) {
    for _ in 0..10_000 {
        if world.machine.cpu(CPU).rip == rip {
            return;
        }
        world.step(CPU).expect("a step");
    }
    panic!("{rip:#x} was never reached");
}

#[test]
fn registers_hold_what_the_table_says() {
    for levels in [PagingLevels::Four, PagingLevels::Five] {
        for mechanism in [Mechanism::Hlt, Mechanism::Mwait, Mechanism::Clgi] {
            let (mut world, bay) = world(mechanism, levels);
            assert_eq!(world.machine.cpu(CPU).gif, mechanism != Mechanism::Clgi);
            check_all(&mut world, Moment::Parked, 17);

            let entry = world.entry(CPU).expect("an entry");
            world.drive(0, Publish::new(bay, Command::Wake, entry)).expect("rung");
            world.machine.inject(Event::at(CPU, EventKind::Nmi));
            step_to(&mut world, entry.rip);
            check_all(&mut world, Moment::Woken, 19);
            assert_eq!(world.machine.cpu(CPU).cr3, entry.cr3.0);

            let landed = world.kernel.code.landed;
            step_to(&mut world, landed);
            check_all(&mut world, Moment::Landed, 18);
        }
    }
}

#[test]
fn a_wrong_register_is_noticed() {
    let (mut world, _) = world(Mechanism::Hlt, PagingLevels::Four);
    world.machine.cpu_mut(CPU).cr4 |= Cr4::PGE.bits();
    let noticed = std::panic::catch_unwind(move || check_all(&mut world, Moment::Parked, 1));
    assert!(noticed.is_err());
}

#[test]
fn the_lots_roots_are_what_a_parked_cpu_is_on_and_an_nmi_changes_nothing() {
    let (mut world, _) = world(Mechanism::Hlt, PagingLevels::Five);
    let root = world.machine.read_phys_u64(DEFAULT_LOT.0 + park_core::lot::header::ROOT5);
    assert_eq!(PhysAddr(world.machine.cpu(CPU).cr3), PhysAddr(root));
    world.machine.inject(Event::at(CPU, EventKind::Nmi));
    world.run(500).expect("runs");
    check_all(&mut world, Moment::Parked, 17);
}

#[test]
fn an_entry_whose_code_and_stack_are_not_mapped_ends_in_a_fault_record() {
    let (mut world, bay) = world(Mechanism::Hlt, PagingLevels::Four);
    let mut entry = world.entry(CPU).expect("an entry");
    entry.rip = 0x7fff_0000_0000;
    entry.rsp = 0x7fff_0000_0000;
    let timing = world.timing();
    // Claimed, or already known to have faulted, as the schedule has it.
    let _ = world.drive(0, Wake::new(bay, entry, timing));
    world.run(1_000).expect("runs");
    let word = |offset| world.machine.read_phys_u64(DEFAULT_LOT.0 + bay.offset() + offset);
    assert_eq!(word(bay::STAGE), Stage::Faulted as u64);
    assert_eq!(word(bay::FAULT_RIP), entry.rip);
    assert_eq!(world.machine.cpu(CPU).activity, Activity::Hlt);
}
