//! The steps that every vendor shares, in their order.

use super::{Effect, Guard, Harm, Refusal, Step, When, apic};
use crate::features::FeatureSet;
use crate::registers::apic::{
    LVT_CMCI, LVT_ERROR, LVT_LINT0, LVT_LINT1, LVT_MASKED, LVT_NUMBER_CMCI, LVT_NUMBER_PERF, LVT_NUMBER_THERMAL,
    LVT_PERF, LVT_THERMAL, LVT_TIMER, SVR, SVR_ENABLE, TIMER_INITIAL, VERSION, VERSION_MAX_LVT_MASK,
    VERSION_MAX_LVT_SHIFT,
};
use crate::registers::control::{Cr0, Cr4, DR7_OFF, Efer, SELECTOR_RPL, SELECTOR_TI};
use crate::registers::msr;
use park_core::{Action, MechanismSet, Register};

/// Refusals, before anything is touched. A vendor's own refusals follow.
pub const REFUSALS: &[Step] = &[
    // First: the next ones read control registers and MSRs already.
    Step::new(
        "refuse-not-supervisor",
        demand(Register::Cs, SELECTOR_RPL, 0, Refusal::NotSupervisor),
        Harm::Safety,
        "reading the first control register or MSR is #GP; MOV from CS is not privileged",
        "SDM vol. 3, \"Privileged Instructions\"",
    ),
    Step::new(
        "refuse-tdx-guest",
        Effect::Refuse(Refusal::TdxGuest),
        Harm::NotModelled,
        "the TDX module owns CR4.MCE, and IPIs of INIT and STARTUP do not exist",
        "Linux commits de60613173df, 1ceebe2e4672",
    )
    .when(When::All(FeatureSet::TDX_GUEST)),
    Step::new(
        "refuse-sev-es-guest",
        demand(Register::Msr(msr::AMD_SEV_STATUS), msr::AMD_SEV_STATUS_ES, 0, Refusal::SevEsGuest),
        Harm::NotModelled,
        "STARTUP can't restart a CPU whose state is encrypted, and each NMI or HLT is a #VC to the owner's handler",
        "APM vol. 2, 15.35; Linux sev_es_play_dead()",
    )
    .when(When::All(FeatureSet::SEV.union(FeatureSet::HYPERVISOR))),
    Step::new(
        "refuse-nxe-off",
        demand(Register::Msr(msr::EFER), Efer::NXE.bits(), Efer::NXE.bits(), Refusal::NoExecuteOff),
        Harm::Safety,
        "bit 63 of a table entry is reserved while EFER.NXE is 0: the first access to a bay is #PF",
        "SDM vol. 3, \"Page-Fault Exceptions\"",
    ),
    Step::new(
        "refuse-cache-disabled",
        demand(Register::Cr0, Cr0::CD.bits(), 0, Refusal::CacheDisabled),
        Harm::NotModelled,
        "MONITOR watches write-back memory only, and a doorbell in other memory is not coherent",
        "SDM vol. 3, \"Cache Control Registers and Bits\"; vol. 2A, MONITOR",
    ),
    Step::new(
        "refuse-pat-entry",
        demand(Register::Msr(msr::PAT), msr::PAT_ENTRY0, msr::PAT_WB, Refusal::PatEntryNotWriteBack),
        Harm::NotModelled,
        "the lot's tables use PAT entry 0 and need it to be write-back",
        "SDM vol. 3, \"Page Attribute Table (PAT)\"",
    ),
    Step::new(
        "refuse-ldt-code",
        demand(Register::Cs, SELECTOR_TI, 0, Refusal::CodeSegmentInLdt),
        Harm::Safety,
        "an exception in the window between two GDTs returns to the CS that it came from, through the new GDT",
        "SDM vol. 3, \"Segment Selectors\"",
    ),
    Step::new(
        "refuse-large-selector",
        Effect::DemandSelector,
        Harm::Safety,
        "the temporary GDT repeats the owner's code segment at its own index and has room for so many",
        "SDM vol. 3, \"Segment Selectors\"",
    ),
    Step::new(
        "refuse-encryption-mask",
        Effect::DemandEncryption,
        Harm::NotModelled,
        "with another C-bit the CPU would read ciphertext, or an address beyond the physical ones",
        "APM vol. 2, 7.10, \"Secure Memory Encryption\"",
    ),
    Step::new(
        "refuse-apic-disabled",
        demand(Register::Msr(msr::APIC_BASE), msr::APIC_BASE_EN, msr::APIC_BASE_EN, Refusal::ApicDisabled),
        Harm::NotModelled,
        "a local APIC that IA32_APIC_BASE switches off takes no IPI",
        "SDM vol. 3, \"Enabling or Disabling the Local APIC\"",
    ),
    Step::new(
        "refuse-bootstrap-processor",
        demand(Register::Msr(msr::APIC_BASE), msr::APIC_BASE_BSP, 0, Refusal::BootstrapProcessor),
        Harm::Safety,
        "an INIT sends the bootstrap processor to the firmware's reset vector: the machine resets",
        "SDM vol. 3, \"MP Initialization Protocol Algorithm\"; Linux commit b1472a60a584",
    )
    .only(MechanismSet::CLGI.union(MechanismSet::WAIT_FOR_SIPI)),
    kvm(
        "refuse-kvm-clock-old",
        msr::KVM_SYSTEM_TIME_OLD,
        Refusal::KvmClock,
        FeatureSet::KVM_CLOCK_OLD,
        "the host writes the time to a page of the owner's, whoever owns it by then",
    ),
    kvm(
        "refuse-kvm-clock",
        msr::KVM_SYSTEM_TIME,
        Refusal::KvmClock,
        FeatureSet::KVM_CLOCK,
        "the host writes the time to a page of the owner's, whoever owns it by then",
    ),
    kvm(
        "refuse-kvm-async-pf",
        msr::KVM_ASYNC_PF,
        Refusal::KvmAsyncPageFault,
        FeatureSet::KVM_ASYNC_PF,
        "the host writes a token to a page of the owner's, and injects #PF",
    ),
    kvm(
        "refuse-kvm-steal-time",
        msr::KVM_STEAL_TIME,
        Refusal::KvmStealTime,
        FeatureSet::KVM_STEAL_TIME,
        "the host writes steal time to a page of the owner's",
    ),
    kvm(
        "refuse-kvm-pv-eoi",
        msr::KVM_PV_EOI,
        Refusal::KvmPvEoi,
        FeatureSet::KVM_PV_EOI,
        "the host writes end-of-interrupt state to a page of the owner's",
    ),
    hyperv("refuse-hyperv-messages", msr::HV_SIMP, Refusal::HyperVSynIc, FeatureSet::HV_SYNIC),
    hyperv("refuse-hyperv-events", msr::HV_SIEFP, Refusal::HyperVSynIc, FeatureSet::HV_SYNIC),
    hyperv("refuse-hyperv-vp-assist", msr::HV_VP_ASSIST, Refusal::HyperVVpAssist, FeatureSet::HV_VP_ASSIST),
    Step::new(
        "refuse-xen-shared-pages",
        Effect::RefuseUnlessTornDown(Refusal::XenSharedPages),
        Harm::NotModelled,
        "vcpu_info and runstate are registered by hypercall; no register says whether they still are",
        "Xen public/vcpu.h, VCPUOP_register_vcpu_info, VCPUOP_register_runstate_memory_area",
    )
    .when(When::All(FeatureSet::XEN)),
];

/// The first changes: no more interrupts, none in service. A vendor's own steps follow.
pub const FIRST: &[Step] = &[
    Step::new(
        "interrupts-off",
        Effect::Act(Action::Cli),
        Harm::Safety,
        "an interrupt between here and the bay would enter a handler of the owner's, or none",
        "SDM vol. 3, \"Masking Maskable Hardware Interrupts\"",
    ),
    Step::new(
        "end-in-service",
        Effect::EndInService,
        Harm::Safety,
        "a vector left in service blocks its priority class for the CPU's next owner, for ever",
        "SDM vol. 3, \"Interrupt Acceptance for Fixed Interrupts\"; Linux apic_pending_intr_clear()",
    ),
];

/// What every CPU needs, after the vendor's own steps.
pub const COMMON: &[Step] = &[
    // LVTERR first: writing a mask over an entry whose vector is 0 raises "illegal vector", as an interrupt.
    mask_lvt(
        "mask-error",
        LVT_ERROR,
        "masking the other entries can raise an illegal-vector error, so this one goes first",
        "Linux clear_local_APIC()",
    ),
    mask_lvt("mask-timer", LVT_TIMER, "no timer interrupt may stay behind in IRR", "Linux clear_local_APIC()"),
    mask_lvt("mask-lint0", LVT_LINT0, "no ExtINT may stay behind", "Linux clear_local_APIC()"),
    mask_lvt("mask-lint1", LVT_LINT1, "the platform's NMI belongs to the next kernel", "Linux clear_local_APIC()"),
    mask_lvt(
        "mask-perf",
        LVT_PERF,
        "a counter that overflows would send an NMI for every lap of the loop",
        "Linux clear_local_APIC()",
    )
    .guard(lvt_exists(LVT_NUMBER_PERF)),
    mask_lvt("mask-thermal", LVT_THERMAL, "no thermal interrupt may stay behind", "Linux clear_local_APIC()")
        .guard(lvt_exists(LVT_NUMBER_THERMAL)),
    mask_lvt(
        "mask-cmci",
        LVT_CMCI,
        "corrected machine checks go to all CPUs that share the bank; others count them",
        "SDM vol. 3, \"CMCI Local APIC Interface\"; Linux commit 30ad231a5029",
    )
    .guard(lvt_exists(LVT_NUMBER_CMCI)),
    Step::new(
        "stop-deadline-timer",
        Effect::Write { register: Register::Msr(msr::TSC_DEADLINE), value: 0 },
        Harm::PowerOnly,
        "an armed deadline keeps the CPU out of deep states although its LVT entry is masked",
        "Linux commit ffd95846c6ec (Lunar Lake)",
    )
    .when(When::All(FeatureSet::TSC_DEADLINE)),
    Step::new(
        "stop-timer",
        Effect::Write { register: apic(TIMER_INITIAL), value: 0 },
        Harm::PowerOnly,
        "a counting timer keeps the CPU out of deep states",
        "Linux commit ffd95846c6ec; AMD erratum 411",
    ),
    Step::new(
        "apic-soft-disable",
        Effect::Clear { register: apic(SVR), mask: SVR_ENABLE },
        Harm::Safety,
        "a fixed interrupt would wait in IRR and hit the CPU's next owner; NMI, INIT, SMI and STARTUP still come",
        "SDM vol. 3, \"Local APIC State After It Has Been Software Disabled\"; Linux apic_soft_disable()",
    ),
    Step::new(
        "breakpoints-off",
        Effect::Write { register: Register::Dr7, value: DR7_OFF },
        Harm::Safety,
        "a breakpoint of the owner's at a linear address that the lot uses at identity is #DB in bay code",
        "SDM vol. 3, \"Debug Exception (#DB)\"; Linux hw_breakpoint_disable()",
    ),
    Step::new(
        "debugctl-off",
        Effect::Write { register: Register::Msr(msr::DEBUGCTL), value: 0 },
        Harm::Safety,
        "branch trace store writes to where IA32_DS_AREA points, whoever owns it by then; last-branch records cost power",
        "SDM vol. 3, \"Branch Trace Store (BTS)\"",
    ),
    Step::new(
        "arch-lbr-off",
        Effect::Write { register: Register::Msr(msr::LBR_CTL), value: 0 },
        Harm::PowerOnly,
        "last-branch records of nobody",
        "SDM vol. 3, \"Architectural Last Branch Records\"",
    )
    .when(When::All(FeatureSet::ARCH_LBR)),
    Step::new(
        "spec-ctrl-off",
        Effect::Write { register: Register::Msr(msr::SPEC_CTRL), value: 0 },
        Harm::PowerOnly,
        "IBRS or STIBP left on here slows the sibling down: 25 % of its throughput in one report",
        "Linux commit 2743fe89d4d4",
    )
    .when(When::All(FeatureSet::SPEC_CTRL)),
    Step::new(
        "tiles-release",
        Effect::Act(Action::TileRelease),
        Harm::PowerOnly,
        "live tiles keep the core out of C6",
        "Linux commits 9f0112938277, f17b168734c0",
    )
    .when(When::All(FeatureSet::AMX.union(FeatureSet::OSXSAVE).union(FeatureSet::XINUSE)))
    .guard(Guard::AnySet { register: Register::XInUse, mask: crate::registers::control::XSTATE_TILES }),
    Step::new(
        "user-interrupts-off",
        Effect::Clear { register: Register::Cr4, mask: Cr4::UINTR.bits() },
        Harm::NotModelled,
        "a posted user interrupt makes the CPU read a descriptor in the owner's memory",
        "SDM vol. 3, \"User Interrupts\"",
    )
    .when(When::All(FeatureSet::UINTR)),
    Step::new(
        "cr0-off",
        Effect::Clear { register: Register::Cr0, mask: Cr0::AM.union(Cr0::TS).union(Cr0::EM).bits() },
        Harm::NotModelled,
        "the next owner gets a CPU whose first SSE instruction works; bay code has none",
        "Linux relocate_kernel_64.S",
    ),
    Step::new(
        "cr0-on",
        Effect::Set { register: Register::Cr0, mask: Cr0::WP.union(Cr0::NE).bits() },
        Harm::NotModelled,
        "a stray store to bay code must fault and not succeed; an x87 error must not become an interrupt",
        "SDM vol. 3, \"Control Registers\"",
    ),
    Step::new(
        "machine-checks-on",
        Effect::Set { register: Register::Cr4, mask: Cr4::MCE.bits() },
        Harm::Safety,
        "a machine check while CR4.MCE is 0 shuts the CPU down, and a broadcast one the machine",
        "SDM vol. 3, \"Machine-Check Exception (#MC)\"; Linux commit 45e34c8af58f",
    )
    .when(When::All(FeatureSet::MCE)),
];

/// What assembly does on the way into the lot, in its order; here for the printed list.
pub const BY_ARRIVAL: &[Step] = &[
    by_arrival(
        "s-cet-off",
        "a shadow stack or a missing ENDBR64 would fault in bay code",
        "Linux commit af22700390c2; SDM vol. 1, \"Control-flow Enforcement Technology\"",
    )
    .when(When::All(FeatureSet::CET)),
    by_arrival(
        "fred-off",
        "while CR4.FRED is 1 events go to the owner's entry points and not through an IDT",
        "FRED specification, \"Enabling and Configuring FRED\"",
    )
    .when(When::All(FeatureSet::FRED)),
    by_arrival(
        "mcip-clear",
        "a second machine check while MCIP is set shuts the CPU down",
        "SDM vol. 3, \"IA32_MCG_STATUS MSR\"",
    )
    .when(When::All(FeatureSet::MCA)),
    by_arrival("lass-off", "an identity mapping is in the low half: a supervisor access is #GP", "Linux 731d43750cf8")
        .when(When::All(FeatureSet::LASS)),
    by_arrival(
        "pks-off",
        "keys in IA32_PKRS, which a handler of the owner's may load at any time, would apply to the lot's pages",
        "SDM vol. 3, \"Protection Keys\"",
    )
    .when(When::All(FeatureSet::PKS)),
    by_arrival(
        "global-pages-off",
        "global translations of the owner's would outlive the load of CR3",
        "SDM vol. 3, \"Operations that Invalidate TLBs\"; Linux commit d144d8a65286",
    ),
    by_arrival(
        "pcid-off",
        "translations under another PCID would survive, and CR3[11:0] would not be zero",
        "SDM vol. 3, \"Process-Context Identifiers (PCIDs)\"",
    )
    .when(When::All(FeatureSet::PCID)),
    by_arrival(
        "descriptor-tables",
        "GDT, IDT, TSS and stacks of the owner's are overwritten by the next kernel",
        "Thomas Gleixner, \"Cure kexec() vs. mwait_play_dead() troubles\", 2023",
    ),
    by_arrival(
        "nested-task-clear",
        "IRETQ with RFLAGS.NT set is #GP; the same POPFQ clears DF, AC and IOPL, at which nothing in bay code looks",
        "SDM vol. 2A, IRET; SDM vol. 1, \"EFLAGS\"",
    ),
];

const fn demand(register: Register, mask: u64, expected: u64, refusal: Refusal) -> Effect {
    Effect::Demand { register, mask, expected, refusal }
}

const fn kvm(id: &'static str, number: u32, refusal: Refusal, feature: FeatureSet, why: &'static str) -> Step {
    Step::new(
        id,
        demand(Register::Msr(number), msr::KVM_ENABLED, 0, refusal),
        Harm::Safety,
        why,
        "Linux Documentation/virt/kvm/x86/msr.rst",
    )
    .when(When::All(feature))
}

const fn hyperv(id: &'static str, number: u32, refusal: Refusal, feature: FeatureSet) -> Step {
    Step::new(
        id,
        demand(Register::Msr(number), msr::HV_ENABLED, 0, refusal),
        Harm::Safety,
        "the hypervisor writes to a page of the owner's",
        "Hypervisor Top Level Functional Specification, \"Synthetic Interrupt Controller\", \"VP Assist Page\"",
    )
    .when(When::All(feature))
}

const fn mask_lvt(
    id: &'static str,
    register: park_core::ApicRegister,
    why: &'static str,
    source: &'static str,
) -> Step {
    // Soft-disabling forces every mask bit, so the simulator sees no harm in leaving one of these out.
    Step::new(id, Effect::Set { register: apic(register), mask: LVT_MASKED }, Harm::NotModelled, why, source)
}

const fn lvt_exists(number: u64) -> Guard {
    Guard::AtLeast {
        register: apic(VERSION),
        shift: VERSION_MAX_LVT_SHIFT,
        mask: VERSION_MAX_LVT_MASK,
        minimum: number,
    }
}

const fn by_arrival(id: &'static str, why: &'static str, source: &'static str) -> Step {
    Step::new(id, Effect::ByArrival, Harm::Safety, why, source)
}
