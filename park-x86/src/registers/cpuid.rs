//! CPUID leaves and bits that park uses (SDM vol. 2A, "CPUID"; APM vol. 3, appendix E).

/// A bit of CPUID: leaf, subleaf, register and position.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bit {
    /// EAX on entry.
    pub leaf: u32,
    /// ECX on entry.
    pub subleaf: u32,
    /// Which of EAX, EBX, ECX, EDX: 0 to 3.
    pub register: u8,
    /// Bit number.
    pub bit: u8,
}

/// Index of EAX in a result.
pub const EAX: u8 = 0;
/// Index of EBX in a result.
pub const EBX: u8 = 1;
/// Index of ECX in a result.
pub const ECX: u8 = 2;
/// Index of EDX in a result.
pub const EDX: u8 = 3;

const fn bit(leaf: u32, subleaf: u32, register: u8, bit: u8) -> Bit {
    Bit { leaf, subleaf, register, bit }
}

/// Vendor and highest basic leaf.
pub const LEAF_VENDOR: u32 = 0;
/// Version and feature bits.
pub const LEAF_VERSION: u32 = 1;
/// MONITOR/MWAIT parameters.
pub const LEAF_MONITOR: u32 = 5;
/// Architectural performance monitoring.
pub const LEAF_PERFMON: u32 = 0xa;
/// Trust domain: the signature `IntelTDX    ` stands in EBX, EDX, ECX (Intel TDX module specification).
pub const LEAF_TDX: u32 = 0x21;
/// First leaf of a hypervisor.
pub const LEAF_HYPERVISOR: u32 = 0x4000_0000;
/// Bytes from one hypervisor interface's leaves to the next (Linux hypervisor_cpuid_base()).
pub const HYPERVISOR_STRIDE: u32 = 0x100;
/// Highest extended leaf.
pub const LEAF_EXTENDED: u32 = 0x8000_0000;
/// AMD: memory encryption. EBX\[5:0\] is the position of the C-bit.
pub const LEAF_ENCRYPTION: u32 = 0x8000_001f;

/// MONITOR and MWAIT, if IA32_MISC_ENABLE\[18\] allows them.
pub const MONITOR: Bit = bit(1, 0, ECX, 3);
/// VMX.
pub const VMX: Bit = bit(1, 0, ECX, 5);
/// Process-context identifiers.
pub const PCID: Bit = bit(1, 0, ECX, 17);
/// x2APIC mode exists.
pub const X2APIC: Bit = bit(1, 0, ECX, 21);
/// TSC-deadline timer.
pub const TSC_DEADLINE: Bit = bit(1, 0, ECX, 24);
/// CR4.OSXSAVE is set on this CPU: XGETBV works.
pub const OSXSAVE: Bit = bit(1, 0, ECX, 27);
/// A hypervisor is present.
pub const HYPERVISOR: Bit = bit(1, 0, ECX, 31);
/// MSRs exist.
pub const MSR: Bit = bit(1, 0, EDX, 5);
/// CR4.MCE exists.
pub const MCE: Bit = bit(1, 0, EDX, 7);
/// A local APIC exists and is enabled.
pub const APIC: Bit = bit(1, 0, EDX, 9);
/// Machine-check architecture: IA32_MCG_STATUS exists.
pub const MCA: Bit = bit(1, 0, EDX, 14);
/// Page attribute table.
pub const PAT: Bit = bit(1, 0, EDX, 16);
/// CLFLUSH.
pub const CLFLUSH: Bit = bit(1, 0, EDX, 19);
/// Debug store.
pub const DS: Bit = bit(1, 0, EDX, 21);
/// More than one logical processor per package is possible.
pub const HTT: Bit = bit(1, 0, EDX, 28);
/// MWAIT extensions are enumerated in leaf 5.
pub const MWAIT_EXTENSIONS: Bit = bit(5, 0, ECX, 0);
/// MWAIT with ECX\[0\] = 1 ends on a masked interrupt.
pub const MWAIT_INTERRUPT_BREAK: Bit = bit(5, 0, ECX, 1);
/// The local APIC timer runs in every C-state.
pub const ARAT: Bit = bit(6, 0, EAX, 2);
/// Processor Trace.
pub const PROCESSOR_TRACE: Bit = bit(7, 0, EBX, 25);
/// Shadow stacks.
pub const CET_SS: Bit = bit(7, 0, ECX, 7);
/// Five-level paging.
pub const LA57: Bit = bit(7, 0, ECX, 16);
/// UMONITOR, UMWAIT, TPAUSE.
pub const WAITPKG: Bit = bit(7, 0, ECX, 5);
/// Protection keys of supervisor pages.
pub const PKS: Bit = bit(7, 0, ECX, 31);
/// User interrupts.
pub const UINTR: Bit = bit(7, 0, EDX, 5);
/// Architectural last-branch records.
pub const ARCH_LBR: Bit = bit(7, 0, EDX, 19);
/// Indirect branch tracking.
pub const CET_IBT: Bit = bit(7, 0, EDX, 20);
/// AMX tiles.
pub const AMX_TILE: Bit = bit(7, 0, EDX, 24);
/// IA32_SPEC_CTRL.IBRS.
pub const IBRS: Bit = bit(7, 0, EDX, 26);
/// IA32_SPEC_CTRL.STIBP.
pub const STIBP: Bit = bit(7, 0, EDX, 27);
/// IA32_SPEC_CTRL.SSBD.
pub const SSBD: Bit = bit(7, 0, EDX, 31);
/// Linear-address space separation.
pub const LASS: Bit = bit(7, 1, EAX, 6);
/// FRED.
pub const FRED: Bit = bit(7, 1, EAX, 17);
/// XGETBV with ECX = 1 (XINUSE).
pub const XINUSE: Bit = bit(0xd, 1, EAX, 2);
/// SVM.
pub const SVM: Bit = bit(0x8000_0001, 0, ECX, 2);
/// AMD: extended local APIC space at 400h.
pub const EXT_APIC_SPACE: Bit = bit(0x8000_0001, 0, ECX, 3);
/// AMD: instruction-based sampling.
pub const IBS: Bit = bit(0x8000_0001, 0, ECX, 10);
/// AMD: SKINIT, and STGI even while EFER.SVME is 0.
pub const SKINIT: Bit = bit(0x8000_0001, 0, ECX, 12);
/// AMD: six performance counters with extended MSRs.
pub const PERFCTR_CORE: Bit = bit(0x8000_0001, 0, ECX, 23);
/// AMD: MONITORX and MWAITX.
pub const MONITORX: Bit = bit(0x8000_0001, 0, ECX, 29);
/// No-execute.
pub const NX: Bit = bit(0x8000_0001, 0, EDX, 20);
/// Long mode.
pub const LONG_MODE: Bit = bit(0x8000_0001, 0, EDX, 29);
/// AMD: IA32_SPEC_CTRL.IBRS.
pub const AMD_IBRS: Bit = bit(0x8000_0008, 0, EBX, 14);
/// AMD: IA32_SPEC_CTRL.STIBP.
pub const AMD_STIBP: Bit = bit(0x8000_0008, 0, EBX, 15);
/// AMD: IA32_SPEC_CTRL.SSBD.
pub const AMD_SSBD: Bit = bit(0x8000_0008, 0, EBX, 24);
/// AMD: SVM lock.
pub const SVM_LOCK: Bit = bit(0x8000_000a, 0, EDX, 2);
/// AMD: a guest's machine checks exit to a host that has CR4.MCE set.
pub const HOST_MCE_OVERRIDE: Bit = bit(0x8000_000a, 0, EDX, 23);
/// AMD: secure memory encryption.
pub const SME: Bit = bit(0x8000_001f, 0, EAX, 0);
/// AMD: secure encrypted virtualisation.
pub const SEV: Bit = bit(0x8000_001f, 0, EAX, 1);
/// AMD: performance monitoring version 2.
pub const AMD_PERFMON_V2: Bit = bit(0x8000_0022, 0, EAX, 0);

/// KVM feature leaf, relative to its base: EAX holds the features (Linux msr.rst and cpuid.rst).
pub const KVM_FEATURES: u32 = 1;
/// KVM features, EAX: the first form of the clock.
pub const KVM_CLOCK_OLD: u8 = 0;
/// KVM features, EAX: the clock.
pub const KVM_CLOCK: u8 = 3;
/// KVM features, EAX: asynchronous page faults.
pub const KVM_ASYNC_PF: u8 = 4;
/// KVM features, EAX: steal time.
pub const KVM_STEAL_TIME: u8 = 5;
/// KVM features, EAX: paravirtual EOI.
pub const KVM_PV_EOI: u8 = 6;
/// Hyper-V privilege leaf, relative to its base: EAX holds the accessible MSRs (TLFS, "Feature Discovery").
pub const HV_PRIVILEGES: u32 = 3;
/// Hyper-V privileges, EAX: the SynIC's MSRs.
pub const HV_SYNIC: u8 = 2;
/// Hyper-V privileges, EAX: the local APIC's MSRs, VP assist page among them.
pub const HV_APIC: u8 = 4;
