//! The moves of the lease holders.

use super::config::{Do, ELSEWHERE, Mortality, Reduction};
use super::elsewhere::Place;
use super::engine::{Before, Clock, Engine};
use super::state::{Action, BAD_ENTRY, NO_ENTRY, Vars};
use super::violation::Violation;
use super::waker::{Holder, Waker};
use crate::platform::OnCpu;
use park_core::lot::{Doorbell, Phase, bay, header};
use park_core::op::{Reply, Step};
use park_core::{IpiSender, LotMemory, PlatformError};

impl Engine<'_> {
    pub(crate) fn holder_moves(&self, vars: &Vars, holder: Holder, clock: Clock, out: &mut Vec<Action>) -> bool {
        let waker = self.wakers.value(vars.wakers[holder as usize]);
        if waker.is_over() {
            return false;
        }
        if holder == Holder::New && !waker.begun {
            let old = self.wakers.value(vars.wakers[0]);
            let drained = !self.scene.machine.cpu(Holder::Old.cpu()).stores_waiting();
            let may = match waker.current(self.config) {
                // A third begins once the new one is dead.
                _ if !waker.is_second() => !self.scene.machine.cpu(Holder::New.cpu()).stores_waiting(),
                // An operating system does not ask.
                Some(Do::Mailbox(_)) => true,
                Some(Do::Seize) => old.dead && drained,
                _ => old.handed_over && drained,
            };
            if !may {
                return false;
            }
        }
        out.push(Action::Access(holder as u8));
        if clock == Clock::MovesOn && matches!(waker.next, Step::Wait { .. }) && waker.clone().tick() {
            out.push(Action::Tick(holder as u8));
        }
        true
    }

    /// The next access of a holder, and those after it that nobody else can see.
    pub(crate) fn access(
        &mut self,
        next: &mut Vars,
        number: u8,
        clock: Clock,
        before: &Before,
    ) -> Result<(), Violation> {
        let at = usize::from(number & 1);
        let mut waker = self.wakers.value(next.wakers[at]);
        // A holder that looks again without its clock having moved does so at once.
        let full = self.config.reduction == Reduction::Full;
        let mut looks = full && matches!(waker.next, Step::Wait { .. }) && clock == Clock::Stands;
        loop {
            let command = waker.current(self.config);
            let reply = self.carry_out(&waker);
            self.note_ring(next, command, before);
            let ended = waker.reply(reply, self.config, &self.scene);
            if let Some(ended) = ended {
                self.check_end(next, &waker, &ended)?;
            }
            if waker.is_over() || ended.is_some() || !(looks || self.is_local(&waker)) {
                break;
            }
            looks = false;
        }
        next.wakers[at] = self.wakers.number(waker);
        Ok(())
    }

    /// Whether a holder's next access commutes with everything that others do: it reads a word that nobody writes, or
    /// puts a store into its own buffer. A holder that may die stops before each store.
    fn is_local(&self, waker: &Waker) -> bool {
        if Place::of(waker.current(self.config)) != Place::Lot || self.config.reduction != Reduction::Full {
            return false;
        }
        let alone = self.config.new.is_empty();
        match waker.next {
            Step::Load { offset } => {
                let word = offset.wrapping_sub(self.scene.bay.offset());
                word == bay::OWNER || word == bay::IDENTITY || (alone && offset == header::LEASE)
            }
            Step::Store { .. } => self.config.mortality == Mortality::Lives,
            _ => false,
        }
    }

    fn carry_out(&mut self, waker: &Waker) -> Reply {
        // A holder's own affair, which its next IPI does not meet: it comes after a wait.
        self.scene.machine.cpu_mut(waker.holder.cpu()).apic.busy_polls = 0;
        let lot = self.scene.place(Place::of(waker.current(self.config)));
        let mut platform = OnCpu { machine: &mut self.scene.machine, cpu: waker.holder.cpu(), lot };
        let reply = match waker.next {
            Step::Load { offset } => platform.load(offset).map(Reply::Value),
            Step::Store { offset, value } => platform.store(offset, value).map(|()| Reply::Stored),
            Step::CompareExchange { offset, current, new } => {
                platform.compare_exchange(offset, current, new).map(Reply::Value)
            }
            Step::SendNmi(target) => platform.send_nmi(target).map(|()| Reply::Sent),
            Step::Wait { .. } => Ok(Reply::Waited),
            _ => Err(PlatformError::NoSuchRegister),
        };
        reply.unwrap_or_else(Reply::Failed)
    }

    /// Remembers whose entry a ticket carries that was just published.
    fn note_ring(&self, next: &mut Vars, command: Option<Do>, before: &Before) {
        let now = Doorbell(self.word(bay::DOORBELL));
        if now != before.doorbell && now.phase() == Some(Phase::Rung) {
            next.memory.rung = match command {
                Some(Do::Wake(entry)) => entry,
                Some(Do::WakeByBadRoot | Do::WakeToBadRip) => BAD_ENTRY,
                Some(Do::Repark) => ELSEWHERE,
                _ => NO_ENTRY,
            };
        }
    }
}
