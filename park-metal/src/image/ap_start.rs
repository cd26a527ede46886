//! Starting a CPU: INIT, STARTUP, STARTUP (SDM vol. 3, 8.4.4.1), through park-x86's trampoline.

use core::arch::global_asm;
use core::ptr::NonNull;

use park_core::{ApicId, Cpu, Entry, IpiSender, PhysAddr, Register};
use park_x86::registers::control::{Cr4, Efer};
use park_x86::startup::{ClaimState, PAGE_LEN, StartupPage, claim_state};

use crate::image::boot::{CR0_EXTRA, CR4_SSE};
use crate::image::failure::Failure;
use crate::image::insn;
use crate::image::world;
use crate::memory::{PAGE_BYTES, Region};
use crate::platform::apic::this_cpu;
use crate::platform::clock::TscClock;

global_asm!(
    include_str!("ap_start.s"),
    CR4_SSE = const CR4_SSE.bits(),
    CR0_EXTRA = const CR0_EXTRA.bits(),
    main = sym world::ap_main,
    options(att_syntax)
);

unsafe extern "C" {
    fn metal_ap_entry();
}

/// From INIT to the first STARTUP (SDM vol. 3, 8.4.4.1).
pub(crate) const INIT_US: u64 = 10_000;
/// From the first STARTUP to the second, if the CPU has not come (same place).
pub(crate) const STARTUP_US: u64 = 200;

const _: () = assert!(PAGE_LEN as u64 == PAGE_BYTES);

/// The entry of a started CPU: [`world::ap_main`] with `argument`, on the stack whose top is `stack_top`.
pub(crate) fn entry(stack_top: u64, argument: u64) -> Entry {
    let rip = metal_ap_entry as *const () as u64;
    Entry { rip, rsp: stack_top, cr3: PhysAddr(insn::read_cr3()), arg: argument }
}

/// Fills the start-up page, and returns the vector that names it.
///
/// # Safety
/// The region is a page of usable memory that nobody else uses; no CPU is in it.
pub(crate) unsafe fn write_page(
    trampoline: Region,
    entry: Entry,
    bay_stage: Option<PhysAddr>,
) -> Result<u8, park_core::Error> {
    let page: *mut [u8; PAGE_LEN] = core::ptr::with_exposed_provenance_mut(trampoline.start.0 as usize);
    // As deep as this CPU's page tables, which the entry names.
    let depth = Cr4::from_bits_retain(this_cpu().read(Register::Cr4)?) & Cr4::LA57;
    let (cr4, efer) = (Cr4::PAE | Cr4::MCE | depth, Efer::LME | Efer::NXE);
    let contents = StartupPage { page: trampoline.start, entry, cr4, efer, bay_stage };
    let mut bytes = [0; PAGE_LEN];
    let vector = contents.write(&mut bytes)?;
    // SAFETY: the caller's promise.
    unsafe { page.write_volatile(bytes) };
    Ok(vector)
}

/// Starts the CPU with this APIC id in [`world::ap_main`] and returns when it has left the trampoline.
///
/// # Safety
/// 1. The trampoline region is a page of usable memory that nobody else uses, as `memory::plan` finds it.
/// 2. `stack_top`, a multiple of 16, is the top of that CPU's own stack, in its prepared area.
/// 3. No other CPU calls this at the same time, and a CPU that did not come by an earlier call has been sent an INIT.
pub(crate) unsafe fn start_ap(
    apic: &mut impl IpiSender,
    clock: TscClock,
    trampoline: Region,
    apic_id: ApicId,
    stack_top: u64,
    timeout_us: u64,
) -> Result<(), Failure> {
    let page: *mut [u8; PAGE_LEN] = core::ptr::with_exposed_provenance_mut(trampoline.start.0 as usize);
    // SAFETY: (1); and by (3) every CPU that was sent here has left.
    let vector = unsafe { write_page(trampoline, entry(stack_top, 0), None) }?;
    // SAFETY: the region is not at address 0.
    let page = unsafe { NonNull::new_unchecked(page.cast::<u8>()) };
    // SAFETY: the page is mapped at identity; after the write above only the started CPU writes to it.
    let came = || unsafe { claim_state(page) } == Some(ClaimState::Read);

    apic.send_init(apic_id)?;
    clock.pass_us(INIT_US);
    apic.send_startup(apic_id, vector)?;
    if clock.wait(STARTUP_US, "the first STARTUP", came).is_ok() {
        return Ok(());
    }
    apic.send_startup(apic_id, vector)?;
    Ok(clock.wait(timeout_us, "a started CPU", came)?)
}
