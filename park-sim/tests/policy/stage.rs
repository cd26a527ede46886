//! A simulated machine on which plans are carried out: the other CPUs come when they are summoned, or late, or never.

use crate::support;
use core::cell::RefCell;
use park_core::lot::{ApicMode, OwnerState, OwnerWord, PagingLevels, bay};
use park_core::op::{Bay, Lease, Processor, Reply, Step};
use park_core::{ApicId, Entry, Error, IpiSender, LotMemory, Mechanism, PhysAddr, PlatformError};
use park_policy::carry::{Carry, Entries, Goal, Lane, Outcome, Pace, Task, Terms};
use park_policy::{Placement, Reason};
use park_sim::machine::{Activity, MachineConfig};
use park_sim::world::{DEFAULT_LOT, ParkRequest, STARTUP_PAGE, World};
use park_x86::registers::control::{Cr4, Efer};
use park_x86::startup::{PAGE_LEN, StartupPage};
use std::collections::VecDeque;

/// Ticks in a second of the pace: a step of the machine is a microsecond.
pub(crate) const TICKS_PER_SECOND: u64 = 1_000_000;
/// Steps of other CPUs between two accesses of the CPU that carries out, at most.
const PAUSE_STEPS: u64 = 6;
/// Steps of other CPUs while it waits, at a time.
const WAIT_STEPS: u64 = 64;
/// Steps of each other CPU in a round: few, so that rounds tell ways of waiting apart.
const ROUND_STEPS: u64 = 4;
/// More steps than any carry takes here.
const STEPS_MAX: u64 = 20_000_000;

/// What a CPU does when it is summoned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Habit {
    Comes,
    /// It begins so many ticks after it was summoned.
    ComesAfter(u64),
    Stays,
    /// It can't even be asked.
    CannotBeAsked,
}

/// One CPU other than the boss.
#[derive(Clone, Copy, Debug)]
struct Target {
    habit: Habit,
    summons: Option<(u64, u32)>,
    /// It was given an entry when it had landed so often.
    entered: Option<(u64, Bay)>,
}

/// The stage.
pub(crate) struct Stage {
    pub(crate) world: RefCell<World>,
    pub(crate) boss: usize,
    config: MachineConfig,
    levels: PagingLevels,
    targets: RefCell<Vec<Target>>,
    /// One NMI in so many is lost; 0: none.
    pub(crate) nmis_lost_one_in: u64,
    /// CPUs that have landed give their bays back from then on.
    pub(crate) leave_from: RefCell<u64>,
    /// One IPI in so many, and one access of the lot, fails on the way; 0: none.
    pub(crate) ipis_fail_one_in: u64,
    pub(crate) accesses_fail_one_in: u64,
    /// CPUs that were summoned, in order, and how many were on their way at once at most.
    pub(crate) summoned: RefCell<Vec<usize>>,
    pub(crate) most_under_way: RefCell<usize>,
    /// CPUs that were given an entry, in order.
    pub(crate) given_entries: RefCell<Vec<usize>>,
    /// A CPU that is beyond reach until then, and waits by HLT again.
    pub(crate) beyond_reach: RefCell<Option<(usize, u64)>>,
}

impl Stage {
    pub(crate) fn new(config: MachineConfig, levels: PagingLevels, bays: u32, seed: u64) -> Self {
        let cpus = config.cpus.len();
        let mut world = World::boot(config.clone(), levels, seed).expect("a world");
        world.build_lot(DEFAULT_LOT, bays).expect("a lot");
        let target = Target { habit: Habit::Comes, summons: None, entered: None };
        Self {
            world: RefCell::new(world),
            boss: 0,
            config,
            levels,
            targets: RefCell::new(vec![target; cpus]),
            nmis_lost_one_in: 0,
            leave_from: RefCell::default(),
            ipis_fail_one_in: 0,
            accesses_fail_one_in: 0,
            summoned: RefCell::default(),
            most_under_way: RefCell::default(),
            given_entries: RefCell::default(),
            beyond_reach: RefCell::default(),
        }
    }

    pub(crate) fn habit(&self, cpu: usize, habit: Habit) {
        self.targets.borrow_mut()[cpu].habit = habit;
    }

    /// Nothing reaches the CPU for so many ticks, as in a long stay in SMM; what is sent to it is lost.
    pub(crate) fn put_beyond_reach(&self, cpu: usize, ticks: u64) {
        let mut world = self.world.borrow_mut();
        world.machine.cpu_mut(cpu).activity = Activity::WaitForSipi;
        *self.beyond_reach.borrow_mut() = Some((cpu, world.machine.tsc() + ticks));
    }

    pub(crate) fn lease(&self) -> Lease {
        self.world.borrow().lot().expect("a lot").lease
    }

    /// The task of one CPU, as the vendor crate orders it.
    pub(crate) fn task(&self, cpu: usize, mechanism: Mechanism, timeout_us: u32) -> Task {
        let placement =
            Placement { apic_id: self.id(cpu), mechanism, reason: Reason::OnlyOne, order: cpu as u32, timeout_us };
        self.task_of(&placement)
    }

    pub(crate) fn task_of(&self, placement: &Placement) -> Task {
        let orders = support::orders(&self.config, on_the_way(placement.mechanism));
        let bsp = self.config.cpus.iter().any(|cpu| cpu.bsp && cpu.apic_id == placement.apic_id.0);
        let terms = Terms {
            flags: orders.wait_flags,
            mwait_hint: orders.mwait_hint,
            levels: self.levels,
            apic_mode: if self.config.x2apic { ApicMode::X2Apic } else { ApicMode::XApic },
            processor: if bsp { Processor::Bootstrap } else { Processor::Application },
        };
        Task::new(placement, terms)
    }

    /// Every CPU but the boss, by these mechanisms in turn.
    pub(crate) fn tasks(&self, mechanisms: &[Mechanism], timeout_us: u32) -> Vec<Task> {
        let cpus = (0..self.config.cpus.len()).filter(|cpu| *cpu != self.boss);
        cpus.zip(mechanisms.iter().cycle()).map(|(cpu, mechanism)| self.task(cpu, *mechanism, timeout_us)).collect()
    }

    fn id(&self, cpu: usize) -> ApicId {
        ApicId(self.config.cpus[cpu].apic_id)
    }

    pub(crate) fn index(&self, id: ApicId) -> usize {
        self.config.cpus.iter().position(|cpu| cpu.apic_id == id.0).expect("a CPU of this machine")
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace::new(TICKS_PER_SECOND, self.config.cpus.len())
    }

    /// Carries out with so many lanes.
    pub(crate) fn carry(&self, goal: Goal, tasks: &mut [Task], lanes: usize, pace: Pace) {
        self.carry_under(&self.lease(), goal, tasks, lanes, pace);
    }

    pub(crate) fn carry_under(&self, lease: &Lease, goal: Goal, tasks: &mut [Task], lanes: usize, pace: Pace) {
        let mut storage = vec![Lane::EMPTY; lanes];
        let mut entries = StageEntries(self);
        let mut carry = Carry::new(goal, tasks, &mut storage, lease, pace).with_entries(&mut entries);
        let mut reply = Reply::Start;
        for _ in 0..STEPS_MAX {
            let step = {
                let now = self.world.borrow().machine.tsc();
                carry.next(reply, now)
            };
            if step == Step::Done(()) {
                assert_eq!(carry.next(Reply::Start, 0), Step::Done(()), "Done repeats");
                return;
            }
            reply = self.perform(&step);
            let pause = self.world.borrow_mut().scheduler.rng.below(PAUSE_STEPS);
            self.others(pause);
        }
        panic!("{goal:?} does not end");
    }

    /// Carries out with so many lanes, and returns how many rounds that took. In a round each other CPU takes as many steps, so
    /// that a round is as long on a large machine as on a small one.
    pub(crate) fn rounds(&self, goal: Goal, tasks: &mut [Task], lanes: usize) -> u64 {
        let mut storage = vec![Lane::EMPTY; lanes];
        let mut entries = StageEntries(self);
        let lease = self.lease();
        let mut carry = Carry::new(goal, tasks, &mut storage, &lease, self.pace()).with_entries(&mut entries);
        let (mut reply, mut rounds) = (Reply::Start, 0);
        for _ in 0..STEPS_MAX {
            let now = self.world.borrow().machine.tsc();
            reply = match carry.next(reply, now) {
                Step::Done(()) => return rounds,
                Step::Wait { .. } => {
                    rounds += 1;
                    self.others(0);
                    let mut world = self.world.borrow_mut();
                    let others = (0..self.config.cpus.len()).filter(|cpu| *cpu != self.boss);
                    others.for_each(|cpu| (0..ROUND_STEPS).for_each(|_| drop(world.step(cpu).expect("it runs"))));
                    Reply::Waited
                }
                step => self.perform(&step),
            };
        }
        panic!("{goal:?} does not end");
    }

    fn perform(&self, step: &Step<()>) -> Reply {
        if let Step::Wait { until } = *step {
            self.wait(until);
            return Reply::Waited;
        }
        if let Step::Summon { target, bay_index } = *step {
            return self.summon(target, bay_index);
        }
        let mut world = self.world.borrow_mut();
        if matches!(step, Step::SendNmi(_)) && world.scheduler.rng.one_in(self.nmis_lost_one_in) {
            return Reply::Sent;
        }
        let access = matches!(step, Step::Load { .. } | Step::Store { .. } | Step::CompareExchange { .. });
        let fails = if access { self.accesses_fail_one_in } else { self.ipis_fail_one_in };
        if world.scheduler.rng.one_in(fails) {
            return Reply::Failed(PlatformError::ApicBusy);
        }
        let mut on = world.on(self.boss).expect("a platform");
        let outcome = match *step {
            Step::Load { offset } => on.load(offset).map(Reply::Value),
            Step::Store { offset, value } => on.store(offset, value).map(|()| Reply::Stored),
            Step::CompareExchange { offset, current, new } => {
                on.compare_exchange(offset, current, new).map(Reply::Value)
            }
            Step::SendNmi(target) => on.send_nmi(target).map(|()| Reply::Sent),
            Step::SendInit(target) => on.send_init(target).map(|()| Reply::Sent),
            Step::SendStartup { target, vector } => on.send_startup(target, vector).map(|()| Reply::Sent),
            Step::Wait { .. } | Step::Summon { .. } | Step::Done(()) => unreachable!(),
        };
        outcome.unwrap_or_else(Reply::Failed)
    }

    fn summon(&self, id: ApicId, bay_index: u32) -> Reply {
        let cpu = self.index(id);
        let now = self.world.borrow().machine.tsc();
        {
            let mut targets = self.targets.borrow_mut();
            let delay = match targets[cpu].habit {
                Habit::Comes => 0,
                Habit::ComesAfter(ticks) => ticks,
                Habit::Stays => u64::MAX - now,
                Habit::CannotBeAsked => return Reply::Failed(PlatformError::CannotSummon),
            };
            targets[cpu].summons = Some((now + delay, bay_index));
        }
        self.summoned.borrow_mut().push(cpu);
        let under_way = self.summoned.borrow().iter().filter(|cpu| !self.is_in_its_bay(**cpu)).count();
        let most = under_way.max(*self.most_under_way.borrow());
        *self.most_under_way.borrow_mut() = most;
        Reply::Sent
    }

    fn is_in_its_bay(&self, cpu: usize) -> bool {
        self.world.borrow().is_confined_to_lot(cpu)
    }

    /// Time passes for the CPU that carries out: others run, until then at most.
    fn wait(&self, until: u64) {
        if self.others(WAIT_STEPS) > 0 {
            return;
        }
        let due = self.targets.borrow().iter().filter_map(|target| target.summons.map(|(at, _)| at)).min();
        let mut world = self.world.borrow_mut();
        let now = world.machine.tsc();
        let back = self.beyond_reach.borrow().map(|(_, at)| at);
        let next = due.into_iter().chain(back).fold(until, u64::min);
        world.machine.advance_tsc(next.saturating_sub(now));
    }

    /// The other CPUs take up to so many steps, answer their summons, and give their bays back.
    pub(crate) fn others(&self, steps: u64) -> u64 {
        let mut world = self.world.borrow_mut();
        let now = world.machine.tsc();
        if let Some((cpu, _)) = self.beyond_reach.borrow_mut().take_if(|(_, until)| *until <= now) {
            world.machine.cpu_mut(cpu).activity = Activity::Hlt;
        }
        let leaving = now >= *self.leave_from.borrow();
        let mut targets = self.targets.borrow_mut();
        for (cpu, target) in targets.iter_mut().enumerate() {
            if let Some((_, index)) = target.summons.take_if(|(at, _)| *at <= world.machine.tsc()) {
                begin(&mut world, &self.config, cpu, index);
            }
            let landings = world.kernel.witness(&world.machine, cpu).entries;
            if let Some((_, bay)) = target.entered.take_if(|(before, _)| *before < landings && leaving) {
                // A bay that was given up meanwhile is never freed.
                let _ = world.leave(cpu, bay);
            }
        }
        world.let_others_run(self.boss, steps).expect("the machine runs")
    }

    /// The state of the bay that a task has.
    pub(crate) fn owner(&self, task: &Task) -> OwnerState {
        let bay = task.bay().expect("a bay");
        let mut world = self.world.borrow_mut();
        let word = world.on(self.boss).expect("a platform").load(bay.offset() + bay::OWNER).expect("a word");
        OwnerWord::from_raw(word).expect("an owner word").state
    }

    pub(crate) fn entries(&self, cpu: usize) -> u64 {
        let world = self.world.borrow();
        world.kernel.witness(&world.machine, cpu).entries
    }

    /// Somebody touched what is not theirs.
    pub(crate) fn breach(&self) -> Option<String> {
        let world = self.world.borrow();
        world.machine.breaches.first().first().map(|breach| format!("{breach:?}"))
    }

    pub(crate) fn assert_no_breach(&self) {
        assert_eq!(self.breach(), None);
    }
}

/// The mechanism by which a CPU enters its bay.
fn on_the_way(mechanism: Mechanism) -> Mechanism {
    if mechanism == Mechanism::WaitForSipi { Mechanism::Hlt } else { mechanism }
}

/// A CPU goes where its bay says.
fn begin(world: &mut World, config: &MachineConfig, cpu: usize, bay_index: u32) {
    let bay = world.lot().expect("a lot").lease.bay(bay_index).expect("a bay");
    let word = world.on(cpu).expect("a platform").load(bay.offset() + bay::OWNER).expect("a word");
    let mechanism = OwnerWord::from_raw(word).expect("an owner word").mechanism;
    let ParkRequest { steps, .. } = support::request(config, cpu, mechanism);
    world.begin_arrival(cpu, bay, steps).expect("it goes");
}

/// Entries of the stage's kernel.
struct StageEntries<'s>(&'s Stage);

impl Entries for StageEntries<'_> {
    fn entry(&mut self, apic_id: ApicId, bay: Bay) -> Result<Entry, Error> {
        let cpu = self.0.index(apic_id);
        let before = self.0.entries(cpu);
        self.0.given_entries.borrow_mut().push(cpu);
        self.0.targets.borrow_mut()[cpu].entered = Some((before, bay));
        Ok(self.0.world.borrow_mut().entry(cpu).expect("an entry"))
    }

    fn startup(&mut self, apic_id: ApicId, bay: Bay, entry: &Entry) -> Result<u8, Error> {
        let cpu = self.0.index(apic_id);
        let mut world = self.0.world.borrow_mut();
        let stage = world.lot().expect("a lot").range.start + bay.offset() + bay::STAGE;
        let levels = if self.0.levels == PagingLevels::Five { Cr4::LA57 } else { Cr4::empty() };
        let startup = StartupPage {
            page: PhysAddr(STARTUP_PAGE),
            entry: *entry,
            cr4: Cr4::PAE | Cr4::MCE | levels,
            efer: Efer::LME | Efer::NXE,
            bay_stage: Some(PhysAddr(stage)),
        };
        let mut page = [0; PAGE_LEN];
        let vector = startup.write(&mut page)?;
        world.machine.write_phys(STARTUP_PAGE, &page);
        world.expect_startup(cpu);
        Ok(vector)
    }
}

/// The outcomes of tasks, in their order.
pub(crate) fn outcomes(tasks: &[Task]) -> VecDeque<Outcome> {
    tasks.iter().map(Task::outcome).collect()
}
