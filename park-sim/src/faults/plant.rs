//! How the changes that make a fault get into a world. Nothing else in the simulator knows of faults.

use super::change::{Change, Idt, Owner, PlantError};
use super::listing::{Code, Edit};
use super::wrong::Wrong;
use crate::machine::{Activity, Gpr, HostReg, PhysRange};
use crate::platform::Loader;
use crate::world::{FrameKind, SanitiseStep, World};
use park_core::lot::{PAGE_SIZE, checksum, header, header_checksum};
use park_core::op::Bay;
use park_core::{LotMemory, PhysAddr};
use park_x86::features::Features;
use park_x86::frame::{Arrival, FRAME_LEN};
use park_x86::paging::{Mapping, PageTables, Permission};

/// The changes of one fault; none for a world as it should be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plant<'a> {
    /// What is changed.
    pub changes: &'a [Change],
    /// What the owner left in its registers.
    pub owner: &'a [Owner],
}

/// Bytes of an IDT of a lot.
const IDT_LEN: u64 = 32 * 16;
/// Address bits of a page-table entry (Intel SDM vol. 3, "4-Level Paging").
const ENTRY_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// First bit of the IST index in a gate's first word, and the present bit (Intel SDM vol. 3, "64-Bit Mode IDT").
const GATE_IST_SHIFT: u32 = 32;
const GATE_PRESENT: u64 = 1 << 47;

/// DR7 with breakpoint 0 for instruction fetches, global (Intel SDM vol. 3, "Debug Control Register (DR7)").
const DR7_BREAK0: u64 = 0x402;
/// Where in a kernel's memory the tables of [`Owner::GlobalOverLot`] lie, and the page that they map: both unused else.
const OTHER_TABLES: u64 = 0x18_0000;
const OTHER_PAGE: u64 = 0x1f_0000;
const OTHER_TABLE_PAGES: u64 = 16;
/// Offset of the last entry of a table; present and writable.
const LAST_ENTRY: u64 = 511 * 8;
const ENTRY_PRESENT_WRITABLE: u64 = 0b11;
/// Offset of CR4 in a frame.
const FRAME_CR4: u64 = 0x20;
/// The global bit of a page-table entry (Intel SDM vol. 3, "4-Level Paging").
const ENTRY_GLOBAL: u64 = 1 << 8;

impl Plant<'_> {
    /// Changes a lot that was just built, and renews its checksums: it is what a faulty builder would have built.
    ///
    /// # Errors
    /// [`Wrong`] if a change can't be made.
    pub fn in_lot(&self, world: &mut World) -> Result<(), Wrong> {
        let lot = world.lot()?;
        let mut memory = Loader { machine: &mut world.machine, range: lot.range };
        for change in self.changes {
            change.in_lot(&mut memory, lot.lot.header())?;
        }
        reseal(&mut memory).map_err(|error| Wrong::Operation { what: error.to_string() })
    }

    /// Changes the owner text of the current kernel.
    ///
    /// # Errors
    /// [`Wrong`] if a change can't be made.
    pub fn in_kernel(&self, world: &mut World) -> Result<(), Wrong> {
        for change in self.changes {
            if let Change::Code(edit @ Edit { code: Code::Owner, .. }) = change {
                let (offset, bytes) = edit.bytes()?;
                let phys = world.kernel.phys(world.kernel.owner_text()) + u64::from(offset);
                world.machine.write_phys(phys, &bytes);
            }
        }
        if self.owner.contains(&Owner::RecursiveRoot) {
            let root = world.kernel.root & ENTRY_ADDRESS;
            world.machine.write_phys(root + LAST_ENTRY, &(root | ENTRY_PRESENT_WRITABLE).to_le_bytes());
        }
        Ok(())
    }

    /// Changes the frame by which a CPU leaves into the current kernel, once that is written.
    pub fn in_departure(&self, world: &mut World, cpu: usize) {
        for change in self.changes {
            let Change::DepartureCr4(bits) = change else { continue };
            let frame = world.kernel.phys(world.kernel.placement(cpu, FrameKind::Departure).frame);
            let cr4 = world.machine.read_phys_u64(frame + FRAME_CR4) | bits;
            world.machine.write_phys(frame + FRAME_CR4, &cr4.to_le_bytes());
        }
    }

    /// Sets the registers that the owner left.
    ///
    /// # Errors
    /// [`Wrong`] if memory for it can't be set up.
    pub fn in_owner_state(&self, world: &mut World, cpu: usize) -> Result<(), Wrong> {
        let lot = world.lot.map_or(0, |lot| lot.range.start);
        for setting in self.owner {
            match *setting {
                Owner::Cr4(bits) => world.machine.cpu_mut(cpu).cr4 |= bits,
                Owner::Rflags(bits) => world.machine.cpu_mut(cpu).rflags |= bits,
                Owner::Msr(number, value) => {
                    // A refusal shows: the harm does not come.
                    let _ = world.machine.write_msr(cpu, number, value);
                }
                Owner::Breakpoint(label) => {
                    let offset = Code::Bay.label(label).unwrap_or(0);
                    let _ = world.machine.write_reg(cpu, HostReg::Dr(0), lot + header::CODE_OFFSET + u64::from(offset));
                    let _ = world.machine.write_reg(cpu, HostReg::Dr(7), DR7_BREAK0);
                }
                Owner::Lvt(entry, value) => world.machine.cpu_mut(cpu).apic.lvt[entry as usize] = value,
                Owner::Requested(vector) => {
                    world.machine.cpu_mut(cpu).apic.irr[usize::from(vector / 64)] |= 1 << (vector % 64);
                }
                Owner::Monitor => arm_monitor(world, cpu),
                // Sanitising may flush it: it comes in in_frame(). The root is changed in in_kernel().
                Owner::GlobalOverLot | Owner::RecursiveRoot => {}
            }
        }
        Ok(())
    }

    /// Changes the frame of a CPU that stands before the owner text.
    ///
    /// # Errors
    /// [`Wrong`] if the frame can't be written.
    pub fn in_frame(&self, world: &mut World, cpu: usize, bay: Bay, which: FrameKind) -> Result<(), Wrong> {
        if self.owner.contains(&Owner::GlobalOverLot) {
            let lot = world.lot()?.range.start;
            global_over_lot(world, cpu, lot + header::CODE_OFFSET)?;
        }
        for change in self.changes {
            let Change::Arrival(edit) = change else { continue };
            let lot = world.lot()?.lot;
            let transit = PhysAddr(world.kernel.transit_root.unwrap_or(0));
            let mut platform = world.on(cpu)?;
            let features = Features::read(|leaf, subleaf| park_core::Cpu::cpuid(&mut platform, leaf, subleaf));
            let failed = |error: park_core::Error| Wrong::Operation { what: error.to_string() };
            let mut arrival = Arrival::for_cpu(&mut platform, &features, &lot, bay.index(), transit).map_err(failed)?;
            edit(&mut arrival);
            let placement = world.kernel.placement(cpu, which);
            let mut frame = [0; FRAME_LEN];
            arrival.write(&placement, &mut frame).map_err(failed)?;
            world.machine.write_phys(world.kernel.phys(placement.frame), &frame);
        }
        Ok(())
    }

    /// The sanitising steps that are left.
    #[must_use]
    pub fn steps(&self, all: &[SanitiseStep]) -> Vec<SanitiseStep> {
        let left_out = |step: &SanitiseStep| {
            self.changes.iter().any(|change| matches!(change, Change::Without(id) if *id == step.id.0))
        };
        all.iter().copied().filter(|step| !left_out(step)).collect()
    }
}

impl Change {
    fn in_lot(&self, memory: &mut Loader<'_>, header: &header::Header) -> Result<(), Wrong> {
        let start = memory.range.start;
        let gate =
            |table: Idt, vector: u8| u64::from(header.tables_offset) + table as u64 * IDT_LEN + u64::from(vector) * 16;
        match *self {
            Self::Code(edit) if edit.code == Code::Bay => {
                let (offset, bytes) = edit.bytes()?;
                memory.machine.write_phys(start + header::CODE_OFFSET + u64::from(offset), &bytes);
            }
            Self::GateStack { table, vector, ist } => {
                change_word(memory, gate(table, vector), 7 << GATE_IST_SHIFT, u64::from(ist) << GATE_IST_SHIFT);
            }
            Self::GateAbsent { table, vector } => change_word(memory, gate(table, vector), GATE_PRESENT, 0),
            Self::GateAs { table, vector, other } => {
                let value = memory.machine.read_phys_u64(start + gate(table, other));
                change_word(memory, gate(table, vector), !0, value);
            }
            Self::PageEntry { page, clear, set } => {
                let linear = start + page.offset(header);
                let entry = last_entry(memory, memory.machine.read_phys_u64(start + header::ROOT4), linear)
                    .ok_or(PlantError::NotMapped)?;
                change_word(memory, entry - start, clear, set);
            }
            Self::PagePath { page, set } => {
                let linear = start + page.offset(header);
                let root = memory.machine.read_phys_u64(start + header::ROOT4);
                let path = entries(memory, root, linear).ok_or(PlantError::NotMapped)?;
                for entry in path {
                    change_word(memory, entry - start, 0, set);
                }
            }
            Self::HeaderWord { offset, from } => {
                let value = memory.machine.read_phys_u64(start + from);
                change_word(memory, offset, !0, value);
            }
            Self::BayWord { offset, clear, set } => {
                for index in 0..u64::from(header.bay_count) {
                    change_word(memory, header.bay_offset + index * header.bay_stride + offset, clear, set);
                }
            }
            Self::Code(_) | Self::Arrival(_) | Self::DepartureCr4(_) | Self::EntryAfterDoorbell | Self::Without(_) => {}
        }
        Ok(())
    }
}

fn change_word(memory: &mut Loader<'_>, offset: u64, clear: u64, set: u64) {
    let phys = memory.range.start + offset;
    let value = memory.machine.read_phys_u64(phys) & !clear | set;
    memory.machine.write_phys(phys, &value.to_le_bytes());
}

/// Leaves a global translation of `linear` in the TLB of `cpu`, by way of other tables for a moment.
fn global_over_lot(world: &mut World, cpu: usize, linear: u64) -> Result<(), Wrong> {
    let kernel = world.kernel.range.start;
    let range = PhysRange::new(kernel + OTHER_TABLES, OTHER_TABLE_PAGES * PAGE_SIZE);
    let mut memory = Loader { machine: &mut world.machine, range };
    let failed = |error: park_core::Error| Wrong::Operation { what: error.to_string() };
    let mut tables = PageTables::new(&mut memory, 0, PhysAddr(range.start), OTHER_TABLE_PAGES, 0).map_err(failed)?;
    let root = tables.table().map_err(failed)?;
    let phys = PhysAddr(kernel + OTHER_PAGE);
    let page = Mapping { linear, phys, len: PAGE_SIZE, permission: Permission::ReadWriteExecute };
    tables.map(root, &page).map_err(failed)?;
    let cr3 = tables.cr3(root);
    let entry = last_entry(&memory, cr3, linear).ok_or(PlantError::NotMapped)? - range.start;
    change_word(&mut memory, entry, 0, ENTRY_GLOBAL);
    let own = world.machine.cpu(cpu).cr3;
    world.machine.cpu_mut(cpu).cr3 = cr3;
    let loaded = world.machine.load_linear(cpu, linear, 8);
    loaded
        .map_err(|exception| Wrong::Operation { what: format!("the other mapping does not serve: {exception:?}") })?;
    world.machine.cpu_mut(cpu).cr3 = own;
    Ok(())
}

/// The physical addresses of the entries by which the 4-level root `cr3` maps `linear`, the last level's last.
fn entries(memory: &Loader<'_>, cr3: u64, linear: u64) -> Option<[u64; 4]> {
    let mut table = cr3 & ENTRY_ADDRESS;
    let mut path = [0; 4];
    for (level, place) in (0..4).rev().zip(&mut path) {
        *place = table + (linear >> (12 + 9 * level) & 511) * 8;
        let value = memory.machine.read_phys_u64(*place);
        if level != 0 && value & 1 == 0 {
            return None;
        }
        table = value & ENTRY_ADDRESS;
    }
    Some(path)
}

/// The physical address of the entry that maps `linear` under the 4-level root `cr3`.
fn last_entry(memory: &Loader<'_>, cr3: u64, linear: u64) -> Option<u64> {
    entries(memory, cr3, linear).map(|[.., last]| last)
}

/// Has a CPU execute MONITOR on a line of its kernel's, as its idle loop does before it looks for work.
fn arm_monitor(world: &mut World, cpu: usize) {
    /// MONITOR (Intel SDM vol. 2B).
    const MONITOR: [u8; 3] = [0x0f, 0x01, 0xc8];
    let (text, line) = (world.kernel.foreign_text(), world.kernel.foreign_data(cpu));
    world.machine.write_phys(world.kernel.phys(text), &MONITOR);
    let before = world.machine.cpu(cpu);
    let (rip, activity, gpr) = (before.rip, before.activity, before.gpr);
    let state = world.machine.cpu_mut(cpu);
    state.activity = Activity::Running;
    state.rip = text;
    state.set_reg(Gpr::Rax, line);
    state.set_reg(Gpr::Rcx, 0);
    state.set_reg(Gpr::Rdx, 0);
    world.machine.step(cpu);
    let state = world.machine.cpu_mut(cpu);
    (state.rip, state.activity, state.gpr) = (rip, activity, gpr);
}

/// Renews the checksums of code, tables and header.
fn reseal(memory: &mut Loader<'_>) -> Result<(), park_core::Error> {
    let word = |memory: &mut Loader<'_>, offset| memory.load(offset);
    let (code, tables) = (word(memory, header::CODE)?, word(memory, header::TABLES)?);
    let code_crc = checksum(memory, code & 0xffff_ffff, code >> 32)?;
    let tables_crc = checksum(memory, tables & 0xffff_ffff, tables >> 32)?;
    memory.store(header::CRCS, u64::from(code_crc) | u64::from(tables_crc) << 32)?;
    let crc = header_checksum(memory)?;
    let len = word(memory, header::LEN_CRC)? & 0xffff_ffff;
    memory.store(header::LEN_CRC, len | u64::from(crc) << 32)?;
    Ok(())
}
