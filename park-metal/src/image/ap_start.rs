//! Starting a CPU: INIT, STARTUP, STARTUP (SDM vol. 3, 8.4.4.1), through the trampoline of `ap_start.s`.

use core::arch::global_asm;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use park_core::ApicId;

use crate::cpu_tables::{CODE_SELECTOR, CODE64, DATA, DATA_SELECTOR};
use crate::image::apic::{self, ApicError, Ipi};
use crate::image::boot::{CR0_BOOT_CLEAR, CR0_BOOT_SET, CR4_BOOT, EFER_BOOT};
use crate::image::clock::{ClockError, TscClock};
use crate::image::insn;
use crate::memory::{PAGE_BYTES, TRAMPOLINE};

global_asm!(
    include_str!("ap_start.s"),
    TRAMPOLINE = const TRAMPOLINE.start.0,
    CODE64 = const CODE64,
    DATA = const DATA,
    CODE_SELECTOR = const CODE_SELECTOR,
    DATA_SELECTOR = const DATA_SELECTOR,
    CR4_BOOT = const CR4_BOOT,
    EFER_BOOT = const EFER_BOOT,
    CR0_BOOT_SET = const CR0_BOOT_SET,
    CR0_BOOT_CLEAR = const CR0_BOOT_CLEAR,
    options(att_syntax)
);

unsafe extern "C" {
    safe static metal_ap_begin: u8;
    safe static metal_ap_parameters: u8;
    safe static metal_ap_end: u8;
}

/// From INIT to the first STARTUP (SDM vol. 3, 8.4.4.1).
const INIT_US: u64 = 10_000;
/// From the first STARTUP to the second, if the CPU has not come (same place).
const STARTUP_US: u64 = 200;

/// What the trampoline reads; the layout is that of `ap_start.s`.
#[repr(C)]
struct Parameters {
    cr3: u64,
    entry: u64,
    stack: u64,
    argument: u64,
    taken: AtomicU32,
    _padding: u32,
}

/// Why a CPU was not started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StartError {
    /// An IPI could not be sent.
    Apic(ApicError),
    /// The CPU did not come.
    Absent(ClockError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apic(error) => write!(f, "{error}"),
            Self::Absent(error) => write!(f, "the CPU was not started: {error}"),
        }
    }
}

impl core::error::Error for StartError {}

/// How [`start_ap`] starts a CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// Where it enters, in 64-bit mode with the caller's page tables and a GDT it must replace.
    pub(crate) entry: extern "C" fn(u64) -> !,
    /// Its RSP, a multiple of 16.
    pub(crate) stack_top: u64,
    /// Its argument.
    pub(crate) argument: u64,
    /// How long to wait for it.
    pub(crate) timeout_us: u64,
}

/// Starts the CPU with this APIC id and returns when it has left the trampoline.
///
/// # Safety
/// The trampoline page must be usable memory that nobody else uses, `stack_top` the top of a stack of that CPU's own,
/// and no other CPU may call this at the same time.
pub(crate) unsafe fn start_ap(clock: TscClock, apic_id: ApicId, start: Start) -> Result<(), StartError> {
    let begin = &raw const metal_ap_begin;
    let len = (&raw const metal_ap_end).addr() - begin.addr();
    let offset = (&raw const metal_ap_parameters).addr() - begin.addr();
    debug_assert!(len as u64 <= PAGE_BYTES);
    let page: *mut u8 = core::ptr::with_exposed_provenance_mut(TRAMPOLINE.start.0 as usize);
    // SAFETY: `len` bytes lie between the two labels, and the page is the caller's promise.
    unsafe { begin.copy_to_nonoverlapping(page, len) };
    // SAFETY: the parameters lie inside what was copied.
    let parameters = unsafe { page.add(offset) }.cast::<Parameters>();
    let filled = Parameters {
        cr3: insn::read_cr3(),
        entry: start.entry as *const () as u64,
        stack: start.stack_top,
        argument: start.argument,
        taken: AtomicU32::new(0),
        _padding: 0,
    };
    // SAFETY: inside the page, and aligned to 8 by `ap_start.s`.
    unsafe { parameters.write(filled) };
    // SAFETY: initialised above; from here on the page changes only through this atomic.
    let taken = unsafe { &(*parameters).taken };

    let send = |ipi| apic::send(clock, apic_id, ipi).map_err(StartError::Apic);
    let page_number = (TRAMPOLINE.start.0 / PAGE_BYTES) as u8;
    let came = || taken.load(Ordering::Acquire) != 0;
    send(Ipi::Init)?;
    clock.pass_us(INIT_US);
    send(Ipi::Startup(page_number))?;
    if clock.wait(STARTUP_US, "the first STARTUP", came).is_ok() {
        return Ok(());
    }
    send(Ipi::Startup(page_number))?;
    clock.wait(start.timeout_us, "a started CPU", came).map_err(StartError::Absent)
}
