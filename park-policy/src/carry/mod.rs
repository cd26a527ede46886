//! Carrying a plan out: parking, confirming, holding and waking many CPUs, some of them side by side, and coping with
//! those that do not answer.
//!
//! A [`Carry`] is a sans-IO value like park-core's operations, and made of them: [`next`](Carry::next) takes the reply to
//! its last step and the time, and says what to do next; [`drive()`] is the blocking form. It runs unchanged on a kernel's
//! platform and on a simulated machine. What became of each CPU stands in its [`Task`], in the caller's storage.
//!
//! | goal | of the tasks that are | does | ends as |
//! |---|---|---|---|
//! | [`Park`](Goal::Park) | planned, refused, woken | reserves, summons, awaits; sinks those that shall wait for SIPI | parked, late, refused, quarantined, faulted |
//! | [`Confirm`](Goal::Confirm) | parked, late | asks for a sign of life | parked, quarantined, faulted |
//! | [`Hold`](Goal::Hold) | parked, late | has them spin, for microcode and MTRRs | held, quarantined, faulted |
//! | [`Release`](Goal::Release) | held | lets them wait again | parked, quarantined, faulted |
//! | [`Wake`](Goal::Wake) | parked, late | wakes them, the last of the plan first | woken, leaving, quarantined, faulted |
//! | [`Recover`](Goal::Recover) | quarantined, leaving | looks whether they came after all | late, woken |
//!
//! # Escalation
//! A CPU that does not answer is rung again, [`Pace::attempts`] times, each time for twice as long; every ring but one to
//! a Clgi bay repeats its NMI until the claim is seen. A CPU that shall be woken is then, where [`Rescue::InitStartup`]
//! allows it, taken by INIT and fetched by STARTUP. What is still silent is quarantined, and the rest goes on. A CPU that
//! comes after its deadline is late, not lost.
//!
//! # Many CPUs
//! As many are under way as there are [`Lane`]s, started in the plan's order. One that can go on is not interrupted until
//! it waits, so that scans for a free bay do not get in each other's way. With one lane they go strictly one by one.
//!
//! # Example
//! Parks what a plan says, and holds those that came while microcode is loaded:
//! ```
//! use park_core::op::Lease;
//! use park_core::{Clock, IpiSender, LotMemory, Summon};
//! use park_policy::Plan;
//! use park_policy::carry::{Carry, Goal, Lane, Outcome, Pace, Tally, Task, Terms, drive};
//!
//! # const IDLE: park_policy::Placement = park_policy::Placement::EMPTY;
//! fn load_microcode(
//!     plan: &Plan<'_>,
//!     terms: Terms,
//!     lease: &Lease,
//!     memory: &mut impl LotMemory,
//!     ipi: &mut impl IpiSender,
//!     clock: &mut impl Clock,
//!     summon: &mut impl Summon,
//!     load: impl FnOnce(),
//! ) -> Tally {
//!     let mut storage = [Task::new(&IDLE, terms); 64];
//!     let count = plan.placements.len().min(storage.len());
//!     for (task, placement) in storage.iter_mut().zip(plan.placements) {
//!         *task = Task::new(placement, terms);
//!     }
//!     let tasks = &mut storage[..count];
//!     let mut lanes = [Lane::EMPTY; 8];
//!     let pace = Pace::new(clock.ticks_per_second(), count);
//!     let mut carry = |goal, tasks: &mut [Task]| {
//!         drive(&mut Carry::new(goal, tasks, &mut lanes, lease, pace), memory, ipi, clock, summon);
//!     };
//!     carry(Goal::Park, tasks);
//!     carry(Goal::Hold, tasks);
//!     if tasks.iter().all(|task| task.outcome() == Outcome::Held) {
//!         load();
//!     }
//!     carry(Goal::Release, tasks);
//!     Tally::of(tasks)
//! }
//! ```

mod drive;
mod entries;
mod outcome;
mod pace;
mod park_one;
mod recover_one;
mod release_one;
mod ring_one;
mod task;
mod wake_one;
mod work;

pub use drive::drive;
pub use entries::Entries;
pub use outcome::{Outcome, Tally, Why};
pub use pace::{Pace, Rescue};
pub use task::{Task, Terms};

use core::fmt;
use park_core::Ticks;
use park_core::op::{Lease, Reply, Step};
use work::{Context, Page, Work};

/// What a [`Carry`] is to do with its tasks: see the table of the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Goal {
    /// Park what is not parked yet.
    Park,
    /// Ask those that are parked for a sign of life.
    Confirm,
    /// Have those that are parked spin in their bays.
    Hold,
    /// Let those that are held wait again.
    Release,
    /// Wake those that are parked.
    Wake,
    /// Take those back that came after all.
    Recover,
}

impl Goal {
    const fn concerns(self, task: &Task) -> bool {
        match self {
            Self::Park => matches!(task.outcome(), Outcome::Planned | Outcome::Refused | Outcome::Woken),
            Self::Confirm | Self::Hold | Self::Wake => matches!(task.outcome(), Outcome::Parked | Outcome::Late),
            Self::Release => matches!(task.outcome(), Outcome::Held),
            Self::Recover => matches!(task.outcome(), Outcome::Quarantined | Outcome::Leaving),
        }
    }
}

/// Storage for one CPU that is under way. As many as may be under way at once, at least one.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    task: usize,
    work: Work,
    pulse: Pulse,
}

/// What a lane waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pulse {
    /// Nobody is under way.
    Empty,
    /// Its last step was a wait, which is over.
    Ready,
    /// Its last step was a wait until this time.
    Waits(Ticks),
}

impl Lane {
    /// What fills storage.
    pub const EMPTY: Self = Self { task: 0, work: Work::Nothing, pulse: Pulse::Empty };
}

const _: () = {
    /// The most bytes that a public type may have: it is passed by value, on the stacks of kernels.
    const SIZE_MAX: usize = 512;
    assert!(size_of::<Lane>() <= SIZE_MAX && size_of::<Task>() <= SIZE_MAX / 4 && size_of::<Carry<'_>>() <= SIZE_MAX);
};

/// Whose reply the next one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Nobody,
    /// The lane whose turn it is.
    Lane,
    /// All lanes wait.
    All,
}

/// One goal, on its way through all tasks.
///
/// # For callers
/// The first [`next`](Self::next) gets [`Reply::Start`], each further one the reply to the step before, and `now` of one
/// clock. Dropping it half way leaves the lot as if the kernel had crashed there; tasks that were under way keep the
/// outcome that they had before.
pub struct Carry<'s> {
    tasks: &'s mut [Task],
    lanes: &'s mut [Lane],
    context: Context<'s>,
    goal: Goal,
    /// Tasks that were looked at.
    passed: usize,
    turn: usize,
    asked: Asked,
}

impl fmt::Debug for Carry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tasks, lanes) = (self.tasks.len(), self.lanes.len());
        f.debug_struct("Carry")
            .field("goal", &self.goal)
            .field("passed", &self.passed)
            .field("tasks", &tasks)
            .field("lanes", &lanes)
            .finish_non_exhaustive()
    }
}

impl<'s> Carry<'s> {
    /// Pursues `goal` for all `tasks` that it concerns, under `lease`. Without lanes nothing is done.
    ///
    /// Tasks are in the plan's order. [`Goal::Wake`] also needs [`with_entries`](Self::with_entries).
    #[must_use]
    pub fn new(goal: Goal, tasks: &'s mut [Task], lanes: &'s mut [Lane], lease: &Lease, pace: Pace) -> Self {
        lanes.fill(Lane::EMPTY);
        let context = Context { lease: *lease, pace, entries: None, page: Page::Free, grace_end: None };
        Self { tasks, lanes, context, goal, passed: 0, turn: 0, asked: Asked::Nobody }
    }

    /// The same, and woken CPUs enter where `entries` says.
    #[must_use]
    pub fn with_entries(mut self, entries: &'s mut dyn Entries) -> Self {
        self.context.entries = Some(entries);
        self
    }

    /// Takes the reply to the last step, and says what to do next. After `Done` the same `Done` again.
    ///
    /// [`Step::Summon`] is replied to as to park-core's [`Park`](park_core::op::Park).
    pub fn next(&mut self, reply: Reply, now: Ticks) -> Step<()> {
        if self.goal == Goal::Recover {
            self.context.begin_grace(now);
        }
        let mut reply = match core::mem::replace(&mut self.asked, Asked::Nobody) {
            Asked::Lane => Some(reply),
            Asked::All => {
                self.rouse();
                None
            }
            Asked::Nobody => None,
        };
        loop {
            if let Some(reply) = reply.take() {
                match self.advance(reply, now) {
                    Some(Step::Wait { until }) => self.settle(Pulse::Waits(until)),
                    Some(step) => {
                        self.asked = Asked::Lane;
                        return step;
                    }
                    None => self.settle(Pulse::Empty),
                }
            }
            reply = self.pick(now);
            if reply.is_some() {
                continue;
            }
            let waits = |lane: &Lane| if let Pulse::Waits(until) = lane.pulse { Some(until) } else { None };
            if let Some(until) = self.lanes.iter().filter_map(waits).min() {
                self.asked = Asked::All;
                return Step::Wait { until };
            }
            if !self.look_for_the_late() {
                return Step::Done(());
            }
            self.context.begin_grace(now);
        }
    }

    /// All waits are over: memory may have changed.
    fn rouse(&mut self) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.pulse != Pulse::Empty) {
            lane.pulse = Pulse::Ready;
        }
    }

    /// One step of the lane whose turn it is; `None` when its task is over.
    fn advance(&mut self, reply: Reply, now: Ticks) -> Option<Step<()>> {
        let lane = self.lanes.get_mut(self.turn)?;
        let task = self.tasks.get_mut(lane.task)?;
        lane.work.next(task, &mut self.context, reply, now)
    }

    fn settle(&mut self, pulse: Pulse) {
        if let Some(lane) = self.lanes.get_mut(self.turn) {
            lane.pulse = pulse;
        }
    }

    /// Gives the turn to the next lane that can go on, or that is empty while a task is left. `None` if there is none.
    fn pick(&mut self, now: Ticks) -> Option<Reply> {
        let lanes = self.lanes.len();
        for _ in 0..lanes {
            self.turn = if self.turn + 1 < lanes { self.turn + 1 } else { 0 };
            let lane = self.lanes.get_mut(self.turn)?;
            match lane.pulse {
                Pulse::Ready => return Some(Reply::Waited),
                Pulse::Waits(_) => {}
                Pulse::Empty => {
                    let Some(index) = next_task(self.tasks, self.goal, &mut self.passed) else { continue };
                    let task = self.tasks.get(index)?;
                    *lane = Lane {
                        task: index,
                        work: Work::begin(self.goal, task, &self.context, now),
                        pulse: Pulse::Ready,
                    };
                    return Some(Reply::Start);
                }
            }
        }
        None
    }

    /// After parking: those that missed their deadline may have come while others were awaited.
    fn look_for_the_late(&mut self) -> bool {
        let missed = |task: &Task| task.outcome() == Outcome::Quarantined;
        if self.goal != Goal::Park || self.lanes.is_empty() || !self.tasks.iter().any(missed) {
            return false;
        }
        (self.goal, self.passed) = (Goal::Recover, 0);
        true
    }
}

/// The next task that `goal` concerns, in the plan's order or, when waking, against it.
fn next_task(tasks: &[Task], goal: Goal, passed: &mut usize) -> Option<usize> {
    while *passed < tasks.len() {
        let index = if goal == Goal::Wake { tasks.len() - 1 - *passed } else { *passed };
        *passed += 1;
        if tasks.get(index).is_some_and(|task| goal.concerns(task)) {
            return Some(index);
        }
    }
    None
}
