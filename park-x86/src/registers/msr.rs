//! Model-specific registers: numbers and fields.

/// IA32_APIC_BASE (SDM vol. 3, "Local APIC Status and Location").
pub const APIC_BASE: u32 = 0x1b;
/// IA32_APIC_BASE: this is the bootstrap processor.
pub const APIC_BASE_BSP: u64 = 1 << 8;
/// IA32_APIC_BASE: x2APIC mode.
pub const APIC_BASE_EXTD: u64 = 1 << 10;
/// IA32_APIC_BASE: the local APIC is enabled.
pub const APIC_BASE_EN: u64 = 1 << 11;
/// IA32_APIC_BASE: physical address of the register page.
pub const APIC_BASE_PAGE: u64 = 0x000f_ffff_ffff_f000;

/// MSR_SMI_COUNT: SMIs since reset, bits 31:0; Intel, from Nehalem on (SDM vol. 4, "MSR_SMI_COUNT").
pub const SMI_COUNT: u32 = 0x34;
/// IA32_BIOS_SIGN_ID: the microcode's revision (SDM vol. 3, "Microcode Update Signature"; AMD "Patch Level").
pub const BIOS_SIGN_ID: u32 = 0x8b;
/// IA32_MPERF: counts at the TSC's rate while the CPU is in C0 (SDM vol. 3, "IA32_MPERF"; CPUID leaf 6, `ECX[0]`).
pub const MPERF: u32 = 0xe7;
/// IA32_APERF: counts at the CPU's own rate while it is in C0 (SDM vol. 3, "IA32_APERF"; CPUID leaf 6, `ECX[0]`).
pub const APERF: u32 = 0xe8;
/// MSR_CORE_C3_RESIDENCY, in ticks of the TSC; Intel (SDM vol. 4).
pub const CORE_C3_RESIDENCY: u32 = 0x3fc;
/// MSR_CORE_C6_RESIDENCY, as above.
pub const CORE_C6_RESIDENCY: u32 = 0x3fd;
/// MSR_CORE_C7_RESIDENCY, as above.
pub const CORE_C7_RESIDENCY: u32 = 0x3fe;
/// IA32_FEATURE_CONTROL (SDM vol. 4, "IA32_FEATURE_CONTROL").
pub const FEATURE_CONTROL: u32 = 0x3a;
/// IA32_SPEC_CTRL: IBRS, STIBP, SSBD (SDM vol. 4; AMD "Indirect Branch Control" white paper).
pub const SPEC_CTRL: u32 = 0x48;
/// IA32_MCG_CAP (SDM vol. 3, "IA32_MCG_CAP MSR").
pub const MCG_CAP: u32 = 0x179;
/// IA32_MCG_CAP: local machine checks exist.
pub const MCG_CAP_LMCE: u64 = 1 << 27;
/// IA32_MCG_STATUS (SDM vol. 3, "IA32_MCG_STATUS MSR"). Writing anything but 0 is #GP on Intel.
pub const MCG_STATUS: u32 = 0x17a;
/// IA32_MCG_STATUS: restart IP valid.
pub const MCG_STATUS_RIPV: u64 = 1 << 0;
/// IA32_MCG_STATUS: error IP valid.
pub const MCG_STATUS_EIPV: u64 = 1 << 1;
/// IA32_MCG_STATUS: a machine check is in progress; another one shuts the CPU down.
pub const MCG_STATUS_MCIP: u64 = 1 << 2;
/// IA32_MCG_STATUS: the machine check was local.
pub const MCG_STATUS_LMCES: u64 = 1 << 3;
/// IA32_MISC_ENABLE (SDM vol. 4, "IA32_MISC_ENABLE").
pub const MISC_ENABLE: u32 = 0x1a0;
/// IA32_MISC_ENABLE: PEBS is *not* available.
pub const MISC_ENABLE_PEBS_UNAVAILABLE: u64 = 1 << 12;
/// IA32_MISC_ENABLE: MONITOR and MWAIT are enabled; while 0 both are #UD.
pub const MISC_ENABLE_MONITOR_FSM: u64 = 1 << 18;
/// IA32_DEBUGCTL, AMD DebugCtl (SDM vol. 4; APM vol. 2, "Debug-Control MSR").
pub const DEBUGCTL: u32 = 0x1d9;
/// IA32_PAT (SDM vol. 3, "IA32_PAT MSR").
pub const PAT: u32 = 0x277;
/// IA32_PAT: the field of entry 0, which the lot's tables use.
pub const PAT_ENTRY0: u64 = 0x7;
/// IA32_PAT: write-back.
pub const PAT_WB: u64 = 0x6;
/// First performance event select, IA32_PERFEVTSEL0 (SDM vol. 3, "Architectural Performance Monitoring").
pub const PERFEVTSEL0: u32 = 0x186;
/// IA32_PERF_GLOBAL_CTRL (SDM vol. 3, "Architectural Performance Monitoring Version 2").
pub const PERF_GLOBAL_CTRL: u32 = 0x38f;
/// IA32_PEBS_ENABLE (SDM vol. 3, "Processor Event Based Sampling").
pub const PEBS_ENABLE: u32 = 0x3f1;
/// IA32_MCG_EXT_CTL (SDM vol. 3, "IA32_MCG_EXT_CTL MSR").
pub const MCG_EXT_CTL: u32 = 0x4d0;
/// IA32_MCG_EXT_CTL: deliver machine checks locally where possible.
pub const MCG_EXT_CTL_LMCE_EN: u64 = 1 << 0;
/// IA32_RTIT_CTL (SDM vol. 3, "IA32_RTIT_CTL MSR").
pub const RTIT_CTL: u32 = 0x570;
/// IA32_RTIT_CTL: Processor Trace is on.
pub const RTIT_CTL_TRACE_EN: u64 = 1 << 0;
/// IA32_DS_AREA: where BTS and PEBS write (SDM vol. 3, "Debug Store (DS) Mechanism").
pub const DS_AREA: u32 = 0x600;
/// IA32_U_CET (SDM vol. 1, "CET MSRs").
pub const U_CET: u32 = 0x6a0;
/// IA32_S_CET (SDM vol. 1, "CET MSRs").
pub const S_CET: u32 = 0x6a2;
/// IA32_PKRS (SDM vol. 3, "Protection Keys").
pub const PKRS: u32 = 0x6e1;
/// IA32_TSC_DEADLINE (SDM vol. 3, "TSC-Deadline Mode").
pub const TSC_DEADLINE: u32 = 0x6e0;
/// First x2APIC MSR; the others at `+ offset / 16` (SDM vol. 3, "x2APIC Register Address Space").
pub const X2APIC_FIRST: u32 = 0x800;
/// IA32_LBR_CTL (SDM vol. 3, "Architectural Last Branch Records").
pub const LBR_CTL: u32 = 0x14ce;
/// IA32_EFER (SDM vol. 4; APM vol. 2, "EFER").
pub const EFER: u32 = 0xc000_0080;
/// IA32_FS_BASE (SDM vol. 3, "Segment Loading Instructions in IA-32e Mode").
pub const FS_BASE: u32 = 0xc000_0100;
/// IA32_GS_BASE (SDM vol. 3, "Segment Loading Instructions in IA-32e Mode").
pub const GS_BASE: u32 = 0xc000_0101;

/// AMD PerfCntrGlobalCtl (APM vol. 2, "Performance Monitoring Version 2").
pub const AMD_PERF_GLOBAL_CTL: u32 = 0xc000_0301;
/// AMD: first legacy performance event select, PerfEvtSel0 (APM vol. 2, "Performance Event-Select Registers").
pub const AMD_PERFEVTSEL0: u32 = 0xc001_0000;
/// AMD SYSCFG (APM vol. 2, "SYSCFG").
pub const AMD_SYSCFG: u32 = 0xc001_0010;
/// AMD SYSCFG: secure memory encryption is on.
pub const AMD_SYSCFG_SME: u64 = 1 << 23;
/// AMD HWCR (PPR, "Hardware Configuration (HWCR)").
pub const AMD_HWCR: u32 = 0xc001_0015;
/// AMD HWCR: MONITOR, MWAIT, MONITORX and MWAITX are #UD.
pub const AMD_HWCR_MONITOR_DISABLE: u64 = 1 << 9;
/// AMD VM_CR (APM vol. 2, "VM_CR MSR").
pub const AMD_VM_CR: u32 = 0xc001_0114;
/// AMD VM_CR: an INIT becomes #SX.
pub const AMD_VM_CR_R_INIT: u64 = 1 << 1;
/// AMD VM_CR: LOCK and SVMDIS can't be written.
pub const AMD_VM_CR_LOCK: u64 = 1 << 3;
/// AMD VM_CR: setting EFER.SVME faults.
pub const AMD_VM_CR_SVMDIS: u64 = 1 << 4;
/// AMD VM_HSAVE_PA (APM vol. 2, "VM_HSAVE_PA MSR").
pub const AMD_VM_HSAVE_PA: u32 = 0xc001_0117;
/// AMD SEV_STATUS (APM vol. 2, "SEV_STATUS MSR").
pub const AMD_SEV_STATUS: u32 = 0xc001_0131;
/// AMD SEV_STATUS: SEV-ES is active: INIT and STARTUP don't exist.
pub const AMD_SEV_STATUS_ES: u64 = 1 << 1;
/// AMD SEV_STATUS: SEV is active.
pub const AMD_SEV_STATUS_SEV: u64 = 1 << 0;
/// AMD: first extended performance event select, the others at `+ 2 * n` (APM vol. 2, the same section).
pub const AMD_PERFEVTSEL0_EXT: u32 = 0xc001_0200;
/// AMD IBS fetch control (APM vol. 2, "Instruction-Based Sampling").
pub const AMD_IBS_FETCH_CTL: u32 = 0xc001_1030;
/// AMD IBS execution control (APM vol. 2, "Instruction-Based Sampling").
pub const AMD_IBS_OP_CTL: u32 = 0xc001_1033;

/// KVM: system time of the first form (Linux Documentation/virt/kvm/x86/msr.rst).
pub const KVM_SYSTEM_TIME_OLD: u32 = 0x12;
/// KVM: system time (the same document).
pub const KVM_SYSTEM_TIME: u32 = 0x4b56_4d01;
/// KVM: asynchronous page faults (the same document).
pub const KVM_ASYNC_PF: u32 = 0x4b56_4d02;
/// KVM: steal time (the same document).
pub const KVM_STEAL_TIME: u32 = 0x4b56_4d03;
/// KVM: paravirtual EOI (the same document).
pub const KVM_PV_EOI: u32 = 0x4b56_4d04;
/// KVM: in all of them, the host writes to the guest's memory.
pub const KVM_ENABLED: u64 = 1 << 0;

/// Hyper-V: VP assist page (Hypervisor Top Level Functional Specification, "Virtual Processor Assist Page").
pub const HV_VP_ASSIST: u32 = 0x4000_0073;
/// Hyper-V: SynIC event flags page (TLFS, "Synthetic Interrupt Controller").
pub const HV_SIEFP: u32 = 0x4000_0082;
/// Hyper-V: SynIC message page (TLFS, the same section).
pub const HV_SIMP: u32 = 0x4000_0083;
/// Hyper-V: in all of them, the page is in use.
pub const HV_ENABLED: u64 = 1 << 0;
