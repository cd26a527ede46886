//! Getting a bay, arriving in it, giving it back.

use crate::lot::AT;
use crate::world::{DEADLINE, Doing, ENTRY, ID, TIMING, World, owner, request};
use park_core::lot::{BayState, Command, LeaseState, OwnerState, Phase, Stage, WaitFlags, bay, header};
use park_core::op::{
    AwaitArrival, AwaitLeft, Lease, Left, NoSummon, Operation, Park, Publish, Quarantine, Rehabilitate, Reply,
    Reservation, Reserve, Step, Wake, drive,
};
use park_core::{
    Action, ApicId, Clock, Cpu, CpuidResult, ErrorKind, Generation, IpiSender, Mechanism, PlatformError, Register,
    Summon, Ticks,
};

#[test]
fn a_reserved_bay_holds_what_was_asked_and_nothing_old() {
    let mut world = World::empty(2);
    let base = world.base(0);
    for word in [bay::FAULT, bay::FAULT_RIP, bay::FAULT_CR2, bay::EVENTS, bay::LAPS, bay::MCG_STATUS] {
        world.memory.put(base + word, u64::MAX);
    }
    world.set_doorbell(Command::Wake, Phase::Quiet, 9, 41);
    let bay = world.run(Reserve::any(&world.lease, request(ID))).expect("free");
    assert_eq!((bay.index(), bay.offset()), (0, base));
    for word in [bay::FAULT, bay::FAULT_RIP, bay::FAULT_CR2, bay::EVENTS, bay::LAPS, bay::MCG_STATUS] {
        assert_eq!(world.memory.get(base + word), 0);
    }
    assert_eq!(world.memory.get(base + bay::OWNER), owner(OwnerState::Reserved, Mechanism::Hlt));
    assert_eq!(world.memory.get(base + bay::IDENTITY), 7 | 0x20 << 32);
    let doorbell = world.doorbell(0);
    assert_eq!(doorbell.phase(), Some(Phase::Quiet));
    assert_eq!((doorbell.generation().raw(), doorbell.sequence().raw()), (1, 41));
    assert_eq!(world.state(0), BayState::Arriving);
}

#[test]
fn reserve_refuses_a_second_bay_a_taken_bay_and_one_cpu_too_many() {
    let mut world = World::empty(2);
    world.run(Reserve::this(&world.lease, 1, request(ID))).expect("free");
    let error = world.run(Reserve::any(&world.lease, request(ID))).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::InvalidCpu, Some(world.base(1))));
    let error = world.run(Reserve::this(&world.lease, 1, request(ApicId(8)))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongState);
    let error = world.run(Reserve::this(&world.lease, 2, request(ApicId(8)))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidCpu);
    assert_eq!(world.run(Reserve::any(&world.lease, request(ApicId(8)))).expect("free").index(), 0);
    let error = world.run(Reserve::any(&world.lease, request(ApicId(9)))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotSupported);
    assert!(error.what().contains("more CPUs than bays"));
}

#[test]
fn only_cpus_that_see_its_stores_watch_the_mailbox_and_only_where_there_is_one() {
    let mut world = World::empty(4);
    let watching = |mechanism, id| Reservation { mechanism, flags: WaitFlags::MAILBOX, ..request(ApicId(id)) };
    let error = world.run(Reserve::any(&world.lease, watching(Mechanism::Hlt, 1))).unwrap_err();
    assert_eq!((error.kind(), error.what()), (ErrorKind::NotSupported, "the lot was built without an ACPI mailbox"));
    world.memory.put(header::MAILBOX, 0x7_f000);
    world.memory.seal();
    world.lease = Lease::first(world.memory.lot());
    for (id, mechanism) in [(2, Mechanism::Clgi), (3, Mechanism::WaitForSipi)] {
        let error = world.run(Reserve::any(&world.lease, watching(mechanism, id))).unwrap_err();
        assert_eq!((error.kind(), error.value()), (ErrorKind::NotSupported, Some(mechanism as u64)));
    }
    for (id, mechanism) in [(4, Mechanism::Hlt), (5, Mechanism::Mwait)] {
        world.run(Reserve::any(&world.lease, watching(mechanism, id))).expect("it sees stores");
    }
}

#[test]
fn two_cpus_that_reserve_at_once_get_different_bays() {
    let start = World::empty(2);
    let steps = 40;
    for first_steps in 0..steps {
        let mut world = start.clone();
        let (mut a, mut reply) = (Reserve::any(&start.lease, request(ApicId(1))), Reply::Start);
        for _ in 0..first_steps {
            match world.carry_out(&a.next(reply, 0)) {
                Some(next) => reply = next,
                None => break,
            }
        }
        let b = world.run(Reserve::any(&start.lease, request(ApicId(2)))).expect("free");
        let a = loop {
            match a.next(reply, 0) {
                Step::Done(result) => break result.expect("free"),
                step => reply = world.carry_out(&step).expect("not done"),
            }
        };
        assert_ne!(a.index(), b.index(), "after {first_steps}");
        for (bay, id) in [(a, 1), (b, 2)] {
            assert_eq!(world.memory.get(bay.offset() + bay::IDENTITY) as u32, id);
        }
    }
}

#[test]
fn a_stale_lease_reserves_nothing() {
    let mut world = World::empty(1);
    world.memory.set_lease(LeaseState::Held, Generation::from_raw(2));
    let before = world.memory.clone();
    for kind in [
        world.run(Reserve::any(&world.lease, request(ID))).unwrap_err().kind(),
        world.run(Quarantine::new(world.bay())).unwrap_err().kind(),
        world.run(AwaitArrival::new(world.bay(), 0)).unwrap_err().kind(),
        world.run(Publish::new(world.bay(), Command::Confirm, ENTRY)).unwrap_err().kind(),
    ] {
        assert_eq!(kind, ErrorKind::StaleGeneration);
    }
    assert_eq!(world.memory, before);
}

#[test]
fn an_arrival_is_seen_a_late_one_rehabilitated_and_a_missing_one_not() {
    let mut world = World::empty(1);
    let bay = world.run(Reserve::any(&world.lease, request(ID))).expect("free");
    let mut arrived = world.clone();
    arrived.memory.put(bay.offset() + bay::STAGE, Stage::Waiting as u64);
    assert_eq!(arrived.run(AwaitArrival::new(bay, DEADLINE)).expect("there").apic_id(), ID);

    let error = world.run(AwaitArrival::new(bay, DEADLINE)).unwrap_err();
    assert_eq!((error.kind(), world.state(0)), (ErrorKind::Uncertain, BayState::Quarantined));
    assert_eq!(world.run(Rehabilitate::new(bay, TIMING)).unwrap_err().kind(), ErrorKind::WrongState);
    world.memory.put(bay.offset() + bay::STAGE, Stage::Waiting as u64);
    let mut dead = world.clone();
    dead.cpu = Doing::Dead;
    assert_eq!(dead.run(Rehabilitate::new(bay, TIMING)).unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(dead.state(0), BayState::Quarantined);
    world.run(Rehabilitate::new(bay, TIMING)).expect("it answers");
    assert_eq!((world.state(0), world.confirmed), (BayState::Parked, 1));
    assert_eq!(world.run(Rehabilitate::new(bay, TIMING)).unwrap_err().kind(), ErrorKind::WrongState);
}

#[test]
fn a_fault_on_the_way_in_is_told() {
    let mut world = World::parked(Mechanism::Hlt);
    let base = world.base(0);
    world.memory.put(base + bay::STAGE, Stage::Faulted as u64);
    assert_eq!(world.run(AwaitArrival::new(world.bay(), DEADLINE)).unwrap_err().kind(), ErrorKind::Faulted);
}

/// A CPU's registers, for `Left`.
struct Registers {
    inside: Option<Register>,
    inside_value: u64,
}

impl Cpu for Registers {
    fn cpuid(&mut self, _leaf: u32, _subleaf: u32) -> CpuidResult {
        [0; 4]
    }
    fn read(&mut self, register: Register) -> Result<u64, PlatformError> {
        Ok(if self.inside == Some(register) { self.inside_value } else { 0xffff_8000_0000_0000 })
    }
    fn write(&mut self, _register: Register, _value: u64) -> Result<(), PlatformError> {
        Err(PlatformError::NoSuchRegister)
    }
    fn act(&mut self, _action: Action) -> Result<(), PlatformError> {
        Err(PlatformError::NoSuchRegister)
    }
}

#[test]
fn a_bay_is_given_back_only_by_its_cpu_and_with_no_register_in_the_lot() {
    let mut world = World::parked(Mechanism::Hlt);
    world.run(Wake::new(world.bay(), ENTRY, TIMING)).expect("woken");
    let last = AT.0 + world.lease.lot().header().total_len - 1;
    for (register, what) in
        [(Register::Cr3, "CR3"), (Register::GdtrBase, "GDTR"), (Register::IdtrBase, "IDTR"), (Register::Rsp, "RSP")]
    {
        for inside_value in [AT.0, last] {
            let mut cpu = Registers { inside: Some(register), inside_value };
            let error = Left::new(&world.lease, 0, ID, &mut cpu).unwrap_err();
            assert_eq!((error.kind(), error.value()), (ErrorKind::WrongState, Some(inside_value)));
            assert!(error.what().starts_with(what), "{error}");
        }
    }
    let mut cpu = Registers { inside: Some(Register::Rsp), inside_value: last + 1 };
    let other = Left::new(&world.lease, 0, ApicId(8), &mut cpu).expect("outside");
    assert_eq!(world.run(other).unwrap_err().kind(), ErrorKind::InvalidCpu);
    assert_eq!(world.run(AwaitLeft::new(world.bay(), DEADLINE)).unwrap_err().kind(), ErrorKind::Uncertain);
    assert_eq!(world.state(0), BayState::Leaving);
    let left = Left::new(&world.lease, 0, ID, &mut cpu).expect("outside");
    // It dies on the way: never free before the last store.
    for steps in 0.. {
        let mut dying = world.clone();
        if dying.run_steps(left, steps) {
            break;
        }
        let free = dying.state(0) == BayState::Free;
        let base = dying.base(0);
        assert!(!free || dying.memory.get(base + bay::STAGE) == Stage::Out as u64);
        assert!(!free || dying.doorbell(0).phase() == Some(Phase::Quiet));
    }
    world.run(left).expect("left");
    world.run(AwaitLeft::new(world.bay(), DEADLINE)).expect("free");
    assert_eq!(world.run(Reserve::any(&world.lease, request(ID))).expect("free again").index(), 0);
}

#[test]
fn left_takes_back_a_ticket_and_never_frees_a_quarantined_bay() {
    let mut cpu = Registers { inside: None, inside_value: 0 };
    let mut world = World::parked(Mechanism::Hlt);
    world.cpu = Doing::Dead;
    world.run(Publish::new(world.bay(), Command::Wake, ENTRY)).expect("published");
    world.run(Left::new(&world.lease, 0, ID, &mut cpu).expect("outside")).expect("left");
    assert_eq!((world.state(0), world.doorbell(0).phase()), (BayState::Free, Some(Phase::Quiet)));
    let mut world = World::parked(Mechanism::Hlt);
    world.run(Quarantine::new(world.bay())).expect("reserved");
    let error = world.run(Left::new(&world.lease, 0, ID, &mut cpu).expect("outside")).unwrap_err();
    assert_eq!((error.kind(), world.state(0)), (ErrorKind::WrongState, BayState::Quarantined));
}

#[test]
fn park_summons_and_a_cpu_that_was_never_asked_gives_its_bay_back() {
    let mut world = World::empty(1);
    let error = world.run(Park::new(&world.lease, request(ID), DEADLINE)).unwrap_err();
    assert_eq!((error.kind(), world.summoned), (ErrorKind::Uncertain, Some(0)));
    let mut world = World::empty(1);
    world.mute = true;
    let error = world.run(Park::new(&world.lease, request(ID), DEADLINE)).unwrap_err();
    assert_eq!(error.platform(), Some(PlatformError::ApicBusy));
    assert_eq!(world.state(0), BayState::Free);
}

struct Nothing;
impl Clock for Nothing {
    fn now(&mut self) -> Ticks {
        0
    }
    fn ticks_per_second(&self) -> u64 {
        1
    }
}
impl IpiSender for Nothing {
    fn send_nmi(&mut self, _target: ApicId) -> Result<(), PlatformError> {
        Ok(())
    }
    fn send_init(&mut self, _target: ApicId) -> Result<(), PlatformError> {
        Ok(())
    }
    fn send_startup(&mut self, _target: ApicId, _vector: u8) -> Result<(), PlatformError> {
        Ok(())
    }
}

#[test]
fn drive_runs_an_operation_and_summons_nobody() {
    let mut world = World::empty(1);
    let reserve = Reserve::any(&world.lease, request(ID));
    let bay = drive(reserve, &mut world.memory, &mut Nothing, &mut Nothing).expect("free");
    assert_eq!(bay.index(), 0);
    assert_eq!(NoSummon.summon(ID, 0), Err(PlatformError::CannotSummon));
    let park = Park::new(&world.lease, request(ApicId(1)), 0);
    let error = drive(park, &mut World::empty(1).memory, &mut Nothing, &mut Nothing).unwrap_err();
    assert_eq!(error.platform(), Some(PlatformError::CannotSummon));
}
