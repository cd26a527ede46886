//! A kernel may die at any step of anything: the next one can take the lot, and finds nothing usable that is not.

use crate::world::{DEADLINE, Doing, ENTRY, ID, TIMING, World, request};
use park_core::lot::{BayState, Command, LeaseState, OwnerState, Phase, bay};
use park_core::op::{
    Accept, AwaitArrival, DeadOwner, HandOver, Hold, Operation, Park, Processor, Publish, Quarantine, Rehabilitate,
    Reserve, Seize, SinkToSipi, Wake,
};
use park_core::{ApicId, Mechanism};

/// SAFETY of every use: no owner's code runs in a test but what the test itself runs.
fn dead() -> DeadOwner {
    DeadOwner::declared()
}

/// Dies after each number of steps of `operation`, then after each number of steps of a first seizure, then seizes.
fn survives<O: Operation>(start: &World, operation: impl Fn(&World) -> O, check: impl Fn(&mut World, usize)) {
    let mut reached_the_end = false;
    for steps in 0.. {
        let mut world = start.clone();
        let over = world.run_steps(operation(&world), steps);
        for taken in 0.. {
            let mut next = world.clone();
            let lot = next.memory.lot();
            let over = next.run_steps(Seize::new(&lot, dead()), taken);
            let before = lot.lease(&mut next.memory).expect("sound").generation;
            let lot = next.memory.lot();
            let result = next.run(Seize::new(&lot, dead())).expect("seizable");
            assert_eq!(result.lease.generation(), before.next());
            let lease = lot.lease(&mut next.memory).expect("sound");
            assert_eq!((lease.state, lease.generation), (LeaseState::Held, before.next()));
            for index in 0..lot.header().bay_count {
                assert_ne!(next.doorbell(index).phase(), Some(Phase::Rung), "after {steps} steps");
            }
            next.lease = result.lease;
            check(&mut next, steps);
            if over {
                break;
            }
        }
        if over {
            reached_the_end = true;
            break;
        }
    }
    assert!(reached_the_end);
}

#[test]
fn in_reserve_the_bay_is_free_or_arriving() {
    let mut start = World::empty(2);
    // What an earlier occupant left: its id must never be seen with a waiting CPU.
    let base = start.base(0);
    start.memory.put(base + bay::IDENTITY, 99);
    survives(
        &start,
        |world| Reserve::any(&world.lease, request(ID)),
        |next, steps| {
            let state = next.state(0);
            assert!(matches!(state, BayState::Free | BayState::Arriving), "{state:?} after {steps}");
        },
    );
}

#[test]
fn in_publish_and_wake_the_ticket_is_revoked() {
    let mut start = World::parked(Mechanism::Hlt);
    start.cpu = Doing::Dead;
    survives(
        &start,
        |world| Publish::new(world.bay(), Command::Wake, ENTRY),
        |next, _| {
            assert_eq!(next.state(0), BayState::Parked);
            assert_eq!(next.doorbell(0).generation(), next.lease.generation());
        },
    );
    survives(
        &start,
        |world| Hold::new(world.bay(), TIMING_THAT_ENDS),
        |next, _| {
            assert_eq!(next.state(0), BayState::Parked);
        },
    );
}

/// The deadline has passed when the ring begins: the operation ends although nobody answers.
const TIMING_THAT_ENDS: park_core::op::Timing = park_core::op::Timing { kick_interval_ticks: 1, deadline: 0 };

#[test]
fn in_hand_over_and_accept() {
    let start = World::parked(Mechanism::Hlt);
    survives(&start, |world| HandOver::new(&world.lease), |next, _| assert_eq!(next.state(0), BayState::Parked));
    let mut offered = start.clone();
    offered.run(HandOver::new(&start.lease)).expect("quiet");
    survives(&offered, |world| Accept::new(world.lease.lot()), |next, _| assert_eq!(next.state(0), BayState::Parked));
    let mut rung = start.clone();
    rung.run(Publish::new(rung.bay(), Command::Wake, ENTRY)).expect("published");
    rung.cpu = Doing::Dead;
    survives(
        &rung,
        |world| Seize::new(world.lease.lot(), dead()),
        |next, _| {
            assert_eq!(next.state(0), BayState::Parked);
        },
    );
}

#[test]
fn in_quarantine_arrival_park_and_sink() {
    let parked = World::parked(Mechanism::Hlt);
    survives(
        &parked,
        |world| Quarantine::new(world.bay()),
        |next, _| {
            assert!(matches!(next.state(0), BayState::Parked | BayState::Quarantined));
        },
    );
    survives(
        &parked,
        |world| SinkToSipi::new(world.bay(), Processor::Application, 0),
        |next, _| {
            assert_eq!(next.state(0), BayState::Parked);
        },
    );
    let mut arriving = World::empty(1);
    arriving.run(Reserve::any(&arriving.lease, request(ID))).expect("free");
    survives(
        &arriving,
        |world| AwaitArrival::new(world.bay(), 0),
        |next, _| {
            assert!(matches!(next.state(0), BayState::Arriving | BayState::Quarantined));
        },
    );
    survives(
        &World::empty(1),
        |world| Park::new(&world.lease, request(ApicId(3)), 0),
        |next, _| {
            assert!(matches!(next.state(0), BayState::Free | BayState::Arriving | BayState::Quarantined));
        },
    );
    let mut late = parked.clone();
    late.cpu = Doing::Dead;
    late.run(Quarantine::new(late.bay())).expect("reserved");
    survives(
        &late,
        |world| Rehabilitate::new(world.bay(), TIMING_THAT_ENDS),
        |next, _| {
            assert_eq!(next.state(0), BayState::Quarantined);
            let base = next.base(0);
            assert_eq!(OwnerState::from_raw(next.memory.get(base + bay::OWNER) as u8), Some(OwnerState::Quarantined));
        },
    );
}

#[test]
fn a_wake_that_was_claimed_first_is_reported_as_taken() {
    let mut world = World::parked(Mechanism::Hlt);
    world.run(Wake::new(world.bay(), ENTRY, TIMING)).expect("woken");
    assert!(matches!(world.cpu, Doing::Gone(_)) && DEADLINE > 0);
    let result = world.run(Seize::new(&world.lease.lot().clone(), dead())).expect("seized");
    assert_eq!((result.took_old_entry, result.first_took_old_entry, result.revoked), (1, Some(0), 0));
    assert_eq!(world.state(0), BayState::Leaving);
}
