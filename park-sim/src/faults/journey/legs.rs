//! The legs of a journey, a step each.

use super::{BOSS, EntryKind, Journey, Progress, TARGET, Wait};
use crate::faults::change::Change;
use crate::faults::ring::{Order, Ringer, Style, Turn};
use crate::faults::wrong::{Leg, Wrong};
use crate::machine::knobs::MwaitWaits;
use crate::world::{OldMemory, TAG_NOBODY};
use park_core::Mechanism;
use park_core::lot::{Command, Doorbell, Phase, Stage, bay};
use park_core::op::{Confirm, Flush, Hold, Release};

/// Steps in the wait before the ring: three laps of the longest polling loop.
const WAIT_STEPS: u64 = 24;
/// Steps after the landing, in which what was held is delivered and handled.
const LANDED_STEPS: u64 = 64;
/// Bytes of a cache line.
const LINE: u64 = 64;
/// Steps for which a held CPU is watched.
const HELD_STEPS: u64 = 200;
/// Steps for which a CPU is watched whose ticket was revoked.
const REVOKED_STEPS: u64 = 200;
/// A linear address that no kernel maps: canonical, in the low half, far from any lot.
const NOWHERE: u64 = 0x4000_0000_0000;

impl Journey<'_> {
    pub(super) fn arrive(&mut self) -> Result<Progress, Wrong> {
        if self.bay_word(bay::STAGE)? != Stage::Waiting as u64 {
            if !self.can_move() {
                return Err(Wrong::TooSlow { leg: self.leg });
            }
            self.target()?;
            return Ok(Progress::Going);
        }
        self.check_acknowledged()?;
        self.world.await_arrival(BOSS, self.bay)?;
        self.enter(Leg::Waiting);
        Ok(Progress::Going)
    }
    pub(super) fn wait(&mut self) -> Result<Progress, Wrong> {
        let never_waits = self.world.machine.knobs.get::<MwaitWaits>() == MwaitWaits::Never;
        let polls = self.mechanism == Mechanism::Clgi || (self.mechanism == Mechanism::Mwait && never_waits);
        if self.can_move() && (self.steps < WAIT_STEPS || !polls) {
            self.target()?;
            return Ok(Progress::Going);
        }
        self.check_parked(if polls { Wait::Polls } else { Wait::Sleeps })?;
        self.change_kernels()?;
        for command in self.plan.before {
            self.command(*command)?;
        }
        if self.mechanism == Mechanism::Clgi && !self.plan.before.is_empty() {
            self.world.let_others_run(BOSS, HELD_STEPS)?;
            if self.world.machine.cpu(TARGET).gif {
                return Err(Wrong::NotParked { what: "after a command GIF is 1" });
            }
        }
        let mut entry = self.world.entry(TARGET)?;
        if self.plan.entry == EntryKind::Nowhere {
            entry.rip = NOWHERE;
        }
        self.entry = Some(entry);
        let plant = self.plant;
        plant.in_departure(&mut self.world, TARGET);
        self.ring_by(self.plan.style)?;
        self.enter(Leg::Ringing);
        Ok(Progress::Going)
    }

    pub(super) fn ring_by(&mut self, style: Style) -> Result<(), Wrong> {
        let late = self.plant.changes.iter().any(|change| matches!(change, Change::EntryAfterDoorbell));
        let order = if late { Order::DoorbellFirst } else { Order::EntryFirst };
        let entry = self.entry.ok_or(Wrong::Seen { what: "there is no entry to ring for" })?;
        self.ringer = Some(Ringer::new(style, order, self.bay, entry, self.world.machine.tsc()));
        Ok(())
    }

    /// Has the CPU carry out a command that returns.
    pub(super) fn command(&mut self, command: Command) -> Result<(), Wrong> {
        let timing = self.world.timing();
        match command {
            Command::Confirm => self.world.drive(BOSS, Confirm::new(self.bay, timing)).map(|_| ())?,
            Command::Flush => {
                self.world.drive(BOSS, Flush::new(self.bay, timing))?;
                let stack_line = self.bay_address(bay::FAULT_STACK_TOP)? - LINE;
                if self.world.machine.dirty_lines(TARGET).any(|line| line == stack_line) {
                    return Err(Wrong::Seen { what: "a line is dirty that was written before the flush" });
                }
            }
            Command::Hold => {
                let held = self.world.drive(BOSS, Hold::new(self.bay, timing))?;
                self.world.let_others_run(BOSS, HELD_STEPS)?;
                let doorbell = Doorbell(self.bay_word(bay::DOORBELL)?);
                if doorbell.phase() != Some(Phase::Claimed) {
                    return Err(Wrong::Seen { what: "a held CPU did not wait for its release" });
                }
                let deadline = self.world.timing().deadline;
                self.world.drive(BOSS, Release::new(held, deadline))?;
            }
            Command::None | Command::Wake | Command::Repark => {}
        }
        Ok(())
    }

    pub(super) fn change_kernels(&mut self) -> Result<(), Wrong> {
        let old = self.world.kernel.range;
        self.world.hand_over(BOSS)?;
        self.world.kexec(BOSS, OldMemory::Kept)?;
        // By its tag the old kernel's memory is gone; to write all of it would only take time.
        self.world.machine.set_tag(old, TAG_NOBODY);
        let plant = self.plant;
        plant.in_kernel(&mut self.world)?;
        self.bay = self.world.accept(BOSS, self.bay)?;
        Ok(())
    }

    pub(super) fn ring(&mut self) -> Result<Progress, Wrong> {
        if let Some(left) = self.revoked {
            return self.stay(left);
        }
        // In turns: an access of the boss, a step or more of the target.
        let turn = self.steps % (self.plan.slow_boss.max(1) + 1);
        if turn != 0 && self.can_move() {
            self.target()?;
            return Ok(Progress::Going);
        }
        let Some(mut ringer) = self.ringer.take() else { return Err(Wrong::TooSlow { leg: self.leg }) };
        let (turn, line) = ringer.turn(&mut self.world.on(BOSS)?)?;
        self.world.machine.drain_one(BOSS);
        if self.log.is_some() {
            self.note(format!("CPU {BOSS} {line}"));
        }
        self.ringer = Some(ringer);
        match turn {
            Turn::Going => {}
            Turn::Idle(until) if self.can_move() || until < self.world.machine.tsc() => {}
            Turn::Idle(until) => {
                let now = self.world.machine.tsc();
                self.world.machine.advance_tsc(until - now);
            }
            Turn::Claimed => self.enter(Leg::Leaving),
            Turn::Revoked => self.revoked = Some(REVOKED_STEPS),
        }
        Ok(Progress::Going)
    }

    /// A CPU whose ticket was taken back stays in its bay; later it is rung again.
    pub(super) fn stay(&mut self, left: u64) -> Result<Progress, Wrong> {
        if left > 0 {
            self.revoked = Some(left - 1);
            if self.can_move() {
                self.target()?;
            }
            let doorbell = Doorbell(self.bay_word(bay::DOORBELL)?);
            if self.bay_word(bay::STAGE)? != Stage::Waiting as u64 || doorbell.phase() != Some(Phase::Quiet) {
                return Err(Wrong::Seen { what: "the CPU claimed a ticket that was revoked" });
            }
            return Ok(Progress::Going);
        }
        self.revoked = None;
        self.ring_by(Style::Wake)?;
        Ok(Progress::Going)
    }

    pub(super) fn leave(&mut self) -> Result<Progress, Wrong> {
        if self.world.kernel.witness(&self.world.machine, TARGET).entries == 0 {
            if !self.can_move() {
                return Err(Wrong::TooSlow { leg: self.leg });
            }
            self.target()?;
            return Ok(Progress::Going);
        }
        self.enter(Leg::Landed);
        Ok(Progress::Going)
    }

    pub(super) fn land(&mut self) -> Result<Progress, Wrong> {
        if self.steps < LANDED_STEPS && self.can_move() {
            self.target()?;
            return Ok(Progress::Going);
        }
        let witness = self.world.kernel.witness(&self.world.machine, TARGET);
        if self.entered != 1 || witness.entries != 1 {
            return Err(Wrong::Entered { times: self.entered.max(witness.entries as u32) });
        }
        if witness.argument != self.world.kernel.witness_address(TARGET) {
            return Err(Wrong::WrongEntry { found: witness.argument });
        }
        self.check_landed()?;
        self.world.leave(TARGET, self.bay)?;
        if self.world.machine.load(BOSS, self.bay_address(bay::OWNER)?) & 0xff != 0 {
            return Err(Wrong::NotFreed);
        }
        if self.rounds == 0 {
            return Ok(Progress::Done);
        }
        self.rounds -= 1;
        self.again()?;
        Ok(Progress::Going)
    }

    /// Into the same bay once more.
    pub(super) fn again(&mut self) -> Result<(), Wrong> {
        let bay = self.world.reserve(BOSS, &self.request)?;
        if bay.offset() != self.bay.offset() {
            return Err(Wrong::NotFreed);
        }
        self.bay = bay;
        (self.entry, self.ringer, self.entered) = (None, None, 0);
        let steps = self.plant.steps(&self.request.steps);
        self.world.begin_arrival(TARGET, bay, steps)?;
        self.enter(Leg::Arriving);
        Ok(())
    }
}
