//! Parkers that are not park's, as machine code in the memory of the kernel that used them.
//!
//! Each does what its original does, for the reasons that its original gives; what becomes of a CPU in one follows from
//! the CPU rules and from what happens to that memory. Sources stand beside each.

pub mod code;
pub mod firmware;

/// A parker that is not park's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Parker {
    /// Linux `mwait_play_dead()`: MONITOR/MWAIT on a word in kernel memory (arch/x86/kernel/smpboot.c).
    LinuxMwait,
    /// The same after kexec's kick: HLT, in the same text (Linux d7893093a741).
    LinuxMwaitKicked,
    /// Linux `hlt_play_dead()` and `stop_this_cpu()`: WBINVD, then HLT in a loop.
    LinuxHlt,
    /// EDK2's loop after ExitBootServices: own stack and page table that map nothing but the loop; the IDT is not
    /// mapped (UefiCpuPkg MpInitLib, `AsmRelocateApLoopGeneric`).
    Edk2Loop,
    /// A CPU in Linux's HLT loop that another CPU sends INIT (Linux 45e34c8af58f, reverted in fbe1bf1e5ff1).
    RawInit,
    /// EFER.SVME, CLGI, and HLT until a word says otherwise: proposed in the 2023 thread, without a polling loop.
    RawClgi,
}

impl Parker {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::LinuxMwait, Self::LinuxMwaitKicked, Self::LinuxHlt, Self::Edk2Loop, Self::RawInit, Self::RawClgi];

    /// The name in scenario files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LinuxMwait => "linux-mwait",
            Self::LinuxMwaitKicked => "linux-mwait-kicked",
            Self::LinuxHlt => "linux-hlt",
            Self::Edk2Loop => "edk2-loop",
            Self::RawInit => "raw-init",
            Self::RawClgi => "raw-clgi",
        }
    }

    /// The parker with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|parker| parker.name() == name)
    }
}
