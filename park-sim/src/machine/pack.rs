//! A compact, canonical image of the machine for an exhaustive explorer: equal behaviour, equal bytes.
//!
//! Excluded: counters (steps, instructions, [`super::cpu::Taken`]), the trace, breaches, decoded code. The TSC is included only where it
//! ticks: an explorer keeps it constant (`tsc_per_step` 0).

use super::Machine;
use super::activity::Activity;
use super::config::PhysRange;
use super::cpu::{ArmedBy, Cpu};
use super::image::{
    RESET, Reader, Writer, read_latches, read_msrs, read_segment, read_stores, read_table, read_tlb, write_latches,
    write_msrs, write_segment, write_stores, write_table, write_tlb,
};
use super::msr::MsrFile;

impl Machine {
    fn pack_cpu(&self, cpu: &Cpu, w: &mut Writer<'_>, reset: &MsrFile) {
        for value in cpu.gpr {
            w.packed(value);
        }
        for value in
            [cpu.rip, cpu.rflags, cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4, cpu.efer, cpu.xcr0, cpu.ssp, cpu.allowed_tags]
        {
            w.packed(value);
        }
        for value in cpu.dr {
            w.packed(value);
        }
        for segment in cpu.segs.iter().chain([&cpu.ldtr, &cpu.tr]) {
            write_segment(w, segment);
        }
        write_table(w, &cpu.gdtr);
        write_table(w, &cpu.idtr);
        w.u8(cpu.activity.code());
        write_latches(w, cpu);
        w.packed(cpu.last_flushed_line.wrapping_add(1));
        let apic = &cpu.apic;
        for value in [
            apic.base,
            apic.icr,
            apic.irr[0],
            apic.irr[1],
            apic.irr[2],
            apic.irr[3],
            apic.isr[0],
            apic.isr[1],
            apic.isr[2],
            apic.isr[3],
        ] {
            w.packed(value);
        }
        for value in [
            apic.tpr,
            apic.svr,
            apic.ldr,
            apic.dfr,
            apic.esr,
            apic.timer_initial,
            apic.timer_divide,
            u32::from(apic.busy_polls),
        ] {
            w.packed(u64::from(value));
        }
        for value in apic.lvt {
            w.packed(u64::from(value));
        }
        write_msrs(w, &cpu.msr, reset);
        write_stores(w, &cpu.stores);
        write_tlb(w, &cpu.tlb);
    }

    fn unpack_cpu(&mut self, c: usize, r: &mut Reader<'_>, reset: &MsrFile) -> Option<()> {
        let cpu = self.cpus.get_mut(c)?;
        for value in &mut cpu.gpr {
            *value = r.packed()?;
        }
        for value in [
            &mut cpu.rip,
            &mut cpu.rflags,
            &mut cpu.cr0,
            &mut cpu.cr2,
            &mut cpu.cr3,
            &mut cpu.cr4,
            &mut cpu.efer,
            &mut cpu.xcr0,
            &mut cpu.ssp,
            &mut cpu.allowed_tags,
        ] {
            *value = r.packed()?;
        }
        for value in &mut cpu.dr {
            *value = r.packed()?;
        }
        for segment in cpu.segs.iter_mut().chain([&mut cpu.ldtr, &mut cpu.tr]) {
            *segment = read_segment(r)?;
        }
        cpu.gdtr = read_table(r)?;
        cpu.idtr = read_table(r)?;
        cpu.activity = Activity::from_code(r.u8()?);
        read_latches(r, cpu)?;
        cpu.last_flushed_line = r.packed()?.wrapping_sub(1);
        let apic = &mut cpu.apic;
        apic.base = r.packed()?;
        apic.icr = r.packed()?;
        for word in apic.irr.iter_mut().chain(apic.isr.iter_mut()) {
            *word = r.packed()?;
        }
        for value in [
            &mut apic.tpr,
            &mut apic.svr,
            &mut apic.ldr,
            &mut apic.dfr,
            &mut apic.esr,
            &mut apic.timer_initial,
            &mut apic.timer_divide,
        ] {
            *value = u32::try_from(r.packed()?).ok()?;
        }
        apic.busy_polls = u8::try_from(r.packed()?).ok()?;
        for value in &mut apic.lvt {
            *value = u32::try_from(r.packed()?).ok()?;
        }
        read_msrs(r, reset, &mut cpu.msr)?;
        cpu.stores = read_stores(r)?;
        cpu.stores_near_code = !cpu.stores.is_empty();
        read_tlb(r, &mut cpu.tlb)?;
        cpu.refresh_mode();
        cpu.attention = true;
        Some(())
    }

    /// Appends the state of all CPUs and the listed memory to `out`.
    pub fn pack(&self, regions: &[PhysRange], out: &mut Vec<u8>) {
        let mut w = Writer(out);
        w.u8(u8::from(self.smm_released)
            | (u8::from(self.lost_toggle) << 1)
            | (u8::from(self.reset.is_some()) << 2)
            | (u8::from(self.stop.is_some()) << 3));
        w.u64(if self.config.tsc_per_step == 0 { 0 } else { self.tsc() });
        for cpu in &self.cpus {
            self.pack_cpu(cpu, &mut w, &RESET);
        }
        for range in regions {
            let at = w.0.len();
            w.0.resize(at + usize::try_from(range.len).unwrap_or(0), 0);
            if let Some(bytes) = w.0.get_mut(at..) {
                self.memory.read_bytes(range.start, bytes);
            }
        }
    }

    /// Restores what [`Machine::pack`] wrote for the same configuration and regions. Returns whether `bytes` fits; if not, the machine's state
    /// is unspecified. A packed stop or reset is not restored: such states have no successors.
    pub fn unpack(&mut self, regions: &[PhysRange], bytes: &[u8]) -> bool {
        let mut r = Reader(bytes);
        let (Some(bits), Some(tsc)) = (r.u8(), r.u64()) else { return false };
        self.smm_released = bits & 1 != 0;
        self.lost_toggle = bits & 2 != 0;
        self.clear_stop();
        if self.config.tsc_per_step != 0 {
            self.set_tsc(tsc);
        }
        for c in 0..self.cpus.len() {
            if self.unpack_cpu(c, &mut r, &RESET).is_none() {
                return false;
            }
        }
        self.armed = self.cpus.iter().map(|cpu| u32::from(cpu.monitor.armed_by != ArmedBy::Nothing)).sum();
        for range in regions {
            let Some((now, later)) = usize::try_from(range.len).ok().and_then(|len| r.0.split_at_checked(len)) else {
                return false;
            };
            self.memory.write_bytes(range.start, now);
            r.0 = later;
        }
        r.0.is_empty()
    }

    /// Appends the state of `cpu`, the store buffers of `others` and the listed memory to `out`: for an explorer whose other CPUs execute
    /// host-modelled code only. The memory comes last.
    pub(crate) fn pack_one(&self, cpu: usize, others: &[usize], regions: &[PhysRange], out: &mut Vec<u8>) {
        let mut w = Writer(out);
        w.u8(u8::from(self.lost_toggle));
        for other in others {
            write_stores(&mut w, &self.cpu(*other).stores);
        }
        self.pack_cpu(self.cpu(cpu), &mut w, &RESET);
        for range in regions {
            let at = w.0.len();
            w.0.resize(at + usize::try_from(range.len).unwrap_or(0), 0);
            if let Some(bytes) = w.0.get_mut(at..) {
                self.memory.read_bytes(range.start, bytes);
            }
        }
    }

    /// Restores what [`Machine::pack_one`] wrote with the same arguments. Returns whether `bytes` fits.
    pub(crate) fn unpack_one(&mut self, cpu: usize, others: &[usize], regions: &[PhysRange], bytes: &[u8]) -> bool {
        let mut r = Reader(bytes);
        let Some(toggle) = r.u8() else { return false };
        self.lost_toggle = toggle != 0;
        self.clear_stop();
        for other in others {
            let (Some(stores), Some(target)) = (read_stores(&mut r), self.cpus.get_mut(*other)) else { return false };
            target.stores_near_code = !stores.is_empty();
            target.stores = stores;
        }
        if self.unpack_cpu(cpu, &mut r, &RESET).is_none() {
            return false;
        }
        self.armed = self.cpus.iter().map(|cpu| u32::from(cpu.monitor.armed_by != ArmedBy::Nothing)).sum();
        for range in regions {
            let Some((now, later)) = usize::try_from(range.len).ok().and_then(|len| r.0.split_at_checked(len)) else {
                return false;
            };
            self.memory.write_bytes(range.start, now);
            r.0 = later;
        }
        r.0.is_empty()
    }
}
