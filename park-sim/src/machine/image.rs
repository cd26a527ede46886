//! How the parts of a CPU's state are written into an image and read back, for [`super::pack`].

use super::cpu::{ArmedBy, Cpu, Latches, Monitor, PendingMc, Segment, Shadow, Smm, TableRegister};
use super::msr::{MsrFile, STORED};
use super::store_buffer::{self, StoreBuffer};
use super::tlb::{self, Perms};

/// What unchanged MSRs hold.
pub(super) static RESET: MsrFile = MsrFile::RESET;

/// Appends values to an image.
#[derive(Debug)]
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }
    pub(super) fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    /// Small values in one byte, others in nine: register files are mostly zero.
    pub(super) fn packed(&mut self, value: u64) {
        if value < 0xff {
            self.u8(value as u8);
        } else {
            self.u8(0xff);
            self.u64(value);
        }
    }
}

/// Takes values off an image.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
    pub(super) fn packed(&mut self) -> Option<u64> {
        match self.u8()? {
            0xff => self.u64(),
            small => Some(u64::from(small)),
        }
    }
}

pub(super) fn write_segment(w: &mut Writer<'_>, segment: &Segment) {
    w.u16(segment.selector);
    w.packed(segment.base);
    w.u32(segment.limit);
    w.u16(segment.attr);
}

pub(super) fn read_segment(r: &mut Reader<'_>) -> Option<Segment> {
    Some(Segment { selector: r.u16()?, base: r.packed()?, limit: r.u32()?, attr: r.u16()? })
}

pub(super) fn write_table(w: &mut Writer<'_>, table: &TableRegister) {
    w.packed(table.base);
    w.u16(table.limit);
}

pub(super) fn read_table(r: &mut Reader<'_>) -> Option<TableRegister> {
    Some(TableRegister { base: r.packed()?, limit: r.u16()? })
}

/// The MSRs that differ from reset, by slot.
pub(super) fn write_msrs(w: &mut Writer<'_>, file: &MsrFile, reset: &MsrFile) {
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
        for (slot, (value, initial)) in (0u16..).zip(file.banks.iter().flatten().zip(reset.banks.iter().flatten())) {
            if value != initial {
                w.u16(slot);
                w.packed(*value);
            }
        }
    }
    w.u16(u16::MAX);
}

pub(super) fn read_msrs(r: &mut Reader<'_>, reset: &MsrFile, file: &mut MsrFile) -> Option<()> {
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

pub(super) fn write_latches(w: &mut Writer<'_>, cpu: &Cpu) {
    let l = &cpu.latches;
    let bit = |on: bool, n: u8| u8::from(on) << n;
    w.u8(bit(l.smi, 0) | bit(l.init, 1) | bit(l.false_wake, 2) | bit(l.nmi_wake_only, 3) | (l.nmi << 4));
    w.u8(l.mc.map_or(0, |mc| 1 | bit(mc.restartable, 1) | bit(mc.broadcast, 2) | bit(mc.lmce, 3)));
    w.packed(l.db);
    w.u8(bit(cpu.gif, 0)
        | bit(cpu.vmx_root, 1)
        | bit(cpu.nmi_blocked, 2)
        | bit(cpu.wait_for_endbranch, 3)
        | bit(cpu.deadline_os, 4)
        | bit(cpu.shutdown_sticky, 5)
        | bit(cpu.tiles_live, 6)
        | bit(cpu.smm.inside, 7));
    w.u8(cpu.shadow as u8);
    w.u8(cpu.smm.from);
    w.u32(cpu.smm.steps);
    w.u8(u8::from(cpu.smm.nmi_was_blocked));
    w.u8(cpu.monitor.armed_by as u8 | bit(cpu.monitor.triggered, 2) | bit(cpu.monitor.deaf, 3));
    w.packed(cpu.monitor.line);
    w.packed(cpu.deadline.map_or(0, |deadline| deadline.saturating_add(1)));
}

pub(super) fn read_latches(r: &mut Reader<'_>, cpu: &mut Cpu) -> Option<()> {
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

pub(super) fn write_stores(w: &mut Writer<'_>, stores: &StoreBuffer) {
    w.u8(stores.len());
    for entry in stores.iter() {
        w.u64(entry.phys);
        w.u64(entry.value);
        w.u32(entry.frame);
        w.u8(entry.size);
    }
}

pub(super) fn read_stores(r: &mut Reader<'_>) -> Option<StoreBuffer> {
    let mut stores = StoreBuffer::default();
    for _ in 0..r.u8()?.min(store_buffer::CAPACITY as u8) {
        stores.push(store_buffer::Entry { phys: r.u64()?, value: r.u64()?, frame: r.u32()?, size: r.u8()? });
    }
    Some(stores)
}

pub(super) fn write_tlb(w: &mut Writer<'_>, tlb: &tlb::Tlb) {
    w.u8(tlb.len() as u8);
    for entry in tlb.canonical() {
        let p = entry.perms;
        let bit = |on: bool, n: u8| u8::from(on) << n;
        w.u64(entry.linear);
        w.u64(entry.phys);
        w.u8(entry.mask.count_ones() as u8);
        w.u16(entry.pcid);
        w.u8(bit(entry.global, 0)
            | bit(p.write, 1)
            | bit(p.user, 2)
            | bit(p.no_execute, 3)
            | bit(p.dirty, 4)
            | bit(p.write_back, 5)
            | bit(p.uncached, 6));
        w.u8(p.key);
    }
}

pub(super) fn read_tlb(r: &mut Reader<'_>, tlb: &mut tlb::Tlb) -> Option<()> {
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
