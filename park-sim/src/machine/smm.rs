//! SMM as an opaque handler: entry, an optional rendezvous of all CPUs, RSM (S:34; EDK2 PiSmmCpuDxeSmm).

use super::Machine;
use super::activity::{Activity, Delivered, Outcome, ResetCause};
use super::cpu::Smm;
use super::event::EventKind;
use super::knobs::{AutoHalt, MonitorAcrossSmm, NmiBlockAcrossSmm, SmmRendezvous};
use super::rules::Rule;

impl Machine {
    pub(crate) fn enter_smm(&mut self, c: usize) -> Outcome {
        self.drain_all(c);
        let armed = self.cpus[c].monitor.armed_by != super::cpu::ArmedBy::Nothing;
        if armed && self.knob::<MonitorAcrossSmm>() == MonitorAcrossSmm::Disarmed {
            self.disarm(c);
        }
        let cpu = &mut self.cpus[c];
        cpu.latches.smi = false;
        cpu.smi_count += 1;
        cpu.smm = Smm { inside: true, from: cpu.activity.code(), steps: 0, nmi_was_blocked: cpu.nmi_blocked };
        cpu.activity = Activity::Running;
        cpu.attention = true;
        Outcome::Delivered(Delivered::SmmEntry)
    }

    /// One step inside SMM: leave, or wait for the others where the handler does so.
    pub(crate) fn smm_step(&mut self, c: usize) -> Outcome {
        let rendezvous = if self.cpus.len() > 1 { self.knob::<SmmRendezvous>() } else { SmmRendezvous::None };
        if rendezvous == SmmRendezvous::None {
            return self.resume_from_smm(c);
        }
        if self.cpus.iter().all(|cpu| cpu.smm.inside) {
            self.smm_released = true;
        }
        if self.smm_released {
            return self.resume_from_smm(c);
        }
        let timeout = self.config.smm_timeout_steps;
        let cpu = &mut self.cpus[c];
        cpu.smm.steps = cpu.smm.steps.saturating_add(1);
        let steps = cpu.smm.steps;
        if steps == timeout / 2 {
            // The handler sends SMIs to the absent once more.
            for other in 0..self.cpus.len() {
                if !self.cpus[other].smm.inside {
                    self.arrive(other, EventKind::Smi);
                }
            }
        }
        if steps < timeout {
            return Outcome::Delivered(Delivered::SmmWait);
        }
        let missing = self.cpus.iter().position(|cpu| !cpu.smm.inside).unwrap_or(c);
        if rendezvous == SmmRendezvous::Hang {
            self.reset_machine(ResetCause::SmmHang { cpu: missing });
            return Self::reset_outcome();
        }
        self.smm_missed += 1;
        self.smm_released = true;
        self.resume_from_smm(c)
    }

    /// How often SMM went on without a CPU that did not check in (knob `smm-rendezvous`).
    #[must_use]
    pub const fn smm_missed(&self) -> u64 {
        self.smm_missed
    }

    /// RSM (S:34.10): back into HLT by the auto-HALT flag, behind MWAIT always.
    fn resume_from_smm(&mut self, c: usize) -> Outcome {
        let from = Activity::from_code(self.cpus[c].smm.from);
        let nmi_was_blocked = self.cpus[c].smm.nmi_was_blocked;
        let activity = match from {
            Activity::Hlt if self.rules.on(Rule::RsmRestartsHlt) && self.knob::<AutoHalt>() == AutoHalt::Keep => {
                Activity::Hlt
            }
            Activity::Shutdown | Activity::WaitForSipi => from,
            wait if wait.is_mwait_family() && !self.rules.on(Rule::RsmSkipsMwait) => wait,
            _ => Activity::Running,
        };
        let blocked = nmi_was_blocked && self.knob::<NmiBlockAcrossSmm>() == NmiBlockAcrossSmm::Kept;
        let cpu = &mut self.cpus[c];
        cpu.smm = Smm::default();
        cpu.nmi_blocked = blocked;
        cpu.activity = activity;
        if from.is_mwait_family() && activity == Activity::Running {
            cpu.deadline = None;
        }
        cpu.attention = true;
        if from.is_mwait_family() && activity == Activity::Running {
            self.disarm(c);
        }
        if self.cpus.iter().all(|cpu| !cpu.smm.inside) {
            self.smm_released = false;
        }
        Outcome::Delivered(Delivered::SmmExit)
    }
}
