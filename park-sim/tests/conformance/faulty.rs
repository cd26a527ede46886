//! Operations over IPIs that are lost, late or doubled.

use crate::common;
use crate::platform::{Fences, SimPlatform, drive};
use park_conformance::platform::Platform;
use park_conformance::{Faults, Faulty};
use park_core::lot::bay;
use park_core::op::{Bay, Confirm, Processor, SinkToSipi, SipiTiming, Timing, Wake, WakeSipi};
use park_core::{Clock, ErrorKind, Mechanism, PhysAddr};
use park_sim::compare::Parked;
use park_sim::machine::{Activity, RuleSet, Vendor};

/// Every IPI.
const ALL: u16 = 256;
const KICK_TICKS: u64 = 2_000;
const PATIENCE_TICKS: u64 = 400_000;
/// Pauses in which a CPU that was woken lands, and a second landing would show.
const SETTLE_PAUSES: u32 = 2000;
/// Ticks after an INIT, and between STARTUPs.
const START_TICKS: u64 = 4000;
/// Ticks until another INIT: longer than the way through start-up code.
const RETRY_TICKS: u64 = 40_000;

/// A parked CPU, and the platform of the kernel that parked it.
struct Victim {
    platform: Faulty<SimPlatform>,
    cpu: usize,
    bay: Bay,
    /// Vector of start-up code that leads to the entry.
    vector: u8,
    entry: park_core::Entry,
}

impl Victim {
    fn parked_by(mechanism: Mechanism, faults: Faults, seed: u64) -> Self {
        let parked = Parked::park(Vendor::Intel, mechanism, Processor::Application, RuleSet::ALL, &common::orders);
        let mut parked = parked.expect("it parks").expect("orders for it");
        let stage = PhysAddr(parked.bay_phys().expect("a lot") + bay::STAGE);
        let entry = parked.world.entry(parked.cpu).expect("an entry");
        let vector = parked.write_startup(entry, Some(stage)).expect("start-up code");
        let Parked { world, cpu, boss, bay, .. } = parked;
        let platform = Faulty::new(SimPlatform::new(world, boss, Fences::Yes), faults, seed);
        Self { platform, cpu, bay, vector, entry }
    }

    fn timing(&mut self, patience_ticks: u64, kick_interval_ticks: u64) -> Timing {
        Timing { kick_interval_ticks, deadline: self.platform.now() + patience_ticks }
    }

    fn wake(&mut self, patience_ticks: u64) -> Result<(), ErrorKind> {
        let timing = self.timing(patience_ticks, KICK_TICKS);
        drive(&mut self.platform, Wake::new(self.bay, self.entry, timing)).map(|_| ()).map_err(|error| error.kind())
    }

    fn wake_sipi(&mut self) -> Result<(), ErrorKind> {
        self.platform.inner().world.expect_startup(self.cpu);
        let timing = SipiTiming {
            init_delay_ticks: START_TICKS,
            startup_delay_ticks: START_TICKS,
            retry_interval_ticks: RETRY_TICKS,
            deadline: self.platform.now() + 10 * PATIENCE_TICKS,
        };
        let wake = WakeSipi::new(self.bay, self.entry, self.vector, timing);
        drive(&mut self.platform, wake).map(|_| ()).map_err(|error| error.kind())
    }

    fn settle(&mut self) {
        for _ in 0..SETTLE_PAUSES {
            self.platform.pause();
        }
    }

    /// How often the entry ran.
    fn entries(&mut self) -> u64 {
        self.settle();
        let world = &self.platform.inner().world;
        world.kernel.witness(&world.machine, self.cpu).entries
    }
}

#[test]
fn a_lost_nmi_is_repeated() {
    let mut lost = 0;
    for seed in 0..8 {
        let faults = Faults { lost_of_256: 200, ..Faults::default() };
        let mut victim = Victim::parked_by(Mechanism::Hlt, faults, seed);
        assert_eq!(victim.wake(PATIENCE_TICKS), Ok(()), "seed {seed}");
        assert_eq!(victim.entries(), 1, "seed {seed}");
        let tally = victim.platform.tally();
        assert!(tally.lost == 0 || tally.asked > 1, "seed {seed}: {tally:?}");
        lost += tally.lost;
    }
    assert!(lost > 8, "{lost} lost");
}

/// Without an NMI a halted CPU does not look: that certain knowledge is what the caller is told.
#[test]
fn if_all_are_lost_the_ticket_is_taken_back() {
    let mut victim = Victim::parked_by(Mechanism::Hlt, Faults { lost_of_256: ALL, ..Faults::default() }, 1);
    assert_eq!(victim.wake(PATIENCE_TICKS), Err(ErrorKind::Revoked));
    assert_eq!(victim.entries(), 0);
    let tally = victim.platform.tally();
    assert!(tally.lost == tally.asked && tally.asked > 10, "{tally:?}");
    // A CPU that a store wakes needs none.
    let mut victim = Victim::parked_by(Mechanism::Mwait, Faults { lost_of_256: ALL, ..Faults::default() }, 1);
    assert_eq!(victim.wake(PATIENCE_TICKS), Ok(()));
    assert_eq!(victim.entries(), 1);
}

#[test]
fn a_doubled_nmi_enters_once() {
    for mechanism in [Mechanism::Hlt, Mechanism::Mwait] {
        for seed in 0..4 {
            let faults = Faults { doubled_of_256: ALL, ..Faults::default() };
            let mut victim = Victim::parked_by(mechanism, faults, seed);
            assert_eq!(victim.wake(PATIENCE_TICKS), Ok(()));
            assert_eq!(victim.entries(), 1, "{mechanism}, seed {seed}");
            let tally = victim.platform.tally();
            assert_eq!(tally.doubled, tally.asked);
            let arrived = victim.platform.inner().world.machine.cpu(victim.cpu).taken.nmi_arrived;
            assert_eq!(arrived, 2 * tally.asked);
        }
    }
}

#[test]
fn late_is_late_and_not_lost() {
    let faults = |delay_ticks| Faults { late_of_256: ALL, delay_ticks, ..Faults::default() };
    // Within the deadline: it comes, once, and what comes after it finds it in its kernel.
    let mut victim = Victim::parked_by(Mechanism::Hlt, faults(5 * KICK_TICKS), 1);
    assert_eq!(victim.wake(PATIENCE_TICKS), Ok(()));
    assert_eq!(victim.entries(), 1);
    assert!(victim.platform.tally().late > 1);
    // After the deadline: it was not woken, stays parked when the NMIs come, and can be woken again.
    let mut victim = Victim::parked_by(Mechanism::Hlt, faults(20 * KICK_TICKS), 1);
    assert_eq!(victim.wake(10 * KICK_TICKS), Err(ErrorKind::Revoked));
    let nmis = |victim: &mut Victim| victim.platform.inner().world.machine.cpu(victim.cpu).taken.nmi;
    assert_eq!(nmis(&mut victim), 0);
    let give_up = victim.platform.now() + PATIENCE_TICKS;
    while victim.platform.now() < give_up {
        victim.settle();
        if nmis(&mut victim) != 0 {
            break;
        }
    }
    assert_ne!(nmis(&mut victim), 0, "the late NMIs come");
    assert_eq!(victim.entries(), 0);
    victim.platform.set_faults(Faults::default());
    let timing = victim.timing(PATIENCE_TICKS, KICK_TICKS);
    assert!(drive(&mut victim.platform, Confirm::new(victim.bay, timing)).is_ok());
    assert_eq!(victim.wake(PATIENCE_TICKS), Ok(()));
    assert_eq!(victim.entries(), 1);
}

#[test]
fn doubled_and_lost_startups_enter_once() {
    for faults in [
        Faults { doubled_of_256: ALL, ..Faults::default() },
        Faults { lost_of_256: 128, ..Faults::default() },
        Faults { lost_of_256: 64, late_of_256: 64, doubled_of_256: 64, delay_ticks: START_TICKS },
    ] {
        for seed in 0..6 {
            let mut victim = Victim::parked_by(Mechanism::WaitForSipi, faults, seed);
            assert_eq!(victim.wake_sipi(), Ok(()), "{faults:?}, seed {seed}: {:?}", victim.platform.tally());
            assert_eq!(victim.entries(), 1, "{faults:?}, seed {seed}");
        }
    }
}

/// Nothing acknowledges an INIT: a CPU that did not get it is still in its bay, and comes all the same.
#[test]
fn a_cpu_that_did_not_get_its_init_comes_all_the_same() {
    let mut victim = Victim::parked_by(Mechanism::Hlt, Faults { lost_of_256: ALL, ..Faults::default() }, 1);
    let sink = SinkToSipi::new(victim.bay, Processor::Application, START_TICKS);
    drive(&mut victim.platform, sink).expect("nobody notices");
    let activity = victim.platform.inner().world.machine.cpu(victim.cpu).activity;
    assert_ne!(activity, Activity::WaitForSipi);
    victim.platform.set_faults(Faults::default());
    assert_eq!(victim.wake_sipi(), Ok(()));
    assert_eq!(victim.entries(), 1);
}

/// The same seed meets the same faults.
#[test]
fn faults_are_decided_by_the_seed() {
    let run = |seed| {
        let faults = Faults { lost_of_256: 128, late_of_256: 64, doubled_of_256: 32, delay_ticks: 3000 };
        let mut victim = Victim::parked_by(Mechanism::Hlt, faults, seed);
        let woken = victim.wake(PATIENCE_TICKS);
        (woken, victim.platform.now(), victim.platform.tally())
    };
    assert_eq!(run(3), run(3));
    assert!((0..8).any(|seed| run(seed) != run(3)));
}
