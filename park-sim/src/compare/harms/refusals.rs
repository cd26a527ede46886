//! Refusals: what happens to a CPU that should have been refused.

use super::{Found, Harm, Stage};
use crate::machine::{CpuidRegs, EventKind, Gpr, HostReg, MachineConfig, Seg, Vendor};
use crate::world::{DEFAULT_LOT, WorldError};
use park_core::Mechanism::{Clgi, Hlt};
use park_x86::frame::CODE64_DESCRIPTOR;
use park_x86::registers::control::{Efer, SELECTOR_RPL, SELECTOR_TI};
use park_x86::registers::msr;

pub(super) const ALL: &[Harm] = &[
    Harm::new("refuse-not-supervisor", Vendor::Intel, Hlt, user_code, Stage::wake),
    Harm::new("refuse-nxe-off", Vendor::Intel, Hlt, no_execute_off, Stage::wake),
    Harm::new("refuse-ldt-code", Vendor::Intel, Hlt, code_in_ldt, Stage::wake).during(nmi_before_every_step),
    Harm::new("refuse-large-selector", Vendor::Intel, Hlt, large_selector, Stage::wake).during(nmi_before_every_step),
    Harm::new("refuse-bootstrap-processor", Vendor::Amd, Clgi, |_| {}, init_then_wake).on_bootstrap(),
    Harm::new("refuse-kvm-clock-old", Vendor::Intel, Hlt, |stage| share(stage, msr::KVM_SYSTEM_TIME_OLD), host_writes)
        .shaped(kvm),
    Harm::new("refuse-kvm-clock", Vendor::Intel, Hlt, |stage| share(stage, msr::KVM_SYSTEM_TIME), host_writes)
        .shaped(kvm),
    Harm::new("refuse-kvm-async-pf", Vendor::Intel, Hlt, |stage| share(stage, msr::KVM_ASYNC_PF), host_writes)
        .shaped(kvm),
    Harm::new("refuse-kvm-steal-time", Vendor::Intel, Hlt, |stage| share(stage, msr::KVM_STEAL_TIME), host_writes)
        .shaped(kvm),
    Harm::new("refuse-kvm-pv-eoi", Vendor::Intel, Hlt, |stage| share(stage, msr::KVM_PV_EOI), host_writes).shaped(kvm),
    Harm::new("refuse-hyperv-messages", Vendor::Intel, Hlt, |stage| share(stage, msr::HV_SIMP), host_writes)
        .shaped(hyper_v),
    Harm::new("refuse-hyperv-events", Vendor::Intel, Hlt, |stage| share(stage, msr::HV_SIEFP), host_writes)
        .shaped(hyper_v),
    Harm::new("refuse-hyperv-vp-assist", Vendor::Intel, Hlt, |stage| share(stage, msr::HV_VP_ASSIST), host_writes)
        .shaped(hyper_v),
    Harm::new("refuse-svm-disabled", Vendor::Amd, Clgi, svm_disabled, Stage::wake),
];

/// Where in the kernel the page lies that a hypervisor writes to.
const SHARED_OFFSET: u64 = 0x30_0000;
/// Offset of the kernel's GDT from the base of its memory, as far as a second view of it is needed here.
const VIEW_OF_GDT: u64 = 0x2000;
/// A selector that the kernel's GDT has room for, and the temporary one has not.
const LARGE_SELECTOR: u16 = 0x200;
/// A present LDT (Intel SDM vol. 3, "Code- and Data-Segment Descriptor Types").
const LDT_ATTR: u16 = 0x82;

/// A process that has linked the library.
fn user_code(stage: &mut Stage) {
    stage.world.machine.cpu_mut(stage.cpu).segs[Seg::Cs as usize].selector |= SELECTOR_RPL as u16;
}

fn no_execute_off(stage: &mut Stage) {
    stage.change(HostReg::Msr(msr::EFER), |efer| efer & !Efer::NXE.bits());
}

/// CS through an LDT that the kernel's root maps and the transit root does not: nobody promised that it would.
fn code_in_ldt(stage: &mut Stage) {
    stage.shadow_the_lot(0);
    let base = DEFAULT_LOT.0 + VIEW_OF_GDT;
    let cpu = stage.world.machine.cpu_mut(stage.cpu);
    cpu.ldtr = crate::machine::Segment { selector: 0x38, base, limit: 0xfff, attr: LDT_ATTR };
    cpu.segs[Seg::Cs as usize].selector |= SELECTOR_TI as u16;
}

fn large_selector(stage: &mut Stage) {
    let gdt = stage.world.machine.cpu(stage.cpu).gdtr.base;
    let phys = stage.world.kernel.phys(gdt) + u64::from(LARGE_SELECTOR);
    stage.world.machine.write_phys(phys, &CODE64_DESCRIPTOR.to_le_bytes());
    stage.world.machine.cpu_mut(stage.cpu).segs[Seg::Cs as usize].selector = LARGE_SELECTOR;
}

/// From the owner text on: sanitising is host code here, which no frame returns to.
fn nmi_before_every_step(stage: &mut Stage, _: u64) {
    let cpu = stage.world.machine.cpu(stage.cpu);
    let text = stage.world.kernel.owner_text();
    let in_owner_text = cpu.rip >= text && cpu.rip - text < u64::from(park_x86::code::owner_labels().depart);
    let in_lot = cpu.rip < text && cpu.reg(Gpr::Rbx) != 0 && cpu.rip >= DEFAULT_LOT.0;
    if (in_owner_text || in_lot && cpu.rip < DEFAULT_LOT.0 + 0x2000) && cpu.nmis_held() == 0 && !cpu.nmi_blocked {
        stage.inject(EventKind::Nmi);
    }
}

fn init_then_wake(stage: &mut Stage) -> Result<Found, WorldError> {
    match stage.disturb(EventKind::Init)? {
        Some(found) => Ok(Some(found)),
        None => stage.wake(),
    }
}

fn svm_disabled(stage: &mut Stage) {
    stage.change(HostReg::Msr(msr::AMD_VM_CR), |value| value | msr::AMD_VM_CR_SVMDIS);
}

/// Registers a page of the kernel's with the hypervisor. Bit 0 enables each of these MSRs.
fn share(stage: &mut Stage, number: u32) {
    let page = stage.world.kernel.range.start + SHARED_OFFSET;
    stage.set(HostReg::Msr(number), page | 1);
}

fn host_writes(stage: &mut Stage) -> Result<Found, WorldError> {
    stage.next_kernel()?;
    match stage.disturb(EventKind::ParavirtTick)? {
        Some(found) => Ok(Some(found)),
        None => Ok(None),
    }
}

/// CPUID of a guest (leaf 1 ECX bit 31), and the hypervisor's first leaf.
fn guest(config: &mut MachineConfig, id: &[u8; 12], leaf1: CpuidRegs) {
    let word = |at: usize| u32::from_le_bytes(core::array::from_fn(|byte| id[at + byte]));
    let mut leaf = config.cpuid.get(1, 0);
    leaf.ecx |= 1 << 31;
    config.cpuid.set(1, 0, leaf);
    config.cpuid.set(0x4000_0000, 0, CpuidRegs::new(0x4000_0003, word(0), word(4), word(8)));
    config.cpuid.set(if id[0] == b'K' { 0x4000_0001 } else { 0x4000_0003 }, 0, leaf1);
}

/// KVM: old clock, clock, asynchronous page faults, steal time, paravirtual EOI (Linux, Documentation/virt/kvm/x86/cpuid.rst).
fn kvm(config: &mut MachineConfig) {
    guest(config, b"KVMKVMKVM\0\0\0", CpuidRegs::new(1 << 0 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6, 0, 0, 0));
}

/// Hyper-V: SynIC and APIC MSRs (Hypervisor Top Level Functional Specification, "Feature Discovery").
fn hyper_v(config: &mut MachineConfig) {
    guest(config, b"Microsoft Hv", CpuidRegs::new(1 << 2 | 1 << 4, 0, 0, 0));
}
