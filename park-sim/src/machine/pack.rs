//! A compact, canonical image of the machine for an exhaustive explorer: equal behaviour, equal bytes.
//!
//! Excluded: counters (steps, instructions, [`super::cpu::Taken`]), the trace, breaches, decoded code. The TSC is included only where it
//! ticks: an explorer keeps it constant (`tsc_per_step` 0).

use super::activity::Activity;
use super::config::PhysRange;
use super::cpu::{ArmedBy, Cpu, Latches, Monitor, PendingMc, Segment, Shadow, Smm, TableRegister};
use super::msr::{MsrFile, STORED};
use super::store_buffer::{self, StoreBuffer};
use super::tlb::{self, Perms};
use super::Machine;

/// What unchanged MSRs hold.
static RESET: MsrFile = MsrFile::RESET;

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }
    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    /// Small values in one byte, others in nine: register files are mostly zero.
    fn packed(&mut self, value: u64) {
        if value < 0xff {
            self.u8(value as u8);
        } else {
            self.u8(0xff);
            self.u64(value);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }
    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }
    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
    fn packed(&mut self) -> Option<u64> {
        match self.u8()? {
            0xff => self.u64(),
            small => Some(u64::from(small)),
        }
    }
}

fn write_segment(w: &mut Writer<'_>, segment: &Segment) {
    w.u16(segment.selector);
    w.packed(segment.base);
    w.u32(segment.limit);
    w.u16(segment.attr);
}

fn read_segment(r: &mut Reader<'_>) -> Option<Segment> {
    Some(Segment { selector: r.u16()?, base: r.packed()?, limit: r.u32()?, attr: r.u16()? })
}

fn write_table(w: &mut Writer<'_>, table: &TableRegister) {
    w.packed(table.base);
    w.u16(table.limit);
}

fn read_table(r: &mut Reader<'_>) -> Option<TableRegister> {
    Some(TableRegister { base: r.packed()?, limit: r.u16()? })
}

/// The MSRs that differ from reset, by slot.
fn write_msrs(w: &mut Writer<'_>, file: &MsrFile, reset: &MsrFile) {
    if file.values != reset.values {
        for (slot, (value, initial)) in (0u16..).zip(file.values.iter().zip(reset.values.iter())) {
            if value != initial {
                w.u16(slot);
                w.packed(*value);
            }
        }
    }
    w.u16(u16::MAX);
    if file.banks != reset.banks {
        for (slot, (value, initial)) in
            (0u16..).zip(file.banks.iter().flatten().zip(reset.banks.iter().flatten()))
        {
            if value != initial {
                w.u16(slot);
                w.packed(*value);
            }
        }
    }
    w.u16(u16::MAX);
}

fn read_msrs(r: &mut Reader<'_>, reset: &MsrFile, file: &mut MsrFile) -> Option<()> {
    file.values = reset.values;
    if file.banks != reset.banks {
        file.banks = reset.banks;
    }
    loop {
        let slot = usize::from(r.u16()?);
        if slot >= STORED {
            break;
        }
        *file.values.get_mut(slot)? = r.packed()?;
    }
    loop {
        let slot = usize::from(r.u16()?);
        if slot == usize::from(u16::MAX) {
            return Some(());
        }
        *file.banks.get_mut(slot / 4)?.get_mut(slot % 4)? = r.packed()?;
    }
}

fn write_latches(w: &mut Writer<'_>, cpu: &Cpu) {
    let l = &cpu.latches;
    let bit = |on: bool, n: u8| u8::from(on) << n;
    w.u8(bit(l.smi, 0) | bit(l.init, 1) | bit(l.false_wake, 2) | bit(l.nmi_wake_only, 3) | (l.nmi << 4));
    w.u8(l.mc.map_or(0, |mc| 1 | bit(mc.restartable, 1) | bit(mc.broadcast, 2) | bit(mc.lmce, 3)));
    w.packed(l.db);
    w.u8(
        bit(cpu.gif, 0)
            | bit(cpu.vmx_root, 1)
            | bit(cpu.nmi_blocked, 2)
            | bit(cpu.wait_for_endbranch, 3)
            | bit(cpu.deadline_os, 4)
            | bit(cpu.shutdown_sticky, 5)
            | bit(cpu.tiles_live, 6)
            | bit(cpu.smm.inside, 7),
    );
    w.u8(cpu.shadow as u8);
    w.u8(cpu.smm.from);
    w.u32(cpu.smm.steps);
    w.u8(u8::from(cpu.smm.nmi_was_blocked));
    w.u8(cpu.monitor.armed_by as u8 | bit(cpu.monitor.triggered, 2) | bit(cpu.monitor.deaf, 3));
    w.packed(cpu.monitor.line);
    w.packed(cpu.deadline.map_or(0, |deadline| deadline.saturating_add(1)));
}

fn read_latches(r: &mut Reader<'_>, cpu: &mut Cpu) -> Option<()> {
    let a = r.u8()?;
    let mc = r.u8()?;
    let on = |byte: u8, n: u8| byte & (1 << n) != 0;
    cpu.latches = Latches {
        smi: on(a, 0),
        init: on(a, 1),
        false_wake: on(a, 2),
        nmi_wake_only: on(a, 3),
        nmi: a >> 4,
        mc: on(mc, 0).then_some(PendingMc { restartable: on(mc, 1), broadcast: on(mc, 2), lmce: on(mc, 3) }),
        db: r.packed()?,
    };
    let b = r.u8()?;
    cpu.gif = on(b, 0);
    cpu.vmx_root = on(b, 1);
    cpu.nmi_blocked = on(b, 2);
    cpu.wait_for_endbranch = on(b, 3);
    cpu.deadline_os = on(b, 4);
    cpu.shutdown_sticky = on(b, 5);
    cpu.tiles_live = on(b, 6);
    cpu.shadow = match r.u8()? {
        1 => Shadow::Sti,
        2 => Shadow::MovSs,
        _ => Shadow::None,
    };
    cpu.smm = Smm { inside: on(b, 7), from: r.u8()?, steps: r.u32()?, nmi_was_blocked: r.u8()? != 0 };
    let m = r.u8()?;
    cpu.monitor = Monitor {
        armed_by: match m & 3 {
            1 => ArmedBy::Monitor,
            2 => ArmedBy::Monitorx,
            3 => ArmedBy::Umonitor,
            _ => ArmedBy::Nothing,
        },
        triggered: on(m, 2),
        deaf: on(m, 3),
        line: r.packed()?,
    };
    cpu.deadline = r.packed()?.checked_sub(1);
    Some(())
}

fn write_stores(w: &mut Writer<'_>, stores: &StoreBuffer) {
    w.u8(stores.len());
    for entry in stores.iter() {
        w.u64(entry.phys);
        w.u64(entry.value);
        w.u32(entry.frame);
        w.u8(entry.size);
    }
}

fn read_stores(r: &mut Reader<'_>) -> Option<StoreBuffer> {
    let mut stores = StoreBuffer::default();
    for _ in 0..r.u8()?.min(store_buffer::CAPACITY as u8) {
        stores.push(store_buffer::Entry { phys: r.u64()?, value: r.u64()?, frame: r.u32()?, size: r.u8()? });
    }
    Some(stores)
}

fn write_tlb(w: &mut Writer<'_>, tlb: &tlb::Tlb) {
    w.u8(tlb.len() as u8);
    for entry in tlb.canonical() {
        let p = entry.perms;
        let bit = |on: bool, n: u8| u8::from(on) << n;
        w.u64(entry.linear);
        w.u64(entry.phys);
        w.u8(entry.mask.count_ones() as u8);
        w.u16(entry.pcid);
        w.u8(
            bit(entry.global, 0)
                | bit(p.write, 1)
                | bit(p.user, 2)
                | bit(p.no_execute, 3)
                | bit(p.dirty, 4)
                | bit(p.write_back, 5)
                | bit(p.uncached, 6),
        );
        w.u8(p.key);
    }
}

fn read_tlb(r: &mut Reader<'_>, tlb: &mut tlb::Tlb) -> Option<()> {
    let count = r.u8()?;
    tlb.restore(core::iter::empty());
    for _ in 0..count {
        let (linear, phys, mask, pcid, b, key) = (r.u64()?, r.u64()?, r.u8()?, r.u16()?, r.u8()?, r.u8()?);
        let on = |n: u8| b & (1 << n) != 0;
        tlb.put_back(tlb::Entry {
            linear,
            phys,
            mask: (1u64 << mask.min(63)) - 1,
            pcid,
            global: on(0),
            perms: Perms {
                write: on(1),
                user: on(2),
                no_execute: on(3),
                dirty: on(4),
                write_back: on(5),
                uncached: on(6),
                key,
            },
        });
    }
    Some(())
}

impl Machine {
    fn pack_cpu(&self, cpu: &Cpu, w: &mut Writer<'_>, reset: &MsrFile) {
        for value in cpu.gpr {
            w.packed(value);
        }
        for value in [cpu.rip, cpu.rflags, cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4, cpu.efer, cpu.xcr0, cpu.ssp, cpu.allowed_tags] {
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
        for value in [apic.base, apic.icr, apic.irr[0], apic.irr[1], apic.irr[2], apic.irr[3], apic.isr[0], apic.isr[1], apic.isr[2], apic.isr[3]] {
            w.packed(value);
        }
        for value in [apic.tpr, apic.svr, apic.ldr, apic.dfr, apic.esr, apic.timer_initial, apic.timer_divide, u32::from(apic.busy_polls)] {
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
        for value in [&mut apic.tpr, &mut apic.svr, &mut apic.ldr, &mut apic.dfr, &mut apic.esr, &mut apic.timer_initial, &mut apic.timer_divide] {
            *value = u32::try_from(r.packed()?).ok()?;
        }
        apic.busy_polls = u8::try_from(r.packed()?).ok()?;
        for value in &mut apic.lvt {
            *value = u32::try_from(r.packed()?).ok()?;
        }
        read_msrs(r, reset, &mut cpu.msr)?;
        cpu.stores = read_stores(r)?;
        read_tlb(r, &mut cpu.tlb)?;
        cpu.refresh_mode();
        cpu.attention = true;
        Some(())
    }

    /// Appends the state of all CPUs and the listed memory to `out`.
    pub fn pack(&self, regions: &[PhysRange], out: &mut Vec<u8>) {
        let mut w = Writer(out);
        w.u8(u8::from(self.smm_released) | (u8::from(self.lost_toggle) << 1) | (u8::from(self.reset.is_some()) << 2) | (u8::from(self.stop.is_some()) << 3));
        w.u64(if self.config.tsc_per_step == 0 { 0 } else { self.tsc });
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
        self.stop = None;
        self.reset = None;
        if self.config.tsc_per_step != 0 {
            self.tsc = tsc;
        }
        for c in 0..self.cpus.len() {
            if self.unpack_cpu(c, &mut r, &RESET).is_none() {
                return false;
            }
        }
        self.armed = self.cpus.iter().map(|cpu| u32::from(cpu.monitor.armed_by != ArmedBy::Nothing)).sum();
        for range in regions {
            let Some((now, later)) = usize::try_from(range.len).ok().and_then(|len| r.0.split_at_checked(len)) else { return false };
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
        self.stop = None;
        self.reset = None;
        for other in others {
            let (Some(stores), Some(target)) = (read_stores(&mut r), self.cpus.get_mut(*other)) else { return false };
            target.stores = stores;
        }
        if self.unpack_cpu(cpu, &mut r, &RESET).is_none() {
            return false;
        }
        self.armed = self.cpus.iter().map(|cpu| u32::from(cpu.monitor.armed_by != ArmedBy::Nothing)).sum();
        for range in regions {
            let Some((now, later)) = usize::try_from(range.len).ok().and_then(|len| r.0.split_at_checked(len)) else { return false };
            self.memory.write_bytes(range.start, now);
            r.0 = later;
        }
        r.0.is_empty()
    }
}
