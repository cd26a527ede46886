//! Register encodings against the `x86` crate's, written by other hands.

use park_x86::registers::control::{Cr0, Cr4, Efer, Rflags};
use park_x86::registers::{apic, msr};
use x86::apic::{DeliveryMode, DeliveryStatus, DestinationMode, DestinationShorthand, Icr, Level, TriggerMode};

#[test]
fn msr_numbers_agree() {
    let pairs = [
        (msr::APIC_BASE, x86::msr::IA32_APIC_BASE),
        (msr::FEATURE_CONTROL, x86::msr::IA32_FEATURE_CONTROL),
        (msr::MCG_CAP, x86::msr::IA32_MCG_CAP),
        (msr::MCG_STATUS, x86::msr::IA32_MCG_STATUS),
        (msr::MISC_ENABLE, x86::msr::IA32_MISC_ENABLE),
        (msr::DEBUGCTL, x86::msr::IA32_DEBUGCTL),
        (msr::PAT, x86::msr::IA32_PAT),
        (msr::PERFEVTSEL0, x86::msr::IA32_PERFEVTSEL0),
        (msr::PERF_GLOBAL_CTRL, x86::msr::IA32_PERF_GLOBAL_CTRL),
        (msr::PEBS_ENABLE, x86::msr::IA32_PEBS_ENABLE),
        (msr::DS_AREA, x86::msr::IA32_DS_AREA),
        (msr::TSC_DEADLINE, x86::msr::IA32_TSC_DEADLINE),
        (msr::EFER, x86::msr::IA32_EFER),
        (msr::FS_BASE, x86::msr::IA32_FS_BASE),
        (msr::GS_BASE, x86::msr::IA32_GS_BASE),
        (apic::x2apic_msr(apic::ID), x86::msr::IA32_X2APIC_APICID),
        (apic::x2apic_msr(apic::EOI), x86::msr::IA32_X2APIC_EOI),
        (apic::x2apic_msr(apic::SVR), x86::msr::IA32_X2APIC_SIVR),
        (apic::x2apic_msr(apic::ISR), x86::msr::IA32_X2APIC_ISR0),
        (apic::x2apic_msr(apic::IRR), x86::msr::IA32_X2APIC_IRR0),
        (apic::x2apic_msr(apic::ESR), x86::msr::IA32_X2APIC_ESR),
        (apic::x2apic_msr(apic::LVT_CMCI), x86::msr::IA32_X2APIC_LVT_CMCI),
        (apic::x2apic_msr(apic::ICR_LOW), x86::msr::IA32_X2APIC_ICR),
        (apic::x2apic_msr(apic::LVT_TIMER), x86::msr::IA32_X2APIC_LVT_TIMER),
        (apic::x2apic_msr(apic::LVT_THERMAL), x86::msr::IA32_X2APIC_LVT_THERMAL),
        (apic::x2apic_msr(apic::LVT_PERF), x86::msr::IA32_X2APIC_LVT_PMI),
        (apic::x2apic_msr(apic::LVT_LINT0), x86::msr::IA32_X2APIC_LVT_LINT0),
        (apic::x2apic_msr(apic::LVT_LINT1), x86::msr::IA32_X2APIC_LVT_LINT1),
        (apic::x2apic_msr(apic::LVT_ERROR), x86::msr::IA32_X2APIC_LVT_ERROR),
        (apic::x2apic_msr(apic::TIMER_INITIAL), x86::msr::IA32_X2APIC_INIT_COUNT),
    ];
    for (ours, theirs) in pairs {
        assert_eq!(ours, theirs, "MSR {ours:#x}");
    }
}

#[test]
fn control_bits_agree() {
    use x86::controlregs::{Cr0 as Cr0X, Cr4 as Cr4X};
    let cr0 = [
        (Cr0::PE, Cr0X::CR0_PROTECTED_MODE),
        (Cr0::EM, Cr0X::CR0_EMULATE_COPROCESSOR),
        (Cr0::TS, Cr0X::CR0_TASK_SWITCHED),
        (Cr0::NE, Cr0X::CR0_NUMERIC_ERROR),
        (Cr0::WP, Cr0X::CR0_WRITE_PROTECT),
        (Cr0::AM, Cr0X::CR0_ALIGNMENT_MASK),
        (Cr0::NW, Cr0X::CR0_NOT_WRITE_THROUGH),
        (Cr0::CD, Cr0X::CR0_CACHE_DISABLE),
        (Cr0::PG, Cr0X::CR0_ENABLE_PAGING),
    ];
    for (ours, theirs) in cr0 {
        assert_eq!(ours.bits(), theirs.bits() as u64);
    }
    let cr4 = [
        (Cr4::PAE, Cr4X::CR4_ENABLE_PAE),
        (Cr4::MCE, Cr4X::CR4_ENABLE_MACHINE_CHECK),
        (Cr4::PGE, Cr4X::CR4_ENABLE_GLOBAL_PAGES),
        (Cr4::VMXE, Cr4X::CR4_ENABLE_VMX),
        (Cr4::PCIDE, Cr4X::CR4_ENABLE_PCID),
        (Cr4::OSXSAVE, Cr4X::CR4_ENABLE_OS_XSAVE),
        (Cr4::SMEP, Cr4X::CR4_ENABLE_SMEP),
        (Cr4::SMAP, Cr4X::CR4_ENABLE_SMAP),
        (Cr4::PKE, Cr4X::CR4_ENABLE_PROTECTION_KEY),
    ];
    for (ours, theirs) in cr4 {
        assert_eq!(ours.bits(), theirs.bits() as u64);
    }
    use x86::bits64::rflags::RFlags;
    for (ours, theirs) in [
        (Rflags::TF, RFlags::FLAGS_TF),
        (Rflags::IF, RFlags::FLAGS_IF),
        (Rflags::NT, RFlags::FLAGS_NT),
        (Rflags::AC, RFlags::FLAGS_AC),
        (Rflags::DF, RFlags::FLAGS_DF),
    ] {
        assert_eq!(ours.bits(), theirs.bits());
    }
    assert_eq!(Efer::LME.bits(), 0x100);
    assert_eq!(Efer::NXE.bits(), 0x800);
}

#[test]
fn interrupt_commands_agree() {
    let theirs = |mode, vector| {
        Icr::for_xapic(
            vector,
            x86::apic::ApicId::XApic(7),
            DestinationShorthand::NoShorthand,
            mode,
            DestinationMode::Physical,
            DeliveryStatus::Idle,
            Level::Assert,
            TriggerMode::Edge,
        )
    };
    for (ours, mode, vector) in [
        (apic::ICR_NMI, DeliveryMode::NMI, 0),
        (apic::ICR_INIT, DeliveryMode::Init, 0),
        (apic::ICR_STARTUP | 0x42, DeliveryMode::StartUp, 0x42),
    ] {
        let icr = theirs(mode, vector);
        assert_eq!(ours | apic::ICR_ASSERT, u64::from(icr.lower()));
        assert_eq!(7 << apic::ICR_XAPIC_DESTINATION_SHIFT, icr.upper());
    }
}
