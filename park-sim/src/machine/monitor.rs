//! Arming the monitor and waiting on it (S:8.10; ISA Extensions for UMONITOR; A: MONITORX).

use super::Machine;
use super::activity::Activity;
use super::bits::flags;
use super::breach::AccessKind;
use super::config::Vendor;
use super::cpu::{ArmedBy, Gpr, Monitor};
use super::fault::{Exec, GP0, UD};
use super::knobs::{MonitorStale, MwaitWaits};
use super::op::{Kind as K, Op};
use super::paging::Dir;
use super::rules::Rule;

/// IA32_MISC_ENABLE.MONITOR_FSM (S:Table 35-2).
const MISC_ENABLE_MONITOR: u64 = 1 << 18;
/// HWCR.MonMwaitDis (PPR).
const HWCR_MONITOR_DISABLE: u64 = 1 << 9;
/// MWAIT ECX[0]: masked interrupts end the wait. MWAITX ECX[1]: EBX is a timeout.
const ECX_BREAK: u64 = 1 << 0;
const ECX_TIMER: u64 = 1 << 1;
/// MWAIT EAX[7:4]: C-state minus one; Fh = C0.
const HINT_C0: u64 = 0xf;
/// IA32_UMWAIT_CONTROL: time limit.
const UMWAIT_LIMIT: u64 = 0xffff_fffc;

impl Machine {
    /// MONITOR and MWAIT are not switched off by an MSR.
    pub(crate) fn monitor_enabled(&self, c: usize) -> bool {
        let msr = &self.cpus[c].msr;
        match self.config.vendor {
            Vendor::Intel => msr.misc_enable() & MISC_ENABLE_MONITOR != 0,
            Vendor::Amd => msr.hwcr() & HWCR_MONITOR_DISABLE == 0,
        }
    }

    /// The instruction exists and is not switched off.
    fn monitor_exists(&self, c: usize, kind: K) -> bool {
        let on = self.monitor_enabled(c);
        match kind {
            K::Monitor | K::Mwait => self.features.monitor && on,
            K::Monitorx | K::Mwaitx => self.features.monitorx && on,
            _ => self.features.waitpkg,
        }
    }

    pub(crate) fn monitor_op(&mut self, c: usize, op: &Op) -> Exec<()> {
        if !self.monitor_exists(c, op.kind) {
            return Err(UD);
        }
        let by = match op.kind {
            K::Monitor => ArmedBy::Monitor,
            K::Monitorx => ArmedBy::Monitorx,
            _ => ArmedBy::Umonitor,
        };
        if by != ArmedBy::Umonitor && self.cpus[c].reg(Gpr::Rcx) & 0xffff_ffff != 0 {
            return Err(GP0);
        }
        let at = match op.kind {
            K::Umonitor => self.get(c, op, op.dst, op.addr_size)?,
            _ => self.cpus[c].reg(Gpr::Rax) & super::exec::mask(op.addr_size),
        };
        let linear = self.linear(c, op.seg, at, 1)?;
        // MONITOR is a one-byte load to paging and segmentation (S:MONITOR vol 2A).
        self.lass(c, linear, Dir::Read, AccessKind::Read)?;
        let place = self.translate(c, linear, Dir::Read, AccessKind::Read)?;
        self.check_tag(c, place.frame, place.phys, AccessKind::Read);
        self.disarm(c);
        if !place.write_back && self.rules.on(Rule::MonitorNeedsWriteBack) {
            return Ok(());
        }
        let smallest = self.features.monitor_smallest.max(1).next_power_of_two();
        let line = place.phys & !(smallest - 1);
        let stale = self.cpus[c].last_flushed_line & !(smallest - 1) != line
            && self.knob::<MonitorStale>() == MonitorStale::Yes;
        self.cpus[c].monitor = Monitor { armed_by: by, line, triggered: false, deaf: stale };
        self.cpus[c].last_flushed_line = u64::MAX;
        self.armed += 1;
        Ok(())
    }

    /// Takes the monitor away.
    pub(crate) fn disarm(&mut self, c: usize) {
        let Some(cpu) = self.cpus.get_mut(c) else { return };
        if cpu.monitor.armed_by != ArmedBy::Nothing {
            self.armed = self.armed.saturating_sub(1);
        }
        cpu.monitor = Monitor::default();
    }

    /// A far transfer, an event or a control-register write disarms the monitor (S:8.10.4).
    #[inline]
    pub(crate) fn disarm_by_transfer(&mut self, c: usize) {
        if self.cpus[c].monitor.armed_by != ArmedBy::Nothing && self.rules.on(Rule::MonitorDisarmedByTransfer) {
            self.disarm(c);
        }
    }

    pub(crate) fn wait_op(&mut self, c: usize, op: &Op) -> Exec<()> {
        if !self.monitor_exists(c, op.kind) {
            return Err(UD);
        }
        let cpu = &self.cpus[c];
        let (rax, rcx) = (cpu.reg(Gpr::Rax), cpu.reg(Gpr::Rcx) & 0xffff_ffff);
        let breaks = rcx & ECX_BREAK != 0;
        let mut activity = match op.kind {
            K::Mwait => {
                let allowed = if self.features.mwait_ext && self.features.mwait_break { ECX_BREAK } else { 0 };
                if rcx & !allowed != 0 {
                    return Err(GP0);
                }
                let state = (rax >> 4) & 0xf;
                Activity::Mwait { deep: state != 0 && state != HINT_C0, breaks }
            }
            K::Mwaitx => {
                if rcx & !(ECX_BREAK | ECX_TIMER) != 0 {
                    return Err(GP0);
                }
                Activity::Mwaitx { breaks }
            }
            K::Umwait => Activity::Umwait,
            _ => Activity::Tpause,
        };
        let needed = match op.kind {
            K::Mwait => Some(ArmedBy::Monitor),
            K::Mwaitx => Some(ArmedBy::Monitorx),
            K::Umwait => Some(ArmedBy::Umonitor),
            _ => None,
        };
        if let Some(needed) = needed {
            let monitor = self.cpus[c].monitor;
            let armed = monitor.armed_by == needed;
            let falls = (!armed && self.rules.on(Rule::MwaitUnarmedFallsThrough))
                || (armed && monitor.triggered && self.rules.on(Rule::MonitorSeesEarlyStore));
            if !falls && armed && monitor.triggered {
                // Without the rule the early store is forgotten.
                self.cpus[c].monitor.triggered = false;
            }
            if falls || self.knob::<MwaitWaits>() == MwaitWaits::Never {
                self.disarm(c);
                activity = Activity::Running;
            }
        }
        self.set_deadline(c, op, rcx);
        if matches!(op.kind, K::Umwait | K::Tpause) {
            self.cpus[c].rflags &= !flags::STATUS;
        }
        let cpu = &mut self.cpus[c];
        if activity == Activity::Running {
            cpu.deadline = None;
            cpu.deadline_os = false;
        }
        cpu.activity = activity;
        cpu.rip = cpu.next_rip;
        cpu.attention = true;
        Ok(())
    }

    fn set_deadline(&mut self, c: usize, op: &Op, rcx: u64) {
        let tsc = self.tsc();
        let cpu = &mut self.cpus[c];
        cpu.deadline = None;
        cpu.deadline_os = false;
        match op.kind {
            K::Mwaitx if rcx & ECX_TIMER != 0 => {
                cpu.deadline = Some(tsc.saturating_add(cpu.reg(Gpr::Rbx) & 0xffff_ffff))
            }
            K::Umwait | K::Tpause => {
                let wanted = (cpu.reg(Gpr::Rdx) << 32) | (cpu.reg(Gpr::Rax) & 0xffff_ffff);
                let limit = cpu.msr.umwait_control() & UMWAIT_LIMIT;
                let limited = tsc.saturating_add(limit);
                cpu.deadline_os = limit != 0 && limited < wanted;
                cpu.deadline = Some(if cpu.deadline_os { limited } else { wanted });
            }
            _ => {}
        }
    }
}
