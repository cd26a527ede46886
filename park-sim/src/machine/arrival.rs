//! Events arriving at CPUs: what is latched, dropped or acted on at once (events.md section 7.1).

use super::Machine;
use super::access::Writer;
use super::activity::{Activity, Delivered, Outcome, ResetCause};
use super::apic::{ApicMode, ESR_RECEIVED_ILLEGAL, LVT_MASKED, Lvt, TIMER_DEADLINE, TIMER_MODE};
use super::breach::AccessKind;
use super::config::Vendor;
use super::cpu::ArmedBy;
use super::event::{Event, EventKind, Target};
use super::knobs::{DmaWakesAmd, DmaWakesDeep, InitWfs, NmiApicSoftOff, NmiDepth, NmiWfsIntel};
use super::memory::NO_FRAME;
use super::msr::num;
use super::paging::Dir;
use super::rules::Rule;
use super::trace::{TraceRecord, TraceWhat};

/// LVT and ICR delivery modes (S:10.5.1).
pub(crate) mod delivery {
    pub(crate) const FIXED: u32 = 0;
    pub(crate) const LOWEST: u32 = 1;
    pub(crate) const SMI: u32 = 2;
    pub(crate) const NMI: u32 = 4;
    pub(crate) const INIT: u32 = 5;
    pub(crate) const STARTUP: u32 = 6;
}

/// LVT timer mode: one-shot (S:Figure 10-8).
const TIMER_ONE_SHOT: u32 = 0;
/// Event select: interrupt and enable bits (S:18.2.1.1, A:13.2.1).
const EVENT_INT: u64 = 1 << 20;
const EVENT_ENABLE: u64 = 1 << 22;
/// IA32_FIXED_CTR_CTRL: interrupt bits.
const FIXED_PMI: u64 = 0x8888;
/// IA32_DEBUGCTL.TR and .BTS.
const DEBUGCTL_BRANCH_STORE: u64 = (1 << 6) | (1 << 7);
/// DS save area: BTS index, PEBS index (S:17.4.9).
const DS_BTS_INDEX: u64 = 0x08;
const DS_PEBS_INDEX: u64 = 0x28;
const DS_RECORD_BYTES: u64 = 24;
/// Lowest legal vector of a fixed interrupt (S:10.5.2).
const FIRST_LEGAL_VECTOR: u8 = 16;
/// Paravirtual pages: MSR, address mask. Bit 0 enables each.
const PARAVIRT_PAGES: [(u32, u64); 8] = [
    (num::KVM_SYSTEM_TIME_OLD, !0x3),
    (num::KVM_SYSTEM_TIME, !0x3),
    (num::KVM_ASYNC_PF_EN, !0x3f),
    (num::KVM_STEAL_TIME, !0x3f),
    (num::KVM_PV_EOI, !0x3),
    (num::HV_VP_ASSIST, !0xfff),
    (num::HV_SIEFP, !0xfff),
    (num::HV_SIMP, !0xfff),
];

impl Machine {
    /// Throws an event at the machine. Most events are latched and taken at the target's next boundary; a SIPI and the memory writers act at
    /// once. Targets that do not exist are ignored.
    pub fn inject(&mut self, event: Event) {
        if self.trace.is_on() {
            self.record_event(event);
        }
        if event.kind == EventKind::Reset {
            self.reset_machine(ResetCause::Injected);
            return;
        }
        match event.target {
            Target::Cpu(cpu) => self.arrive(cpu, event.kind),
            Target::All => (0..self.cpus.len()).for_each(|cpu| self.arrive(cpu, event.kind)),
            Target::AllBut(but) => {
                (0..self.cpus.len()).filter(|cpu| *cpu != but).for_each(|cpu| self.arrive(cpu, event.kind))
            }
        }
    }

    pub(crate) fn arrive(&mut self, c: usize, kind: EventKind) {
        self.arrivals += 1;
        let Some(cpu) = self.cpus.get_mut(c) else { return };
        cpu.attention = true;
        cpu.taken.arrived += u64::from(kind.comes_from_outside());
        match kind {
            EventKind::Nmi => self.arrive_nmi(c),
            EventKind::Smi => cpu.latches.smi = true,
            EventKind::Init => {
                let ignored = cpu.activity == Activity::WaitForSipi
                    && !cpu.smm.inside
                    && self.knob::<InitWfs>() == InitWfs::Ignored;
                self.cpus[c].latches.init |= !ignored;
            }
            EventKind::Sipi(page) => self.arrive_sipi(c, page),
            EventKind::Fixed(requested) => self.arrive_fixed(c, requested),
            EventKind::MachineCheck | EventKind::MachineCheckLocal | EventKind::MachineCheckFatal => {
                self.arrive_machine_check(c, kind)
            }
            EventKind::Reset => self.reset_machine(ResetCause::Injected),
            EventKind::TimerExpiry => self.timer_expires(c),
            EventKind::PmuOverflow => self.counter_overflows(c),
            EventKind::Cmci => self.local_vector(c, Lvt::Cmci),
            EventKind::Lint1 => self.local_vector(c, Lvt::Lint1),
            EventKind::TraceFlush => self.trace_flushes(c),
            EventKind::ParavirtTick => self.paravirt_ticks(c),
            EventKind::FalseWake => cpu.latches.false_wake |= cpu.activity.is_mwait_family(),
            EventKind::DeadlinePasses => {
                if let Some(deadline) = cpu.deadline {
                    let tsc = self.tsc().max(deadline);
                    self.set_tsc(tsc);
                }
            }
        }
    }

    fn arrive_nmi(&mut self, c: usize) {
        let depth = match self.knobs.get::<NmiDepth>() {
            NmiDepth::One => 1,
            NmiDepth::Two => 2,
        };
        let cpu = &mut self.cpus[c];
        cpu.taken.nmi_arrived += 1;
        if cpu.activity == Activity::WaitForSipi
            && self.config.vendor == Vendor::Intel
            && self.wait_for_sipi_holds_nmi()
            && self.knob::<NmiWfsIntel>() == NmiWfsIntel::Drop
        {
            return;
        }
        let cpu = &self.cpus[c];
        let soft_off = cpu.apic.mode() != ApicMode::Disabled
            && !cpu.apic.software_enabled()
            && cpu.activity != Activity::WaitForSipi;
        if soft_off && self.knob::<NmiApicSoftOff>() == NmiApicSoftOff::WakeOnly {
            self.cpus[c].latches.nmi_wake_only = true;
            return;
        }
        if self.cpus[c].latches.nmi >= 1 {
            self.knob::<NmiDepth>();
        }
        let cpu = &mut self.cpus[c];
        cpu.latches.nmi = (cpu.latches.nmi + 1).min(depth);
    }

    /// A SIPI is never latched (S:8.4.3, S:10.6.1).
    fn arrive_sipi(&mut self, c: usize, page: u8) {
        let cpu = &self.cpus[c];
        let waiting = cpu.activity == Activity::WaitForSipi && !cpu.smm.inside;
        if (waiting && self.rules.on(Rule::SipiStartsWaiting))
            || (!waiting && !self.rules.on(Rule::SipiIgnoredElsewhere))
        {
            self.start_up(c, page);
        }
    }

    pub(crate) fn arrive_fixed(&mut self, c: usize, requested: u8) {
        let rule = self.rules.on(Rule::SoftOffDropsFixed);
        let cpu = &mut self.cpus[c];
        if cpu.apic.mode() == ApicMode::Disabled || (!cpu.apic.software_enabled() && rule) {
            return;
        }
        if requested < FIRST_LEGAL_VECTOR {
            cpu.apic.note_error(ESR_RECEIVED_ILLEGAL);
            return;
        }
        self.arrivals += 1;
        cpu.apic.request(requested);
        cpu.attention = true;
    }

    /// Raises what an LVT entry says.
    fn local_vector(&mut self, c: usize, entry: Lvt) {
        let cpu = &self.cpus[c];
        let lvt = cpu.apic.lvt(entry);
        if cpu.apic.mode() == ApicMode::Disabled || lvt & LVT_MASKED != 0 {
            return;
        }
        match (lvt >> 8) & 7 {
            delivery::NMI => self.arrive(c, EventKind::Nmi),
            delivery::SMI => self.arrive(c, EventKind::Smi),
            delivery::INIT => self.arrive(c, EventKind::Init),
            _ => self.arrive_fixed(c, lvt as u8),
        }
    }

    fn timer_expires(&mut self, c: usize) {
        if !self.rules.on(Rule::TimerInterrupts) {
            return;
        }
        let cpu = &mut self.cpus[c];
        let mode = cpu.apic.lvt(Lvt::Timer) & TIMER_MODE;
        let armed = if mode == TIMER_DEADLINE { cpu.msr.tsc_deadline() != 0 } else { cpu.apic.timer_initial != 0 };
        if !armed {
            return;
        }
        match mode {
            TIMER_DEADLINE => cpu.msr.store(num::TSC_DEADLINE, 0),
            TIMER_ONE_SHOT => cpu.apic.timer_initial = 0,
            _ => {}
        }
        self.local_vector(c, Lvt::Timer);
    }

    fn counters_interrupt(&self, c: usize) -> bool {
        let msr = &self.cpus[c].msr;
        let armed = |value: u64| value & EVENT_ENABLE != 0 && value & EVENT_INT != 0;
        match self.config.vendor {
            Vendor::Intel => {
                let enabled = msr.perf_global_ctrl();
                let programmable =
                    (0..8u32).any(|n| enabled & (1 << n) != 0 && armed(msr.stored(num::PERFEVTSEL0 + n)));
                programmable || (enabled >> 32 != 0 && msr.stored(num::FIXED_CTR_CTRL) & FIXED_PMI != 0)
            }
            Vendor::Amd => {
                (0..6u32).any(|n| armed(msr.stored(num::AMD_PERF_CTL0 + 2 * n)))
                    || (0..4u32).any(|n| armed(msr.stored(num::K7_EVNTSEL0 + n)))
            }
        }
    }

    fn counter_overflows(&mut self, c: usize) {
        if !self.rules.on(Rule::PmuInterrupts) || !self.counters_interrupt(c) {
            return;
        }
        let before = self.cpus[c].apic.lvt(Lvt::Perf);
        self.local_vector(c, Lvt::Perf);
        if self.config.vendor == Vendor::Intel && before & LVT_MASKED == 0 {
            // The overflow interrupt masks its own entry (S:10.5.1).
            self.cpus[c].apic.lvt[Lvt::Perf as usize] |= LVT_MASKED;
        }
    }

    /// A CPU's tracing hardware empties its buffers into memory.
    fn trace_flushes(&mut self, c: usize) {
        if !self.rules.on(Rule::TracingWrites) || self.config.vendor != Vendor::Intel {
            return;
        }
        let msr = &self.cpus[c].msr;
        if msr.rtit_ctl() & 1 != 0 {
            let phys = msr.rtit_output_base() & !0x7f;
            self.hardware_write(c, phys, AccessKind::Trace);
        }
        let msr = &self.cpus[c].msr;
        let area = msr.ds_area();
        let branches = msr.debugctl() & DEBUGCTL_BRANCH_STORE == DEBUGCTL_BRANCH_STORE;
        let samples = msr.pebs_enable() != 0;
        for (on, index_at) in [(branches, DS_BTS_INDEX), (samples, DS_PEBS_INDEX)] {
            if on {
                self.store_debug_record(c, area.wrapping_add(index_at));
            }
        }
    }

    /// One BTS or PEBS record through the current page tables; a fault loses it.
    fn store_debug_record(&mut self, c: usize, index_at: u64) {
        let Ok(index) = self.read_linear(c, index_at, 8, AccessKind::Trace) else { return };
        for word in 0..DS_RECORD_BYTES / 8 {
            let Ok(place) = self.translate(c, index.wrapping_add(8 * word), Dir::Write, AccessKind::Trace) else {
                return;
            };
            self.hardware_write(c, place.phys & !7, AccessKind::Trace);
        }
        let Ok(place) = self.translate(c, index_at, Dir::Write, AccessKind::Trace) else { return };
        let _ = self.write_place(c, &place, 8, index.wrapping_add(DS_RECORD_BYTES), AccessKind::Trace);
    }

    /// The hypervisor writes the pages that this CPU registered.
    fn paravirt_ticks(&mut self, c: usize) {
        if !self.rules.on(Rule::ParavirtWrites) {
            return;
        }
        for (number, address) in PARAVIRT_PAGES {
            let value = self.cpus[c].msr.stored(number);
            if value & 1 != 0 {
                self.hardware_write(c, value & address, AccessKind::Paravirt);
            }
        }
    }

    /// A write on behalf of a CPU that its program did not make: eight bytes that change memory.
    fn hardware_write(&mut self, c: usize, phys: u64, kind: AccessKind) {
        let phys = phys & !7;
        let frame = self.memory.frame_of(phys);
        self.check_tag(c, frame, phys, kind);
        if frame != NO_FRAME {
            let value = self.memory.read(frame, (phys & 0xfff) as usize, 8);
            self.commit(c, frame, phys, 8, value.wrapping_add(0x0101_0101_0101_0101));
        }
    }

    /// A device writes memory: no tags, but monitors and caches see it.
    pub fn dma_write(&mut self, phys: u64, bytes: &[u8]) {
        self.memory.write_bytes(phys, bytes);
        let len = bytes.len() as u64;
        if len != 0 {
            self.touch_monitors(Writer::Device, phys, len);
            for cpu in &mut self.cpus {
                let mut line = phys & !(super::dirty::LINE_BYTES - 1);
                while self.config.track_dirty_lines && line < phys.saturating_add(len) {
                    cpu.dirty.clean(line);
                    line += super::dirty::LINE_BYTES;
                }
            }
        }
    }

    /// Whether a device write to the line triggers this CPU's monitor (S:14.6; S-U; AMD text not found).
    pub(crate) fn device_write_wakes(&self, c: usize) -> bool {
        let cpu = &self.cpus[c];
        if cpu.monitor.armed_by == ArmedBy::Umonitor {
            return true;
        }
        if self.config.vendor == Vendor::Amd {
            return self.knob::<DmaWakesAmd>() == DmaWakesAmd::Yes;
        }
        match cpu.activity {
            Activity::Mwait { deep: true, .. } => self.knob::<DmaWakesDeep>() == DmaWakesDeep::Yes,
            _ => true,
        }
    }

    /// The machine is reset: nothing steps until the caller sets it up again.
    pub(crate) fn reset_machine(&mut self, cause: ResetCause) {
        if self.reset.is_none() {
            self.reset = Some(cause);
            self.over = true;
            self.recorded(|recorder, machine| recorder.reset(machine));
        }
    }

    pub(crate) fn note_shutdown(&mut self, c: usize, why: &'static str) {
        self.cpus[c].shutdown_why = Some(why);
        if self.trace.is_on() {
            let rip = self.cpus[c].rip;
            self.trace.push(TraceRecord { step: self.steps, cpu: c, rip, what: TraceWhat::Shutdown(why) });
        }
    }

    pub(crate) const fn reset_outcome() -> Outcome {
        Outcome::Delivered(Delivered::Reset)
    }
}
