//! What must hold on a journey.

use super::{Journey, TARGET, Wait};
use crate::faults::change::Owner;
use crate::faults::ring::Style;
use crate::faults::wrong::Wrong;
use crate::machine::Activity;
use crate::world::TAG_LOT;
use park_core::Mechanism;
use park_core::lot::{Stage, WaitFlags, bay};
use park_x86::registers::control::Efer;

/// Steps in which a CPU that faulted comes to rest.
const FAULTED_STEPS: u64 = 300;

impl Journey<'_> {
    /// Whether a CPU that stopped with a fault record stays where it is.
    ///
    /// # Errors
    /// [`Wrong`] if it does not.
    pub fn check_stays_faulted(&mut self) -> Result<(), Wrong> {
        for _ in 0..FAULTED_STEPS {
            if !self.can_move() {
                break;
            }
            self.target()?;
            match self.check() {
                Err(Wrong::Faulted { .. }) => {}
                Err(wrong) => return Err(wrong),
                Ok(()) => return Err(Wrong::NotFaulted),
            }
        }
        let mcip = self.mc_in_progress();
        if self.world.machine.cpu(TARGET).activity != Activity::Hlt || mcip {
            return Err(Wrong::NotFaulted);
        }
        Ok(())
    }
    /// At the acknowledgement nothing of the owner's is dirty, where caches were to be written back.
    pub(super) fn check_acknowledged(&mut self) -> Result<(), Wrong> {
        let machine = &self.world.machine;
        self.nmis_at_ack = machine.cpu(TARGET).taken.nmi;
        let is_owners = |line: u64| machine.tag_at(line) != TAG_LOT;
        if self.request.flags.contains(WaitFlags::WBINVD) && machine.dirty_lines(TARGET).any(is_owners) {
            return Err(Wrong::NotParked { what: "a line of its owner's is dirty in its cache" });
        }
        Ok(())
    }
    pub(super) fn check_parked(&mut self, wait: Wait) -> Result<(), Wrong> {
        let mcip = self.mc_in_progress();
        let state = self.world.machine.cpu(TARGET);
        let took_nmi = self.mechanism == Mechanism::Clgi && state.taken.nmi != self.nmis_at_ack;
        let waits = match self.mechanism {
            Mechanism::Hlt => state.activity == Activity::Hlt,
            Mechanism::Mwait => wait == Wait::Polls || matches!(state.activity, Activity::Mwait { .. }),
            Mechanism::Clgi => !state.gif,
            Mechanism::WaitForSipi => state.activity == Activity::WaitForSipi,
        };
        let wrong = [
            (!waits, "it does not wait as its mechanism does"),
            (mcip && wait == Wait::Sleeps, "MCIP is set"),
            (state.nmi_blocked && wait == Wait::Sleeps, "NMIs are blocked"),
            (!self.world.is_confined_to_lot(TARGET), "its stage is not that of a waiting CPU"),
            (took_nmi, "it took an NMI that GIF = 0 should hold"),
        ];
        match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, what)) => Err(Wrong::NotParked { what }),
            None => Ok(()),
        }
    }

    pub(super) fn check_landed(&mut self) -> Result<(), Wrong> {
        let mcip = self.mc_in_progress();
        let state = self.world.machine.cpu(TARGET);
        let by_store_alone = self.plan.style == Style::Store && !self.nmi_thrown;
        let stray_nmi = by_store_alone && self.world.kernel.witness(&self.world.machine, TARGET).nmi != 0;
        let pended = self.plant.owner.iter().any(|owner| matches!(owner, Owner::Requested(_)));
        let requested = state.apic.irr != [0; 4] && !pended;
        let held = state.nmis_held() != 0 || state.mc_held() || state.init_held() || state.smi_held();
        let left = [
            (state.nmi_blocked, "NMIs are blocked"),
            (!state.gif, "GIF is 0"),
            (held, "an event is held"),
            (self.mechanism == Mechanism::Clgi && state.efer & Efer::SVME.bits() != 0, "EFER.SVME is set"),
            (mcip, "MCIP is set"),
            (stray_nmi, "an NMI came that nobody sent"),
            (requested, "an interrupt of its last owner's is requested"),
        ];
        match left.into_iter().find(|(is_left, _)| *is_left) {
            Some((_, what)) => Err(Wrong::LeftBehind { what }),
            None => Ok(()),
        }
    }

    /// What must never be, whatever leg it is.
    pub(super) fn check(&mut self) -> Result<(), Wrong> {
        let machine = &self.world.machine;
        if let Some(breach) = machine.breaches.first().first() {
            return Err(Wrong::Breach { kind: breach.kind, rip: breach.rip, phys: breach.phys, cpu: breach.cpu });
        }
        if let Some(cause) = machine.was_reset() {
            return Err(Wrong::Reset { cause });
        }
        let state = machine.cpu(TARGET);
        if state.activity == Activity::Shutdown {
            return Err(Wrong::Shutdown);
        }
        if self.bay_word(bay::STAGE)? == Stage::Faulted as u64 {
            let vector = (self.bay_word(bay::FAULT)? >> 32) as u8;
            return Err(Wrong::Faulted { vector, rip: self.bay_word(bay::FAULT_RIP)? });
        }
        if self.world.kernel.witness(&self.world.machine, TARGET).faults != 0 {
            return Err(Wrong::KernelFault);
        }
        Ok(())
    }
}
