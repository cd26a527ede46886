//! Many CPUs, in plain memory: what carrying out costs by itself.

use crate::stage::{Stage as Machine, outcomes};
use crate::support;
use core::cell::RefCell;
use park_core::lot::{ApicMode, Layout, PagingLevels, Stage, WaitFlags, bay};
use park_core::op::{Lease, Processor};
use park_core::{ApicId, Clock, IpiSender, LotMemory, Mechanism, PhysAddr, PlatformError, Summon, Ticks};
use park_policy::carry::{Carry, Goal, Lane, Outcome, Pace, Tally, Task, Terms, drive};
use park_policy::{Placement, timeout_us};
use park_sim::machine::Vendor;
use park_x86::builder::{LotParameters, build};
use std::time::Instant;

/// CPUs of the test run. Each reservation looks at every bay, so eight times as many take forty times as long.
const CPUS: u32 = 1024;
/// Monitor line, in bytes.
const LINE: u64 = 64;

/// A lot in plain memory, and a clock that counts looks at it; every CPU that is summoned is in its bay at once.
#[derive(Clone, Copy)]
struct Plain<'m> {
    words: &'m RefCell<Vec<u64>>,
    lease: Option<Lease>,
    now: Ticks,
}

impl LotMemory for Plain<'_> {
    fn len(&self) -> u64 {
        self.words.borrow().len() as u64 * 8
    }

    fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
        self.words.borrow().get(offset as usize / 8).copied().ok_or(PlatformError::OutOfBounds { offset })
    }

    fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError> {
        let mut words = self.words.borrow_mut();
        *words.get_mut(offset as usize / 8).ok_or(PlatformError::OutOfBounds { offset })? = value;
        Ok(())
    }

    fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError> {
        let found = self.load(offset)?;
        if found == current {
            self.store(offset, new)?;
        }
        Ok(found)
    }
}

impl Clock for Plain<'_> {
    fn now(&mut self) -> Ticks {
        self.now += 1;
        self.now
    }

    fn ticks_per_second(&self) -> u64 {
        1_000_000_000
    }
}

impl IpiSender for Plain<'_> {
    fn send_nmi(&mut self, _target: ApicId) -> Result<(), PlatformError> {
        Err(PlatformError::ApicBusy)
    }

    fn send_init(&mut self, _target: ApicId) -> Result<(), PlatformError> {
        Err(PlatformError::ApicBusy)
    }

    fn send_startup(&mut self, _target: ApicId, _vector: u8) -> Result<(), PlatformError> {
        Err(PlatformError::ApicBusy)
    }
}

impl Summon for Plain<'_> {
    fn summon(&mut self, _target: ApicId, bay_index: u32) -> Result<(), PlatformError> {
        let offset =
            self.lease.and_then(|lease| lease.bay(bay_index).ok()).ok_or(PlatformError::CannotSummon)?.offset();
        self.store(offset + bay::STAGE, Stage::Waiting as u64)
    }
}

#[test]
fn a_thousand_cpus_are_parked_and_each_has_a_bay_of_its_own() {
    let layout = Layout::new(CPUS, LINE).expect("a layout");
    let words = RefCell::new(vec![0; layout.total_len() as usize / 8]);
    let phys = PhysAddr(0x100_0000);
    let parameters = LotParameters { phys, layout, lot_id: [1, 2], encryption_mask: 0, mailbox: None };
    let mut plain = Plain { words: &words, lease: None, now: 0 };
    let lot = build(&mut plain, &parameters).expect("a lot");
    let lease = Lease::first(lot);
    plain.lease = Some(lease);
    let terms = Terms {
        flags: WaitFlags::empty(),
        mwait_hint: 0,
        levels: PagingLevels::Four,
        apic_mode: ApicMode::X2Apic,
        processor: Processor::Application,
    };
    let placement = |id| Placement {
        apic_id: ApicId(id),
        mechanism: Mechanism::Hlt,
        timeout_us: timeout_us(Mechanism::Hlt, CPUS as usize),
        ..Placement::EMPTY
    };
    let mut tasks: Vec<_> = (0..CPUS).map(|id| Task::new(&placement(id), terms)).collect();
    let mut lanes = [Lane::EMPTY; 16];
    let pace = Pace::new(plain.ticks_per_second(), CPUS as usize);
    let started = Instant::now();
    let mut carry = Carry::new(Goal::Park, &mut tasks, &mut lanes, &lease, pace);
    drive(&mut carry, &mut { plain }, &mut { plain }, &mut { plain }, &mut { plain });
    println!("{CPUS} CPUs: {:?}; {} bytes a task, {} a lane", started.elapsed(), size_of::<Task>(), size_of::<Lane>());
    assert_eq!(Tally::of(&tasks).count(Outcome::Parked), CPUS as usize);
    let mut bays: Vec<_> = tasks.iter().filter_map(|task| task.bay().map(|bay| bay.index())).collect();
    bays.sort_unstable();
    assert!(bays.iter().copied().eq(0..CPUS));
}

/// CPUs that are woken together, besides the one that wakes them.
const GROUP: usize = 15;
/// Rounds that they may take, by those of one.
const ROUNDS_MAX: u64 = 3;

/// Rounds until so many CPUs, parked by `mechanism`, have been woken, so many at a time.
fn rounds(mechanism: Mechanism, others: usize, lanes: usize) -> u64 {
    let config = support::machine(Vendor::Intel, others + 1);
    let machine = Machine::new(config, PagingLevels::Four, others as u32 + 1, 7);
    let mut tasks = machine.tasks(&[mechanism], 300_000);
    machine.carry(Goal::Park, &mut tasks, lanes, machine.pace());
    let rounds = machine.rounds(Goal::Wake, &mut tasks, lanes);
    assert!(outcomes(&tasks).iter().all(|outcome| *outcome == Outcome::Woken), "{:?}", outcomes(&tasks));
    machine.assert_no_breach();
    rounds
}

#[test]
fn fifteen_cpus_are_woken_in_less_than_three_times_the_rounds_of_one() {
    for mechanism in [Mechanism::Hlt, Mechanism::Mwait] {
        let (one, together, in_turn) =
            (rounds(mechanism, 1, 1), rounds(mechanism, GROUP, GROUP), rounds(mechanism, GROUP, 1));
        println!("{mechanism:?}: {one} rounds for one, {together} for {GROUP} together, {in_turn} one by one");
        assert!(together <= ROUNDS_MAX * one, "{mechanism:?}: {together} rounds for {GROUP}, {one} for one");
        // A test that sees no difference between together and one by one would see none of anything.
        assert!(in_turn > ROUNDS_MAX * one, "{mechanism:?}: {in_turn} rounds one by one, {one} for one");
    }
}
