//! What each CPU has for itself: counters, a job word, tables and stacks, in one aligned area.
//!
//! An area is [`CPU_AREA_BYTES`] long and as much aligned, and every stack of the image lies in its CPU's area. So
//! RSP, masked, is the area: handlers need no GS base, which a parked CPU may have lost.
//!
//! | offset | what |
//! |---|---|
//! | 0 | [`PerCpu`] |
//! | 0x1000 | GDT; at 0x1080 the TSS |
//! | 0x2000 | IDT |
//! | 0x4000 | stacks for NMI, #MC, #DF, others: 8 KiB each |
//! | 0xc000 | the CPU's own stack, 16 KiB |

use core::arch::asm;
use core::fmt;
use core::mem::size_of;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use park_core::{ApicId, PhysAddr};

use crate::cpu_tables::{CODE_SELECTOR, DATA_SELECTOR, IDT_BYTES, IDT_ENTRIES, Ist, TSS_BYTES, TSS_SELECTOR, gdt, tss};
use crate::image::insn;
use crate::image::traps;
use crate::memory::CPU_AREA_BYTES;

const GDT_OFFSET: u64 = 0x1000;
const TSS_OFFSET: u64 = 0x1080;
const IDT_OFFSET: u64 = 0x2000;
const IST_STACKS_OFFSET: u64 = 0x4000;
const IST_STACK_BYTES: u64 = 0x2000;
/// Bytes left free at the very top, so that an empty stack's RSP still lies in the area.
const STACK_TOP_GAP: u64 = 16;
/// CR4.MCE (SDM vol. 3, 2.5): without it a #MC is a shutdown.
const CR4_MCE: u64 = 1 << 6;

const _: () = assert!(size_of::<PerCpu>() as u64 <= GDT_OFFSET);
const _: () = assert!(IDT_OFFSET + IDT_BYTES as u64 <= IST_STACKS_OFFSET);
const _: () = assert!(IST_STACKS_OFFSET + 4 * IST_STACK_BYTES < CPU_AREA_BYTES);

/// What a CPU is told to run. It runs with IF = 0 on the CPU's own stack and may not return only if it parks.
pub(crate) type Job = extern "C" fn(u64);

/// The first bytes of a CPU's area. The counters are written by the CPU's own handlers, in `traps.s`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct PerCpu {
    /// NMIs handled.
    pub(crate) nmi_count: AtomicU64,
    /// Machine checks handled.
    pub(crate) mc_count: AtomicU64,
    /// MCG_STATUS of the last machine check.
    pub(crate) mc_status: AtomicU64,
    /// Fixed interrupts handled.
    pub(crate) fixed_count: AtomicU64,
    /// Times that the CPU has come to its job loop: 1 when it has been started, one more for every return.
    pub(crate) arrivals: AtomicU64,
    /// Jobs that returned.
    pub(crate) jobs_done: AtomicU64,
    /// The job word: null when idle.
    job: AtomicPtr<()>,
    job_argument: AtomicU64,
    /// The CPU's number in the image; 0 is the boot CPU.
    pub(crate) index: u32,
    /// Its APIC id.
    pub(crate) apic_id: ApicId,
}

/// The CPU has a job already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct JobBusy {
    index: u32,
}

impl fmt::Display for JobBusy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {} has not finished its last job", self.index)
    }
}

impl core::error::Error for JobBusy {}

impl PerCpu {
    /// Address of the area.
    fn area(&self) -> u64 {
        core::ptr::from_ref(self).expose_provenance() as u64
    }

    /// Where RSP starts on the CPU's own stack: a multiple of 16.
    pub(crate) fn stack_top(&self) -> u64 {
        self.area() + CPU_AREA_BYTES - STACK_TOP_GAP
    }

    /// Tells the CPU to run `job(argument)`. One CPU alone gives jobs.
    pub(crate) fn give(&self, job: Job, argument: u64) -> Result<(), JobBusy> {
        if !self.is_idle() {
            return Err(JobBusy { index: self.index });
        }
        self.job_argument.store(argument, Ordering::Relaxed);
        // Release: the argument is there before the job.
        self.job.store(job as *mut (), Ordering::Release);
        Ok(())
    }

    /// True if the CPU has no job. Acquire: what the last one wrote is visible then.
    pub(crate) fn is_idle(&self) -> bool {
        self.job.load(Ordering::Acquire).is_null()
    }

    /// The CPU's home: waits for jobs and runs them, for ever.
    pub(crate) fn job_loop(&self) -> ! {
        self.arrivals.fetch_add(1, Ordering::Release);
        loop {
            let job = self.job.load(Ordering::Acquire);
            if job.is_null() {
                core::hint::spin_loop();
                continue;
            }
            // SAFETY: the job word holds null or what `give` made from a `Job`.
            let job = unsafe { core::mem::transmute::<*mut (), Job>(job) };
            job(self.job_argument.load(Ordering::Relaxed));
            self.jobs_done.fetch_add(1, Ordering::Relaxed);
            self.job.store(core::ptr::null_mut(), Ordering::Release);
        }
    }
}

/// The CPU that executes this.
pub(crate) fn current() -> &'static PerCpu {
    let rsp: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) rsp, options(nomem, nostack, preserves_flags)) }
    let area = rsp & !(CPU_AREA_BYTES - 1);
    // SAFETY: every stack of the image lies in an area that `prepare` has initialised, and areas live for ever.
    unsafe { &*core::ptr::with_exposed_provenance(area as usize) }
}

/// Builds a CPU's area and returns what lies at its beginning.
///
/// # Safety
/// The [`CPU_AREA_BYTES`] bytes at `area` must be identity-mapped, aligned to [`CPU_AREA_BYTES`], and nobody else's
/// for ever; a stack of the calling CPU may lie in the area's stacks, but no reference into its first 0x4000 bytes.
pub(crate) unsafe fn prepare(area: PhysAddr, index: u32, apic_id: ApicId) -> &'static PerCpu {
    let mut stack_tops = [0; Ist::ALL.len()];
    for (position, top) in (1..).zip(&mut stack_tops) {
        *top = area.0 + IST_STACKS_OFFSET + position * IST_STACK_BYTES;
    }
    let percpu = PerCpu {
        nmi_count: AtomicU64::new(0),
        mc_count: AtomicU64::new(0),
        mc_status: AtomicU64::new(0),
        fixed_count: AtomicU64::new(0),
        arrivals: AtomicU64::new(0),
        jobs_done: AtomicU64::new(0),
        job: AtomicPtr::new(core::ptr::null_mut()),
        job_argument: AtomicU64::new(0),
        index,
        apic_id,
    };
    // SAFETY: inside the area by the const assertions above; the caller vouches for the area.
    unsafe { at::<[u64; 5]>(area, GDT_OFFSET).write(gdt(area.0 + TSS_OFFSET)) };
    // SAFETY: as above; 0x1080 + 104 is below 0x2000.
    unsafe { at::<[u8; TSS_BYTES]>(area, TSS_OFFSET).write(tss(stack_tops)) };
    // SAFETY: as above.
    unsafe { at::<[u128; IDT_ENTRIES]>(area, IDT_OFFSET).write(traps::idt()) };
    let first = at::<PerCpu>(area, 0);
    // SAFETY: as above.
    unsafe { first.write(percpu) };
    // SAFETY: just initialised, and never written again but through its atomics.
    unsafe { &*first }
}

fn at<T>(area: PhysAddr, offset: u64) -> *mut T {
    core::ptr::with_exposed_provenance_mut((area.0 + offset) as usize)
}

/// The operand of LGDT and LIDT.
#[repr(C, packed)]
struct TableRegister {
    limit: u16,
    base: u64,
}

/// Makes the executing CPU use its own tables, and lets machine checks in.
///
/// # Safety
/// The executing CPU must run on this area's stack, in 64-bit mode with the identity map.
pub(crate) unsafe fn load_tables(percpu: &'static PerCpu) {
    let gdt_address = percpu.area() + GDT_OFFSET;
    let gdtr = TableRegister { limit: size_of::<[u64; 5]>() as u16 - 1, base: gdt_address };
    let idtr = TableRegister { limit: IDT_BYTES as u16 - 1, base: percpu.area() + IDT_OFFSET };
    // A CPU that comes back finds its TSS marked busy by the last LTR, and LTR of a busy TSS is a #GP.
    // SAFETY: the area is this CPU's alone, and the descriptor is not in use while GDTR is about to be loaded.
    unsafe { at::<[u64; 5]>(PhysAddr(gdt_address), 0).write_volatile(gdt(percpu.area() + TSS_OFFSET)) };
    // SAFETY: both tables are complete; code and data selectors mean the same in the old and the new GDT, and CS is
    // reloaded by the far return all the same.
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
    // SAFETY: every CPU with 64-bit mode has CR4.MCE, and it does not concern translation.
    unsafe { insn::set_cr4_bits(CR4_MCE) };
}
