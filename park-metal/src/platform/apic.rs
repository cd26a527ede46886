//! The executing CPU and its local APIC, through park-x86's drivers; and what those leave to the owner: switching the
//! local APIC on, and fixed interrupts.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use park_core::lot::ApicMode;
use park_core::{ApicId, Cpu, PlatformError, Register};
use park_x86::apic::{self, LocalApic};
use park_x86::features::{FeatureSet, Features};
use park_x86::hardware::{HardwareCpu, VmxOperation};
use park_x86::registers::apic::{
    EOI, ICR_ASSERT, ICR_HIGH, ICR_LOW, ICR_SMI, ICR_X2APIC_DESTINATION_SHIFT, ICR_XAPIC_DESTINATION_SHIFT, SVR,
    SVR_ENABLE, x2apic_msr,
};
use park_x86::registers::msr;

use crate::image::failure::Failure;
use crate::image::traps::SPURIOUS_VECTOR;

/// Where the local APIC's registers lie after reset (SDM vol. 3, 10.4.1). The image refuses any other place.
pub(crate) const PAGE: u64 = 0xfee0_0000;
/// Address of the EOI register, for the handler in `traps.s`.
pub(crate) const EOI_ADDRESS: u64 = PAGE + EOI.0 as u64;
/// The same register in x2APIC mode.
pub(crate) const EOI_MSR: u32 = x2apic_msr(EOI);

/// The CPU that executes this. For use at once, on this CPU.
pub(crate) fn this_cpu() -> HardwareCpu {
    let page = core::ptr::with_exposed_provenance_mut(PAGE as usize);
    // SAFETY: the page is not at address 0.
    let page = unsafe { NonNull::new_unchecked(page) };
    // SAFETY:
    // 1. The image never leaves CPL 0.
    // 2. The image's code does not migrate between CPUs.
    // 3. The identity map has the page, uncached; `enable` has checked that the registers are there.
    // 4. The image never executes VMXON.
    // 5. The image writes the local APIC's registers, EFER.SVME, and what park-x86's steps write: nothing that unmaps it.
    unsafe { HardwareCpu::new(Some(page), VmxOperation::Outside) }
}

/// The executing CPU's local APIC.
pub(crate) fn local_apic() -> Result<LocalApic<HardwareCpu>, PlatformError> {
    LocalApic::new(this_cpu())
}

/// True if every CPU is to use x2APIC mode. Written once, by the boot CPU before all else; `traps.s` reads it for the EOI.
pub(crate) static X2APIC_WANTED: AtomicBool = AtomicBool::new(false);

/// Enables the executing CPU's local APIC in the mode that is wanted, and returns its id.
pub(crate) fn enable() -> Result<ApicId, Failure> {
    let mut cpu = this_cpu();
    let apic_base = cpu.read(Register::Msr(msr::APIC_BASE))?;
    let wanted = if X2APIC_WANTED.load(Ordering::Relaxed) { ApicMode::X2Apic } else { ApicMode::XApic };
    match (apic::mode(&mut cpu), wanted) {
        (Ok(found), wanted) if found == wanted => {}
        (Ok(ApicMode::XApic), ApicMode::X2Apic)
            if Features::read(|leaf, sub| cpu.cpuid(leaf, sub)).has(FeatureSet::X2APIC) =>
        {
            cpu.write(Register::Msr(msr::APIC_BASE), apic_base | msr::APIC_BASE_EXTD)?;
            // A `HardwareCpu` reaches registers as the mode was when it was made.
            cpu = this_cpu();
        }
        // Back to xAPIC mode leads through reset alone (SDM vol. 3, "x2APIC State Transitions").
        _ => return Err(Failure::ApicBase(apic_base)),
    }
    if wanted == ApicMode::XApic && apic_base & msr::APIC_BASE_PAGE != PAGE {
        return Err(Failure::ApicBase(apic_base));
    }
    cpu.write(Register::Apic(SVR), SVR_ENABLE | u64::from(SPURIOUS_VECTOR))?;
    Ok(apic::id(&mut cpu)?)
}

/// Sends a fixed interrupt. `Ok` means that the local APIC has the message.
pub(crate) fn send_fixed(target: ApicId, vector: u8) -> Result<(), PlatformError> {
    // Fixed delivery mode and physical destination are 0.
    send(target, vector.into())
}

/// Sends an SMI. `Ok` means that the local APIC has the message.
pub(crate) fn send_smi(target: ApicId) -> Result<(), PlatformError> {
    send(target, ICR_SMI)
}

/// Sends what park-x86's driver does not send: park has no need of it.
fn send(target: ApicId, message: u64) -> Result<(), PlatformError> {
    let mut cpu = this_cpu();
    match apic::mode(&mut cpu)? {
        ApicMode::X2Apic => {
            let destination = u64::from(target.0) << ICR_X2APIC_DESTINATION_SHIFT;
            cpu.write(Register::Msr(x2apic_msr(ICR_LOW)), destination | message | ICR_ASSERT)
        }
        ApicMode::XApic => {
            // The destination first: the write of the low half sends.
            cpu.write(Register::Apic(ICR_HIGH), u64::from(target.0) << ICR_XAPIC_DESTINATION_SHIFT)?;
            cpu.write(Register::Apic(ICR_LOW), message | ICR_ASSERT)
        }
    }
}
