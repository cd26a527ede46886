//! What was looked at and is left alone, so that nobody has to wonder.

/// State of the owner's that stays in a parked CPU, and why that is safe.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LeftAlone {
    /// The state.
    pub name: &'static str,
    /// Why it may stay.
    pub why: &'static str,
    /// Manual section or commit behind it.
    pub source: &'static str,
}

const fn left(name: &'static str, why: &'static str, source: &'static str) -> LeftAlone {
    LeftAlone { name, why, source }
}

/// All of it.
pub const LEFT_ALONE: &[LeftAlone] = &[
    left(
        "IA32_APIC_BASE",
        "the mode can't be changed back on every machine, and a disabled local APIC takes no IPI",
        "SDM vol. 3, \"x2APIC State Transitions\"; Linux x2apic_hw_locked()",
    ),
    left(
        "MTRRs, PAT",
        "they must agree on all CPUs: the next owner synchronises them; PAT entry 0 is checked",
        "SDM vol. 3, \"MTRR Considerations in MP Systems\"",
    ),
    left("machine-check banks", "others scan them and count; a parked CPU touches none", "SDM vol. 3, 15.5, \"CMCI\""),
    left("XCR0, IA32_XSS, PKRU, x87 and vector registers", "bay code uses none of them", "the bay code's listing"),
    left("IA32_FS_BASE, IA32_GS_BASE, SYSCALL MSRs", "bay code uses none of them", "the bay code's listing"),
    left(
        "IA32_UMWAIT_CONTROL",
        "it bounds UMWAIT and TPAUSE, which bay code does not execute",
        "Intel ISA extensions reference, \"IA32_UMWAIT_CONTROL\"",
    ),
    left(
        "IA32_MONITOR_FILTER_SIZE",
        "no CPUID bit says that it exists, and reading it is #GP in guests; leaf 5 already shows its effect",
        "SDM vol. 3, \"Determining Size of Monitor Filter\"",
    ),
    left(
        "IA32_PKRS",
        "it means nothing while CR4.PKS is 0, and arrival clears that bit; the next owner loads both",
        "SDM vol. 3, \"Protection Keys\"",
    ),
    left(
        "IA32_DS_AREA",
        "only BTS and PEBS look at it, and both are off; 0 would be one more address and not \"off\"",
        "SDM vol. 3, \"Debug Store (DS) Mechanism\"",
    ),
    left(
        "RFLAGS.TF",
        "with TF set the owner's own #DB handler has run, step by step, long before its IDT is left",
        "SDM vol. 3, \"Single-Step Exception Condition\"",
    ),
    left(
        "CR4.SMEP, SMAP, PKE, UMIP",
        "arrival loads CR4 as a whole; every page of the lot is a supervisor page",
        "docs/abi.md",
    ),
    left(
        "microcode",
        "a parked CPU keeps its revision; Hold brings it to the loader's rendezvous",
        "Linux 8f849ff63bcb",
    ),
    left(
        "CPU buffers (VERW)",
        "bay code holds no secret, and the owner's went through its own exit path",
        "Linux Documentation/arch/x86/mds.rst, \"C-State transition\"",
    ),
    left(
        "TSC, TSC_ADJUST",
        "they run on; the next owner synchronises them",
        "SDM vol. 3, \"Time-Stamp Counter Adjustment\"",
    ),
];
