//! Tickets and rings: what is refused, how it is kicked, what the deadline does.

use crate::world::{DEADLINE, Doing, ENTRY, ID, TIMING, World, owner};
use park_core::lot::{BayState, Command, Doorbell, OwnerState, Phase, Stage, WaitFlags, bay};
use park_core::op::{
    Confirm, ConfirmNext, Flush, Hold, Operation, Patience, Poll, Presence, Publish, Quarantine, Release, Repark,
    Reply, Revoke, Step, TicketState, Vacate, Wake,
};
use park_core::{ApicId, ErrorKind, Mechanism, PhysAddr, PlatformError, Sequence, Ticks};

#[test]
fn each_command_does_what_it_says() {
    for mechanism in [Mechanism::Hlt, Mechanism::Mwait, Mechanism::Clgi] {
        let mut world = World::parked(mechanism);
        world.run(Confirm::new(world.bay(), TIMING)).expect("alive");
        world.run(Flush::new(world.bay(), TIMING)).expect("flushed");
        assert_eq!(world.confirmed, 2);
        let held = world.run(Hold::new(world.bay(), TIMING)).expect("held");
        assert!(matches!(world.cpu, Doing::Spin(_)));
        assert_eq!(world.run(Confirm::new(world.bay(), TIMING)).unwrap_err().kind(), ErrorKind::WrongState);
        world.run(Release::new(held, DEADLINE)).expect("released");
        world.run(Release::new(held, DEADLINE)).expect("already released");
        assert_eq!(world.state(0), BayState::Parked);
        world.run(Wake::new(world.bay(), ENTRY, TIMING)).expect("woken");
        assert_eq!(world.cpu, Doing::Gone(ENTRY));
        assert!(world.sent.iter().all(|sent| *sent == ("nmi", ID)));
    }
}

/// When NMIs are sent to a CPU that never answers, and what the ring ends in.
fn kicks(mechanism: Mechanism, flags: WaitFlags) -> (Vec<Ticks>, ErrorKind) {
    let mut world = World::parked(mechanism);
    let base = world.base(0);
    world.memory.put(base + bay::OWNER, owner(OwnerState::Reserved, mechanism) | u64::from(flags.bits()) << 16);
    let (mut ring, mut reply, mut now, mut kicks) = (Confirm::new(world.bay(), TIMING), Reply::Start, 0, Vec::new());
    loop {
        match ring.next(reply, now) {
            Step::Done(result) => {
                assert_eq!(world.doorbell(0).phase(), Some(Phase::Quiet));
                return (kicks, result.unwrap_err().kind());
            }
            Step::Wait { .. } => {
                now += 50;
                reply = Reply::Waited;
            }
            step => {
                if let Step::SendNmi(target) = step {
                    assert_eq!(target, ID);
                    kicks.push(now);
                }
                reply = world.carry_out(&step).expect("not done");
            }
        }
    }
}

#[test]
fn hlt_is_kicked_at_once_mwait_after_an_interval_clgi_never() {
    let every: Vec<Ticks> = (0..10).map(|kick| kick * 100).collect();
    assert_eq!(kicks(Mechanism::Hlt, WaitFlags::empty()), (every.clone(), ErrorKind::Revoked));
    assert_eq!(kicks(Mechanism::Mwait, WaitFlags::empty()), (every[1..].to_vec(), ErrorKind::Revoked));
    assert_eq!(kicks(Mechanism::Mwait, WaitFlags::MAILBOX), (every, ErrorKind::Revoked));
    assert_eq!(kicks(Mechanism::Clgi, WaitFlags::empty()), (vec![], ErrorKind::Revoked));
}

#[test]
fn an_nmi_that_cannot_be_sent_leaves_no_ticket_behind() {
    let mut world = World::parked(Mechanism::Hlt);
    world.mute = true;
    let error = world.run(Wake::new(world.bay(), ENTRY, TIMING)).unwrap_err();
    assert_eq!(error.platform(), Some(PlatformError::ApicBusy));
    assert_eq!((world.state(0), world.cpu), (BayState::Parked, Doing::Asleep));
    // A CPU that polls is reached without.
    let mut world = World::parked(Mechanism::Clgi);
    world.mute = true;
    world.run(Wake::new(world.bay(), ENTRY, TIMING)).expect("woken");
}

#[test]
fn publish_refuses_what_is_not_parked() {
    let publish = |world: &mut World| world.run(Publish::new(world.bay(), Command::Wake, ENTRY));
    let parked = World::parked(Mechanism::Hlt);
    let with = |word: u64, value: u64| {
        let mut world = parked.clone();
        let base = world.base(0);
        world.memory.put(base + word, value);
        let before = world.memory.clone();
        let kind = publish(&mut world).unwrap_err().kind();
        assert_eq!(world.memory, before, "nothing half done");
        kind
    };
    assert_eq!(with(bay::OWNER, owner(OwnerState::Free, Mechanism::Hlt)), ErrorKind::WrongState);
    assert_eq!(with(bay::OWNER, owner(OwnerState::Quarantined, Mechanism::Hlt)), ErrorKind::WrongState);
    assert_eq!(with(bay::OWNER, owner(OwnerState::Reserved, Mechanism::WaitForSipi)), ErrorKind::WrongState);
    assert_eq!(with(bay::OWNER, owner(OwnerState::Reserved, Mechanism::Hlt) | 0xff00), ErrorKind::AbiMismatch);
    assert_eq!(with(bay::OWNER, 0x77), ErrorKind::AbiMismatch);
    for (stage, kind) in [
        (Stage::Out, ErrorKind::WrongState),
        (Stage::Arriving, ErrorKind::WrongState),
        (Stage::Leaving, ErrorKind::WrongState),
        (Stage::LeavingByMailbox, ErrorKind::WrongState),
        (Stage::Faulted, ErrorKind::Faulted),
    ] {
        assert_eq!(with(bay::STAGE, stage as u64), kind, "{stage:?}");
    }
    assert_eq!(with(bay::STAGE, 99), ErrorKind::AbiMismatch);
    assert_eq!(with(bay::DOORBELL, 0x0301), ErrorKind::AbiMismatch);
    let mut world = parked.clone();
    for phase in [Phase::Rung, Phase::Claimed] {
        world.set_doorbell(Command::Wake, phase, 1, 5);
        assert_eq!(publish(&mut world).unwrap_err().kind(), ErrorKind::WrongState);
    }
    world.set_doorbell(Command::Wake, Phase::Quiet, 2, 5);
    assert_eq!(publish(&mut world).unwrap_err().kind(), ErrorKind::StaleGeneration);
    let none = world.run(Publish::new(world.bay(), Command::None, ENTRY));
    assert_eq!(none.unwrap_err().kind(), ErrorKind::WrongState);
}

#[test]
fn the_entry_is_in_the_bay_before_the_doorbell_says_so() {
    let mut world = World::parked(Mechanism::Hlt);
    for steps in 0.. {
        let mut dying = world.clone();
        let over = dying.run_steps(Publish::new(world.bay(), Command::Wake, ENTRY), steps);
        if dying.doorbell(0).phase() == Some(Phase::Rung) {
            let base = dying.base(0);
            let words = [bay::ENTRY_RIP, bay::ENTRY_RSP, bay::ENTRY_CR3, bay::ENTRY_ARG];
            assert_eq!(words.map(|word| dying.memory.get(base + word)), [0x1000, 0x2000, 0x3000, 4]);
        }
        if over {
            break;
        }
    }
    let ticket = world.run(Publish::new(world.bay(), Command::Wake, ENTRY)).expect("parked");
    assert_eq!(ticket.word(), world.doorbell(0));
    assert_eq!((ticket.apic_id(), ticket.mechanism(), ticket.flags()), (ID, Mechanism::Hlt, WaitFlags::WBINVD));
}

#[test]
fn poll_and_revoke_tell_who_was_first() {
    let mut world = World::parked(Mechanism::Hlt);
    world.cpu = Doing::Dead;
    let ticket = world.run(Publish::new(world.bay(), Command::Confirm, ENTRY)).expect("parked");
    let rung = ticket.word();
    let base = world.base(0);
    assert_eq!(world.run(Poll::new(ticket)), Ok(TicketState::Pending));
    world.memory.put(base + bay::DOORBELL, rung.with_phase(Phase::Claimed).0);
    assert_eq!(world.run(Poll::new(ticket)), Ok(TicketState::Claimed));
    let error = world.run(Revoke::new(ticket)).unwrap_err();
    assert_eq!((error.kind(), world.doorbell(0)), (ErrorKind::TooLate, rung.with_phase(Phase::Claimed)));
    world.memory.put(base + bay::STAGE, Stage::Faulted as u64);
    assert_eq!(world.run(Poll::new(ticket)), Ok(TicketState::Faulted));
    world.memory.put(base + bay::DOORBELL, rung.with_phase(Phase::Quiet).0);
    assert_eq!(world.run(Poll::new(ticket)), Ok(TicketState::Done));
    for other in
        [rung.with_generation(rung.generation().next()), Doorbell(rung.0 + (1 << 40)), Doorbell(rung.0 | 0xff00)]
    {
        world.memory.put(base + bay::DOORBELL, other.0);
        assert_eq!(world.run(Poll::new(ticket)), Ok(TicketState::Lost));
        assert_eq!(world.run(Revoke::new(ticket)).unwrap_err().kind(), ErrorKind::TooLate);
    }
    world.memory.put(base + bay::DOORBELL, rung.0);
    world.run(Revoke::new(ticket)).expect("unclaimed");
    assert_eq!(world.doorbell(0), rung.with_phase(Phase::Quiet));
}

#[test]
fn the_sequence_wraps_and_an_old_release_does_not_end_a_new_hold() {
    let mut world = World::parked(Mechanism::Hlt);
    world.set_doorbell(Command::Confirm, Phase::Quiet, 1, Sequence::MAX - 1);
    let base = world.base(0);
    world.memory.put(base + bay::RELEASE, 0);
    assert_eq!(world.run(Confirm::new(world.bay(), TIMING)).expect("alive").word().sequence().raw(), Sequence::MAX);
    let held = world.run(Hold::new(world.bay(), TIMING)).expect("held");
    assert_eq!(held.ticket().word().sequence().raw(), 0);
    assert!(matches!(world.cpu, Doing::Spin(_)), "{:?}", world.cpu);
    world.run(Release::new(held, DEADLINE)).expect("released");
    assert_eq!(world.doorbell(0).generation().raw(), 1);
}

#[test]
fn a_fault_ends_a_ring_and_takes_the_ticket_back() {
    let mut world = World::parked(Mechanism::Hlt);
    world.cpu = Doing::Dead;
    let (mut wake, mut reply) = (Wake::new(world.bay(), ENTRY, TIMING), Reply::Start);
    let result = loop {
        match wake.next(reply, 0) {
            Step::Done(result) => break result,
            step => {
                if let Step::SendNmi(_) = step {
                    let base = world.base(0);
                    world.memory.put(base + bay::STAGE, Stage::Faulted as u64);
                }
                reply = world.carry_out(&step).expect("not done");
            }
        }
    };
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Faulted);
    assert_eq!(world.doorbell(0).phase(), Some(Phase::Quiet));
}

#[test]
fn a_command_that_is_claimed_and_never_done_is_uncertain() {
    let mut world = World::parked(Mechanism::Hlt);
    world.cpu = Doing::Dead;
    let (mut confirm, mut reply, mut now) = (Confirm::new(world.bay(), TIMING), Reply::Start, 0);
    let result = loop {
        match confirm.next(reply, now) {
            Step::Done(result) => break result,
            Step::SendNmi(_) => {
                let claimed = world.doorbell(0).with_phase(Phase::Claimed);
                let base = world.base(0);
                world.memory.put(base + bay::DOORBELL, claimed.0);
                reply = Reply::Sent;
            }
            Step::Wait { until } => (reply, now) = (Reply::Waited, until),
            step => reply = world.carry_out(&step).expect("not done"),
        }
    };
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Uncertain);
    assert_eq!(world.state(0), BayState::Claimed, "to quarantine it is the caller's choice");
    world.run(Quarantine::new(world.bay())).expect("reserved");
    assert_eq!(world.state(0), BayState::Quarantined);
}

#[test]
fn a_reply_that_does_not_fit_is_an_error_and_not_a_panic() {
    let world = World::parked(Mechanism::Hlt);
    for wrong in [Reply::Start, Reply::Stored, Reply::Sent, Reply::Waited] {
        let mut wake = Wake::new(world.bay(), ENTRY, TIMING);
        assert!(matches!(wake.next(Reply::Start, 0), Step::Load { .. }));
        match wake.next(wrong, 0) {
            Step::Done(Err(error)) => assert_eq!(error.kind(), ErrorKind::WrongState),
            other => panic!("{other:?}"),
        }
    }
    let mut poll = Confirm::new(world.bay(), TIMING);
    poll.next(Reply::Start, 0);
    let failed = Reply::Failed(PlatformError::OutOfBounds { offset: 8 });
    assert!(matches!(poll.next(failed, 0), Step::Done(Err(error)) if error.kind() == ErrorKind::Platform));
}

#[test]
fn confirm_next_visits_every_reserved_bay_and_says_what_it_found() {
    let mut world = World::empty(9);
    let stages = [Stage::Waiting, Stage::Waiting, Stage::Faulted, Stage::Arriving, Stage::Leaving, Stage::Waiting];
    for (index, stage) in (1..).zip(stages) {
        world.occupy(index, ApicId(index + 100), Mechanism::Hlt);
        let base = world.base(index);
        world.memory.put(base + bay::STAGE, stage as u64);
    }
    world.occupy(0, ID, Mechanism::Hlt);
    let base = world.base(6);
    world.memory.put(base + bay::OWNER, owner(OwnerState::Reserved, Mechanism::WaitForSipi));
    let base = world.base(2);
    world.memory.put(base + bay::DOORBELL, Doorbell(0x0201).0);
    world.occupy(8, ApicId(108), Mechanism::Clgi);
    let base = world.base(8);
    world.memory.put(base + bay::OWNER, owner(OwnerState::Quarantined, Mechanism::Clgi));
    let (mut index, mut found) = (0, Vec::new());
    let patience = Patience { kick_interval_ticks: 10, timeout_ticks: 100 };
    while let Some(confirmed) = world.run(ConfirmNext::new(&world.lease, index, patience)).expect("sound") {
        index = confirmed.bay.index() + 1;
        found.push((confirmed.bay.index(), confirmed.apic_id.0, confirmed.presence));
    }
    assert_eq!(
        found,
        [
            (0, 7, Presence::Alive),
            (1, 101, Presence::Absent),
            (2, 102, Presence::Uncertain),
            (3, 103, Presence::Faulted),
            (4, 104, Presence::Arriving),
            (5, 105, Presence::Leaving),
            (6, 106, Presence::WaitsForSipi),
        ]
    );
    world.mute = true;
    let confirmed = world.run(ConfirmNext::new(&world.lease, 0, patience)).expect("sound").expect("one");
    assert_eq!(confirmed.presence, Presence::Unreachable);
}

#[test]
fn repark_names_the_new_bay_and_vacate_wants_the_arrival_there() {
    let mut world = World::parked(Mechanism::Hlt);
    let mut there = World::parked(Mechanism::Hlt);
    let to = there.lease.bay(1).expect("bay 1");
    let error = Repark::new(world.bay(), &World::empty(1).lease, to, PhysAddr(0), TIMING).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidCpu);
    let repark = Repark::new(world.bay(), &there.lease, to, PhysAddr(0x9000), TIMING).expect("a bay of that lot");
    let ticket = world.run(repark).expect("claimed");
    let phys = there.lease.bay_phys(to).expect("a bay").0;
    match world.cpu {
        Doing::Gone(entry) => {
            assert_eq!(entry.rip, there.lease.lot().header().repark().0);
            assert_eq!((entry.rsp, entry.cr3, entry.arg), (phys + 512, PhysAddr(0x9000), phys));
        }
        other => panic!("{other:?}"),
    }
    let stranger = World::parked(Mechanism::Hlt).run(Wake::new(world.bay(), ENTRY, TIMING)).expect("woken");
    let arrived = there.run(park_core::op::AwaitArrival::new(there.bay(), DEADLINE)).expect("there");
    assert_eq!(Vacate::new(stranger, arrived).unwrap_err().kind(), ErrorKind::InvalidCpu);
    assert_eq!(world.state(0), BayState::Leaving);
    world.run(Vacate::new(ticket, arrived).expect("the same CPU")).expect("left");
    assert_eq!((world.state(0), world.doorbell(0).phase()), (BayState::Free, Some(Phase::Quiet)));
    let again = world.run(Vacate::new(ticket, arrived).expect("the same CPU"));
    assert_eq!(again.unwrap_err().kind(), ErrorKind::WrongState);
}
