//! Steps in Rust: what a register does that was left as the owner had it.

use super::{Found, Harm, Stage, Step};
use crate::machine::{EventKind, HostReg, Special, Vendor};
use crate::world::{STARTUP_PAGE, WorldError};
use park_core::Mechanism::{Hlt, Mwait};
use park_core::lot::{bay, header};
use park_x86::registers::control::{Cr4, Efer, Rflags};
use park_x86::registers::msr;

pub(super) const ALL: &[Harm] = &[
    Harm::new("interrupts-off", Vendor::Intel, Hlt, interrupts_on, Stage::wake).during(interrupt_while_sanitising),
    Harm::new("end-in-service", Vendor::Intel, Hlt, in_service, next_owner_is_interrupted),
    Harm::new("apic-soft-disable", Vendor::Intel, Hlt, |_| {}, interrupt_stays_behind),
    Harm::new("breakpoints-off", Vendor::Intel, Hlt, breakpoint_on_the_wait, Stage::wake),
    Harm::new("breakpoints-off", Vendor::Amd, Hlt, breakpoint_on_the_start, another_kernel_takes_it).variant("init"),
    Harm::new("debugctl-off", Vendor::Intel, Hlt, branch_trace_store, tracing_spoils_the_bay),
    Harm::new("machine-checks-on", Vendor::Intel, Hlt, machine_checks_off, Stage::wake).at_owner_text(machine_check),
    Harm::new("vmx-off", Vendor::Intel, Hlt, vmx_root, another_kernel_takes_it),
    Harm::new("processor-trace-off", Vendor::Intel, Hlt, processor_trace, trace_flush),
    Harm::new("pebs-off", Vendor::Intel, Hlt, precise_sampling, tracing_spoils_the_bay),
    Harm::new("monitor-on", Vendor::Intel, Mwait, monitor_off_intel, Stage::wake),
    Harm::new("init-redirection-off", Vendor::Amd, Hlt, init_redirected, another_kernel_takes_it),
    Harm::new("stgi", Vendor::Amd, Hlt, gif_off, Stage::wake),
    Harm::new("monitor-allowed", Vendor::Amd, Mwait, monitor_off_amd, Stage::wake),
];

/// Vector of maskable interrupts here.
const VECTOR: u8 = 0x40;
/// A vector of a higher class that is in service.
const IN_SERVICE: u8 = 0xe1;
/// When an interrupt comes: after RFLAGS.IF is cleared, before the local APIC is.
const INTERRUPT_AT: u64 = 24;
/// Where in the kernel trace packets go.
const TRACE_OFFSET: u64 = 0x30_0000;
/// IA32_DEBUGCTL: TR and BTS (Intel SDM vol. 3, "IA32_DEBUGCTL MSR").
const BRANCH_TRACE_STORE: u64 = 1 << 6 | 1 << 7;
/// Offsets of the indices in the DS save area (Intel SDM vol. 3, "Debug Store (DS) Mechanism").
const BTS_INDEX: u64 = 0x08;
const PEBS_INDEX: u64 = 0x28;
/// Offset of IST 1 in a TSS (Intel SDM vol. 3, "TSS in 64-bit Mode").
const TSS_IST1: u64 = 0x24;
/// DR7: breakpoint 0, local and global, on execution; bit 10 is 1.
const EXECUTE_0: u64 = 0x403;
/// IA32_RTIT_OUTPUT_BASE (Intel SDM vol. 4).
const RTIT_OUTPUT_BASE: u32 = 0x560;

fn interrupts_on(stage: &mut Stage) {
    stage.world.machine.cpu_mut(stage.cpu).rflags |= Rflags::IF.bits();
}

fn interrupt_while_sanitising(stage: &mut Stage, taken: u64) {
    if taken == INTERRUPT_AT {
        stage.inject(EventKind::Fixed(VECTOR));
    }
}

fn in_service(stage: &mut Stage) {
    let apic = &mut stage.world.machine.cpu_mut(stage.cpu).apic;
    apic.isr[usize::from(IN_SERVICE / 64)] |= 1 << (IN_SERVICE % 64);
}

/// The kernel that wakes the CPU switches its local APIC on and expects an interrupt.
fn next_owner_is_interrupted(stage: &mut Stage) -> Result<Found, WorldError> {
    if let Some(found) = stage.wake()? {
        return Ok(Some(found));
    }
    let before = stage.world.machine.cpu(stage.cpu).taken.intr;
    stage.world.machine.enable_apic(stage.cpu);
    interrupts_on(stage);
    stage.inject(EventKind::Fixed(VECTOR));
    stage.world.run(1000)?;
    let came = stage.world.machine.cpu(stage.cpu).taken.intr != before;
    Ok((!came).then(|| "the next owner's interrupt never comes".to_owned()))
}

fn interrupt_stays_behind(stage: &mut Stage) -> Result<Found, WorldError> {
    if let Some(found) = stage.disturb(EventKind::Fixed(VECTOR))? {
        return Ok(Some(found));
    }
    if let Some(found) = stage.wake()? {
        return Ok(Some(found));
    }
    let waits = stage.world.machine.cpu(stage.cpu).apic.irr != [0; 4];
    Ok(waits.then(|| "an interrupt of the parked time waits for the next owner".to_owned()))
}

fn breakpoint_on_the_wait(stage: &mut Stage) {
    let Ok(lot) = stage.world.lot() else { return };
    let wait = lot.range.start + header::CODE_OFFSET + u64::from(park_x86::code::bay_labels().wait);
    stage.set(HostReg::Dr(0), wait);
    stage.set(HostReg::Dr(7), EXECUTE_0);
}

/// On AMD an INIT leaves the debug registers, and the first instruction behind a STARTUP is in real mode, without handlers.
fn breakpoint_on_the_start(stage: &mut Stage) {
    stage.set(HostReg::Dr(0), STARTUP_PAGE);
    stage.set(HostReg::Dr(7), EXECUTE_0);
}

/// A DS area at a linear address of the owner's that means the bay's TSS in the lot: what IST 1 holds looks like an
/// index.
fn debug_store_over_the_bay(stage: &mut Stage, index: u64) {
    let Ok(bay_phys) = stage.bay_phys() else { return };
    stage.set(HostReg::Msr(msr::DS_AREA), bay_phys + bay::TSS + TSS_IST1 - index);
}

fn branch_trace_store(stage: &mut Stage) {
    debug_store_over_the_bay(stage, BTS_INDEX);
    stage.set(HostReg::Msr(msr::DEBUGCTL), BRANCH_TRACE_STORE);
}

fn precise_sampling(stage: &mut Stage) {
    debug_store_over_the_bay(stage, PEBS_INDEX);
    stage.set(HostReg::Msr(msr::PEBS_ENABLE), 1);
}

fn tracing_spoils_the_bay(stage: &mut Stage) -> Result<Found, WorldError> {
    let at = stage.bay_phys()? + bay::TSS;
    let mut before = [0; bay::TSS_LEN as usize];
    stage.world.machine.read_phys(at, &mut before);
    if let Some(found) = stage.disturb(EventKind::TraceFlush)? {
        return Ok(Some(found));
    }
    let mut after = [0; bay::TSS_LEN as usize];
    stage.world.machine.read_phys(at, &mut after);
    if before != after {
        return Ok(Some("tracing hardware wrote over the bay's TSS".to_owned()));
    }
    stage.wake()
}

fn machine_checks_off(stage: &mut Stage) {
    stage.change(HostReg::Cr4, |cr4| cr4 & !Cr4::MCE.bits());
}

fn machine_check(stage: &mut Stage, _: Step) -> Result<(), WorldError> {
    stage.inject(EventKind::MachineCheck);
    Ok(())
}

fn vmx_root(stage: &mut Stage) {
    let _ = stage.world.enter_vmx_root(stage.cpu);
}

fn another_kernel_takes_it(stage: &mut Stage) -> Result<Found, WorldError> {
    stage.next_kernel()?;
    let came = stage.world.init_sipi_sipi(stage.boss, stage.cpu)?;
    Ok((!came).then(|| "another kernel can't take the CPU".to_owned()))
}

fn processor_trace(stage: &mut Stage) {
    let buffer = stage.world.kernel.range.start + TRACE_OFFSET;
    stage.set(HostReg::Msr(RTIT_OUTPUT_BASE), buffer);
    stage.set(HostReg::Msr(msr::RTIT_CTL), msr::RTIT_CTL_TRACE_EN);
}

fn trace_flush(stage: &mut Stage) -> Result<Found, WorldError> {
    stage.next_kernel()?;
    stage.disturb(EventKind::TraceFlush)
}

fn monitor_off_intel(stage: &mut Stage) {
    stage.change(HostReg::Msr(msr::MISC_ENABLE), |value| value & !msr::MISC_ENABLE_MONITOR_FSM);
}

fn monitor_off_amd(stage: &mut Stage) {
    stage.change(HostReg::Msr(msr::AMD_HWCR), |value| value | msr::AMD_HWCR_MONITOR_DISABLE);
}

fn init_redirected(stage: &mut Stage) {
    stage.change(HostReg::Msr(msr::AMD_VM_CR), |value| value | msr::AMD_VM_CR_R_INIT);
}

fn gif_off(stage: &mut Stage) {
    stage.change(HostReg::Msr(msr::EFER), |efer| efer | Efer::SVME.bits());
    let _ = stage.world.machine.exec_special(stage.cpu, Special::Clgi);
}
