//! A lease holder: a script of park-core's own operations, one access a step.

use super::config::{Config, DEADLINE_UNITS, Do, KICK_UNITS, Post, Time};
use super::elsewhere::Letter;
use super::scene::{NEW, OLD, PARKED, Scene};
use park_core::lot::{Doorbell, Phase, bay};
use park_core::op::{
    Accept, Arrived, AwaitArrival, Confirm, DeadOwner, Flush, HandOver, Held, Hold, Lease, Operation, Release, Repark,
    Reply, Seize, Step, TakeOver, Ticket, Timing, Vacate, Wake,
};
use park_core::{Error, ErrorKind, Ticks};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Holder {
    Old,
    New,
}

impl Holder {
    pub(crate) const BOTH: [Self; 2] = [Self::Old, Self::New];

    pub(crate) const fn cpu(self) -> usize {
        match self {
            Self::Old => OLD,
            Self::New => NEW,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Old => "old holder",
            Self::New => "new holder",
        }
    }
}

/// The operation under way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Op {
    None,
    AwaitArrival(AwaitArrival),
    Confirm(Confirm),
    Wake(Wake),
    Hold(Hold),
    Release(Release),
    Flush(Flush),
    Unknown(Unknown),
    Repark(Repark),
    Vacate(Vacate),
    Letter(Letter),
    HandOver(HandOver),
    Accept(Accept),
    Seize(Seize),
}

/// What an operation yielded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Yield {
    Nothing,
    Held(Held),
    Left(Ticket),
    Arrived(Arrived),
    TakeOver(TakeOver),
}

/// What one step of an operation came to.
enum Ran {
    Going(Step<()>),
    Over(Result<Yield, Error>),
}

/// An operation that ended, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) command: Do,
    pub(crate) result: Result<Yield, Error>,
}

/// A lease holder between two accesses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Waker {
    pub(crate) holder: Holder,
    /// It follows a new holder that died.
    is_third: bool,
    /// Number of the current command in the script.
    command: u8,
    op: Op,
    /// The access that comes next; `Done` when the script is over.
    pub(crate) next: Step<()>,
    /// The holder's clock, from the beginning of the operation.
    now: Ticks,
    pub(crate) dead: bool,
    /// Whether it has made an access.
    pub(crate) begun: bool,
    /// Whether it handed the lot over.
    pub(crate) handed_over: bool,
    lease: Option<Lease>,
    held: Option<Held>,
    taken: Option<TakeOver>,
    left: Option<Ticket>,
    arrived: Option<Arrived>,
}

/// The clock stands still here: nothing waits longer than a kick beyond the deadline.
const NOW_MAX: Ticks = DEADLINE_UNITS + KICK_UNITS;

impl Waker {
    pub(crate) fn new(holder: Holder, config: &Config, scene: &Scene) -> Self {
        let lease = if holder == Holder::Old { Some(scene.lease) } else { None };
        let mut waker = Self {
            holder,
            is_third: false,
            command: 0,
            op: Op::None,
            next: Step::Done(()),
            now: 0,
            dead: false,
            begun: false,
            handed_over: false,
            lease,
            held: None,
            taken: None,
            left: None,
            arrived: None,
        };
        waker.begin(config, scene);
        waker
    }

    /// It dies; of the new holder, a third takes the place.
    pub(crate) fn dies(self, config: &Config, scene: &Scene) -> Self {
        if self.holder == Holder::Old {
            return Self { dead: true, ..self };
        }
        let mut third = Self { is_third: true, command: 0, ..Self::new(Holder::New, config, scene) };
        third.begin(config, scene);
        third
    }

    /// Whether nobody died in its place.
    pub(crate) const fn is_second(&self) -> bool {
        !self.is_third
    }

    const fn script(&self, config: &Config) -> &'static [Do] {
        match self.holder {
            Holder::Old => config.old,
            Holder::New if self.is_third => config.third,
            Holder::New => config.new,
        }
    }

    /// What it came to.
    pub(crate) fn outcome(&self) -> (u8, bool, bool, Option<TakeOver>, bool) {
        (self.command, self.dead, self.is_third, self.taken, self.is_over())
    }

    /// Whether it does nothing any more.
    pub(crate) fn is_over(&self) -> bool {
        self.dead || self.next == Step::Done(())
    }

    /// The command under way.
    pub(crate) fn current(&self, config: &Config) -> Option<Do> {
        self.script(config).get(usize::from(self.command)).copied()
    }

    /// One unit of time passes, if time is still counted.
    pub(crate) fn tick(&mut self) -> bool {
        let before = self.now;
        self.now = NOW_MAX.min(self.now + 1);
        self.now != before
    }

    fn begin(&mut self, config: &Config, scene: &Scene) {
        loop {
            self.now = 0;
            let Some(command) = self.current(config) else {
                self.op = Op::None;
                self.next = Step::Done(());
                return;
            };
            if let Some(op) = self.operation(command, config, scene) {
                self.op = op;
                if self.step_op(Reply::Start).is_none() {
                    return;
                }
            }
            self.command += 1;
        }
    }

    fn operation(&self, command: Do, config: &Config, scene: &Scene) -> Option<Op> {
        let timing = Timing { kick_interval_ticks: KICK_UNITS, deadline: DEADLINE_UNITS };
        let bay = self.lease.and_then(|lease| lease.bay(scene.bay.index()).ok());
        let wake = |entry| bay.map(|bay| Op::Wake(Wake::new(bay, entry, timing)));
        match command {
            Do::AwaitArrival => bay.map(|bay| Op::AwaitArrival(AwaitArrival::new(bay, DEADLINE_UNITS))),
            Do::Confirm => bay.map(|bay| Op::Confirm(Confirm::new(bay, timing))),
            Do::Wake(number) => scene.entries.get(usize::from(number)).and_then(|entry| wake(*entry)),
            Do::WakeByBadRoot => wake(scene.bad_root()),
            Do::WakeToBadRip => wake(scene.bad_rip()),
            Do::Hold => bay.map(|bay| Op::Hold(Hold::new(bay, timing))),
            Do::Release => self.held.map(|held| Op::Release(Release::new(held, DEADLINE_UNITS))),
            Do::Flush => bay.map(|bay| Op::Flush(Flush::new(bay, timing))),
            Do::Unknown => bay.map(|bay| Op::Unknown(Unknown::new(bay.offset()))),
            Do::Repark => {
                let (bay, second) = (bay?, scene.second.as_ref()?);
                Repark::new(bay, &second.lease, second.bay, second.transit, timing).ok().map(Op::Repark)
            }
            Do::AwaitSecond => {
                scene.second.as_ref().map(|second| Op::AwaitArrival(AwaitArrival::new(second.bay, DEADLINE_UNITS)))
            }
            Do::ConfirmSecond => scene.second.as_ref().map(|second| Op::Confirm(Confirm::new(second.bay, timing))),
            Do::Vacate => Vacate::new(self.left?, self.arrived?).ok().map(Op::Vacate),
            Do::Mailbox(post) => {
                // The mailbox has no way to take a Wakeup back: who is in a hurry must wait all the same.
                let waits = config.time == Time::Hasty && matches!(post, Post::Wakeup | Post::Test);
                let deadline = if waits { Ticks::MAX } else { DEADLINE_UNITS };
                Some(Op::Letter(Letter::new(post, PARKED as u32, deadline)))
            }
            Do::HandOver => self.lease.map(|lease| Op::HandOver(HandOver::new(&lease))),
            Do::Accept => Some(Op::Accept(Accept::new(&scene.lot))),
            Do::Seize => Some(Op::Seize(Seize::new(&scene.lot, DeadOwner::declared()))),
        }
    }

    /// Takes the reply to the last access. If that ends the operation: how, and the next command begins.
    pub(crate) fn reply(&mut self, reply: Reply, config: &Config, scene: &Scene) -> Option<Ended> {
        self.begun = true;
        let result = self.step_op(reply)?;
        let command = self.current(config)?;
        let mut goes_on = true;
        match &result {
            Ok(Yield::Held(held)) => self.held = Some(*held),
            Ok(Yield::TakeOver(taken)) => {
                self.lease = Some(taken.lease);
                self.taken = Some(*taken);
            }
            Ok(Yield::Left(ticket)) => self.left = Some(*ticket),
            Ok(Yield::Arrived(arrived)) => self.arrived = Some(*arrived),
            Ok(Yield::Nothing) => match command {
                // The CPU is gone, or the lot is.
                Do::Wake(_) | Do::WakeByBadRoot | Do::WakeToBadRip => goes_on = false,
                Do::HandOver => {
                    self.handed_over = true;
                    goes_on = false;
                }
                _ => {}
            },
            Err(error) => goes_on = error.kind() == ErrorKind::Revoked,
        }
        if command == Do::Release {
            self.held = None;
        }
        self.command = if goes_on { self.command + 1 } else { u8::MAX };
        self.begin(config, scene);
        Some(Ended { command, result })
    }

    /// Runs one step of the operation; its result if that was its end.
    fn step_op(&mut self, reply: Reply) -> Option<Result<Yield, Error>> {
        fn run<O: Operation>(op: &mut O, reply: Reply, now: Ticks, output: impl FnOnce(O::Output) -> Yield) -> Ran {
            match op.next(reply, now) {
                Step::Done(result) => Ran::Over(result.map(output)),
                Step::Load { offset } => Ran::Going(Step::Load { offset }),
                Step::Store { offset, value } => Ran::Going(Step::Store { offset, value }),
                Step::CompareExchange { offset, current, new } => {
                    Ran::Going(Step::CompareExchange { offset, current, new })
                }
                Step::SendNmi(target) => Ran::Going(Step::SendNmi(target)),
                Step::SendInit(target) => Ran::Going(Step::SendInit(target)),
                Step::SendStartup { target, vector } => Ran::Going(Step::SendStartup { target, vector }),
                Step::Summon { target, bay_index } => Ran::Going(Step::Summon { target, bay_index }),
                Step::Wait { until } => Ran::Going(Step::Wait { until }),
            }
        }
        let now = self.now;
        let step = match &mut self.op {
            Op::None => Ran::Going(Step::Done(())),
            Op::AwaitArrival(op) => run(op, reply, now, Yield::Arrived),
            Op::Repark(op) => run(op, reply, now, Yield::Left),
            Op::Vacate(op) => run(op, reply, now, |()| Yield::Nothing),
            Op::Letter(op) => run(op, reply, now, |()| Yield::Nothing),
            Op::Confirm(op) => run(op, reply, now, |_| Yield::Nothing),
            Op::Wake(op) => run(op, reply, now, |_| Yield::Nothing),
            Op::Hold(op) => run(op, reply, now, Yield::Held),
            Op::Release(op) => run(op, reply, now, |()| Yield::Nothing),
            Op::Flush(op) => run(op, reply, now, |_| Yield::Nothing),
            Op::Unknown(op) => run(op, reply, now, |()| Yield::Nothing),
            Op::HandOver(op) => run(op, reply, now, |()| Yield::Nothing),
            Op::Accept(op) => run(op, reply, now, Yield::TakeOver),
            Op::Seize(op) => run(op, reply, now, Yield::TakeOver),
        };
        match step {
            Ran::Going(step) => {
                self.next = step;
                None
            }
            Ran::Over(result) => Some(result),
        }
    }
}

/// A holder of a newer version: rings with a command that this one's bay code does not know, and takes it back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Unknown {
    doorbell: u64,
    rung: u64,
    state: u8,
}

/// A command of a newer version.
pub(crate) const UNKNOWN_COMMAND: u8 = 0x77;

impl Unknown {
    const fn new(bay: u64) -> Self {
        Self { doorbell: bay + bay::DOORBELL, rung: 0, state: 0 }
    }
}

impl Operation for Unknown {
    type Output = ();

    fn next(&mut self, reply: Reply, _now: Ticks) -> Step<Result<(), Error>> {
        let offset = self.doorbell;
        let quiet = Doorbell(self.rung).with_phase(Phase::Quiet).0;
        match (self.state, reply) {
            (0, _) => {
                self.state = 1;
                Step::Load { offset }
            }
            (1, Reply::Value(found)) => {
                let word = Doorbell(found);
                let next = word.sequence().next();
                let rung = Doorbell::new(park_core::lot::Command::None, Phase::Rung, word.generation(), next).0;
                self.rung = rung | u64::from(UNKNOWN_COMMAND);
                self.state = 2;
                Step::CompareExchange { offset, current: found, new: self.rung }
            }
            (2, _) => {
                self.state = 3;
                Step::CompareExchange { offset, current: self.rung, new: quiet }
            }
            (_, Reply::Value(found)) if found == self.rung => Step::Done(Ok(())),
            _ => Step::Done(Err(Error::new(ErrorKind::TooLate, "the CPU took a command that it can't know"))),
        }
    }
}
