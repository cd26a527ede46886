//! AMD's own sanitising steps: SVM, INIT redirection, counters, extended LVT entries.

use park_core::{Action, ApicRegister, MechanismSet, Register};
use park_x86::features::FeatureSet;
use park_x86::registers::apic::{
    AMD_EXT_FEATURE, AMD_EXT_LVT_COUNT_SHIFT, AMD_EXT_LVT0, LVT_MASKED, VERSION_MAX_LVT_MASK, nth,
};
use park_x86::registers::control::Efer;
use park_x86::registers::msr;
use park_x86::sanitise::{Effect, Guard, Harm, Refusal, Step, When};

const LEGACY_EVENT_SELECTS: &[Register] = &[
    Register::Msr(msr::AMD_PERFEVTSEL0),
    Register::Msr(msr::AMD_PERFEVTSEL0 + 1),
    Register::Msr(msr::AMD_PERFEVTSEL0 + 2),
    Register::Msr(msr::AMD_PERFEVTSEL0 + 3),
];
const CORE_EVENT_SELECTS: &[Register] = &[
    Register::Msr(msr::AMD_PERFEVTSEL0_EXT),
    Register::Msr(msr::AMD_PERFEVTSEL0_EXT + 2),
    Register::Msr(msr::AMD_PERFEVTSEL0_EXT + 4),
    Register::Msr(msr::AMD_PERFEVTSEL0_EXT + 6),
    Register::Msr(msr::AMD_PERFEVTSEL0_EXT + 8),
    Register::Msr(msr::AMD_PERFEVTSEL0_EXT + 10),
];
const IBS_CONTROLS: &[Register] = &[Register::Msr(msr::AMD_IBS_FETCH_CTL), Register::Msr(msr::AMD_IBS_OP_CTL)];

/// AMD's own refusals.
pub const REFUSALS: &[Step] = &[Step::new(
    "refuse-svm-disabled",
    Effect::Demand {
        register: Register::Msr(msr::AMD_VM_CR),
        mask: msr::AMD_VM_CR_SVMDIS,
        expected: 0,
        refusal: Refusal::SvmDisabled,
    },
    Harm::Safety,
    "bay code sets EFER.SVME, which is #GP while VM_CR.SVMDIS is 1",
    "APM vol. 2, 15.30.1, \"VM_CR MSR\"",
)
.only(MechanismSet::CLGI)
.when(When::All(FeatureSet::SVM))];

/// AMD's own steps, in their order.
pub const STEPS: &[Step] = &[
    // Before STGI: an INIT that was held meanwhile must reset the CPU and not become #SX (Xen cpu/common.c).
    Step::new(
        "init-redirection-off",
        Effect::Clear { register: Register::Msr(msr::AMD_VM_CR), mask: msr::AMD_VM_CR_R_INIT },
        Harm::Safety,
        "with VM_CR.R_INIT set an INIT becomes #SX, and no other kernel could take the CPU",
        "APM vol. 2, 15.28, \"Security Exception (#SX)\"",
    )
    .when(When::All(FeatureSet::SVM)),
    Step::new(
        "host-save-area-off",
        Effect::Write { register: Register::Msr(msr::AMD_VM_HSAVE_PA), value: 0 },
        Harm::NotModelled,
        "a VMRUN would save host state to the owner's memory",
        "APM vol. 2, 15.30.4, \"VM_HSAVE_PA MSR\"; Linux arch/x86/virt/hw.c",
    )
    .when(When::All(FeatureSet::SVM)),
    Step::new(
        "stgi",
        Effect::Act(Action::Stgi),
        Harm::Safety,
        "while GIF is 0 NMI, SMI and INIT are held: the CPU could not be woken, nor taken by another kernel",
        "APM vol. 2, 15.17; Linux commit \"x86/virt: Force GIF=1 prior to disabling SVM (for reboot flows)\"",
    )
    .when(When::All(FeatureSet::SVM))
    .guard(Guard::AnySet { register: Register::Msr(msr::EFER), mask: Efer::SVME.bits() }),
    // Bay code sets it again for Clgi.
    Step::new(
        "svme-off",
        Effect::Clear { register: Register::Msr(msr::EFER), mask: Efer::SVME.bits() },
        Harm::NotModelled,
        "the next owner's hypervisor refuses a CPU on which EFER.SVME is set already",
        "Linux x86_svm_enable_virtualization_cpu(): -EBUSY",
    )
    .when(When::All(FeatureSet::SVM)),
    Step::new(
        "counters-off-global",
        Effect::Write { register: Register::Msr(msr::AMD_PERF_GLOBAL_CTL), value: 0 },
        Harm::NotModelled,
        "a counter that overflows sends what LVTPC says, mostly NMIs; the masked entry holds them too",
        "APM vol. 2, 13.2, \"Performance Monitoring Counters\"",
    )
    .when(When::All(FeatureSet::AMD_PERFMON_V2)),
    Step::new(
        "counters-off-core",
        Effect::WriteEach { registers: CORE_EVENT_SELECTS, value: 0 },
        Harm::NotModelled,
        "a counter that overflows sends what LVTPC says, mostly NMIs; the masked entry holds them too",
        "APM vol. 2, 13.2, \"Performance Monitoring Counters\"",
    )
    .when(When::AllBut(FeatureSet::PERFCTR_CORE, FeatureSet::AMD_PERFMON_V2)),
    Step::new(
        "counters-off-legacy",
        Effect::WriteEach { registers: LEGACY_EVENT_SELECTS, value: 0 },
        Harm::NotModelled,
        "a counter that overflows sends what LVTPC says, mostly NMIs; the masked entry holds them too",
        "APM vol. 2, 13.2, \"Performance Monitoring Counters\"",
    )
    .when(When::AllBut(FeatureSet::empty(), FeatureSet::PERFCTR_CORE.union(FeatureSet::AMD_PERFMON_V2))),
    Step::new(
        "ibs-off",
        Effect::WriteEach { registers: IBS_CONTROLS, value: 0 },
        Harm::NotModelled,
        "a sample raises an interrupt through its own LVT entry, mostly an NMI",
        "APM vol. 2, 13.3, \"Instruction-Based Sampling\"",
    )
    .when(When::All(FeatureSet::IBS)),
    mask_extended("mask-extended-0", 0),
    mask_extended("mask-extended-1", 1),
    mask_extended("mask-extended-2", 2),
    mask_extended("mask-extended-3", 3),
    // Due on every CPU that is to wait by MWAIT: where the bit is set, the CPU's own CPUID may hide MONITOR.
    Step::new(
        "monitor-allowed",
        Effect::Clear { register: Register::Msr(msr::AMD_HWCR), mask: msr::AMD_HWCR_MONITOR_DISABLE },
        Harm::Safety,
        "MONITOR and MWAIT are #UD on a CPU where this bit is set, whatever CPUID says on another one",
        "AMD PPR, \"Hardware Configuration (HWCR)\", MonMwaitDis",
    )
    .only(MechanismSet::MWAIT),
];

/// Masks the extended LVT entry `index`, where there is one.
const fn mask_extended(id: &'static str, index: u16) -> Step {
    let register: ApicRegister = nth(AMD_EXT_LVT0, index);
    Step::new(
        id,
        Effect::Set { register: Register::Apic(register), mask: LVT_MASKED },
        Harm::NotModelled,
        "IBS, corrected and deferred errors interrupt through it",
        "APM vol. 2, 16.4, \"Extended Interrupt Local Vector Tables\"",
    )
    .when(When::All(FeatureSet::EXT_APIC_SPACE))
    .guard(Guard::AtLeast {
        register: Register::Apic(AMD_EXT_FEATURE),
        shift: AMD_EXT_LVT_COUNT_SHIFT,
        mask: VERSION_MAX_LVT_MASK,
        minimum: index as u64 + 1,
    })
}
