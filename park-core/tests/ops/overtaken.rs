//! Operations that something else overtakes between any two of their steps.

use crate::world::{DEADLINE, Doing, ENTRY, ID, TIMING, World, owner, request};
use park_core::lot::{BayState, Command, LeaseState, OwnerState, Phase, Stage, bay};
use park_core::op::{
    AwaitArrival, DeadOwner, HandOver, Hold, Operation, Publish, Quarantine, Rehabilitate, Release, Repark, Reply,
    Reserve, Seize, Step, TakeOver, Vacate, Wake,
};
use park_core::{Error, ErrorKind, Mechanism, PhysAddr};

fn seize(world: &World) -> Seize {
    let dead = DeadOwner::declared();
    Seize::new(world.lease.lot(), dead)
}

/// Runs `operation` with `between` once after `steps` of its steps; time stands still but for waits.
fn overtaken<O: Operation>(
    world: &mut World,
    mut operation: O,
    steps: usize,
    between: impl FnOnce(&mut World),
) -> Result<O::Output, Error> {
    let (mut reply, mut now, mut between) = (Reply::Start, 0, Some(between));
    for step in 0.. {
        if step == steps {
            if let Some(between) = between.take() {
                between(world);
            }
        }
        match operation.next(reply, now) {
            Step::Done(result) => return result,
            Step::Wait { until } => (reply, now) = (Reply::Waited, until),
            step => reply = world.carry_out(&step).expect("not done"),
        }
    }
    unreachable!()
}

#[test]
fn a_cpu_that_claims_while_its_lot_is_seized_is_either_revoked_or_reported() {
    let mut start = World::parked(Mechanism::Clgi);
    let ticket = {
        let mut dead = start.clone();
        dead.cpu = Doing::Dead;
        let ticket = dead.run(Publish::new(start.bay(), Command::Wake, ENTRY)).expect("parked");
        start.memory = dead.memory;
        ticket
    };
    let (mut revoked, mut taken) = (0, 0);
    for cpu_steps in 0..12 {
        for steps in 0..12 {
            let mut world = start.clone();
            let operation = seize(&world);
            let result: TakeOver = overtaken(&mut world, operation, steps, |world| {
                for _ in 0..cpu_steps {
                    world.cpu_step();
                }
            })
            .expect("seizable");
            while world.cpu_step() {}
            match world.cpu {
                Doing::Gone(entry) => {
                    assert_eq!((entry, result.revoked, result.took_old_entry), (ENTRY, 0, 1));
                    taken += 1;
                }
                Doing::Asleep => {
                    assert_eq!((result.revoked, result.took_old_entry), (1, 0));
                    assert_ne!(world.doorbell(0), ticket.word());
                    revoked += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(revoked > 0 && taken > 0);
}

#[test]
fn of_two_kernels_that_seize_at_once_only_one_gets_the_lot() {
    // Lease, claim, two accesses for each of two bays, hold: the seventh is the last.
    for steps in 0..7 {
        let mut world = World::parked(Mechanism::Hlt);
        let (operation, mut second) = (seize(&world), None);
        let first = overtaken(&mut world, operation, steps, |world| second = Some(world.run(seize(world))));
        let second = second.expect("overtaken").expect("nothing overtakes it").lease;
        let held = second.lot().lease(&mut world.memory).expect("sound");
        let stamp = world.doorbell(0).generation();
        assert_eq!((held.state, stamp), (LeaseState::Held, held.generation), "after {steps}");
        match (steps, first) {
            (0, Ok(first)) => assert_eq!(first.lease.generation(), held.generation),
            (1, Err(error)) => assert_eq!(error.kind(), ErrorKind::WrongState),
            (_, Err(error)) => assert_eq!(error.kind(), ErrorKind::StaleGeneration, "after {steps}"),
            (_, Ok(_)) => panic!("two leases after {steps}"),
        }
    }
}

#[test]
fn a_doorbell_with_a_generation_from_nowhere_does_not_stop_a_seizure() {
    let mut world = World::parked(Mechanism::Hlt);
    world.set_doorbell(Command::Confirm, Phase::Quiet, 1000, 1);
    let lease = world.run(seize(&world)).expect("seizable").lease;
    let publish = Publish::new(lease.bay(0).expect("bay 0"), Command::Confirm, ENTRY);
    assert_eq!(world.run(publish).unwrap_err().kind(), ErrorKind::StaleGeneration);
}

#[test]
fn hand_over_does_not_offer_what_another_kernel_holds() {
    for steps in 0..6 {
        let mut world = World::parked(Mechanism::Hlt);
        let operation = HandOver::new(&world.lease);
        let result = overtaken(&mut world, operation, steps, |world| {
            world.run(seize(world)).expect("seizable");
        });
        let lease = world.memory.lot().lease(&mut world.memory).expect("sound");
        assert_eq!(result.unwrap_err().kind(), ErrorKind::StaleGeneration, "after {steps}");
        assert_eq!((lease.state, lease.generation.raw()), (LeaseState::Held, 2));
    }
}

#[test]
fn a_deadline_under_another_kernel_quarantines_nothing() {
    let mut start = World::empty(1);
    let bay = start.run(Reserve::any(&start.lease, request(ID))).expect("free");
    for steps in 0..6 {
        let mut world = start.clone();
        let result = overtaken(&mut world, AwaitArrival::new(bay, DEADLINE), steps, |world| {
            world.run(seize(world)).expect("seizable");
        });
        assert_eq!(result.unwrap_err().kind(), ErrorKind::StaleGeneration, "after {steps}");
        assert_eq!(world.state(0), BayState::Arriving);
    }
}

#[test]
fn a_bay_that_somebody_freed_meanwhile_is_left_alone() {
    let mut start = World::parked(Mechanism::Hlt);
    let free = owner(OwnerState::Free, Mechanism::Hlt);
    let base = start.base(0);
    // After two steps the owner word has been read.
    let result = overtaken(&mut start.clone(), Quarantine::new(start.bay()), 2, |world| {
        world.memory.put(base + bay::OWNER, free);
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::WrongState);
    start.run(Quarantine::new(start.bay())).expect("reserved");
    start.polls = true;
    for steps in 9..40 {
        let mut world = start.clone();
        let mut freed = false;
        let operation = Rehabilitate::new(world.bay(), TIMING);
        let result = overtaken(&mut world, operation, steps, |world| {
            while world.cpu_step() {}
            world.memory.put(base + bay::OWNER, free);
            freed = true;
        });
        if freed {
            assert_ne!(result.map(|_| ()).map_err(|error| error.kind()), Ok(()), "after {steps}");
            assert_eq!(world.memory.get(base + bay::OWNER), free, "after {steps}");
        }
    }
}

#[test]
fn reserve_takes_no_bay_that_its_cpu_has_not_left() {
    let mut world = World::empty(2);
    let base = world.base(0);
    world.memory.put(base + bay::STAGE, Stage::Waiting as u64);
    assert_eq!(world.run(Reserve::any(&world.lease, request(ID))).expect("the other").index(), 1);
    let error = world.run(Reserve::this(&world.lease, 0, request(ID))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidCpu);
}

#[test]
fn a_fault_before_the_claim_ends_a_ring_even_if_the_doorbell_moved() {
    let mut world = World::parked(Mechanism::Hlt);
    let (mut wake, mut reply) = (Wake::new(world.bay(), ENTRY, TIMING), Reply::Start);
    let base = world.base(0);
    let result = loop {
        match wake.next(reply, 0) {
            Step::Done(result) => break result,
            step => {
                let doorbell = world.doorbell(0);
                match step {
                    Step::SendNmi(_) => world.memory.put(base + bay::STAGE, Stage::Faulted as u64),
                    Step::CompareExchange { .. } if doorbell.phase() == Some(Phase::Rung) => {
                        world.memory.put(base + bay::DOORBELL, doorbell.with_phase(Phase::Claimed).0);
                    }
                    _ => {}
                }
                reply = world.carry_out(&step).expect("not done");
            }
        }
    };
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Faulted);
}

#[test]
fn a_void_lease_releases_nobody() {
    let mut world = World::parked(Mechanism::Hlt);
    let held = world.run(Hold::new(world.bay(), TIMING)).expect("held");
    let word = held.ticket().word();
    let base = world.base(0);
    // The next owner holds the CPU by a ticket of its own.
    world.memory.put(base + bay::DOORBELL, word.with_phase(Phase::Claimed).with_generation(word.generation().next()).0);
    let before = world.memory.clone();
    assert_eq!(world.run(Release::new(held, DEADLINE)).unwrap_err().kind(), ErrorKind::StaleGeneration);
    assert_eq!(world.memory, before);
}

#[test]
fn vacate_wants_the_same_cpu_and_a_bay_that_it_left() {
    let mut world = World::parked(Mechanism::Hlt);
    let mut there = World::empty(2);
    there.occupy(0, ID, Mechanism::Hlt);
    there.occupy(1, park_core::ApicId(8), Mechanism::Hlt);
    let to = there.lease.bay(0).expect("bay 0");
    let repark = Repark::new(world.bay(), &there.lease, to, PhysAddr(0x9000), TIMING).expect("a bay of that lot");
    let ticket = world.run(repark).expect("claimed");
    let other = there.lease.bay(1).expect("bay 1");
    let stranger = there.run(AwaitArrival::new(other, DEADLINE)).expect("there");
    assert_eq!(Vacate::new(ticket, stranger).unwrap_err().kind(), ErrorKind::InvalidCpu);
    let arrived = there.run(AwaitArrival::new(to, DEADLINE)).expect("there");
    let base = world.base(0);
    for stage in [Stage::Waiting, Stage::Faulted, Stage::Arriving] {
        let mut world = world.clone();
        world.memory.put(base + bay::STAGE, stage as u64);
        let before = world.memory.clone();
        let error = world.run(Vacate::new(ticket, arrived).expect("the same CPU")).unwrap_err();
        assert_eq!((error.kind(), world.memory), (ErrorKind::WrongState, before));
    }
}
