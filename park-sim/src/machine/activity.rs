//! What a CPU is doing between instructions, and what a step of it came to.

/// The activity states of a logical processor (S:24.4.2 and the MWAIT family).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Activity {
    /// Executing instructions.
    Running,
    /// In HLT.
    Hlt,
    /// In MWAIT; `deep` = a hint above C1, `breaks` = `ECX[0]`.
    Mwait {
        /// A C-state deeper than C1 was asked for.
        deep: bool,
        /// A masked interrupt ends it (`ECX[0]`=1).
        breaks: bool,
    },
    /// In MWAITX.
    Mwaitx {
        /// A masked interrupt ends it (`ECX[0]`=1).
        breaks: bool,
    },
    /// In UMWAIT.
    Umwait,
    /// In TPAUSE.
    Tpause,
    /// After INIT, until a SIPI.
    WaitForSipi,
    /// In shutdown.
    Shutdown,
    /// A BSP that took INIT and runs firmware from the reset vector: the platform starts over.
    ResetVector,
}

impl Activity {
    /// A stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Hlt => "hlt",
            Self::Mwait { .. } => "mwait",
            Self::Mwaitx { .. } => "mwaitx",
            Self::Umwait => "umwait",
            Self::Tpause => "tpause",
            Self::WaitForSipi => "wait-for-sipi",
            Self::Shutdown => "shutdown",
            Self::ResetVector => "reset-vector",
        }
    }

    /// Whether the CPU waits on a monitored line or a deadline.
    #[must_use]
    pub const fn is_mwait_family(self) -> bool {
        matches!(self, Self::Mwait { .. } | Self::Mwaitx { .. } | Self::Umwait | Self::Tpause)
    }

    /// A dense code for packing.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Running => 0,
            Self::Hlt => 1,
            Self::Mwait { deep, breaks } => 8 | (deep as u8) | ((breaks as u8) << 1),
            Self::Mwaitx { breaks } => 2 | (breaks as u8),
            Self::Umwait => 4,
            Self::Tpause => 5,
            Self::WaitForSipi => 6,
            Self::Shutdown => 7,
            Self::ResetVector => 12,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Hlt,
            2 | 3 => Self::Mwaitx { breaks: code & 1 != 0 },
            4 => Self::Umwait,
            5 => Self::Tpause,
            6 => Self::WaitForSipi,
            7 => Self::Shutdown,
            8..=11 => Self::Mwait { deep: code & 1 != 0, breaks: code & 2 != 0 },
            12 => Self::ResetVector,
            _ => Self::Running,
        }
    }
}

/// What one step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// One instruction was executed.
    Executed,
    /// An event, exception or SMM action was taken instead of, or after, an instruction.
    Delivered(Delivered),
    /// The CPU waits; nothing happened. See [`Activity`].
    Waiting,
    /// An OUT was executed; the machine did nothing else with it.
    Out {
        /// The port.
        port: u16,
        /// The value, zero-extended.
        value: u32,
    },
    /// The run has stopped: see [`super::Machine::stopped`].
    Stopped,
}

/// What a CPU took at an instruction boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivered {
    /// An interrupt or exception was delivered through this vector.
    Vector(u8),
    /// SMM was entered.
    SmmEntry,
    /// A step inside SMM that waits for others.
    SmmWait,
    /// RSM was executed.
    SmmExit,
    /// INIT was taken.
    Init,
    /// A SIPI started the CPU.
    Sipi,
    /// A wait ended without a delivery: execution continues after it.
    WaitEnded,
    /// The CPU shut down.
    Shutdown,
    /// The machine was reset.
    Reset,
}

/// Why a run cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// An instruction, MSR or mode outside what the simulator models; never guessed.
    Unsupported {
        /// The CPU.
        cpu: usize,
        /// Its RIP.
        rip: u64,
        /// The bytes there.
        bytes: [u8; 15],
        /// What is not modelled.
        text: String,
    },
}

/// Why the machine was reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResetCause {
    /// RESET was injected.
    Injected,
    /// A BSP took INIT and went to the reset vector.
    BspInit {
        /// The CPU.
        cpu: usize,
    },
    /// A broadcast machine check met a CPU that had to shut down (S:15.10.4.1; Linux 45e34c8af58f).
    BroadcastMachineCheck {
        /// The CPU that shut down.
        cpu: usize,
    },
    /// A CPU shut down, and the platform turns that into a reset (knob `shutdown-resets`).
    CpuShutdown {
        /// The CPU.
        cpu: usize,
    },
    /// SMM waited for ever for a CPU that never checked in (knob `smm-rendezvous`).
    SmmHang {
        /// The CPU that is missing.
        cpu: usize,
    },
}
