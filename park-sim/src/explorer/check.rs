//! The properties, checked after every move and in every state of rest.

use super::config::{Config, Do, ELSEWHERE, Faults, Post, Time};
use super::engine::{Before, Engine};
use super::scene::{PARKED, Scene, stands_at};
use super::state::{Action, BAD_ENTRY, End, NO_ENTRY, Vars};
use super::violation::Violation;
use super::waker::{Ended, Holder, Waker, Yield};
use crate::machine::{Activity, Gpr, Seg};
use park_core::lot::{Command, Doorbell, Lot, Phase, Stage, WaitFlags, bay};
use park_core::{ErrorKind, Mechanism};

/// The vector of #MC.
const MACHINE_CHECK: u8 = 18;
/// Bits of CR3 that hold an address.
const CR3_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Whose doing a change is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mover {
    /// The parked CPU's.
    Cpu,
    /// Anybody else's.
    Other,
}

impl Engine<'_> {
    /// After each move.
    pub(crate) fn check(&mut self, next: &mut Vars, action: Action, before: &Before) -> Result<(), Violation> {
        if let Some(breach) = self.scene.machine.breaches.first().first() {
            return Err(Violation::Breach(*breach));
        }
        if self.scene.machine.was_reset().is_some() && next.memory.end != End::Shutdown {
            return Err(Violation::Reset(self.scene.machine.was_reset()));
        }
        let mover = match action {
            // An event is taken in the same move, if it can be.
            Action::Cpu | Action::Event(_) | Action::Raise(_) => Mover::Cpu,
            Action::Drain(cpu) if usize::from(cpu) == PARKED => Mover::Cpu,
            _ => Mover::Other,
        };
        self.check_doorbell(next, mover, before)?;
        self.check_stage(next, before)?;
        self.check_second(next, before)?;
        // What makes knob `blocked-nmi-mwait` moot.
        let cpu = self.scene.machine.cpu(PARKED);
        if cpu.nmi_blocked && cpu.activity.is_mwait_family() && next.memory.end == End::None {
            return Err(Violation::WaitsBlocked);
        }
        if matches!(action, Action::Cpu | Action::Event(_)) {
            self.check_entry(next, before)?;
        }
        let allowed = Scene::allowed(&next.memory);
        if self.scene.machine.cpu(PARKED).allowed_tags != allowed {
            self.scene.machine.set_allowed(PARKED, allowed);
        }
        Ok(())
    }

    /// The stage in another lot's bay.
    fn check_second(&self, next: &mut Vars, before: &Before) -> Result<(), Violation> {
        let stage = self.second_stage();
        let Some(second) = &self.scene.second else { return Ok(()) };
        if stage == before.second_stage {
            return Ok(());
        }
        match Stage::from_raw(stage) {
            Some(Stage::Arriving) if next.memory.landed && !next.memory.moved => Ok(()),
            Some(Stage::Waiting) if next.memory.landed && !next.memory.moved => {
                next.memory.moved = true;
                self.check_home(next, &second.lot, second.bay_phys)
            }
            _ => Err(Violation::Stage { stage }),
        }
    }

    fn check_doorbell(&self, next: &mut Vars, mover: Mover, before: &Before) -> Result<(), Violation> {
        let (old, new) = (before.doorbell, Doorbell(self.word(bay::DOORBELL)));
        if old == new {
            return Ok(());
        }
        let by_cpu = mover == Mover::Cpu;
        let right = match (old.phase(), new.phase()) {
            (Some(Phase::Rung), Some(Phase::Claimed)) => {
                by_cpu && new == old.with_phase(Phase::Claimed) && matches!(old.0 as u8, 1..=5)
            }
            (Some(Phase::Claimed), Some(Phase::Quiet)) if by_cpu => {
                let returns = matches!(old.command(), Some(Command::Confirm | Command::Hold | Command::Flush));
                by_cpu && new == old.with_phase(Phase::Quiet) && returns
            }
            // The bay of a CPU that has moved on is freed.
            (Some(Phase::Claimed), Some(Phase::Quiet)) if !by_cpu => {
                next.memory.moved && new == old.with_phase(Phase::Quiet) && old.command() == Some(Command::Repark)
            }
            (Some(Phase::Quiet), Some(Phase::Rung)) => !by_cpu && new.sequence() == old.sequence().next(),
            (Some(Phase::Rung | Phase::Quiet), Some(Phase::Quiet)) => {
                !by_cpu && new == old.with_phase(Phase::Quiet).with_generation(new.generation())
            }
            _ => false,
        };
        if !right {
            return Err(Violation::Doorbell { by_cpu, before: old.0, after: new.0 });
        }
        if new.phase() == Some(Phase::Claimed) {
            if old.generation().raw() < next.memory.sealed {
                return Err(Violation::ClaimAfterTakeOver);
            }
            if self.config.mechanism == Mechanism::Clgi && self.scene.machine.cpu(PARKED).init_held() {
                return Err(Violation::InitHeldOnClaim);
            }
            if old.command().is_some_and(Command::leaves) {
                next.memory.claimed = next.memory.rung;
            }
        }
        Ok(())
    }

    fn check_stage(&self, next: &mut Vars, before: &Before) -> Result<(), Violation> {
        let stage = self.word(bay::STAGE);
        if stage == before.stage {
            return Ok(());
        }
        match Stage::from_raw(stage) {
            Some(Stage::Arriving) if !next.memory.home => Ok(()),
            Some(Stage::Waiting) if !next.memory.home => {
                next.memory.home = true;
                // A CPU that an INIT took may have acknowledged just before; its registers are the INIT's.
                let (lot, bay) = (&self.scene.lot, self.scene.bay_phys);
                if next.memory.end == End::None { self.check_home(next, lot, bay) } else { Ok(()) }
            }
            Some(Stage::LeavingByMailbox) if self.config.has_mailbox() && next.memory.claimed == NO_ENTRY => {
                next.memory.claimed = ELSEWHERE;
                Ok(())
            }
            Some(Stage::Out) if next.memory.moved => Ok(()),
            Some(Stage::Leaving) if next.memory.claimed != NO_ENTRY => Ok(()),
            Some(Stage::Faulted) => self.check_fault(next.memory.claimed),
            _ => Err(Violation::Stage { stage }),
        }
    }

    /// A fault record where the configuration has one.
    fn check_fault(&self, claimed: u8) -> Result<(), Violation> {
        let vector = (self.word(bay::FAULT) >> 32) as u8;
        let right = match self.config.faults {
            Faults::Never => false,
            Faults::ByMachineCheck => vector == MACHINE_CHECK,
            Faults::ByBadEntry => claimed == BAD_ENTRY,
            Faults::ByException => self.config.exceptions.contains(&vector),
        };
        if right { Ok(()) } else { Err(Violation::Faulted { vector, rip: self.word(bay::FAULT_RIP) }) }
    }

    /// The acknowledgement became visible: nothing of the CPU may point outside the lot. Stores drain in order, so all
    /// that it wrote before is visible too.
    fn check_home(&self, next: &Vars, lot: &Lot, bay_phys: u64) -> Result<(), Violation> {
        let cpu = self.scene.machine.cpu(PARKED);
        let header = lot.header();
        let lot = header.self_phys.0..header.self_phys.0 + header.total_len;
        let inside = [
            (cpu.cr3 & CR3_ADDRESS, "CR3"),
            (cpu.gdtr.base, "GDTR"),
            (cpu.idtr.base, "IDTR"),
            (cpu.tr.base, "TR"),
            (cpu.reg(Gpr::Rsp).wrapping_sub(1), "RSP"),
            (cpu.rip, "RIP"),
        ];
        for (address, name) in inside {
            if !lot.contains(&address) {
                return Err(Violation::EarlyAck(name));
            }
        }
        if cpu.seg(Seg::Cs).selector != bay::CODE_SELECTOR {
            return Err(Violation::EarlyAck("CS"));
        }
        // Inside a handler they are, until its IRETQ.
        let top = bay_phys + bay::FAULT_STACK_TOP;
        if cpu.nmi_blocked && cpu.reg(Gpr::Rsp) == top {
            return Err(Violation::EarlyAck("NMIs are blocked"));
        }
        if self.config.flags.contains(WaitFlags::WBINVD) && !next.memory.flushed {
            return Err(Violation::EarlyAck("WBINVD was due"));
        }
        Ok(())
    }

    fn check_entry(&self, next: &mut Vars, before: &Before) -> Result<(), Violation> {
        let machine = &self.scene.machine;
        let rip = machine.cpu(PARKED).rip;
        let Some(number) = self.scene.entries.iter().position(|entry| entry.rip == rip) else { return Ok(()) };
        let claimed = self.scene.entries.get(usize::from(next.memory.claimed)).copied();
        let right = usize::from(next.memory.claimed) == number
            && claimed.is_some_and(|entry| stands_at(machine, &entry))
            && [Stage::Leaving as u64, Stage::LeavingByMailbox as u64].contains(&self.word(bay::STAGE));
        // A handler that interrupted the entry comes back to it, and must have kept every register.
        if !right && machine.cpu(PARKED).activity == Activity::Running {
            return Err(Violation::WrongEntry { claimed, rip });
        }
        if before.rip != rip && self.coverage.jumps(before.rip) {
            if next.memory.landed {
                return Err(Violation::EntryTwice);
            }
            next.memory.landed = true;
        }
        Ok(())
    }

    /// When an operation of a holder ends.
    pub(crate) fn check_end(&self, next: &mut Vars, waker: &Waker, ended: &Ended) -> Result<(), Violation> {
        let faulted = self.word(bay::STAGE) == Stage::Faulted as u64;
        let taken = next.memory.claimed;
        let entry = match ended.command {
            Do::Wake(entry) => entry,
            Do::WakeByBadRoot | Do::WakeToBadRip => BAD_ENTRY,
            Do::Repark | Do::Mailbox(Post::Wakeup) => ELSEWHERE,
            _ => NO_ENTRY,
        };
        let elsewhere = taken == ELSEWHERE && entry != taken || entry == ELSEWHERE && taken != NO_ENTRY;
        let gone = next.memory.end != End::None || faulted || elsewhere;
        let error = match &ended.result {
            Ok(Yield::TakeOver(taken)) => {
                next.memory.sealed = taken.lease.generation().raw();
                return self.check_take_over(next, taken.took_old_entry);
            }
            Ok(_) if entry != NO_ENTRY && next.memory.claimed != entry => return Err(Violation::WokenWithoutClaim),
            Ok(_) => return Ok(()),
            Err(error) => *error,
        };
        let expected = match error.kind() {
            ErrorKind::Revoked => {
                if entry != NO_ENTRY && next.memory.claimed == entry {
                    return Err(Violation::RevokedAndClaimed);
                }
                if self.config.time == Time::Patient && !gone {
                    return Err(Violation::LostWake);
                }
                true
            }
            ErrorKind::Uncertain => {
                // A CPU that stops in the owner text leaves its record in the owner's frame.
                let stopped = ended.command == Do::AwaitArrival && self.config.faults == Faults::ByMachineCheck;
                gone || stopped || self.config.time == Time::Hasty
            }
            ErrorKind::Faulted => faulted,
            // The CPU is busy with a ticket of the predecessor, or on its way out by it.
            ErrorKind::WrongState => elsewhere || waker.holder == Holder::New || ended.command == Do::HandOver,
            _ => false,
        };
        if expected { Ok(()) } else { Err(Violation::Operation(error)) }
    }

    fn check_take_over(&self, next: &Vars, took_old_entry: u32) -> Result<(), Violation> {
        match (next.memory.claimed != NO_ENTRY, took_old_entry) {
            (true, 1) | (false, 0) => Ok(()),
            (true, _) => Err(Violation::TakeOver("the CPU took the old entry, and was not reported")),
            (false, _) => Err(Violation::TakeOver("a CPU was reported that took no entry")),
        }
    }

    /// In a state of rest.
    pub(crate) fn check_rest(&self, vars: &Vars) -> Result<(), Violation> {
        let doorbell = Doorbell(self.word(bay::DOORBELL));
        let open = Err(Violation::OpenTicket { doorbell: doorbell.0 });
        let faulted = self.word(bay::STAGE) == Stage::Faulted as u64;
        let gone = vars.memory.end != End::None || vars.memory.landed || faulted;
        let orphan = self.wakers.value(vars.wakers[0]).dead && !has_successor(self.config);
        match doorbell.phase() {
            Some(Phase::Quiet) => Ok(()),
            Some(Phase::Rung) if orphan => Ok(()),
            // A seizure that has not begun: the old holder has just died.
            Some(Phase::Claimed) if gone || orphan => Ok(()),
            _ => open,
        }
    }
}

const fn has_successor(config: &Config) -> bool {
    !config.new.is_empty()
}
