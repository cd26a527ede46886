//! A CPU moves from one lot to another without an owner's text in between.

use park_core::lot::{Layout, PagingLevels, Stage, WaitFlags, bay, header};
use park_core::op::{AwaitArrival, Confirm, Lease, Operation, Repark, Reply, Reservation, Reserve, Step, Vacate};
use park_core::{ApicId, Clock, Error, IpiSender, LotMemory, Mechanism, PhysAddr};
use park_sim::machine::{Event, EventKind, MachineConfig, PhysRange, Tag};
use park_sim::platform::{Loader, OnCpu};
use park_sim::world::{DEFAULT_LOT, PATIENCE_TICKS, ParkRequest, World, allow};
use park_x86::builder::{LotParameters, build};
use park_x86::paging::{Mapping, PageTables, Permission};

/// Where the second lot lies, and the transit root that maps both.
const SECOND_LOT: PhysAddr = PhysAddr(0x0140_0000);
const TRANSIT: u64 = 0x0180_0000;
const TRANSIT_PAGES: u64 = 16;
/// The tag of the second lot, once the CPU has arrived there; before, it is the kernel's.
const TAG_SECOND: Tag = Tag(21);

/// Drives an operation of one lot, performed by CPU 0, while the others run.
fn drive<O: Operation>(world: &mut World, lot: PhysRange, mut operation: O) -> Result<O::Output, Error> {
    let mut reply = Reply::Start;
    loop {
        world.let_others_run(0, 3).expect("runs");
        let mut on = OnCpu { machine: &mut world.machine, cpu: 0, lot };
        let now = on.now();
        reply = match operation.next(reply, now) {
            Step::Load { offset } => Reply::Value(on.load(offset)?),
            Step::Store { offset, value } => on.store(offset, value).map(|()| Reply::Stored)?,
            Step::CompareExchange { offset, current, new } => Reply::Value(on.compare_exchange(offset, current, new)?),
            Step::SendNmi(target) => on.send_nmi(target).map(|()| Reply::Sent)?,
            Step::Wait { .. } => Reply::Waited,
            Step::Done(result) => return result,
            other => panic!("{other:?}"),
        };
    }
}

fn transit_root(world: &mut World) -> PhysAddr {
    let range = PhysRange::new(TRANSIT, TRANSIT_PAGES * 0x1000);
    // A leaving CPU may touch what is its kernel's; so the transit root is.
    let tag = world.kernel.tag;
    world.machine.set_tag(range, tag);
    let mut memory = Loader { machine: &mut world.machine, range };
    let mut tables = PageTables::new(&mut memory, 0, PhysAddr(TRANSIT), TRANSIT_PAGES, 0).expect("tables");
    let root = tables.table().expect("a root");
    let layout = Layout::new(2, 64).expect("a layout");
    for lot in [DEFAULT_LOT.0, SECOND_LOT.0] {
        for (start, end, permission) in [
            (0, header::CODE_OFFSET, Permission::Read),
            (header::CODE_OFFSET, layout.tables_offset(), Permission::ReadExecute),
            (layout.tables_offset(), layout.bay_offset(), Permission::Read),
            (layout.bay_offset(), layout.total_len(), Permission::ReadWrite),
        ] {
            tables.map(root, &Mapping::identity(PhysAddr(lot + start), end - start, permission)).expect("mapped");
        }
    }
    PhysAddr(tables.cr3(root))
}

#[test]
fn a_cpu_moves_to_another_lot_and_an_event_at_any_step_does_not_stop_it() {
    for mechanism in [Mechanism::Hlt, Mechanism::Clgi] {
        for kind in [None, Some(EventKind::Nmi), Some(EventKind::MachineCheck)] {
            for at in (0..60).step_by(3) {
                move_once(mechanism, kind, at);
                if kind.is_none() {
                    break;
                }
            }
        }
    }
}

fn move_once(mechanism: Mechanism, kind: Option<EventKind>, at: u64) {
    let mut world = World::boot(MachineConfig::amd(2), PagingLevels::Four, at).expect("a world");
    world.build_lot(DEFAULT_LOT, 2).expect("a lot");
    let old = world.lot().expect("a lot");
    let parked = world.park(0, ParkRequest::new(1, mechanism, WaitFlags::empty(), 0, [])).expect("parked");

    let layout = Layout::new(2, 64).expect("a layout");
    let range = PhysRange::new(SECOND_LOT.0, layout.total_len());
    let parameters = LotParameters { phys: SECOND_LOT, layout, lot_id: [3, 4], encryption_mask: 0, mailbox: None };
    let lot = build(&mut Loader { machine: &mut world.machine, range }, &parameters).expect("another lot");
    let tag = world.kernel.tag;
    world.machine.set_tag(range, tag);
    let transit = transit_root(&mut world);
    world.machine.set_allowed(0, u64::MAX);

    let lease = Lease::first(lot);
    let reservation = Reservation {
        apic_id: ApicId(1),
        mechanism,
        flags: WaitFlags::empty(),
        levels: PagingLevels::Four,
        apic_mode: park_core::lot::ApicMode::XApic,
        mwait_hint: 0,
    };
    let to = drive(&mut world, range, Reserve::any(&lease, reservation)).expect("reserved");
    if let Some(kind) = kind {
        // Somewhere on the way: the ring takes tens of steps, and so does the move.
        world.schedule(at, Event::at(1, kind));
    }
    // So that the world lets the leaving CPU touch what is the kernel's.
    world.entry(1).expect("an entry");
    let timing = world.timing();
    let repark = Repark::new(parked, &lease, to, transit, timing).expect("a repark");
    let ticket = drive(&mut world, old.range, repark).expect("claimed");
    let deadline = world.machine.tsc() + PATIENCE_TICKS;
    let arrived = drive(&mut world, range, AwaitArrival::new(to, deadline)).expect("arrived");
    // Nothing of the first lot is needed any more.
    world.machine.set_tag(range, TAG_SECOND);
    world.machine.set_allowed(1, allow(&[TAG_SECOND]));
    drive(&mut world, old.range, Vacate::new(ticket, arrived).expect("a vacate")).expect("vacated");
    let timing = world.timing();
    drive(&mut world, range, Confirm::new(to, timing)).expect("alive");
    assert_eq!(world.machine.read_phys_u64(range.start + to.offset() + bay::STAGE), Stage::Waiting as u64);
    assert!(world.machine.breaches.is_empty(), "{mechanism} {kind:?} {at}: {:?}", world.machine.breaches.first());
}
