//! Control registers, EFER, RFLAGS, debug registers, XCR0.

bitflags::bitflags! {
    /// CR0 (SDM vol. 3, "Control Registers").
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Cr0: u64 {
        /// Protected mode.
        const PE = 1 << 0;
        /// Monitor coprocessor.
        const MP = 1 << 1;
        /// No x87: its instructions are #UD.
        const EM = 1 << 2;
        /// Task switched: x87 and SSE instructions are #NM.
        const TS = 1 << 3;
        /// Extension type, always 1.
        const ET = 1 << 4;
        /// x87 errors as #MF and not by an external interrupt.
        const NE = 1 << 5;
        /// Supervisor writes respect read-only pages.
        const WP = 1 << 16;
        /// Alignment checks at CPL 3.
        const AM = 1 << 18;
        /// Not write-through.
        const NW = 1 << 29;
        /// Cache disable.
        const CD = 1 << 30;
        /// Paging.
        const PG = 1 << 31;
    }
}

bitflags::bitflags! {
    /// CR4 (SDM vol. 3, "Control Registers"; FRED, LASS, PKS: the same, since 2023).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Cr4: u64 {
        /// Debugging extensions.
        const DE = 1 << 3;
        /// 4 MiB pages in 32-bit paging.
        const PSE = 1 << 4;
        /// Physical address extension; fixed while in long mode.
        const PAE = 1 << 5;
        /// Machine checks are exceptions; while it is 0, one shuts the CPU down.
        const MCE = 1 << 6;
        /// Global pages outlive a load of CR3.
        const PGE = 1 << 7;
        /// FXSAVE and SSE are enabled.
        const OSFXSR = 1 << 9;
        /// SIMD errors as #XM.
        const OSXMMEXCPT = 1 << 10;
        /// No SGDT, SIDT, SLDT, SMSW, STR at CPL 3.
        const UMIP = 1 << 11;
        /// Five-level paging; fixed while in long mode.
        const LA57 = 1 << 12;
        /// VMXON is allowed.
        const VMXE = 1 << 13;
        /// SMX is enabled.
        const SMXE = 1 << 14;
        /// RDFSBASE and its kin.
        const FSGSBASE = 1 << 16;
        /// Process-context identifiers in CR3.
        const PCIDE = 1 << 17;
        /// XSAVE and XGETBV are enabled.
        const OSXSAVE = 1 << 18;
        /// No supervisor fetches from user pages.
        const SMEP = 1 << 20;
        /// No supervisor accesses to user pages.
        const SMAP = 1 << 21;
        /// Protection keys of user pages.
        const PKE = 1 << 22;
        /// Control-flow enforcement.
        const CET = 1 << 23;
        /// Protection keys of supervisor pages.
        const PKS = 1 << 24;
        /// User interrupts.
        const UINTR = 1 << 25;
        /// Linear-address space separation: a supervisor access to the low half faults.
        const LASS = 1 << 27;
        /// Events go through FRED and not the IDT.
        const FRED = 1 << 32;
    }
}

bitflags::bitflags! {
    /// IA32_EFER (SDM vol. 3, "Extended Feature Enable Register"; APM vol. 2, "EFER").
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Efer: u64 {
        /// SYSCALL is enabled.
        const SCE = 1 << 0;
        /// Long mode enable.
        const LME = 1 << 8;
        /// Long mode active.
        const LMA = 1 << 10;
        /// No-execute enable.
        const NXE = 1 << 11;
        /// AMD: secure virtual machine enable.
        const SVME = 1 << 12;
    }
}

bitflags::bitflags! {
    /// RFLAGS (SDM vol. 1, "EFLAGS Register").
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Rflags: u64 {
        /// Always 1.
        const ONE = 1 << 1;
        /// Trap flag: single step.
        const TF = 1 << 8;
        /// Maskable interrupts are delivered.
        const IF = 1 << 9;
        /// String instructions run downwards.
        const DF = 1 << 10;
        /// Nested task: IRETQ with it set is #GP.
        const NT = 1 << 14;
        /// Alignment check at CPL 3; SMAP override at CPL 0.
        const AC = 1 << 18;
    }
}

bitflags::bitflags! {
    /// IA32_DEBUGCTL (SDM vol. 3, "IA32_DEBUGCTL MSR"; APM vol. 2, "DebugCtl").
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct DebugCtl: u64 {
        /// Last-branch records.
        const LBR = 1 << 0;
        /// Single step on branches.
        const BTF = 1 << 1;
        /// Branch trace messages.
        const TR = 1 << 6;
        /// Branch trace store, to memory.
        const BTS = 1 << 7;
    }
}

/// DR7 with every breakpoint off; bit 10 always reads 1 (SDM vol. 3, "Debug Control Register (DR7)").
pub const DR7_OFF: u64 = 0x400;
/// DR7: local and global enables of breakpoints 0 to 3, and general detect (SDM, the same section).
pub const DR7_ENABLES: u64 = 0xff | 1 << 13;

/// Selector: the table indicator; 1 means LDT (SDM vol. 3, "Segment Selectors").
pub const SELECTOR_TI: u64 = 1 << 2;
/// Selector: requested privilege level (SDM vol. 3, "Segment Selectors").
pub const SELECTOR_RPL: u64 = 0b11;

/// XCR0 and XINUSE: AMX tile configuration and data (SDM vol. 1, "XSAVE-Supported Features").
pub const XSTATE_TILES: u64 = 0b11 << 17;

/// CR3 as loaded with PCIDE = 1: bit 63 means "do not flush" (SDM vol. 3, "Operations that Invalidate TLBs").
pub const CR3_NO_FLUSH: u64 = 1 << 63;
