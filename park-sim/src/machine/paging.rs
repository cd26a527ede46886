//! Linear to physical: four- and five-level walks, permissions, accessed and dirty bits (S:4.5, S:4.6, S:4.8).

use super::Machine;
use super::access::DR7_ENABLES;
use super::bits::{cr0, cr4, efer, flags, vector};
use super::breach::AccessKind;
use super::config::TlbMode;
use super::cpu::DataPage;
use super::fault::{Exec, GP0, Missing, Trap, fault_with};
use super::memory::NO_FRAME;
use super::rules::Rule;
use super::tlb::{Entry, Evict, Perms};

/// What an access does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dir {
    Fetch,
    Read,
    Write,
}

/// Where an access goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) phys: u64,
    pub(crate) frame: u32,
    pub(crate) uncached: bool,
    pub(crate) write_back: bool,
}

/// Page-table entry bits (S:Table 4-14 to 4-19).
mod pte {
    pub(super) const PRESENT: u64 = 1 << 0;
    pub(super) const WRITE: u64 = 1 << 1;
    pub(super) const USER: u64 = 1 << 2;
    pub(super) const PWT: u64 = 1 << 3;
    pub(super) const PCD: u64 = 1 << 4;
    pub(super) const ACCESSED: u64 = 1 << 5;
    pub(super) const DIRTY: u64 = 1 << 6;
    pub(super) const LARGE: u64 = 1 << 7;
    pub(super) const PAT_4K: u64 = 1 << 7;
    pub(super) const GLOBAL: u64 = 1 << 8;
    pub(super) const PAT_LARGE: u64 = 1 << 12;
    pub(super) const NO_EXECUTE: u64 = 1 << 63;
    pub(super) const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

/// The lowest linear address bit that indexes a table of a level (S:4.5.4).
const SHIFT_PT: u32 = 12;
const SHIFT_PDPT: u32 = 30;
const SHIFT_PML4: u32 = 39;
const SHIFT_PML5: u32 = 48;
/// Bits of a table's index.
const LEVEL_BITS: u32 = 9;

/// Page-fault error code bits (S:Figure 4-12).
mod error {
    pub(super) const PRESENT: u32 = 1 << 0;
    pub(super) const WRITE: u32 = 1 << 1;
    pub(super) const RESERVED: u32 = 1 << 3;
    pub(super) const FETCH: u32 = 1 << 4;
    pub(super) const KEY: u32 = 1 << 5;
}

/// Memory types of PAT and MTRRs (S:Table 11-10).
const TYPE_UC: u64 = 0;
const TYPE_WB: u64 = 6;
const TYPE_UC_MINUS: u64 = 7;
/// IA32_MTRR_DEF_TYPE.E (S:11.11.2.1).
const MTRR_ENABLED: u64 = 1 << 11;

/// The place of a page in [`super::cpu::Cpu::data`]: four of reads, four of writes.
#[inline]
const fn shortcut_of(linear: u64, dir: Dir) -> usize {
    ((linear >> 12) as usize & 3) | if matches!(dir, Dir::Write) { 4 } else { 0 }
}

impl Machine {
    /// Whether no translation outlives its access in this run.
    pub(crate) fn translations_are_short_lived(&self) -> bool {
        self.config.tlb == TlbMode::EvictAlways || !self.rules.on(Rule::TlbServesStale)
    }

    fn page_fault(&mut self, c: usize, linear: u64, code: u32, dir: Dir) -> Trap {
        let cpu = &mut self.cpus[c];
        cpu.fault_linear = linear;
        let fetch_reported = cpu.efer & efer::NXE != 0 || cpu.cr4 & cr4::SMEP != 0;
        let code = code
            | match dir {
                Dir::Write => error::WRITE,
                Dir::Fetch if fetch_reported => error::FETCH,
                _ => 0,
            };
        fault_with(vector::PF, code)
    }

    /// Whether caches and MTRRs are on: (write-back possible, everything uncached).
    fn cache_state(&self, c: usize) -> (bool, bool) {
        let cpu = &self.cpus[c];
        let mtrr = cpu.msr.mtrr_def_type();
        let enabled = mtrr & MTRR_ENABLED != 0 || !self.features.mtrr;
        (enabled && cpu.cr0 & cr0::CD == 0 && (mtrr & 0xff == TYPE_WB || !self.features.mtrr), !enabled)
    }

    /// The shortcut for an access of `size` bytes, if there is one.
    #[inline(always)]
    pub(crate) fn quick(&self, c: usize, linear: u64, size: u8, dir: Dir) -> Option<DataPage> {
        let cpu = &self.cpus[c];
        let known = &cpu.data[shortcut_of(linear, dir)];
        let hit = known.linear_page == linear >> 12
            && known.generation == cpu.tlb.generation
            && (linear & 0xfff) + u64::from(size) <= 0x1000;
        hit.then_some(*known)
    }

    /// Translates one access that does not cross a page.
    #[inline]
    pub(crate) fn translate(&mut self, c: usize, linear: u64, dir: Dir, kind: AccessKind) -> Exec<Place> {
        if dir != Dir::Fetch
            && let Some(known) = self.quick(c, linear, 1, dir)
        {
            let phys = known.phys | (linear & 0xfff);
            return Ok(Place { phys, frame: known.frame, uncached: false, write_back: known.write_back });
        }
        self.translate_slowly(c, linear, dir, kind)
    }

    pub(crate) fn translate_slowly(&mut self, c: usize, linear: u64, dir: Dir, kind: AccessKind) -> Exec<Place> {
        let cpu = &mut self.cpus[c];
        if !cpu.paging() {
            let phys = linear & 0xffff_ffff;
            let (write_back, uncached) = self.cache_state(c);
            return Ok(Place { phys, frame: self.memory.frame_of(phys), uncached, write_back });
        }
        let short_lived = self.translations_are_short_lived();
        let cpu = &mut self.cpus[c];
        if short_lived {
            cpu.tlb.evict(Evict::All);
        }
        let pcid = cpu.pcid();
        let cached = cpu.tlb.lookup(linear, pcid);
        let entry = match cached {
            Some(entry)
                if (dir != Dir::Write || entry.perms.dirty)
                    && self.permitted(c, linear, &entry.perms, dir, kind).is_ok() =>
            {
                entry
            }
            _ => self.walk(c, linear, dir, kind)?,
        };
        let phys = entry.phys | (linear & entry.mask);
        let frame = self.memory.frame_of(phys);
        let Perms { uncached, write_back, user, .. } = entry.perms;
        let slot = self.memory.slot(frame);
        let allowed = self.is_allowed(c, frame);
        let cpu = &mut self.cpus[c];
        // Rights to user pages, keyed pages and the lower half under LASS change without a flush (RFLAGS.AC, IA32_PKRS).
        let settled = !user && cpu.cr4 & (cr4::PKS | cr4::LASS) == 0 && cpu.dr[7] & DR7_ENABLES == 0;
        if settled && dir != Dir::Fetch && allowed && !short_lived && !uncached && slot != 0 {
            cpu.data[shortcut_of(linear, dir)] = DataPage {
                linear_page: linear >> 12,
                generation: cpu.tlb.generation,
                phys: phys & !0xfff,
                frame,
                slot,
                write_back,
            };
        }
        Ok(Place { phys, frame, uncached, write_back })
    }

    /// Checks a supervisor access against a translation's permissions (S:4.6.1).
    #[inline]
    fn permitted(&mut self, c: usize, linear: u64, perms: &Perms, dir: Dir, kind: AccessKind) -> Exec<()> {
        let cpu = &self.cpus[c];
        let refuse = match dir {
            Dir::Fetch => {
                (perms.no_execute && cpu.efer & efer::NXE != 0 && self.rules.on(Rule::NxFaults))
                    || (perms.user && cpu.cr4 & cr4::SMEP != 0 && self.rules.on(Rule::SmepFaults))
            }
            Dir::Read | Dir::Write => {
                let write_refused =
                    dir == Dir::Write && !perms.write && cpu.cr0 & cr0::WP != 0 && self.rules.on(Rule::WpFaults);
                // Implicit accesses ignore AC (S:4.6.1).
                let implicit = matches!(kind, AccessKind::Descriptor | AccessKind::DescriptorWrite);
                let smap = perms.user
                    && cpu.cr4 & cr4::SMAP != 0
                    && (implicit || cpu.rflags & flags::AC == 0)
                    && self.rules.on(Rule::SmapFaults);
                if !perms.user && cpu.cr4 & cr4::PKS != 0 && self.rules.on(Rule::ProtectionKeysChecked) {
                    let key = cpu.msr.pkrs() >> (2 * u32::from(perms.key));
                    let write_disabled = dir == Dir::Write && key & 2 != 0 && cpu.cr0 & cr0::WP != 0;
                    if key & 1 != 0 || write_disabled {
                        return Err(self.page_fault(c, linear, error::PRESENT | error::KEY, dir));
                    }
                }
                write_refused || smap
            }
        };
        if refuse { Err(self.page_fault(c, linear, error::PRESENT, dir)) } else { Ok(()) }
    }

    /// One entry of a paging structure, as the walker reads it: through the CPU's own store buffer.
    #[inline]
    fn walk_read(&mut self, c: usize, phys: u64) -> u64 {
        let frame = self.memory.frame_of(phys);
        self.check_tag(c, frame, phys, AccessKind::Walk);
        let value = self.memory.read(frame, (phys & 0xfff) as usize, 8);
        let stores = &self.cpus[c].stores;
        if stores.is_empty() { value } else { stores.forward(phys, 8, value) }
    }

    #[cold]
    #[inline(never)]
    fn walk(&mut self, c: usize, linear: u64, dir: Dir, kind: AccessKind) -> Exec<Entry> {
        let cpu = &self.cpus[c];
        if !cpu.long_mode() {
            return Err(Trap::missing(Missing::Paging));
        }
        let (cr3, cr4, no_execute_enabled) = (cpu.cr3, cpu.cr4, cpu.efer & efer::NXE != 0);
        let pcid = cpu.pcid();
        let mark = self.config.encryption_mask;
        let phys_bits = u32::from(self.features.max_phys_bits);
        let too_high = pte::ADDRESS & !((1u64 << phys_bits) - 1) & !mark;
        let reserved = too_high | if no_execute_enabled { 0 } else { pte::NO_EXECUTE };
        let mut table = cr3 & pte::ADDRESS & !mark;
        let mut visited = [(0u64, 0u64); 5];
        let mut depth = 0usize;
        let mut shift = if cr4 & cr4::LA57 != 0 { SHIFT_PML5 } else { SHIFT_PML4 };
        // The bits that all entries on the way have, and those that any has.
        let (mut all, mut any) = (u64::MAX, 0);
        let (leaf_at, entry) = loop {
            let at = table + ((linear >> shift) & 0x1ff) * 8;
            let entry = self.walk_read(c, at);
            if entry & pte::PRESENT == 0 {
                return Err(self.page_fault(c, linear, 0, dir));
            }
            let is_leaf = shift == SHIFT_PT || (entry & pte::LARGE != 0 && shift <= SHIFT_PDPT);
            let mut forbidden = reserved;
            if shift > SHIFT_PDPT {
                forbidden |= pte::LARGE;
            } else if is_leaf && shift > SHIFT_PT {
                forbidden |= ((1u64 << shift) - 1) & !0x1fff & !mark;
                if shift == SHIFT_PDPT && !self.features.page_1g {
                    forbidden |= pte::LARGE;
                }
            }
            if entry & forbidden != 0 {
                return Err(self.page_fault(c, linear, error::PRESENT | error::RESERVED, dir));
            }
            all &= entry;
            any |= entry;
            if let Some(slot) = visited.get_mut(depth) {
                *slot = (at, entry);
            }
            depth += 1;
            if is_leaf {
                break (at, entry);
            }
            table = entry & pte::ADDRESS & !mark;
            shift -= LEVEL_BITS;
        };
        let mask = (1u64 << shift) - 1;
        let mut perms = Perms {
            write: all & pte::WRITE != 0,
            user: all & pte::USER != 0,
            no_execute: any & pte::NO_EXECUTE != 0,
            ..Perms::default()
        };
        let pat_bit = if mask == 0xfff { entry & pte::PAT_4K } else { entry & pte::PAT_LARGE };
        let index =
            u64::from(entry & pte::PWT != 0) | (u64::from(entry & pte::PCD != 0) << 1) | (u64::from(pat_bit != 0) << 2);
        let memory_type = (self.cpus[c].msr.pat() >> (8 * index)) & 7;
        let (write_back, all_uncached) = self.cache_state(c);
        perms.write_back = write_back && memory_type == TYPE_WB;
        perms.uncached = all_uncached || memory_type == TYPE_UC || memory_type == TYPE_UC_MINUS;
        perms.key = ((entry >> 59) & 0xf) as u8;
        self.permitted(c, linear, &perms, dir, kind)?;
        let marked = all & pte::ACCESSED != 0 && (dir != Dir::Write || entry & pte::DIRTY != 0);
        for (at, value) in visited.into_iter().take(if marked { 0 } else { depth }) {
            let mut wanted = pte::ACCESSED;
            if at == leaf_at && dir == Dir::Write {
                wanted |= pte::DIRTY;
            }
            if value & wanted != wanted {
                self.walk_write(c, at, wanted);
            }
        }
        perms.dirty = dir == Dir::Write || entry & pte::DIRTY != 0;
        let made = Entry {
            linear: linear & !mask,
            phys: entry & pte::ADDRESS & !mark & !mask,
            mask,
            pcid,
            global: entry & pte::GLOBAL != 0 && cr4 & cr4::PGE != 0,
            perms,
        };
        self.cpus[c].tlb.insert(made);
        Ok(made)
    }

    /// Sets accessed and dirty bits with a locked access (S:4.8). No text says that earlier stores of the program become visible before it, so
    /// they do not, except those to the same table.
    fn walk_write(&mut self, c: usize, phys: u64, bits: u64) {
        let frame = self.memory.frame_of(phys);
        self.check_tag(c, frame, phys, AccessKind::WalkWrite);
        if frame == NO_FRAME {
            return;
        }
        if self.cpus[c].stores.touches(frame) {
            self.drain_all(c);
        }
        let value = self.memory.read(frame, (phys & 0xfff) as usize, 8);
        self.commit(c, frame, phys, 8, value | bits);
    }

    /// Whether `linear` is canonical for the paging depth (S:3.3.7.1 vol 1).
    #[inline]
    pub(crate) fn canonical(&self, c: usize, linear: u64) -> bool {
        let shift = if self.cpus[c].cr4 & cr4::LA57 != 0 { 64 - 57 } else { 64 - 48 };
        (((linear << shift) as i64) >> shift) as u64 == linear
    }

    /// LASS (supervisor side): the lower half of the address space is not the supervisor's.
    #[inline]
    pub(crate) fn lass(&self, c: usize, linear: u64, dir: Dir, kind: AccessKind) -> Exec<()> {
        let cpu = &self.cpus[c];
        if cpu.cr4 & cr4::LASS == 0 || linear >> 63 != 0 || !cpu.long_mode() || !self.rules.on(Rule::LassFaults) {
            return Ok(());
        }
        let implicit = matches!(kind, AccessKind::Descriptor | AccessKind::DescriptorWrite);
        let data_allowed = cpu.cr4 & cr4::SMAP == 0 || (cpu.rflags & flags::AC != 0 && !implicit);
        if dir != Dir::Fetch && data_allowed { Ok(()) } else { Err(GP0) }
    }
}
