//! Interrupts and exceptions: NMI, #MC and one fixed vector are counted, everything else ends the image with a
//! report. The assembly is in `traps.s`.

use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, Ordering};

use park_x86::registers::msr;

use crate::cpu_tables::{IDT_ENTRIES, Ist, gate};
use crate::image::exit::{self, Verdict};
use crate::image::percpu::{self, PerCpu};
use crate::image::serial;
use crate::memory::CPU_AREA_BYTES;
use crate::platform::apic::{EOI_ADDRESS, EOI_MSR, X2APIC_WANTED};
use crate::report::Value;

/// The vector of fixed interrupts that the image sends itself.
pub(crate) const FIXED_VECTOR: u8 = 0xf0;
/// The spurious-interrupt vector; its low four bits are ones, as old local APICs want (SDM vol. 3, 10.9).
pub(crate) const SPURIOUS_VECTOR: u8 = 0xff;
/// The first vector that is no exception's (SDM vol. 3, table 6-1).
const FIRST_INTERRUPT: u8 = 32;
/// Bytes that FXSAVE writes (SDM vol. 1, 10.5.1).
const FXSAVE_BYTES: usize = 512;
/// Bytes of one stub in `traps.s`.
const STUB_BYTES: u64 = 16;

global_asm!(
    include_str!("traps.s"),
    AREA_BYTES = const CPU_AREA_BYTES,
    NMI_COUNT = const offset_of!(PerCpu, nmi_count),
    NMI_CALL = const offset_of!(PerCpu, nmi_call),
    FXSAVE_BYTES = const FXSAVE_BYTES,
    MC_COUNT = const offset_of!(PerCpu, mc_count),
    MC_STATUS = const offset_of!(PerCpu, mc_status),
    FIXED_COUNT = const offset_of!(PerCpu, fixed_count),
    STRAY_COUNT = const offset_of!(PerCpu, stray_count),
    MCG_STATUS = const msr::MCG_STATUS,
    RIPV = const msr::MCG_STATUS_RIPV,
    EOI_ADDRESS = const EOI_ADDRESS,
    EOI_MSR = const EOI_MSR,
    X2APIC_WANTED = sym X2APIC_WANTED,
    fatal = sym fatal,
    options(att_syntax)
);

unsafe extern "C" {
    safe static metal_trap_stubs: u8;
    fn metal_nmi();
    fn metal_machine_check();
    fn metal_fixed();
    fn metal_stray();
    fn metal_spurious();
}

/// Whether interrupts that nobody of the image sends are taken.
static STRAYS: AtomicBool = AtomicBool::new(false);

/// From now on IDTs that are written take every interrupt, and count those that are nobody's. A local APIC keeps what it is sent
/// while its CPU is parked, and a kernel sends to all but itself without looking who they are: Linux stops its CPUs so.
pub(crate) fn take_strays() {
    STRAYS.store(true, Ordering::Relaxed);
}

/// The image's IDT. It is the same for all CPUs; each has its own copy.
pub(crate) fn idt() -> [u128; IDT_ENTRIES] {
    let stubs = (&raw const metal_trap_stubs).addr() as u64;
    let mut gates = [0; IDT_ENTRIES];
    for (vector, entry) in (0..=u8::MAX).zip(&mut gates) {
        let handler = match vector {
            2 => metal_nmi as *const () as u64,
            18 => metal_machine_check as *const () as u64,
            FIXED_VECTOR => metal_fixed as *const () as u64,
            SPURIOUS_VECTOR => metal_spurious as *const () as u64,
            FIRST_INTERRUPT.. if STRAYS.load(Ordering::Relaxed) => metal_stray as *const () as u64,
            _ => stubs + u64::from(vector) * STUB_BYTES,
        };
        *entry = gate(handler, Ist::of_vector(vector));
    }
    gates
}

/// What a stub leaves on the stack (SDM vol. 3, figure 6-9, with the vector below).
#[repr(C)]
struct TrapFrame {
    vector: u64,
    error_code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// Reports an exception that nobody expects and ends the image.
extern "C" fn fatal(frame: &TrapFrame, cr2: u64) -> ! {
    serial::emit(
        "fault",
        &[
            ("cpu", Value::Number(u64::from(percpu::current().index))),
            ("vector", Value::Number(frame.vector)),
            ("error_code", Value::Hex(frame.error_code)),
            ("rip", Value::Hex(frame.rip)),
            ("cs", Value::Hex(frame.cs)),
            ("rflags", Value::Hex(frame.rflags)),
            ("rsp", Value::Hex(frame.rsp)),
            ("ss", Value::Hex(frame.ss)),
            ("cr2", Value::Hex(cr2)),
        ],
    );
    exit::leave(Verdict::Broken)
}
