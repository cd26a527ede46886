//! Wait-for-SIPI.

use crate::world::{ENTRY, ID, TIMING, World, owner};
use park_core::lot::{BayState, Command, OwnerState, Phase, Stage, bay};
use park_core::op::{Operation, Processor, Reply, SinkToSipi, SipiTiming, Step, Wake, WakeSipi};
use park_core::{ErrorKind, Mechanism, PlatformError, Ticks};

const SIPI: SipiTiming =
    SipiTiming { init_delay_ticks: 100, startup_delay_ticks: 2, retry_interval_ticks: 1000, deadline: 2000 };

#[test]
fn a_cpu_parked_by_hlt_is_sent_and_the_delay_kept() {
    let mut world = World::parked(Mechanism::Hlt);
    let (mut sink, mut reply, mut now, mut sent_at): (_, _, Ticks, _) =
        (SinkToSipi::new(world.bay(), Processor::Application, 100), Reply::Start, 0, None);
    loop {
        match sink.next(reply, now) {
            Step::Done(result) => {
                result.expect("sent");
                break;
            }
            step => {
                if let Step::SendInit(target) = step {
                    assert_eq!(target, ID);
                    let base = world.base(0);
                    let mechanism = world.memory.get(base + bay::OWNER);
                    assert_eq!(mechanism, owner(OwnerState::Reserved, Mechanism::WaitForSipi), "before the INIT");
                    sent_at = Some(now);
                }
                reply = world.carry_out(&step).expect("not done");
                now += 7;
            }
        }
    }
    assert!(now >= sent_at.expect("an INIT") + 100);
    let error = world.run(Wake::new(world.bay(), ENTRY, TIMING)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongState);
}

#[test]
fn the_bootstrap_processor_other_mechanisms_and_open_tickets_are_refused() {
    let kind = |world: &mut World, processor| world.run(SinkToSipi::new(world.bay(), processor, 1)).unwrap_err().kind();
    let mut world = World::parked(Mechanism::Hlt);
    assert_eq!(kind(&mut world, Processor::Bootstrap), ErrorKind::NotSupported);
    for mechanism in [Mechanism::Mwait, Mechanism::Clgi, Mechanism::WaitForSipi] {
        assert_eq!(kind(&mut World::parked(mechanism), Processor::Application), ErrorKind::WrongState);
    }
    world.set_doorbell(Command::Wake, Phase::Rung, 1, 1);
    assert_eq!(kind(&mut world, Processor::Application), ErrorKind::WrongState);
    assert!(world.sent.is_empty());
    let mut world = World::parked(Mechanism::Hlt);
    world.mute = true;
    let error = world.run(SinkToSipi::new(world.bay(), Processor::Application, 1)).unwrap_err();
    assert_eq!(error.platform(), Some(PlatformError::ApicBusy));
    let base = world.base(0);
    assert_eq!(world.memory.get(base + bay::OWNER), owner(OwnerState::Reserved, Mechanism::WaitForSipi));
}

#[test]
fn a_cpu_that_starts_is_seen_and_finds_its_entry() {
    for startups in 1..=2 {
        let mut world = World::parked(Mechanism::WaitForSipi);
        let (mut wake, mut reply, mut now, mut sent) = (WakeSipi::new(world.bay(), ENTRY, 8, SIPI), Reply::Start, 0, 0);
        let result = loop {
            match wake.next(reply, now) {
                Step::Done(result) => break result,
                Step::SendStartup { target, vector } => {
                    assert_eq!((target, vector), (ID, 8));
                    sent += 1;
                    if sent == startups {
                        let base = world.base(0);
                        assert_eq!(world.memory.get(base + bay::ENTRY_RIP), ENTRY.rip);
                        assert_eq!(world.memory.get(base + bay::ENTRY_ARG), ENTRY.arg);
                        world.memory.put(base + bay::STAGE, Stage::Leaving as u64);
                    }
                    reply = Reply::Sent;
                }
                Step::Wait { until } => (reply, now) = (Reply::Waited, until),
                step => reply = world.carry_out(&step).expect("not done"),
            }
        };
        assert_eq!((result.expect("started"), sent), (ID, startups));
        assert_eq!(world.state(0), BayState::Leaving);
    }
}

#[test]
fn a_cpu_that_never_starts_is_tried_again_and_uncertain() {
    let mut world = World::parked(Mechanism::WaitForSipi);
    let error = world.run(WakeSipi::new(world.bay(), ENTRY, 8, SIPI)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Uncertain);
    let names: Vec<_> = world.sent.iter().map(|sent| sent.0).collect();
    assert_eq!(names, ["startup", "startup", "init", "startup", "startup"]);
    let mut world = World::parked(Mechanism::WaitForSipi);
    let timing = SipiTiming { retry_interval_ticks: Ticks::MAX, ..SIPI };
    world.run(WakeSipi::new(world.bay(), ENTRY, 8, timing)).unwrap_err();
    assert_eq!(world.sent.len(), 2);
    let mut world = World::parked(Mechanism::Hlt);
    assert_eq!(world.run(WakeSipi::new(world.bay(), ENTRY, 8, SIPI)).unwrap_err().kind(), ErrorKind::WrongState);
}
