//! One CPU's area: everything that it uses beside the image's text, in one aligned block.
//!
//! An area is [`CPU_AREA_BYTES`] long and as much aligned, and every stack of the image lies in its CPU's area. So
//! RSP, masked, is the area: handlers need no GS base, which a parked CPU may have lost.
//!
//! | offset | what |
//! |---|---|
//! | 0 | [`PerCpu`] |
//! | 0x1000 | GDT; at 0x1080 the TSS |
//! | 0x2000 | IDT |
//! | 0x3000 | arrival frame; at 0x3400 the departure frame |
//! | 0x3800 | the stacks of [`SweepStack`]: 1 KiB, 512 bytes, 512 bytes |
//! | 0x4000 | transit root: a PML4, at 0x5000 its PDPT, at 0x6000 the PML5 where there are five levels |
//! | 0x7000 | stacks for NMI, #MC, #DF, others: 6 KiB each |
//! | 0xd000 | the CPU's own stack, 76 KiB: starting the machine alone takes 44 KiB of the boot CPU's |

use core::arch::asm;
use core::mem::size_of;
use core::sync::atomic::Ordering;

use park_core::lot::PagingLevels;
use park_core::{ApicId, PhysAddr};
use park_x86::frame::{FRAME_ALIGN, FRAME_LEN};
use park_x86::registers::control::Cr4;

use crate::cpu_tables::{
    CODE_SELECTOR, DATA_SELECTOR, GDT_BYTES, IDT_BYTES, IDT_ENTRIES, Ist, TSS_BYTES, TSS_SELECTOR, gdt, tss,
};
use crate::image::percpu::PerCpu;
use crate::image::traps;
use crate::image::{insn, levels};
use crate::memory::{CPU_AREA_BYTES, IDENTITY_MAP_END, PAGE_BYTES, Region};

const GDT_OFFSET: u64 = 0x1000;
const TSS_OFFSET: u64 = 0x1080;
const IDT_OFFSET: u64 = 0x2000;
const ARRIVAL_FRAME_OFFSET: u64 = 0x3000;
const DEPARTURE_FRAME_OFFSET: u64 = 0x3400;
const SWEEP_STACKS_OFFSET: u64 = 0x3800;
const TRANSIT_PML4_OFFSET: u64 = 0x4000;
const TRANSIT_PDPT_OFFSET: u64 = 0x5000;
const TRANSIT_PML5_OFFSET: u64 = 0x6000;
const IST_STACKS_OFFSET: u64 = 0x7000;
const IST_STACK_BYTES: u64 = 0x1800;
/// Bytes left free at the very top, so that an empty stack's RSP still lies in the area.
pub(crate) const STACK_TOP_GAP: u64 = 16;
/// What [`Area::wipe`] fills with: 0xcc is INT3 as code, and no valid descriptor, gate or pointer.
pub(crate) const WIPE_BYTE: u8 = 0xcc;
/// Bits 51:12 of CR3 and of a page-table entry: a physical address (SDM vol. 3, 4.5).
const TABLE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Bits of an address below the index into the PML4 (SDM vol. 3, 4.5.4).
const PML4_SHIFT: u32 = 39;
/// Present and writable, in an entry that refers to a table.
const TABLE_LINK: u64 = 0b11;
/// Offset of the access byte in a descriptor, and the bit of it that makes a TSS busy (SDM vol. 3, figure 7-3).
const ACCESS_BYTE: u64 = 5;
const TSS_BUSY: u8 = 1 << 1;
/// Without MCE a #MC is a shutdown (SDM vol. 3, 2.5). PGE is what a kernel has and a lot has not.
const CR4_EXTRA: Cr4 = Cr4::MCE.union(Cr4::PGE);

const _: () = {
    assert!(size_of::<PerCpu>() as u64 <= GDT_OFFSET);
    assert!(GDT_OFFSET + GDT_BYTES as u64 <= TSS_OFFSET && TSS_OFFSET + TSS_BYTES as u64 <= IDT_OFFSET);
    assert!(IDT_OFFSET + IDT_BYTES as u64 <= ARRIVAL_FRAME_OFFSET);
    assert!(ARRIVAL_FRAME_OFFSET + FRAME_LEN as u64 <= DEPARTURE_FRAME_OFFSET);
    assert!(ARRIVAL_FRAME_OFFSET % FRAME_ALIGN as u64 == 0 && DEPARTURE_FRAME_OFFSET % FRAME_ALIGN as u64 == 0);
    assert!(DEPARTURE_FRAME_OFFSET + FRAME_LEN as u64 <= SWEEP_STACKS_OFFSET);
    assert!(SWEEP_STACKS_OFFSET + SweepStack::Left.end() <= TRANSIT_PML4_OFFSET);
    assert!(TRANSIT_PML4_OFFSET + PAGE_BYTES <= TRANSIT_PDPT_OFFSET);
    assert!(TRANSIT_PDPT_OFFSET + PAGE_BYTES <= TRANSIT_PML5_OFFSET);
    assert!(TRANSIT_PML5_OFFSET + PAGE_BYTES <= IST_STACKS_OFFSET && IST_STACK_BYTES % 16 == 0);
    assert!(IST_STACKS_OFFSET + Ist::ALL.len() as u64 * IST_STACK_BYTES < CPU_AREA_BYTES);
};

/// A CPU's area that has been [`prepare`]d, by the address of its first byte in the kernel that the CPU belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Area(u64);

/// Where a frame of park-x86 lies in an area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Frame {
    /// What the CPU arrives in a lot with.
    Arrival,
    /// What it leaves with.
    Departure,
}

/// Small stacks for the ways into a lot and out of it. Nothing but those uses them, so that the frames of NMIs stay there
/// for `sweep` to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SweepStack {
    /// From the owner text to the bay's own stack.
    Arrival,
    /// From the bay's own stack to the one that the departure frame names.
    Leaving,
    /// From there to the owner's first instruction.
    Left,
}

impl SweepStack {
    /// All of them, in the order in which a CPU uses them.
    pub(crate) const ALL: [Self; 3] = [Self::Arrival, Self::Leaving, Self::Left];

    /// Where it ends, from the beginning of the first.
    const fn end(self) -> u64 {
        match self {
            // What `arrive` asks for, twice over.
            Self::Arrival => 0x400,
            Self::Leaving => 0x600,
            Self::Left => 0x800,
        }
    }
}

/// Builds a CPU's area and returns what lies at its beginning.
///
/// # Safety
/// 1. The [`CPU_AREA_BYTES`] bytes at `start` are identity-mapped, aligned to as much, and nobody else's for ever.
/// 2. Nothing of the area is in use but, if it is the calling CPU's own, its stack.
pub(crate) unsafe fn prepare(start: PhysAddr, index: u32, apic_id: ApicId) -> &'static PerCpu {
    let area = Area(start.0);
    let percpu = area.at::<PerCpu>(0);
    // SAFETY: (1), and PerCpu lies below the GDT.
    unsafe { percpu.write(PerCpu::new(index, apic_id)) };
    // SAFETY: (1) and (2).
    unsafe { area.write_tables() };
    // SAFETY: just initialised, and never written again but through its atomics.
    unsafe { &*percpu }
}

impl Area {
    /// The area of `percpu`, where the kernel that its CPU belongs to maps it.
    pub(crate) fn of(percpu: &'static PerCpu) -> Self {
        let address = core::ptr::from_ref(percpu).expose_provenance() as u64;
        Self(phys(address) + percpu.phys_offset.load(Ordering::Acquire))
    }

    /// The area of the CPU that executes this.
    pub(crate) fn current() -> Self {
        Self(insn::read_rsp() & !(CPU_AREA_BYTES - 1))
    }

    /// What lies at the area's beginning.
    pub(crate) fn percpu(self) -> &'static PerCpu {
        // SAFETY: an `Area` is prepared, and areas live for ever.
        unsafe { &*self.at(0) }
    }

    /// Where it lies in memory.
    pub(crate) fn region(self) -> Region {
        Region { name: "area", start: PhysAddr(phys(self.0)), len_bytes: CPU_AREA_BYTES }
    }

    /// Where RSP starts on the CPU's own stack: a multiple of 16.
    pub(crate) const fn stack_top(self) -> u64 {
        self.0 + CPU_AREA_BYTES - STACK_TOP_GAP
    }

    /// Where RSP starts on one of the stacks for `sweep`: a multiple of 16.
    pub(crate) const fn sweep_stack_top(self, stack: SweepStack) -> u64 {
        self.0 + SWEEP_STACKS_OFFSET + stack.end()
    }

    /// Where RSP starts on the stack of an exception: a multiple of 16.
    pub(crate) const fn ist_stack_top(self, ist: Ist) -> u64 {
        self.0 + IST_STACKS_OFFSET + ist as u64 * IST_STACK_BYTES
    }

    /// The word at an offset from the top of one of those stacks, which its CPU may be using.
    pub(crate) fn read_below(self, stack_top: u64, bytes: u64) -> u64 {
        // SAFETY: below the top of a stack of the prepared area, whose words its CPU alone writes.
        unsafe { self.at::<u64>(stack_top - bytes - self.0).read_volatile() }
    }

    /// Clears that word.
    ///
    /// # Safety
    /// The area's CPU does not use it: it has no frame there.
    pub(crate) unsafe fn clear_below(self, stack_top: u64, bytes: u64) {
        // SAFETY: as in `read_below`, and the caller's promise.
        unsafe { self.at::<u64>(stack_top - bytes - self.0).write_volatile(0) };
    }

    /// Address and bytes of the GDT.
    pub(crate) const fn gdt(self) -> (u64, u16) {
        (self.0 + GDT_OFFSET, GDT_BYTES as u16)
    }

    /// Address and bytes of the IDT.
    pub(crate) const fn idt(self) -> (u64, u16) {
        (self.0 + IDT_OFFSET, IDT_BYTES as u16)
    }

    /// Address of a frame.
    pub(crate) const fn frame_address(self, frame: Frame) -> u64 {
        self.0
            + match frame {
                Frame::Arrival => ARRIVAL_FRAME_OFFSET,
                Frame::Departure => DEPARTURE_FRAME_OFFSET,
            }
    }

    /// Fills a frame.
    pub(crate) fn write_frame(self, frame: Frame, contents: &[u8; FRAME_LEN]) {
        let target = self.at::<[u8; FRAME_LEN]>(self.frame_address(frame) - self.0);
        // SAFETY: frames lie in the area, by the const assertions, and no reference to one is ever made.
        unsafe { target.write_volatile(*contents) };
    }

    /// A copy of a frame. Of use when the CPU does not use it: it has arrived, or is home.
    pub(crate) fn read_frame(self, frame: Frame) -> [u8; FRAME_LEN] {
        let source = self.at::<[u8; FRAME_LEN]>(self.frame_address(frame) - self.0);
        // SAFETY: as in `write_frame`; a CPU that still counts there changes single words.
        unsafe { source.read_volatile() }
    }

    /// Destroys everything but [`PerCpu`]: what a kernel that has been overwritten looks like to its CPU.
    ///
    /// # Safety
    /// The area's CPU is parked, or was never started.
    pub(crate) unsafe fn wipe(self) {
        let len = CPU_AREA_BYTES - GDT_OFFSET;
        // SAFETY: the area is prepared, so these bytes are its own; its CPU has left them for good.
        unsafe { self.at::<u8>(GDT_OFFSET).write_bytes(WIPE_BYTE, len as usize) };
    }

    /// Writes GDT, TSS and IDT.
    ///
    /// # Safety
    /// As [`wipe`](Self::wipe), or the calling CPU is the area's own and has not loaded them.
    pub(crate) unsafe fn write_tables(self) {
        let mut stack_tops = [0; Ist::ALL.len()];
        for (ist, top) in Ist::ALL.into_iter().zip(&mut stack_tops) {
            *top = self.ist_stack_top(ist);
        }
        // SAFETY: inside the area by the const assertions, and not in use: the caller's promise. As for the next two.
        unsafe { self.at::<[u64; 5]>(GDT_OFFSET).write(gdt(self.0 + TSS_OFFSET)) };
        // SAFETY: as above.
        unsafe { self.at::<[u8; TSS_BYTES]>(TSS_OFFSET).write(tss(stack_tops)) };
        // SAFETY: as above.
        unsafe { self.at::<[u128; IDT_ENTRIES]>(IDT_OFFSET).write(traps::idt()) };
    }

    /// Writes page tables that map what the executing CPU's do, and returns their root: the way to and from a lot.
    ///
    /// # Safety
    /// As [`wipe`](Self::wipe), or the calling CPU is the area's own and does not use them.
    pub(crate) unsafe fn write_transit_root(self) -> PhysAddr {
        let pml4: *const [u64; 512] = pml4().cast_const().cast();
        // SAFETY: the current tables are mapped at identity, as everything below 4 GiB.
        let mut links = unsafe { pml4.read() };
        let tables: *const [u64; 512] = core::ptr::with_exposed_provenance((links[0] & TABLE_ADDRESS) as usize);
        // SAFETY: every present entry refers to the one PDPT, by boot.s, `map_alias` or this function.
        let entries = unsafe { tables.read() };
        for link in links.iter_mut().filter(|link| **link != 0) {
            *link = phys(self.0 + TRANSIT_PDPT_OFFSET) | TABLE_LINK;
        }
        // SAFETY: inside the area by the const assertions, and not in use: the caller's promise. As for the next.
        unsafe { self.at::<[u64; 512]>(TRANSIT_PDPT_OFFSET).write(entries) };
        // SAFETY: as above.
        unsafe { self.at::<[u64; 512]>(TRANSIT_PML4_OFFSET).write(links) };
        let root = PhysAddr(phys(self.0 + TRANSIT_PML4_OFFSET));
        if levels::here() != Ok(PagingLevels::Five) {
            return root;
        }
        let mut pml5 = [0; 512];
        pml5[0] = root.0 | TABLE_LINK;
        // SAFETY: as above.
        unsafe { self.at::<[u64; 512]>(TRANSIT_PML5_OFFSET).write(pml5) };
        PhysAddr(phys(self.0 + TRANSIT_PML5_OFFSET))
    }

    /// Marks the TSS as busy, as a CPU that has loaded it leaves it.
    ///
    /// # Safety
    /// As [`wipe`](Self::wipe), after [`write_tables`](Self::write_tables).
    pub(crate) unsafe fn mark_tss_busy(self) {
        let access = self.at::<u8>(GDT_OFFSET + u64::from(TSS_SELECTOR) + ACCESS_BYTE);
        // SAFETY: a byte of the GDT, not in use: the caller's promise.
        let available = unsafe { access.read_volatile() };
        // SAFETY: as above.
        unsafe { access.write_volatile(available | TSS_BUSY) };
    }

    /// Makes the executing CPU use these tables, and lets machine checks in.
    ///
    /// # Safety
    /// The executing CPU runs on this area's stack, in 64-bit mode with the identity map.
    pub(crate) unsafe fn load_tables(self) {
        let gdtr = TableRegister { limit: GDT_BYTES as u16 - 1, base: self.gdt().0 };
        let idtr = TableRegister { limit: IDT_BYTES as u16 - 1, base: self.idt().0 };
        // A CPU that comes back finds its TSS marked busy by the last LTR, and LTR of a busy TSS is a #GP.
        // SAFETY: the descriptors are rewritten as they were but for that bit, which no CPU reads before the LTR below.
        unsafe { self.at::<[u64; 5]>(GDT_OFFSET).write_volatile(gdt(self.0 + TSS_OFFSET)) };
        // SAFETY: both tables are complete; CS, DS, ES and SS are reloaded from the new GDT before anything uses them.
        unsafe {
            asm!(
                "lgdt [{gdtr}]",
                "push {code}",
                "lea {scratch}, [rip + 2f]",
                "push {scratch}",
                "retfq",
                "2:",
                "mov ds, {data:e}",
                "mov es, {data:e}",
                "mov ss, {data:e}",
                "lidt [{idtr}]",
                "ltr {tss:x}",
                gdtr = in(reg) &raw const gdtr,
                idtr = in(reg) &raw const idtr,
                code = in(reg) u64::from(CODE_SELECTOR),
                data = in(reg) u32::from(DATA_SELECTOR),
                tss = in(reg) TSS_SELECTOR,
                scratch = out(reg) _,
            );
        }
        // SAFETY: every CPU with 64-bit mode has both; no page is global, so nothing is translated otherwise.
        unsafe { insn::set_cr4_bits(CR4_EXTRA.bits()) };
    }

    fn at<T>(self, offset: u64) -> *mut T {
        core::ptr::with_exposed_provenance_mut((self.0 + offset) as usize)
    }
}

/// The physical address of what a kernel of the image maps at `address`: every one maps the low 4 GiB at a multiple of
/// 512 GiB.
pub(crate) const fn phys(address: u64) -> u64 {
    address & (IDENTITY_MAP_END.0 - 1)
}

/// The PML4 that the executing CPU uses: its root, or what entry 0 of its root refers to if it uses five levels.
fn pml4() -> *mut u64 {
    let table = |link: u64| core::ptr::with_exposed_provenance_mut::<u64>((link & TABLE_ADDRESS) as usize);
    let root = table(insn::read_cr3());
    match levels::here() {
        // SAFETY: the current root is mapped at identity; no reference to it exists.
        Ok(PagingLevels::Five) => table(unsafe { root.read_volatile() }),
        _ => root,
    }
}

/// Maps the low 4 GiB once more, at entry `slot` of the executing CPU's PML4, and returns the offset from physical to
/// virtual addresses there: a kernel that lives somewhere else.
///
/// # Safety
/// The executing CPU is the boot CPU on its own root; `slot` is 1 to 255, the lower half.
pub(crate) unsafe fn map_alias(slot: u8) -> u64 {
    let pml4 = pml4();
    // SAFETY: the current tables are mapped at identity; no reference to them exists.
    let link = unsafe { pml4.read_volatile() };
    // SAFETY: an entry of the same table.
    let entry = unsafe { pml4.add(slot.into()) };
    // SAFETY: as above. From not present to present, which no TLB holds against (SDM vol. 3, 4.10.4.3).
    unsafe { entry.write_volatile(link) };
    u64::from(slot) << PML4_SHIFT
}

/// The operand of LGDT and LIDT.
#[repr(C, packed)]
struct TableRegister {
    limit: u16,
    base: u64,
}
