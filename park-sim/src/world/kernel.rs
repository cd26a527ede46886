//! A simulated kernel: its memory, page tables, descriptor tables, handlers and per-CPU data.
//!
//! It is what park is embedded in, and what its successor overwrites. Nothing in it is parking code but park's own
//! owner text, which every kernel carries.

use super::WorldError;
use super::kernel_code::{KernelCode, assemble, witness};
use crate::machine::{LongMode, Machine, PhysRange, TableRegister, Tag};
use crate::platform::Loader;
use park_core::PhysAddr;
use park_core::lot::{Lot, PAGE_SIZE, PagingLevels, header};
use park_x86::code::{owner_labels, owner_text};
use park_x86::frame::{FRAME_LEN, Placement};
use park_x86::paging::{LARGE_PAGE_SIZE, Mapping, PageTables, Permission};

/// Bytes of a kernel's memory: two large pages.
pub const KERNEL_LEN: u64 = 2 * LARGE_PAGE_SIZE;
/// Selector of the kernel's code segment; differs from the lot's, as Linux's does.
pub const KERNEL_CS: u16 = 0x10;
/// Selector of the kernel's data segment.
pub(super) const KERNEL_SS: u16 = 0x18;
/// Selector of the first CPU's TSS; each takes 16 bytes.
pub(super) const FIRST_TSS: u16 = 0x40;
/// The most CPUs that a simulated kernel has room for.
pub const KERNEL_CPUS_MAX: usize = 64;

/// Where kernels start CPUs: the page that a STARTUP names.
pub const STARTUP_PAGE: u64 = 0x8000;

/// Offsets in a kernel's memory.
mod at {
    pub(super) const TEXT: u64 = 0x0;
    pub(super) const OWNER_TEXT: u64 = 0x1000;
    pub(super) const GDT: u64 = 0x2000;
    pub(super) const IDT: u64 = 0x3000;
    pub(super) const TSS: u64 = 0x4000;
    pub(super) const WITNESS: u64 = 0x6000;
    pub(super) const FOREIGN_TEXT: u64 = 0x8000;
    pub(super) const FOREIGN_DATA: u64 = 0xa000;
    pub(super) const FRAMES: u64 = 0x1_0000;
    pub(super) const STACKS: u64 = 0x4_0000;
    pub(super) const TABLES: u64 = 0x10_0000;
}

/// Bytes per CPU of TSSs, witnesses, frames, stacks and foreign data.
const TSS_STRIDE: u64 = 0x80;
const WITNESS_STRIDE: u64 = 0x40;
const FRAME_STRIDE: u64 = 2 * FRAME_LEN as u64;
const STACK_STRIDE: u64 = 0x2000;
const FOREIGN_STRIDE: u64 = 0x80;
/// Pages for page tables: two roots, and the lot's mappings in the transit root.
const TABLE_PAGES: u64 = 48;

/// What happened to a CPU under a kernel, as the kernel's own code counted it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Witness {
    /// How often the CPU landed after a wake.
    pub entries: u64,
    /// The argument of the last landing.
    pub argument: u64,
    /// NMIs in the kernel's handler.
    pub nmi: u64,
    /// Machine checks in the kernel's handler.
    pub mc: u64,
    /// Other exceptions.
    pub faults: u64,
}

/// A simulated kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its memory.
    pub range: PhysRange,
    /// Linear address of its first byte.
    pub base: u64,
    /// The tag of its memory.
    pub tag: Tag,
    /// Levels of paging.
    pub levels: PagingLevels,
    /// CR3 of its own root.
    pub root: u64,
    /// CR3 of its transit root, once it has seen a lot.
    pub transit_root: Option<u64>,
    /// Its code.
    pub code: KernelCode,
}

impl Kernel {
    /// Loads a kernel for `cpus` CPUs at `phys`, a multiple of 2 MiB, mapped at linear address `base`.
    ///
    /// # Errors
    /// [`WorldError`] if page tables don't fit: a bug of the caller's addresses.
    pub fn load(
        machine: &mut Machine,
        phys: u64,
        base: u64,
        tag: Tag,
        levels: PagingLevels,
        cpus: usize,
    ) -> Result<Self, WorldError> {
        let range = PhysRange::new(phys, KERNEL_LEN);
        machine.set_tag(range, tag);
        machine.set_tag(PhysRange::new(STARTUP_PAGE, PAGE_SIZE), tag);
        for page in (phys..phys + KERNEL_LEN).step_by(PAGE_SIZE as usize) {
            machine.write_phys(page, &[0; PAGE_SIZE as usize]);
        }
        let (bytes, code) = assemble(base, base + at::WITNESS)?;
        machine.write_phys(phys + at::TEXT, &bytes);
        machine.write_phys(phys + at::OWNER_TEXT, owner_text());
        let mut kernel = Self { range, base, tag, levels, root: 0, transit_root: None, code };
        kernel.root = kernel.build_root(machine, None)?;
        kernel.write_descriptors(machine, cpus);
        Ok(kernel)
    }

    /// Builds the transit root for a lot: the kernel where it is mapped, and the lot at identity.
    ///
    /// # Errors
    /// As [`Kernel::load`].
    pub fn map_lot(&mut self, machine: &mut Machine, lot: &Lot) -> Result<(), WorldError> {
        self.transit_root = Some(self.build_root(machine, Some(lot))?);
        Ok(())
    }

    fn build_root(&self, machine: &mut Machine, lot: Option<&Lot>) -> Result<u64, WorldError> {
        let half = if lot.is_some() { TABLE_PAGES * PAGE_SIZE } else { 0 };
        let phys = self.range.start + at::TABLES + half;
        let mut memory = Loader { machine, range: PhysRange::new(phys, TABLE_PAGES * PAGE_SIZE) };
        let mut tables = PageTables::new(&mut memory, 0, PhysAddr(phys), TABLE_PAGES, 0)?;
        let pml4 = tables.table()?;
        tables.map_large(
            pml4,
            &Mapping {
                linear: self.base,
                phys: PhysAddr(self.range.start),
                len: KERNEL_LEN,
                permission: Permission::ReadWriteExecute,
            },
        )?;
        // The way in for CPUs that it starts by INIT and STARTUP.
        let startup = Mapping::identity(PhysAddr(STARTUP_PAGE), PAGE_SIZE, Permission::ReadWriteExecute);
        tables.map(pml4, &startup)?;
        if let Some(lot) = lot {
            let header = lot.header();
            let code_end = u64::from(header.tables_offset);
            for (start, end, permission) in [
                (0, header::CODE_OFFSET, Permission::ReadWrite),
                (header::CODE_OFFSET, code_end, Permission::ReadExecute),
                (code_end, header.bay_offset, Permission::Read),
                (header.bay_offset, header.total_len, Permission::ReadWrite),
            ] {
                let phys = PhysAddr(header.self_phys.0 + start);
                tables.map(pml4, &Mapping::identity(phys, end - start, permission))?;
            }
        }
        if self.levels == PagingLevels::Four {
            return Ok(tables.cr3(pml4));
        }
        let pml5 = tables.table()?;
        tables.hang(pml5, pml4, self.base)?;
        if self.base >> 48 & 511 != 0 {
            tables.hang(pml5, pml4, 0)?;
        }
        Ok(tables.cr3(pml5))
    }

    fn write_descriptors(&self, machine: &mut Machine, cpus: usize) {
        let put = |machine: &mut Machine, offset: u64, value: u64| {
            machine.write_phys(self.range.start + offset, &value.to_le_bytes());
        };
        // SDM vol. 3, "Segment Descriptors": 64-bit code and flat data, accessed.
        put(machine, at::GDT + u64::from(KERNEL_CS), park_x86::frame::CODE64_DESCRIPTOR);
        put(machine, at::GDT + u64::from(KERNEL_SS), 0x00cf_9300_0000_ffff);
        for cpu in 0..cpus as u64 {
            let base = self.base + at::TSS + cpu * TSS_STRIDE;
            let descriptor = 0x67 | (base & 0xff_ffff) << 16 | 0x8b << 40 | (base >> 24 & 0xff) << 56;
            let offset = at::GDT + u64::from(FIRST_TSS) + 16 * cpu;
            put(machine, offset, descriptor);
            put(machine, offset + 8, base >> 32);
            // IST 1 for NMI and IST 2 for #MC, below the CPU's stack.
            let stack = self.stack_top(cpu as usize) - STACK_STRIDE;
            let tss = at::TSS + cpu * TSS_STRIDE;
            put(machine, tss + 0x24, stack + 0x800);
            put(machine, tss + 0x2c, stack + 0x1000);
        }
        for vector in 0..32u64 {
            let (handler, ist) = match vector {
                2 => (self.code.nmi, 1),
                18 => (self.code.mc, 2),
                _ => (self.code.exception, 0),
            };
            let low =
                handler & 0xffff | u64::from(KERNEL_CS) << 16 | ist << 32 | 0x8e << 40 | (handler >> 16 & 0xffff) << 48;
            put(machine, at::IDT + 16 * vector, low);
            put(machine, at::IDT + 16 * vector + 8, handler >> 32);
        }
    }

    /// Puts a CPU into this kernel's idle loop, with its own tables, stack and TSS; the local APIC enabled.
    pub fn run_idle(&self, machine: &mut Machine, cpu: usize) {
        let mut state = LongMode::new(self.root, self.code.idle, self.stack_top(cpu));
        state.gdtr = TableRegister { base: self.base + at::GDT, limit: 0xfff };
        state.idtr = TableRegister { base: self.base + at::IDT, limit: 0x1ff };
        state.cs = KERNEL_CS;
        state.ss = KERNEL_SS;
        state.tr = (self.tr(cpu), self.base + at::TSS + cpu as u64 * TSS_STRIDE);
        if self.levels == PagingLevels::Five {
            state.cr4 |= park_x86::registers::control::Cr4::LA57.bits();
        }
        machine.start_long_mode(cpu, &state);
        machine.enable_apic(cpu);
    }

    /// Linear range of the kernel's own code, without the owner text.
    pub(super) const fn text(&self) -> [u64; 2] {
        [self.base + at::TEXT, self.base + at::OWNER_TEXT]
    }

    /// The selector of a CPU's TSS.
    #[must_use]
    pub const fn tr(&self, cpu: usize) -> u16 {
        FIRST_TSS + 16 * cpu as u16
    }

    /// Linear address of the top of a CPU's stack.
    #[must_use]
    pub const fn stack_top(&self, cpu: usize) -> u64 {
        self.base + at::STACKS + (cpu as u64 + 1) * STACK_STRIDE
    }

    /// Linear address of the owner text.
    #[must_use]
    pub const fn owner_text(&self) -> u64 {
        self.base + at::OWNER_TEXT
    }

    /// Linear address of the owner text's arrival.
    #[must_use]
    pub fn arrive(&self) -> u64 {
        self.owner_text() + u64::from(owner_labels().arrive)
    }

    /// Linear address of the owner text's departure.
    #[must_use]
    pub fn depart(&self) -> u64 {
        self.owner_text() + u64::from(owner_labels().depart)
    }

    /// Where a CPU's arrival frame (`which` 0) or departure frame (1) lies.
    #[must_use]
    pub const fn placement(&self, cpu: usize, which: FrameKind) -> Placement {
        let frame = self.base + at::FRAMES + cpu as u64 * FRAME_STRIDE + which as u64 * FRAME_LEN as u64;
        Placement { frame, text: self.owner_text(), cs: KERNEL_CS }
    }

    /// The physical address behind one of this kernel's linear ones.
    #[must_use]
    pub const fn phys(&self, linear: u64) -> u64 {
        self.range.start + (linear - self.base)
    }

    /// Linear base and length of the GDT and of the IDT.
    #[must_use]
    pub const fn tables(&self) -> [(u64, u16); 2] {
        [(self.base + at::GDT, 0x1000), (self.base + at::IDT, 0x200)]
    }

    /// Linear address of a CPU's 128 bytes for a foreign parker's data.
    #[must_use]
    pub const fn foreign_data(&self, cpu: usize) -> u64 {
        self.base + at::FOREIGN_DATA + cpu as u64 * FOREIGN_STRIDE
    }

    /// Linear address where foreign parkers' code is put.
    #[must_use]
    pub const fn foreign_text(&self) -> u64 {
        self.base + at::FOREIGN_TEXT
    }

    /// Linear address of a CPU's witness: the argument of [`KernelCode::landed`].
    #[must_use]
    pub const fn witness_address(&self, cpu: usize) -> u64 {
        self.base + at::WITNESS + cpu as u64 * WITNESS_STRIDE
    }

    /// What the kernel's code counted for a CPU.
    #[must_use]
    pub fn witness(&self, machine: &Machine, cpu: usize) -> Witness {
        let at = self.phys(self.witness_address(cpu));
        let word = |offset| machine.read_phys_u64(at + offset);
        Witness {
            entries: word(witness::ENTRIES),
            argument: word(witness::ARGUMENT),
            nmi: word(witness::NMI),
            mc: word(witness::MC),
            faults: word(witness::FAULTS),
        }
    }
}

/// Which of a CPU's two frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameKind {
    /// The arrival frame.
    Arrival = 0,
    /// The departure frame.
    Departure = 1,
}
