//! Loads and stores of a CPU: tags, store buffer, uncached memory, and what a store does when it becomes visible.

use super::Machine;
use super::activity::Activity;
use super::apic::ApicMode;
use super::bits::vector;
use super::breach::{AccessKind, Breach};
use super::cpu::{ArmedBy, Seg, Segment};
use super::fault::{Cause, Exec, GP0, Trap, fault_with};
use super::knobs::{Gif0Monitor, MonitorLost, NearStoreWakes};
use super::memory::NO_FRAME;
use super::paging::{Dir, Place};
use super::rules::Rule;
use super::store_buffer::Entry;

/// Who writes memory, for what a store does to monitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    Cpu(usize),
    Device,
}

/// DR7 enable bits (S:17.2.4).
pub(crate) const DR7_ENABLES: u64 = 0xff;

impl Machine {
    /// Whether `c` may touch `frame`.
    #[inline]
    pub(crate) fn is_allowed(&self, c: usize, frame: u32) -> bool {
        self.cpus[c].allowed_tags & (1 << (self.memory.tag(frame) & 63)) != 0
    }

    /// Records a breach where `c` may not touch `frame`.
    #[inline]
    pub(crate) fn check_tag(&mut self, c: usize, frame: u32, phys: u64, kind: AccessKind) {
        if !self.is_allowed(c, frame) {
            self.record_breach(c, phys, self.memory.tag(frame), kind);
        }
    }

    #[cold]
    fn record_breach(&mut self, c: usize, phys: u64, tag: u8, kind: AccessKind) {
        self.breaches.record(Breach { cpu: c, kind, phys, tag, rip: self.cpus[c].rip, step: self.steps });
    }

    /// The linear address of `offset` in a segment, checked for `size` bytes (S:3.4.2, S:5.3).
    #[inline]
    pub(crate) fn linear(&self, c: usize, seg: u8, offset: u64, size: u8) -> Exec<u64> {
        let cpu = &self.cpus[c];
        if cpu.code_bits == 64 {
            let base = if seg >= Seg::Fs as u8 { cpu.segs[usize::from(seg.min(5))].base } else { 0 };
            let linear = base.wrapping_add(offset);
            let last = linear.wrapping_add(u64::from(size.max(1)) - 1);
            if !self.canonical(c, linear) || !self.canonical(c, last) {
                return Err(if seg == Seg::Ss as u8 { fault_with(vector::SS, 0) } else { GP0 });
            }
            return Ok(linear);
        }
        let segment = &cpu.segs[usize::from(seg.min(5))];
        let last = offset.wrapping_add(u64::from(size.max(1)) - 1);
        let protected = cpu.cr0 & super::bits::cr0::PE != 0;
        if last > u64::from(segment.limit) || (protected && segment.attr & Segment::PRESENT == 0) {
            return Err(if seg == Seg::Ss as u8 { fault_with(vector::SS, 0) } else { GP0 });
        }
        Ok(segment.base.wrapping_add(offset) & 0xffff_ffff)
    }

    /// Reads at a linear address.
    #[inline]
    pub(crate) fn read_linear(&mut self, c: usize, linear: u64, size: u8, kind: AccessKind) -> Exec<u64> {
        if let Some(value) = self.quick_read(c, linear, size) {
            return Ok(value);
        }
        self.read_linear_slowly(c, linear, size, kind)
    }

    /// A read that needs no check.
    #[inline(always)]
    pub(crate) fn quick_read(&self, c: usize, linear: u64, size: u8) -> Option<u64> {
        let known = self.quick(c, linear, size, Dir::Read)?;
        let value = self.memory.read_slot(known.slot, (linear & 0xfff) as usize, size);
        let stores = &self.cpus[c].stores;
        if stores.is_empty() {
            return Some(value);
        }
        Some(stores.forward(known.phys | (linear & 0xfff), size, value))
    }

    #[inline(never)]
    fn read_linear_slowly(&mut self, c: usize, linear: u64, size: u8, kind: AccessKind) -> Exec<u64> {
        self.lass(c, linear, Dir::Read, kind)?;
        if (linear & 0xfff) + u64::from(size) > 0x1000 {
            return self.read_split(c, linear, size, kind);
        }
        let place = self.translate_slowly(c, linear, Dir::Read, kind)?;
        if self.cpus[c].dr[7] & DR7_ENABLES != 0 {
            self.match_data_breakpoint(c, linear, size, Dir::Read);
        }
        self.read_place(c, &place, size, kind)
    }

    #[cold]
    fn read_split(&mut self, c: usize, linear: u64, size: u8, kind: AccessKind) -> Exec<u64> {
        let mut value = 0;
        for n in 0..u64::from(size) {
            let place = self.translate(c, linear.wrapping_add(n), Dir::Read, kind)?;
            value |= self.read_place(c, &place, 1, kind)? << (8 * n);
        }
        Ok(value)
    }

    /// Reads at a translated place that does not cross a frame.
    #[inline]
    pub(crate) fn read_place(&mut self, c: usize, place: &Place, size: u8, kind: AccessKind) -> Exec<u64> {
        if place.frame == NO_FRAME {
            if self.is_apic_page(c, place.phys) {
                self.drain_all(c);
                return self.apic_mmio_read(c, place.phys, size);
            }
            self.check_tag(c, place.frame, place.phys, kind);
            return Ok(self.memory.read(NO_FRAME, 0, size));
        }
        self.check_tag(c, place.frame, place.phys, kind);
        if self.cpus[c].stores.is_empty() {
            return Ok(self.memory.read(place.frame, (place.phys & 0xfff) as usize, size));
        }
        if place.uncached {
            self.drain_all(c);
        }
        let value = self.memory.read(place.frame, (place.phys & 0xfff) as usize, size);
        Ok(self.cpus[c].stores.forward(place.phys, size, value))
    }

    /// Writes at a linear address.
    #[inline]
    pub(crate) fn write_linear(&mut self, c: usize, linear: u64, size: u8, value: u64, kind: AccessKind) -> Exec<()> {
        if self.quick_write(c, linear, size, value) {
            return Ok(());
        }
        self.write_linear_slowly(c, linear, size, value, kind)
    }

    /// A write that needs no check; false if there is no shortcut for it.
    #[inline(always)]
    pub(crate) fn quick_write(&mut self, c: usize, linear: u64, size: u8, value: u64) -> bool {
        let Some(known) = self.quick(c, linear, size, Dir::Write) else { return false };
        self.buffer_store(c, known.frame, known.phys | (linear & 0xfff), size, value);
        true
    }

    #[inline(never)]
    fn write_linear_slowly(&mut self, c: usize, linear: u64, size: u8, value: u64, kind: AccessKind) -> Exec<()> {
        self.lass(c, linear, Dir::Write, kind)?;
        if (linear & 0xfff) + u64::from(size) > 0x1000 {
            return self.write_split(c, linear, size, value, kind);
        }
        let place = self.translate_slowly(c, linear, Dir::Write, kind)?;
        if self.cpus[c].dr[7] & DR7_ENABLES != 0 {
            self.match_data_breakpoint(c, linear, size, Dir::Write);
        }
        self.write_place(c, &place, size, value, kind)
    }

    #[cold]
    fn write_split(&mut self, c: usize, linear: u64, size: u8, value: u64, kind: AccessKind) -> Exec<()> {
        // Both pages must allow the write before any byte goes out.
        self.translate(c, linear, Dir::Write, kind)?;
        self.translate(c, linear.wrapping_add(u64::from(size) - 1), Dir::Write, kind)?;
        for n in 0..u64::from(size) {
            let place = self.translate(c, linear.wrapping_add(n), Dir::Write, kind)?;
            self.write_place(c, &place, 1, (value >> (8 * n)) & 0xff, kind)?;
        }
        Ok(())
    }

    /// Writes at a translated place that does not cross a frame: into the store buffer, unless the place is uncached.
    #[inline]
    pub(crate) fn write_place(&mut self, c: usize, place: &Place, size: u8, value: u64, kind: AccessKind) -> Exec<()> {
        if place.frame == NO_FRAME {
            self.drain_all(c);
            if self.is_apic_page(c, place.phys) {
                return self.apic_mmio_write(c, place.phys, size, value as u32);
            }
            self.check_tag(c, place.frame, place.phys, kind);
            return Ok(());
        }
        self.check_tag(c, place.frame, place.phys, kind);
        if place.uncached {
            self.drain_all(c);
            self.commit(c, place.frame, place.phys, size, value);
        } else {
            self.buffer_store(c, place.frame, place.phys, size, value);
        }
        Ok(())
    }

    /// A store to cached memory: into the store buffer, where there is one.
    #[inline]
    fn buffer_store(&mut self, c: usize, frame: u32, phys: u64, size: u8, value: u64) {
        let depth = self.config.store_buffer_depth;
        if depth == 0 || !self.rules.on(Rule::StoresAreBuffered) {
            self.drain_all(c);
            self.commit(c, frame, phys, size, value);
            return;
        }
        if self.cpus[c].stores.len() >= depth {
            self.drain_one(c);
        }
        let hits_code = self.memory.code.holds(frame);
        let cpu = &mut self.cpus[c];
        cpu.stores.push(Entry { phys, value, frame, size });
        cpu.stores_near_code |= hits_code;
    }

    /// A locked write: earlier stores first, then this one, visible at once (S:8.2.2). The caller drained before it read.
    pub(crate) fn write_locked(&mut self, c: usize, place: &Place, size: u8, value: u64) -> Exec<()> {
        if place.frame == NO_FRAME {
            return self.write_place(c, place, size, value, AccessKind::Write);
        }
        self.commit(c, place.frame, place.phys, size, value);
        Ok(())
    }

    /// Makes the oldest buffered store of `cpu` visible; false if there was none.
    pub fn drain_one(&mut self, cpu: usize) -> bool {
        let Some(target) = self.cpus.get_mut(cpu) else { return false };
        let Some(entry) = target.stores.pop() else { return false };
        self.commit(cpu, entry.frame, entry.phys, entry.size, entry.value);
        true
    }

    /// Makes all buffered stores of `cpu` visible, oldest first.
    #[inline]
    pub fn drain_all(&mut self, cpu: usize) {
        while self.drain_one(cpu) {}
    }

    /// A store becomes visible to everyone.
    #[inline]
    pub(crate) fn commit(&mut self, c: usize, frame: u32, phys: u64, size: u8, value: u64) {
        self.memory.write(frame, (phys & 0xfff) as usize, size, value);
        if self.armed != 0 {
            self.touch_monitors(Writer::Cpu(c), phys, u64::from(size));
        }
        if self.config.track_dirty_lines {
            self.own_line(c, phys);
        }
        if self.trace.is_on() {
            self.record_store(c, phys, value);
        }
    }

    #[cold]
    fn own_line(&mut self, c: usize, phys: u64) {
        for (index, cpu) in self.cpus.iter_mut().enumerate() {
            if index == c {
                cpu.dirty.mark(phys);
            } else {
                cpu.dirty.clean(phys);
            }
        }
    }

    /// Triggers the monitors that a write of `len` bytes at `phys` hits (S:8.10.4, S:8.10.5).
    pub(crate) fn touch_monitors(&mut self, writer: Writer, phys: u64, len: u64) {
        let smallest = self.features.monitor_smallest.max(1);
        let largest = self.features.monitor_largest.max(smallest);
        for index in 0..self.cpus.len() {
            let cpu = &self.cpus[index];
            let monitor = cpu.monitor;
            if monitor.armed_by == ArmedBy::Nothing || monitor.triggered || writer == Writer::Cpu(index) {
                continue;
            }
            let overlaps = |size: u64| {
                let line = monitor.line & !(size - 1);
                phys < line.saturating_add(size) && line < phys.saturating_add(len)
            };
            let hit = overlaps(smallest.next_power_of_two());
            let near = !hit && overlaps(largest.next_power_of_two());
            if !(hit || (near && self.knob::<NearStoreWakes>() == NearStoreWakes::Yes)) {
                continue;
            }
            if monitor.deaf || (hit && self.store_is_lost()) {
                continue;
            }
            if writer == Writer::Device && !self.device_write_wakes(index) {
                continue;
            }
            if !self.cpus[index].gif
                && self.cpus[index].activity.is_mwait_family()
                && self.knob::<Gif0Monitor>() == Gif0Monitor::Ignored
            {
                continue;
            }
            let cpu = &mut self.cpus[index];
            cpu.monitor.triggered = true;
            cpu.attention = true;
        }
    }

    fn store_is_lost(&mut self) -> bool {
        match self.knob::<MonitorLost>() {
            MonitorLost::Never => false,
            MonitorLost::Always => true,
            MonitorLost::Alternate => {
                self.lost_toggle = !self.lost_toggle;
                self.lost_toggle
            }
        }
    }

    /// Whether `phys` is in the memory-mapped registers of this CPU's APIC.
    #[inline]
    pub(crate) fn is_apic_page(&self, c: usize, phys: u64) -> bool {
        let apic = &self.cpus[c].apic;
        apic.mode() == ApicMode::Xapic && phys & !0xfff == apic.base & super::apic::base::ADDR
    }

    /// Data breakpoints (S:17.2.5): traps, reported after the instruction.
    #[cold]
    pub(crate) fn match_data_breakpoint(&mut self, c: usize, linear: u64, size: u8, dir: Dir) {
        let rule = self.breakpoints_match();
        let cpu = &mut self.cpus[c];
        let dr7 = cpu.dr[7];
        for n in 0..4u32 {
            let enabled = dr7 & (3 << (2 * n)) != 0;
            let kind = (dr7 >> (16 + 4 * n)) & 3;
            let len = match (dr7 >> (18 + 4 * n)) & 3 {
                0 => 1,
                1 => 2,
                2 => 8,
                _ => 4,
            };
            let matches = (kind == 1 && dir == Dir::Write) || kind == 3;
            let at = cpu.dr[n as usize] & !(len - 1);
            let overlaps = linear < at.wrapping_add(len) && at < linear.wrapping_add(u64::from(size));
            if enabled && matches && overlaps && rule && cpu.activity == Activity::Running {
                cpu.latches.db |= 1 << n;
                cpu.attention = true;
            }
        }
    }

    /// A page-table independent read for the model's own use, as a CPU's implicit access.
    pub(crate) fn read_descriptor_bytes(&mut self, c: usize, linear: u64, size: u8) -> Exec<u64> {
        if self.cpus[c].long_mode() && !self.canonical(c, linear) {
            return Err(GP0);
        }
        self.read_linear(c, linear, size, AccessKind::Descriptor)
    }

    /// Stops the run: the model has nothing to say about what comes next.
    #[cold]
    pub(crate) fn stop_unsupported(&mut self, c: usize, trap: Trap) {
        let text = match trap.cause() {
            Cause::Missing(what) => what.text().to_owned(),
            Cause::UnknownMsr(num) => format!("MSR {num:#x}"),
            Cause::Fault(fault) => format!("unexpected fault {}", fault.vector),
        };
        let bytes = self.bytes_at_rip(c);
        let rip = self.cpus[c].rip;
        let text = format!("{text}: {}", super::decode::disassemble(&bytes, self.cpus[c].code_bits, rip));
        self.stop = Some(super::activity::Stop::Unsupported { cpu: c, rip, bytes, text });
        self.over = true;
    }
}
