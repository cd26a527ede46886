//! Intel's own sanitising steps: VMX, tracing, counters, local machine checks.

use park_core::{Action, MechanismSet, Register};
use park_x86::features::FeatureSet;
use park_x86::registers::control::Cr4;
use park_x86::registers::msr;
use park_x86::sanitise::{Effect, Guard, Harm, Step, When};

/// Event selects of architectural performance monitoring version 1, which has no global control.
const EVENT_SELECTS: &[Register] = &[Register::Msr(msr::PERFEVTSEL0), Register::Msr(msr::PERFEVTSEL0 + 1)];

/// Intel's own refusals.
pub const REFUSALS: &[Step] = &[];

/// Intel's own steps, in their order.
pub const STEPS: &[Step] = &[
    Step::new(
        "vmx-off",
        Effect::ActOrFault(Action::Vmxoff),
        Harm::Safety,
        "a CPU in VMX operation holds INIT: no other kernel could ever take it",
        "SDM vol. 3, \"Restrictions on VMX Operation\"; Linux cpu_emergency_disable_virtualization()",
    )
    .when(When::All(FeatureSet::VMX))
    .guard(Guard::AnySet { register: Register::Cr4, mask: Cr4::VMXE.bits() }),
    Step::new(
        "vmxe-off",
        Effect::Clear { register: Register::Cr4, mask: Cr4::VMXE.bits() },
        Harm::NotModelled,
        "the next owner's hypervisor refuses a CPU on which CR4.VMXE is set already",
        "Linux arch/x86/virt/hw.c",
    )
    .when(When::All(FeatureSet::VMX)),
    // After VMXOFF: WRMSR to IA32_RTIT_CTL is #GP in VMX operation on parts without IA32_VMX_MISC[14].
    Step::new(
        "processor-trace-off",
        Effect::Clear { register: Register::Msr(msr::RTIT_CTL), mask: msr::RTIT_CTL_TRACE_EN },
        Harm::Safety,
        "Processor Trace writes packets to the owner's memory, whoever owns it by then",
        "SDM vol. 3, \"Intel Processor Trace\"; Linux cpu_emergency_stop_pt()",
    )
    .when(When::All(FeatureSet::PROCESSOR_TRACE)),
    Step::new(
        "counters-off-v1",
        Effect::WriteEach { registers: EVENT_SELECTS, value: 0 },
        Harm::NotModelled,
        "a counter that overflows sends what LVTPC says, mostly NMIs; the masked entry holds them too",
        "SDM vol. 3, \"Architectural Performance Monitoring Version 1\"",
    )
    .when(When::All(FeatureSet::PERFMON_V1)),
    Step::new(
        "counters-off",
        Effect::Write { register: Register::Msr(msr::PERF_GLOBAL_CTRL), value: 0 },
        Harm::NotModelled,
        "a counter that overflows sends what LVTPC says, mostly NMIs; the masked entry holds them too",
        "SDM vol. 3, \"Architectural Performance Monitoring Version 2\"",
    )
    .when(When::All(FeatureSet::PERFMON_V2)),
    Step::new(
        "pebs-off",
        Effect::Write { register: Register::Msr(msr::PEBS_ENABLE), value: 0 },
        Harm::Safety,
        "PEBS writes records to where IA32_DS_AREA points, whoever owns it by then",
        "SDM vol. 3, \"Processor Event Based Sampling (PEBS)\"",
    )
    .when(When::All(FeatureSet::DS.union(FeatureSet::PERFMON_V2)))
    .guard(Guard::AllClear { register: Register::Msr(msr::MISC_ENABLE), mask: msr::MISC_ENABLE_PEBS_UNAVAILABLE }),
    Step::new(
        "local-machine-checks-off",
        Effect::Clear { register: Register::Msr(msr::MCG_EXT_CTL), mask: msr::MCG_EXT_CTL_LMCE_EN },
        Harm::NotModelled,
        "the next owner expects every machine check on all CPUs until it has opted in itself",
        "SDM vol. 3, \"IA32_MCG_EXT_CTL MSR\"; Linux mcheck_cpu_clear()",
    )
    .when(When::All(FeatureSet::MCA))
    .guard(Guard::AnySet { register: Register::Msr(msr::MCG_CAP), mask: msr::MCG_CAP_LMCE }),
    // Due on every CPU that is to wait by MWAIT: where the bit is clear, the CPU's own CPUID hides MONITOR.
    Step::new(
        "monitor-on",
        Effect::Set { register: Register::Msr(msr::MISC_ENABLE), mask: msr::MISC_ENABLE_MONITOR_FSM },
        Harm::Safety,
        "MONITOR and MWAIT are #UD on a CPU where this bit is clear, whatever CPUID says on another one",
        "SDM vol. 4, \"IA32_MISC_ENABLE\", bit 18",
    )
    .only(MechanismSet::MWAIT),
];
