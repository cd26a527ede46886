//! Handing over, accepting, seizing.

use crate::lot::build;
use crate::world::{DEADLINE, Doing, ENTRY, ID, TIMING, World, owner};
use park_core::lot::{BayState, Command, LeaseState, OwnerState, Phase, Stage, bay, header};
use park_core::op::{
    Accept, CheckIds, Confirm, DeadOwner, HandOver, Hold, Operation, Poll, Publish, Release, Reply, Seize, Step,
    TicketState, Wake,
};
use park_core::{ApicId, ErrorKind, Generation, Mechanism};

fn seize(world: &mut World) -> park_core::op::TakeOver {
    let lot = world.memory.lot();
    let dead = DeadOwner::declared();
    world.run(Seize::new(&lot, dead)).expect("seizable")
}

#[test]
fn a_lot_goes_from_kernel_to_kernel_and_its_cpus_with_it() {
    let mut world = World::parked(Mechanism::Hlt);
    for generation in 2..100 {
        world.run(Confirm::new(world.bay(), TIMING)).expect("alive");
        world.run(HandOver::new(&world.lease)).expect("quiet");
        let old = world.lease;
        assert_eq!(world.run(HandOver::new(&old)).unwrap_err().kind(), ErrorKind::WrongState);
        assert_eq!(world.run(Confirm::new(world.bay(), TIMING)).unwrap_err().kind(), ErrorKind::WrongState);
        let lot = world.memory.lot();
        let taken = world.run(Accept::new(&lot)).expect("offered");
        assert_eq!((taken.lease.generation().raw(), taken.revoked, taken.took_old_entry), (generation, 0, 0));
        world.lease = taken.lease;
        let stale = old.bay(0).expect("bay 0");
        let error = world.run(Wake::new(stale, ENTRY, TIMING)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StaleGeneration);
        assert_eq!(world.run(HandOver::new(&old)).unwrap_err().kind(), ErrorKind::StaleGeneration);
    }
    world.run(Wake::new(world.bay(), ENTRY, TIMING)).expect("woken");
}

#[test]
fn generations_wrap() {
    let mut world = World::parked(Mechanism::Hlt);
    world.memory.set_lease(LeaseState::Held, Generation::from_raw(Generation::MAX));
    world.set_doorbell(Command::None, Phase::Quiet, Generation::MAX, 3);
    let lease = seize(&mut world).lease;
    assert_eq!(lease.generation(), Generation::FIRST);
    world.lease = lease;
    // A claimed doorbell is left alone, so one of the last generation may still stand there.
    world.set_doorbell(Command::Confirm, Phase::Quiet, Generation::MAX, 3);
    world.run(Confirm::new(world.bay(), TIMING)).expect("alive");
}

#[test]
fn hand_over_names_the_bay_that_is_in_the_way() {
    let parked = World::parked(Mechanism::Hlt);
    let blocked = |world: &mut World| {
        let before = world.memory.clone();
        let error = world.run(HandOver::new(&world.lease)).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::WrongState, Some(world.base(0))));
        assert_eq!(world.memory, before);
    };
    let mut world = parked.clone();
    for phase in [Phase::Rung, Phase::Claimed] {
        world.set_doorbell(Command::Confirm, phase, 1, 6);
        blocked(&mut world);
    }
    let base = world.base(0);
    for stage in [Stage::Out, Stage::Arriving, Stage::Leaving, Stage::LeavingByMailbox] {
        let mut world = parked.clone();
        world.memory.put(base + bay::STAGE, stage as u64);
        blocked(&mut world);
        world.memory.put(base + bay::OWNER, owner(OwnerState::Quarantined, Mechanism::Hlt));
        world.run(HandOver::new(&world.lease)).expect("a quarantined bay is nobody's");
    }
    world.memory.put(base + bay::STAGE, Stage::Faulted as u64);
    world.run(HandOver::new(&world.lease)).expect("a faulted CPU goes nowhere");
}

#[test]
fn accept_wants_an_offer() {
    let mut memory = build(1);
    let lot = memory.lot();
    let mut world = World::empty(1);
    for state in [LeaseState::Held, LeaseState::Taking] {
        world.memory.set_lease(state, Generation::from_raw(4));
        let before = world.memory.clone();
        assert_eq!(world.run(Accept::new(&lot)).unwrap_err().kind(), ErrorKind::WrongState);
        assert_eq!(world.memory, before);
    }
    for bit in 0..64 {
        world.memory.set_lease(LeaseState::Offered, Generation::from_raw(4));
        let word = world.memory.get(header::LEASE);
        world.memory.put(header::LEASE, word ^ 1 << bit);
        assert_eq!(world.run(Accept::new(&lot)).unwrap_err().kind(), ErrorKind::AbiMismatch, "bit {bit}");
    }
}

#[test]
fn two_kernels_that_accept_at_once_get_one_lease() {
    let mut start = World::parked(Mechanism::Hlt);
    start.run(HandOver::new(&start.lease)).expect("quiet");
    let lot = *start.lease.lot();
    for steps in 0..20 {
        let mut world = start.clone();
        let (mut first, mut reply) = (Accept::new(&lot), Reply::Start);
        for _ in 0..steps {
            match world.carry_out(&first.next(reply, 0)) {
                Some(next) => reply = next,
                None => break,
            }
        }
        let second = world.run(Accept::new(&lot));
        let first = loop {
            match first.next(reply, 0) {
                Step::Done(result) => break result,
                step => reply = world.carry_out(&step).expect("not done"),
            }
        };
        assert!(first.is_ok() != second.is_ok(), "after {steps}: {first:?} {second:?}");
    }
}

#[test]
fn seize_revokes_and_the_old_ticket_is_lost() {
    let mut world = World::parked(Mechanism::Hlt);
    world.cpu = Doing::Dead;
    let ticket = world.run(Publish::new(world.bay(), Command::Wake, ENTRY)).expect("parked");
    let taken = seize(&mut world);
    assert_eq!((taken.revoked, taken.took_old_entry, taken.first_took_old_entry), (1, 0, None));
    assert_eq!(world.run(Poll::new(ticket)), Ok(TicketState::Lost));
    assert_eq!((world.doorbell(0).phase(), world.state(0)), (Some(Phase::Quiet), BayState::Parked));
    // The old owner's ring, had it lived, would see it too.
    let (mut wake, mut reply) = (Wake::new(world.bay(), ENTRY, TIMING), Reply::Start);
    let mut racing = World::parked(Mechanism::Hlt);
    let result = loop {
        match wake.next(reply, 0) {
            Step::Done(result) => break result,
            Step::SendNmi(_) => {
                seize(&mut racing);
                reply = Reply::Sent;
            }
            step => reply = racing.carry_out(&step).expect("not done"),
        }
    };
    assert_eq!(result.unwrap_err().kind(), ErrorKind::StaleGeneration);
}

#[test]
fn a_publish_that_seize_overtakes_is_refused_or_revoked() {
    let start = World::parked(Mechanism::Clgi);
    for steps in 0..20 {
        let mut world = start.clone();
        world.cpu = Doing::Dead;
        let (mut publish, mut reply) = (Publish::new(world.bay(), Command::Wake, ENTRY), Reply::Start);
        let mut ticket = None;
        for _ in 0..steps {
            let step = publish.next(reply, 0);
            match world.carry_out(&step) {
                Some(next) => reply = next,
                None => {
                    ticket = Some(());
                    break;
                }
            }
        }
        let taken = seize(&mut world);
        let result = loop {
            match publish.next(reply, 0) {
                Step::Done(result) => break result,
                step => reply = world.carry_out(&step).expect("not done"),
            }
        };
        assert_eq!(world.doorbell(0).phase(), Some(Phase::Quiet), "after {steps}");
        match result {
            Ok(_) => assert_eq!(taken.revoked, 1),
            Err(error) => {
                assert_eq!((error.kind(), taken.revoked), (ErrorKind::StaleGeneration, 0), "after {steps}");
                assert_eq!(ticket, None);
            }
        }
    }
}

#[test]
fn seize_lets_held_cpus_go_and_leaves_claimed_doorbells_alone() {
    let mut world = World::parked(Mechanism::Hlt);
    let held = world.run(Hold::new(world.bay(), TIMING)).expect("held");
    let taken = seize(&mut world);
    assert_eq!((taken.released, taken.took_old_entry), (1, 0));
    while world.cpu_step() {}
    assert_eq!(world.state(0), BayState::Parked);
    world.lease = taken.lease;
    world.run(Confirm::new(world.bay(), TIMING)).expect("alive");
    assert_eq!(world.run(Release::new(held, DEADLINE)).unwrap_err().kind(), ErrorKind::StaleGeneration);
}

#[test]
fn bays_with_the_same_id_are_found_wherever_they_are() {
    let count = 70;
    let mut start = World::empty(count);
    for index in 0..count {
        start.occupy(index, ApicId(index * 2), Mechanism::Hlt);
    }
    let check = CheckIds::new(start.lease.lot());
    start.run(check).expect("all differ");
    for (first, second) in [(0, 1), (0, 69), (31, 32), (32, 63), (63, 64), (64, 69), (68, 69), (5, 40)] {
        let mut world = start.clone();
        world.occupy(second, ApicId(first * 2), Mechanism::Hlt);
        let error = world.run(check).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::AbiMismatch, Some(world.base(second))));
        assert_eq!(error.value(), Some(u64::from(first * 2)));
        let base = world.base(second);
        world.memory.put(base + bay::OWNER, owner(OwnerState::Free, Mechanism::Hlt));
        world.run(check).expect("a free bay holds nobody");
    }
    for count in [1, 31, 32, 33, 64] {
        let mut world = World::empty(count);
        for index in 0..count {
            world.occupy(index, ApicId(index), Mechanism::Hlt);
        }
        world.run(CheckIds::new(world.lease.lot())).expect("all differ");
    }
    assert_ne!(ID, ApicId(0));
}
