//! EDK2's loop after ExitBootServices: in reserved memory, under page tables that map that memory alone.

use crate::machine::{Machine, PhysRange, Tag};
use crate::platform::Loader;
use crate::world::WorldError;
use iced_x86::code_asm::{CodeAssembler, eax, ecx, edx, gpr64::*};
use park_core::PhysAddr;
use park_core::lot::PagingLevels;
use park_x86::paging::{Mapping, PageTables, Permission};

/// Tag of memory that firmware reserves: no kernel overwrites it.
pub const TAG_FIRMWARE: Tag = Tag(6);
/// The reserved buffer: loop, stacks, page tables.
pub const FIRMWARE: PhysRange = PhysRange::new(0x0080_0000, 0x1_0000);

/// Offsets in the buffer.
const STACKS: u64 = 0x1000;
const TABLES: u64 = 0x4000;
/// Bytes of stack for each CPU, as `CPU_STACK_ALIGNMENT` and a little more.
const STACK_LEN: u64 = 128;
/// Page tables: a root for each depth, and three levels below.
const TABLE_PAGES: u64 = 8;

/// Where a CPU goes into the loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loop {
    /// CR3.
    pub cr3: u64,
    /// RIP.
    pub rip: u64,
    /// The first stack's top; each further CPU's is 128 bytes higher.
    first_stack: u64,
}

impl Loop {
    /// Top of a CPU's stack: also the line that it monitors.
    #[must_use]
    pub const fn stack(&self, cpu: usize) -> u64 {
        self.first_stack + cpu as u64 * STACK_LEN
    }
}

/// Puts the loop into its buffer, with MWAIT where the CPU has it and HLT otherwise, as EDK2 does.
///
/// # Errors
/// [`WorldError`]: a bug of this function.
pub fn build_loop(machine: &mut Machine, levels: PagingLevels, has_monitor: HasMonitor) -> Result<Loop, WorldError> {
    machine.set_tag(FIRMWARE, TAG_FIRMWARE);
    let mut a = CodeAssembler::new(64)?;
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.cli()?;
    if has_monitor == HasMonitor::Yes {
        a.mov(rax, rsp)?;
        a.xor(ecx, ecx)?;
        a.xor(edx, edx)?;
        a.monitor()?;
        a.xor(eax, eax)?; // PcdCpuApTargetCstate: C1
        a.mwait()?;
    } else {
        a.hlt()?;
    }
    a.jmp(again)?;
    let code = a.assemble(FIRMWARE.start)?;
    machine.write_phys(FIRMWARE.start, &code);
    let tables = PhysRange::new(FIRMWARE.start + TABLES, TABLE_PAGES * 4096);
    let mut memory = Loader { machine, range: tables };
    let mut builder = PageTables::new(&mut memory, 0, PhysAddr(tables.start), TABLE_PAGES, 0)?;
    let pml4 = builder.table()?;
    let buffer = Mapping::identity(PhysAddr(FIRMWARE.start), FIRMWARE.len, Permission::ReadWriteExecute);
    builder.map(pml4, &buffer)?;
    let root = match levels {
        PagingLevels::Four => pml4,
        PagingLevels::Five => {
            let pml5 = builder.table()?;
            builder.hang(pml5, pml4, 0)?;
            pml5
        }
    };
    Ok(Loop { cr3: builder.cr3(root), rip: FIRMWARE.start, first_stack: FIRMWARE.start + STACKS + STACK_LEN })
}

/// Whether the CPUs have MONITOR and MWAIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HasMonitor {
    /// They have.
    Yes,
    /// They have not.
    No,
}
