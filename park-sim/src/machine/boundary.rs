//! What a CPU does between two instructions: which held event is taken, which wait ends (S:Table 6-2; A:15.17).

use super::Machine;
use super::activity::{Activity, Delivered, Outcome};
use super::bits::{flags, vector};
use super::config::Vendor;
use super::cpu::{ArmedBy, Cpu, Seg, Shadow};
use super::fault::Fault;
use super::interrupt::Source;
use super::knobs::{
    BlockedNmiMwait, Gif0WaitEnds, MaskedIntrMwait, McGif0, McSmm, McWfs, NmiShutdownAmd, SmiShutdown, StiHoldsNmi,
};
use super::rules::Rule;

/// DR6 bits of breakpoint matches.
const DR6_MATCHES: u64 = 0xf;

/// VM_CR.R_INIT (A:15.30.1).
pub(crate) const VM_CR_R_INIT: u64 = 1 << 1;

/// What the boundary asks for, in priority order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Nothing,
    MachineCheck,
    MachineCheckShutdown,
    Smm,
    Smi,
    Init,
    InitToSx,
    Debug,
    Nmi,
    Interrupt(u8),
    EndWait,
}

const fn can_take_interrupts(activity: Activity) -> bool {
    matches!(activity, Activity::Running | Activity::Hlt) || activity.is_mwait_family()
}

impl Machine {
    /// Whether a rule about leaving the current wait allows it; running code needs none.
    fn leaves(&self, activity: Activity, hlt: Rule, mwait: Rule) -> bool {
        match activity {
            Activity::Hlt => self.rules.on(hlt),
            _ if activity.is_mwait_family() => self.rules.on(mwait),
            _ => true,
        }
    }

    fn machine_check_action(&self, cpu: &Cpu) -> Action {
        match cpu.activity {
            Activity::WaitForSipi => match self.knob::<McWfs>() {
                McWfs::Shutdown => Action::MachineCheckShutdown,
                McWfs::Pend | McWfs::Ignore => Action::Nothing,
            },
            Activity::Shutdown | Activity::ResetVector => Action::Nothing,
            activity => {
                if !cpu.gif {
                    return match self.knob::<McGif0>() {
                        McGif0::Pend => Action::Nothing,
                        McGif0::Shutdown => Action::MachineCheckShutdown,
                    };
                }
                if self.leaves(activity, Rule::HltEndedByMc, Rule::MwaitEndedByMc) {
                    Action::MachineCheck
                } else {
                    Action::Nothing
                }
            }
        }
    }

    fn smi_taken(&self, cpu: &Cpu) -> bool {
        if !cpu.gif && self.rules.on(Rule::Gif0HoldsSmi) {
            return false;
        }
        match cpu.activity {
            Activity::WaitForSipi => !self.rules.on(Rule::WfsHoldsSmi),
            Activity::Shutdown => self.knob::<SmiShutdown>() == SmiShutdown::Ends,
            Activity::Running => cpu.shadow == Shadow::None || self.knob::<StiHoldsNmi>() == StiHoldsNmi::No,
            _ => self.rules.on(Rule::SmiEndsWait),
        }
    }

    fn init_taken(&self, cpu: &Cpu) -> bool {
        if (!cpu.gif && self.rules.on(Rule::Gif0HoldsInit)) || (cpu.vmx_root && self.rules.on(Rule::InitHeldInVmxRoot))
        {
            return false;
        }
        match cpu.activity {
            Activity::Shutdown => !cpu.shutdown_sticky && self.rules.on(Rule::ShutdownLeftByInit),
            Activity::Running | Activity::WaitForSipi => true,
            _ => self.rules.on(Rule::InitEndsWait),
        }
    }

    pub(crate) const fn wait_for_sipi_holds_nmi(&self) -> bool {
        self.rules.on(Rule::WfsHoldsNmi)
    }

    fn nmi_taken(&self, cpu: &Cpu) -> bool {
        if cpu.nmi_blocked || (!cpu.gif && self.rules.on(Rule::Gif0HoldsNmi)) || cpu.shadow == Shadow::MovSs {
            return false;
        }
        if cpu.shadow == Shadow::Sti && self.knob::<StiHoldsNmi>() == StiHoldsNmi::Yes {
            return false;
        }
        match cpu.activity {
            Activity::WaitForSipi => !self.wait_for_sipi_holds_nmi(),
            Activity::Shutdown => {
                let vendor =
                    self.config.vendor == Vendor::Intel || self.knob::<NmiShutdownAmd>() == NmiShutdownAmd::Ends;
                !cpu.shutdown_sticky && vendor && self.rules.on(Rule::ShutdownLeftByNmi)
            }
            activity => self.leaves(activity, Rule::HltEndedByNmi, Rule::MwaitEndedByNmi),
        }
    }

    /// The action for a requested vector: taken, or ending a wait although masked.
    fn interrupt_action(&self, cpu: &Cpu, requested: u8) -> Action {
        if !can_take_interrupts(cpu.activity) || (!cpu.gif && self.rules.on(Rule::Gif0HoldsIntr)) {
            return Action::Nothing;
        }
        if cpu.interrupts_enabled() {
            let held = cpu.shadow != Shadow::None;
            return if !held && self.leaves(cpu.activity, Rule::HltEndedByIntr, Rule::MwaitEndedByIntr) {
                Action::Interrupt(requested)
            } else {
                Action::Nothing
            };
        }
        let ends = match cpu.activity {
            Activity::Hlt => !self.rules.on(Rule::HltKeepsOutMaskedIntr),
            Activity::Mwait { breaks: true, .. } | Activity::Mwaitx { breaks: true } => {
                self.rules.on(Rule::MwaitBreaksOnMaskedIntr)
            }
            Activity::Mwait { .. } | Activity::Mwaitx { .. } => self.knob::<MaskedIntrMwait>() == MaskedIntrMwait::Ends,
            Activity::Umwait | Activity::Tpause => self.rules.on(Rule::UmwaitEndedByAnyIntr),
            _ => false,
        };
        if ends { Action::EndWait } else { Action::Nothing }
    }

    /// Whether the wait ends for a reason of its own: monitor, deadline, or none at all.
    fn wait_ends_itself(&self, c: usize) -> bool {
        let cpu = &self.cpus[c];
        let monitored = match cpu.activity {
            Activity::Mwait { .. } => cpu.monitor.armed_by == ArmedBy::Monitor,
            Activity::Mwaitx { .. } => cpu.monitor.armed_by == ArmedBy::Monitorx,
            Activity::Umwait => cpu.monitor.armed_by == ArmedBy::Umonitor,
            _ => false,
        };
        let stored = monitored && cpu.monitor.triggered && self.rules.on(Rule::MwaitEndedByStore);
        stored || cpu.latches.false_wake || cpu.deadline.is_some_and(|deadline| self.tsc() >= deadline)
    }

    fn next_action(&self, c: usize) -> Action {
        let cpu = &self.cpus[c];
        let latches = &cpu.latches;
        if cpu.is_undisturbed() {
            return Action::Nothing;
        }
        if cpu.activity == Activity::ResetVector {
            return Action::Nothing;
        }
        if cpu.smm.inside {
            if latches.mc.is_some() && self.knob::<McSmm>() == McSmm::Shutdown {
                return Action::MachineCheckShutdown;
            }
            if latches.init && !self.rules.on(Rule::InitHeldInSmm) {
                return Action::Init;
            }
            return Action::Smm;
        }
        if latches.mc.is_some() {
            let action = self.machine_check_action(cpu);
            if action != Action::Nothing {
                return action;
            }
        }
        if latches.smi && self.smi_taken(cpu) {
            return Action::Smi;
        }
        if latches.init && self.init_taken(cpu) {
            let redirected =
                cpu.msr.vm_cr() & VM_CR_R_INIT != 0 && self.features.svm && cpu.activity != Activity::WaitForSipi;
            return if redirected && self.rules.on(Rule::RInitRedirects) { Action::InitToSx } else { Action::Init };
        }
        if latches.db != 0 && cpu.shadow != Shadow::MovSs && can_take_interrupts(cpu.activity) {
            return Action::Debug;
        }
        if latches.nmi != 0 && self.nmi_taken(cpu) {
            return Action::Nmi;
        }
        let waits = can_take_interrupts(cpu.activity) && cpu.activity != Activity::Running;
        let requested = if self.rules.on(Rule::InServiceHoldsLower) {
            cpu.apic.deliverable()
        } else {
            cpu.apic.requested_above(cpu.apic.tpr)
        };
        if let Some(requested) = requested {
            let action = self.interrupt_action(cpu, requested);
            if action != Action::Nothing {
                return action;
            }
        }
        if !waits {
            return Action::Nothing;
        }
        let held_by_gif = !cpu.gif
            && (latches.smi || latches.init || latches.nmi != 0 || (requested.is_some() && cpu.interrupts_enabled()));
        let blocked_nmi = cpu.activity.is_mwait_family() && latches.nmi != 0 && cpu.nmi_blocked;
        let ends = self.wait_ends_itself(c)
            || latches.nmi_wake_only
            || (held_by_gif && self.knob::<Gif0WaitEnds>() == Gif0WaitEnds::FallThrough)
            || (blocked_nmi && self.knob::<BlockedNmiMwait>() == BlockedNmiMwait::Ends);
        if ends { Action::EndWait } else { Action::Nothing }
    }

    pub(crate) fn boundary_pending(&self, c: usize) -> bool {
        self.next_action(c) != Action::Nothing
    }

    /// Takes what the boundary asks for; `None` = go on with an instruction.
    pub(crate) fn boundary(&mut self, c: usize) -> Option<Outcome> {
        self.cpus[c].refresh_mode();
        let action = self.next_action(c);
        self.cpus[c].shadow = Shadow::None;
        let outcome = match action {
            Action::Nothing => return self.nothing_pending(c),
            Action::MachineCheck => self.take_machine_check(c),
            Action::MachineCheckShutdown => self.machine_check_shutdown(c, "machine check that cannot be delivered"),
            Action::Smm => self.smm_step(c),
            Action::Smi => self.enter_smm(c),
            Action::Init => self.take_init(c),
            Action::InitToSx => {
                self.cpus[c].latches.init = false;
                self.wake(c);
                self.raise(c, Fault { vector: vector::SX, error: Some(1) }, Source::External)
            }
            Action::Debug => return self.take_debug(c),
            Action::Nmi => {
                let cpu = &mut self.cpus[c];
                cpu.latches.nmi -= 1;
                cpu.taken.nmi += 1;
                cpu.nmi_blocked = self.rules.on(Rule::NmiBlocksNmi);
                self.wake(c);
                self.raise(c, Fault { vector: vector::NMI, error: None }, Source::External)
            }
            Action::Interrupt(requested) => {
                let cpu = &mut self.cpus[c];
                cpu.apic.acknowledge(requested);
                cpu.taken.intr += 1;
                self.wake(c);
                self.raise(c, Fault { vector: requested, error: None }, Source::External)
            }
            Action::EndWait => self.end_wait(c),
        };
        Some(outcome)
    }

    fn nothing_pending(&mut self, c: usize) -> Option<Outcome> {
        let cpu = &mut self.cpus[c];
        if cpu.activity != Activity::Running {
            return Some(Outcome::Waiting);
        }
        cpu.latches.false_wake = false;
        cpu.latches.nmi_wake_only = false;
        let breakpoints = cpu.dr[7] & 0xff != 0;
        let latches = &cpu.latches;
        let quiet = latches.mc.is_none()
            && !latches.smi
            && !latches.init
            && latches.nmi == 0
            && latches.db == 0
            && cpu.apic.irr == [0; 4];
        let tracked = cpu.flag(flags::TF | flags::RF) || cpu.wait_for_endbranch;
        cpu.attention = breakpoints || tracked || !quiet;
        if breakpoints { self.match_code_breakpoint(c) } else { None }
    }

    /// Leaves a wait without delivering anything; the CPU goes on behind it.
    pub(crate) fn end_wait(&mut self, c: usize) -> Outcome {
        let tsc = self.tsc();
        let cpu = &mut self.cpus[c];
        if matches!(cpu.activity, Activity::Umwait | Activity::Tpause) {
            // CF tells that the operating system's limit was the cause (S-U).
            let by_os_limit = cpu.deadline_os && cpu.deadline.is_some_and(|deadline| tsc >= deadline);
            cpu.set_flag(flags::CF, by_os_limit);
        }
        cpu.taken.wait_ended += 1;
        self.wake(c);
        Outcome::Delivered(Delivered::WaitEnded)
    }

    /// The CPU runs again; whatever it waited for is over.
    pub(crate) fn wake(&mut self, c: usize) {
        let cpu = &mut self.cpus[c];
        cpu.latches.false_wake = false;
        cpu.latches.nmi_wake_only = false;
        if cpu.activity.is_mwait_family() {
            self.disarm(c);
        }
        let cpu = &mut self.cpus[c];
        cpu.activity = Activity::Running;
        cpu.deadline = None;
        cpu.deadline_os = false;
        cpu.attention = true;
    }

    /// A debug trap: breakpoint matches are discarded with GIF=0, single steps are not (A:Table 15-10).
    fn take_debug(&mut self, c: usize) -> Option<Outcome> {
        let cpu = &mut self.cpus[c];
        let mut bits = core::mem::take(&mut cpu.latches.db);
        if !cpu.gif {
            bits &= !DR6_MATCHES;
        }
        if bits == 0 {
            return None;
        }
        cpu.dr[6] = (cpu.dr[6] & !DR6_MATCHES) | bits;
        self.wake(c);
        Some(self.raise(c, Fault { vector: vector::DB, error: None }, Source::External))
    }

    pub(crate) const fn breakpoints_match(&self) -> bool {
        self.rules.on(Rule::BreakpointsMatch)
    }

    /// Instruction breakpoints are faults (S:17.3.1.1).
    fn match_code_breakpoint(&mut self, c: usize) -> Option<Outcome> {
        let cpu = &self.cpus[c];
        if cpu.flag(flags::RF) || !cpu.gif || !self.breakpoints_match() {
            return None;
        }
        let linear =
            if cpu.code_bits == 64 { cpu.rip } else { cpu.seg(Seg::Cs).base.wrapping_add(cpu.rip) & 0xffff_ffff };
        let dr7 = cpu.dr[7];
        let hit = (0..4u32)
            .find(|n| dr7 & (3 << (2 * n)) != 0 && (dr7 >> (16 + 4 * n)) & 3 == 0 && cpu.dr[*n as usize] == linear)?;
        let cpu = &mut self.cpus[c];
        cpu.dr[6] = (cpu.dr[6] & !DR6_MATCHES) | (1 << hit);
        Some(self.raise(c, Fault { vector: vector::DB, error: None }, Source::Fault))
    }
}
