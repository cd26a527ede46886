//! A lot, one CPU that follows the doorbell protocol, and a way to run operations against them step by step.

use crate::lot::{Memory, build};
use park_core::lot::{
    ApicMode, BayState, Command, Doorbell, OwnerState, OwnerWord, PagingLevels, Phase, Stage, WaitFlags, bay,
};
use park_core::op::{Lease, Operation, Reply, Reservation, Step, Timing};
use park_core::{ApicId, Entry, Error, Generation, Mechanism, PhysAddr, PlatformError, Sequence, Ticks};

pub(crate) const ID: ApicId = ApicId(7);
pub(crate) const DEADLINE: Ticks = 1000;
pub(crate) const TIMING: Timing = Timing { kick_interval_ticks: 100, deadline: DEADLINE };
pub(crate) const ENTRY: Entry = Entry { rip: 0x1000, rsp: 0x2000, cr3: PhysAddr(0x3000), arg: 4 };

/// What a CPU in its bay does next. Written after the doorbell protocol, one access a step; not after the bay code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Doing {
    Look,
    Asleep,
    Claim(Doorbell),
    Work(Doorbell),
    Spin(Doorbell),
    Finish(Doorbell),
    ReadEntry(usize, [u64; 4]),
    Gone(Entry),
    /// It never does anything.
    Dead,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct World {
    pub(crate) memory: Memory,
    pub(crate) lease: Lease,
    pub(crate) cpu: Doing,
    pub(crate) nmi: bool,
    pub(crate) polls: bool,
    pub(crate) confirmed: u32,
    pub(crate) sent: Vec<(&'static str, ApicId)>,
    pub(crate) summoned: Option<u32>,
    /// The platform refuses to send IPIs.
    pub(crate) mute: bool,
}

pub(crate) fn request(apic_id: ApicId) -> Reservation {
    Reservation {
        apic_id,
        mechanism: Mechanism::Hlt,
        flags: WaitFlags::WBINVD,
        levels: PagingLevels::Four,
        apic_mode: ApicMode::XApic,
        mwait_hint: 0x20,
    }
}

pub(crate) fn owner(state: OwnerState, mechanism: Mechanism) -> u64 {
    let (flags, levels, apic_mode) = (WaitFlags::WBINVD, PagingLevels::Four, ApicMode::XApic);
    OwnerWord { state, mechanism, flags, levels, apic_mode }.raw()
}

impl World {
    /// All bays free.
    pub(crate) fn empty(bays: u32) -> Self {
        let mut memory = build(bays);
        let lease = Lease::first(memory.lot());
        let (polls, confirmed, sent) = (false, 0, Vec::new());
        Self { memory, lease, cpu: Doing::Asleep, nmi: false, polls, confirmed, sent, summoned: None, mute: false }
    }

    /// CPU [`ID`] is parked in bay 0.
    pub(crate) fn parked(mechanism: Mechanism) -> Self {
        let mut world = Self::empty(2);
        world.occupy(0, ID, mechanism);
        world.polls = mechanism == Mechanism::Clgi;
        world
    }

    pub(crate) fn occupy(&mut self, index: u32, id: ApicId, mechanism: Mechanism) {
        let base = self.base(index);
        self.memory.put(base + bay::OWNER, owner(OwnerState::Reserved, mechanism));
        self.memory.put(base + bay::IDENTITY, id.0.into());
        self.memory.put(base + bay::STAGE, Stage::Waiting as u64);
        let quiet = Doorbell::new(Command::None, Phase::Quiet, self.lease.generation(), Sequence::from_raw(5));
        self.memory.put(base + bay::DOORBELL, quiet.0);
    }

    pub(crate) fn base(&self, index: u32) -> u64 {
        self.lease.lot().bay(index).expect("bay")
    }

    pub(crate) fn bay(&self) -> park_core::op::Bay {
        self.lease.bay(0).expect("bay 0")
    }

    pub(crate) fn state(&mut self, index: u32) -> BayState {
        let lot = *self.lease.lot();
        lot.view(&mut self.memory, index).expect("view").state().expect("no damage")
    }

    pub(crate) fn doorbell(&mut self, index: u32) -> Doorbell {
        let base = self.base(index);
        Doorbell(self.memory.get(base + bay::DOORBELL))
    }

    pub(crate) fn set_doorbell(&mut self, command: Command, phase: Phase, generation: u32, sequence: u32) {
        let word = Doorbell::new(command, phase, Generation::from_raw(generation), Sequence::from_raw(sequence));
        let base = self.base(0);
        self.memory.put(base + bay::DOORBELL, word.0);
    }

    /// Carries out a step; `None` for `Done`.
    pub(crate) fn carry_out<T>(&mut self, step: &Step<T>) -> Option<Reply> {
        use park_core::LotMemory;
        let sent = |world: &mut Self, what, target| {
            world.sent.push((what, target));
            if world.mute { Err(PlatformError::ApicBusy) } else { Ok(Reply::Sent) }
        };
        let outcome = match *step {
            Step::Load { offset } => self.memory.load(offset).map(Reply::Value),
            Step::Store { offset, value } => self.memory.store(offset, value).map(|()| Reply::Stored),
            Step::CompareExchange { offset, current, new } => {
                self.memory.compare_exchange(offset, current, new).map(Reply::Value)
            }
            Step::SendNmi(target) => {
                self.nmi |= !self.mute;
                sent(self, "nmi", target)
            }
            Step::SendInit(target) => sent(self, "init", target),
            Step::SendStartup { target, .. } => sent(self, "startup", target),
            Step::Summon { bay_index, .. } => {
                self.summoned = Some(bay_index);
                sent(self, "summon", ID)
            }
            Step::Wait { .. } => Ok(Reply::Waited),
            Step::Done(_) => return None,
        };
        Some(outcome.unwrap_or_else(Reply::Failed))
    }

    /// Runs an operation to its end; time goes on with each wait, and the CPU runs as far as it gets.
    pub(crate) fn run<O: Operation>(&mut self, mut operation: O) -> Result<O::Output, Error> {
        let (mut reply, mut now) = (Reply::Start, 0);
        loop {
            let step = operation.next(reply, now);
            match step {
                Step::Done(result) => {
                    assert_eq!(operation.next(Reply::Waited, now + 1), step, "Done is repeated");
                    return result;
                }
                Step::Wait { until } => {
                    assert!(until > now, "waits for the past");
                    now = until;
                }
                _ => {}
            }
            reply = self.carry_out(&step).expect("not done");
            while self.cpu_step() {}
        }
    }

    /// Runs at most `steps` steps of an operation, then drops it. True if it was over by then.
    pub(crate) fn run_steps<O: Operation>(&mut self, mut operation: O, steps: usize) -> bool {
        let mut reply = Reply::Start;
        for _ in 0..steps {
            match self.carry_out(&operation.next(reply, 0)) {
                Some(next) => reply = next,
                None => return true,
            }
        }
        false
    }

    /// One step of the CPU in bay 0; false if it can't move.
    pub(crate) fn cpu_step(&mut self) -> bool {
        let base = self.base(0);
        let doorbell = |world: &mut Self| Doorbell(world.memory.get(base + bay::DOORBELL));
        let roused = self.polls && doorbell(self).phase() != Some(Phase::Quiet);
        self.cpu = match self.cpu {
            Doing::Dead | Doing::Gone(_) => return false,
            Doing::Asleep if roused => Doing::Look,
            Doing::Asleep if !self.nmi => return false,
            Doing::Asleep => {
                self.nmi = false;
                Doing::Look
            }
            Doing::Look => match doorbell(self) {
                rung if rung.phase() == Some(Phase::Rung) => Doing::Claim(rung),
                _ => Doing::Asleep,
            },
            Doing::Claim(rung) => {
                let claimed = rung.with_phase(Phase::Claimed);
                if self.swap(base + bay::DOORBELL, rung.0, claimed.0) { Doing::Work(claimed) } else { Doing::Look }
            }
            Doing::Work(claimed) => match claimed.command().expect("known") {
                Command::Wake | Command::Repark => {
                    self.memory.put(base + bay::STAGE, Stage::Leaving as u64);
                    Doing::ReadEntry(0, [0; 4])
                }
                Command::Hold => Doing::Spin(claimed),
                Command::Confirm | Command::Flush => {
                    self.confirmed += 1;
                    Doing::Finish(claimed)
                }
                Command::None => panic!("claimed nothing"),
            },
            Doing::Spin(claimed) => {
                let release = self.memory.get(base + bay::RELEASE);
                if release != u64::from(claimed.sequence().raw()) {
                    return false;
                }
                Doing::Finish(claimed)
            }
            Doing::Finish(claimed) => {
                self.memory.put(base + bay::DOORBELL, claimed.with_phase(Phase::Quiet).0);
                Doing::Look
            }
            Doing::ReadEntry(read, mut words) => {
                words[read] = self.memory.get(base + bay::ENTRY_RIP + 8 * read as u64);
                let [rip, rsp, cr3, arg] = words;
                if read == 3 {
                    Doing::Gone(Entry { rip, rsp, cr3: PhysAddr(cr3), arg })
                } else {
                    Doing::ReadEntry(read + 1, words)
                }
            }
        };
        true
    }

    fn swap(&mut self, offset: u64, current: u64, new: u64) -> bool {
        use park_core::LotMemory;
        self.memory.compare_exchange(offset, current, new) == Ok(current)
    }
}
