//! The assembler's input, and the way to its output.

use super::{BayLabels, OwnerLabels};
use crate::frame::offset as frame;
use crate::registers::control::{Cr4, Efer};
use crate::registers::{cpuid, msr};
use core::arch::global_asm;
use core::slice;
use park_core::Mechanism;
use park_core::lot::{Command, Doorbell, OwnerState, Phase, Stage, WaitFlags, bay, header, layout};

/// Wakeup, a command of the mailbox (ACPI 6.4, "Multiprocessor Wakeup Mailbox Structure").
const MAILBOX_WAKEUP: u32 = 1;
/// Test, a command of the mailbox of version 1 (ACPI 6.6).
const MAILBOX_TEST: u32 = 2;

/// What stays in CR4 of a CPU that an operating system gives back: what 64-bit mode and SSE need, machine checks, and VMXE,
/// which a CPU in VMX operation can't clear.
const CR4_RESET_KEEP: Cr4 =
    Cr4::PAE.union(Cr4::MCE).union(Cr4::OSFXSR).union(Cr4::OSXMMEXCPT).union(Cr4::LA57).union(Cr4::VMXE);

#[cfg(not(target_os = "uefi"))]
macro_rules! rodata {
    () => {
        ".section .rodata.park_bay,\"a\"\n"
    };
}
#[cfg(target_os = "uefi")]
macro_rules! rodata {
    () => {
        ".section .rdata$park_bay,\"dr\"\n"
    };
}

global_asm!(
    concat!(rodata!(), include_str!("bay.s"), include_str!("bay_handlers.s"), "\n.text\n"),
    CODE_OFFSET = const header::CODE_OFFSET,
    IDTR_ARRIVING = const header::IDTR_ARRIVING,
    IDTR_PARKED = const header::IDTR_PARKED,
    IDTR_LEAVING = const header::IDTR_LEAVING,
    ROOT4 = const header::ROOT4,
    ROOT5 = const header::ROOT5,
    DEPARTURE_ROOT4 = const header::DEPARTURE_ROOT4,
    DEPARTURE_ROOT5 = const header::DEPARTURE_ROOT5,
    BAY_MASK = const header::BAY_MASK,
    BAYS_START = const header::BAYS_START,
    BAYS_END = const header::BAYS_END,
    MAILBOX = const header::MAILBOX,
    DOORBELL = const bay::DOORBELL,
    ENTRY_RIP = const bay::ENTRY_RIP,
    MAILBOX_VECTOR = const bay::MAILBOX_VECTOR,
    ENTRY_RSP = const bay::ENTRY_RSP,
    ENTRY_CR3 = const bay::ENTRY_CR3,
    ENTRY_ARG = const bay::ENTRY_ARG,
    RELEASE = const bay::RELEASE,
    FAULT_CR2 = const bay::FAULT_CR2,
    MECHANISM = const bay::MECHANISM,
    WAIT_FLAGS = const bay::WAIT_FLAGS,
    IDENTITY = const bay::IDENTITY,
    MWAIT_HINT = const bay::MWAIT_HINT,
    STAGE = const bay::STAGE,
    EVENTS = const bay::EVENTS,
    MC_COUNT = const bay::MC_COUNT,
    LAPS = const bay::LAPS,
    MC_EPOCH = const bay::MC_EPOCH,
    MCG_STATUS = const bay::MCG_STATUS,
    FAULT_RIP = const bay::FAULT_RIP,
    FAULT = const bay::FAULT,
    FAULT_VECTOR = const bay::FAULT_VECTOR,
    MC_ROW = const bay::MC_ROW,
    FAULT_VALID = const bay::FAULT_VALID,
    GDT = const bay::GDT,
    GDT_LEN = const bay::GDT_LEN,
    CODE_SELECTOR = const bay::CODE_SELECTOR,
    TSS_SELECTOR = const bay::TSS_SELECTOR,
    FAULT_STACK_TOP = const bay::FAULT_STACK_TOP,
    MC_ROW_LIMIT = const bay::MC_ROW_LIMIT,
    ARRIVING = const Stage::Arriving as u8,
    WAITING = const Stage::Waiting as u8,
    LEAVING = const Stage::Leaving as u8,
    FAULTED = const Stage::Faulted as u8,
    LEAVING_BY_MAILBOX = const Stage::LeavingByMailbox as u8,
    QUIET = const Phase::Quiet as u8,
    RUNG = const Phase::Rung as u8,
    CLAIMED = const Phase::Claimed as u8,
    CONFIRM = const Command::Confirm as u8,
    HOLD = const Command::Hold as u8,
    FLUSH = const Command::Flush as u8,
    REPARK = const Command::Repark as u8,
    MWAIT = const Mechanism::Mwait as u8,
    CLGI = const Mechanism::Clgi as u8,
    FLAG_CLFLUSH = const WaitFlags::CLFLUSH.bits(),
    FLAG_MAILBOX = const WaitFlags::MAILBOX.bits(),
    FLAG_WBINVD = const WaitFlags::WBINVD.bits(),
    FLAG_MONITOR = const WaitFlags::MONITOR.bits(),
    SEQUENCE_SHIFT = const Doorbell::SEQUENCE_SHIFT,
    FRAME_GDTR = const frame::TEMPORARY_GDTR,
    FRAME_NMI = const frame::NMI_COUNT,
    FRAME_MC = const frame::MC_COUNT,
    EFER = const msr::EFER,
    EFER_SVME = const Efer::SVME.bits(),
    EFER_SVME_BIT = const Efer::SVME.bits().trailing_zeros(),
    MSR_MCG_STATUS = const msr::MCG_STATUS,
    MC_STACK_TOP = const bay::MC_STACK_TOP,
    MCIP = const msr::MCG_STATUS_MCIP,
    CPUID_MCA_BIT = const cpuid::MCA.bit,
    RIPV = const msr::MCG_STATUS_RIPV,
    EIPV = const msr::MCG_STATUS_EIPV,
    CR4_LA57 = const Cr4::LA57.bits(),
    MAILBOX_WAKEUP = const MAILBOX_WAKEUP,
    MAILBOX_TEST = const MAILBOX_TEST,
    OWNER = const bay::OWNER,
    RESERVED = const OwnerState::Reserved as u8,
    ROOT4_TABLE = const layout::ROOT4_OFFSET,
    ROOT5_TABLE = const layout::ROOT5_OFFSET,
    EFER_NXE = const Efer::NXE.bits(),
    CR4_MCE = const Cr4::MCE.bits(),
    CR4_RESET_KEEP = const CR4_RESET_KEEP.bits(),
);

global_asm!(
    concat!(".text\n", include_str!("owner.s")),
    FRAME_BAY = const frame::BAY,
    FRAME_ENTER = const frame::ENTER,
    FRAME_CR3 = const frame::CR3,
    FRAME_CR4_NO_FRED = const frame::CR4_NO_FRED,
    FRAME_CR4 = const frame::CR4,
    FRAME_CR0 = const frame::CR0,
    FRAME_FLAGS = const frame::FLAGS,
    FRAME_RIP = const frame::RIP,
    FRAME_RSP = const frame::RSP,
    FRAME_ARG = const frame::ARG,
    FRAME_CS = const frame::CS,
    FRAME_SS = const frame::SS,
    FRAME_TR = const frame::TR,
    FRAME_NMI = const frame::NMI_COUNT,
    FRAME_MC = const frame::MC_COUNT,
    FRAME_MCG_STATUS = const frame::MCG_STATUS,
    FRAME_FAULT_RIP = const frame::FAULT_RIP,
    FRAME_FAULT = const frame::FAULT,
    FRAME_FAULT_CR2 = const frame::FAULT_CR2,
    FRAME_IDTR = const frame::EARLY_IDTR,
    FRAME_GDTR = const frame::TEMPORARY_GDTR,
    FRAME_FINAL_GDTR = const frame::FINAL_GDTR,
    FRAME_FINAL_IDTR = const frame::FINAL_IDTR,
    FLAG_CET = const crate::frame::FLAG_CET,
    FLAG_FRED = const crate::frame::FLAG_FRED,
    FLAG_MCA = const crate::frame::FLAG_MCA,
    MSR_S_CET = const msr::S_CET,
    MSR_MCG_STATUS = const msr::MCG_STATUS,
    RIPV = const msr::MCG_STATUS_RIPV,
);

unsafe extern "C" {
    safe static park_bay_code_start: u8;
    safe static park_bay_code_end: u8;
    safe static park_bay_code_labels: BayLabels;
    safe static park_owner_text_start: u8;
    safe static park_owner_text_end: u8;
    safe static park_owner_text_labels: OwnerLabels;
}

pub(super) fn bay_code() -> &'static [u8] {
    between(&park_bay_code_start, &park_bay_code_end)
}

pub(super) fn bay_labels() -> BayLabels {
    park_bay_code_labels
}

pub(super) fn owner_text() -> &'static [u8] {
    between(&park_owner_text_start, &park_owner_text_end)
}

pub(super) fn owner_labels() -> OwnerLabels {
    park_owner_text_labels
}

/// The bytes from one label of this file's assembly to a later one in the same section.
fn between(start: &'static u8, end: &'static u8) -> &'static [u8] {
    let len = core::ptr::from_ref(end).addr() - core::ptr::from_ref(start).addr();
    // SAFETY: this private function is called above with the first and last label of one section of read-only
    // bytes, which the assembler emitted and the linker mapped as a whole, for ever.
    unsafe { slice::from_raw_parts(core::ptr::from_ref(start), len) }
}
