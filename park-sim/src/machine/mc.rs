//! Machine checks: who receives one, and what it does there (S:15.3, S:15.10.4.1, A:9.3).

use super::activity::{Outcome, ResetCause};
use super::bits::{cr4, vector};
use super::config::Vendor;
use super::cpu::PendingMc;
use super::event::EventKind;
use super::fault::Fault;
use super::interrupt::Source;
use super::knobs::{McBroadcastAmd, McWfs};
use super::msr::num;
use super::rules::Rule;
use super::{Activity, Machine};

/// IA32_MCG_STATUS bits (S:15.3.1.2).
pub(crate) const RIPV: u64 = 1 << 0;
pub(crate) const EIPV: u64 = 1 << 1;
pub(crate) const MCIP: u64 = 1 << 2;
pub(crate) const LMCE_S: u64 = 1 << 3;
/// IA32_MCi_STATUS: VAL, UC, EN, and PCC for the unrecoverable kind (S:15.3.2.2).
const BANK_STATUS: u64 = (1 << 63) | (1 << 61) | (1 << 60);
const BANK_PCC: u64 = 1 << 57;
/// IA32_MCG_EXT_CTL.LMCE_EN.
const LMCE_EN: u64 = 1 << 0;

impl Machine {
    /// A machine check arises at `origin`.
    pub(crate) fn arrive_machine_check(&mut self, origin: usize, kind: EventKind) {
        let fatal = kind == EventKind::MachineCheckFatal;
        let lmce = kind == EventKind::MachineCheckLocal
            && self.config.vendor == Vendor::Intel
            && self.cpus[origin].msr.mcg_ext_ctl() & LMCE_EN != 0
            && self.rules.on(Rule::LmceIsLocal);
        let broadcast = match self.config.vendor {
            Vendor::Intel => !lmce && self.rules.on(Rule::McBroadcast),
            Vendor::Amd => self.knob::<McBroadcastAmd>() == McBroadcastAmd::All,
        };
        if let Some(bank) = self.cpus[origin].msr.banks.first_mut() {
            bank[1] = BANK_STATUS | if fatal { BANK_PCC } else { 0 };
        }
        for c in 0..self.cpus.len() {
            if c != origin && !broadcast {
                continue;
            }
            if c != origin && self.trace.is_on() {
                self.record_spread(c);
            }
            let waiting = self.cpus[c].activity == Activity::WaitForSipi;
            if waiting && self.knob::<McWfs>() == McWfs::Ignore {
                continue;
            }
            let cpu = &mut self.cpus[c];
            let restartable = !(fatal && c == origin);
            let earlier = cpu.latches.mc.is_none_or(|mc| mc.restartable);
            cpu.latches.mc = Some(PendingMc { restartable: restartable && earlier, broadcast, lmce });
            cpu.attention = true;
        }
    }

    pub(crate) fn take_machine_check(&mut self, c: usize) -> Outcome {
        let cpu = &self.cpus[c];
        if cpu.cr4 & cr4::MCE == 0 && self.rules.on(Rule::McNeedsMce) {
            return self.machine_check_shutdown(c, "machine check with CR4.MCE=0");
        }
        if cpu.msr.mcg_status() & MCIP != 0 && self.rules.on(Rule::McNeedsMcipClear) {
            return self.machine_check_shutdown(c, "machine check with MCIP=1");
        }
        let Some(pending) = self.cpus[c].latches.mc.take() else { return Outcome::Waiting };
        let mut status = if pending.restartable { RIPV } else { EIPV };
        if self.rules.on(Rule::McSetsMcip) {
            status |= MCIP;
        }
        if pending.lmce {
            status |= LMCE_S;
        }
        let cpu = &mut self.cpus[c];
        cpu.msr.store(num::MCG_STATUS, status);
        cpu.taken.mc += 1;
        self.wake(c);
        self.raise(c, Fault { vector: vector::MC, error: None }, Source::External)
    }

    /// The machine check cannot be delivered. A broadcast one takes an Intel machine down with the CPU (Linux 45e34c8af58f).
    pub(crate) fn machine_check_shutdown(&mut self, c: usize, why: &'static str) -> Outcome {
        let pending = self.cpus[c].latches.mc.take();
        let mce_off = self.cpus[c].cr4 & cr4::MCE == 0;
        let outcome = self.shut_down(c, why);
        if pending.is_some_and(|mc| mc.broadcast) && mce_off && self.config.vendor == Vendor::Intel {
            self.reset_machine(ResetCause::BroadcastMachineCheck { cpu: c });
        }
        outcome
    }
}
