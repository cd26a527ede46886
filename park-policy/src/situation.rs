//! Situations: why CPUs are parked, and what that asks of a mechanism.

use crate::{Guarantees, Requirements, Which};
use core::fmt;
use park_core::ApicId;

/// Why CPUs are parked: a convenience that yields [`Requirements`] and says which CPUs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Situation {
    /// An administrator takes CPUs away from a kernel that goes on.
    Offline,
    /// Simultaneous multithreading is off: every core keeps one thread.
    NoSmt,
    /// Another kernel is started in order.
    Kexec,
    /// Another kernel is started after a crash.
    CrashKexec,
    /// Memory is written to disk or read back over the running kernel.
    Hibernate,
    /// The machine is powered off or reset.
    Shutdown,
    /// A bootloader hands CPUs on to a kernel.
    Boot,
    /// CPUs that are not needed sleep.
    Consolidate,
}

/// What can come to any parked CPU at any time, whoever runs the machine.
const ALWAYS: Guarantees = Guarantees::SURVIVES_MC
    .union(Guarantees::SURVIVES_NMI)
    .union(Guarantees::SURVIVES_SMI)
    .union(Guarantees::SURVIVES_SMI_RENDEZVOUS)
    .union(Guarantees::SURVIVES_INTERRUPT)
    .union(Guarantees::SURVIVES_STRAY_STORE);
/// What can come besides while another kernel takes over.
const OTHER_KERNEL: Guarantees = ALWAYS.union(Guarantees::SURVIVES_OVERWRITE);
/// What is welcome wherever it costs nothing.
const WELCOME: Guarantees = Guarantees::FREE_OF_ERRATA.union(Guarantees::WAKES_BY_STORE).union(Guarantees::SAVES_POWER);
/// Consolidated CPUs come back when load rises: within a tenth of a 10 ms scheduler tick.
const CONSOLIDATE_LATENCY_US: u32 = 1_000;

/// These requirements, at any latency.
const fn asks(require: Guarantees, prefer: Guarantees) -> Requirements {
    Requirements { require, prefer, ..Requirements::NONE }
}

impl Situation {
    /// All situations.
    pub const ALL: [Self; 8] = [
        Self::Offline,
        Self::NoSmt,
        Self::Kexec,
        Self::CrashKexec,
        Self::Hibernate,
        Self::Shutdown,
        Self::Boot,
        Self::Consolidate,
    ];

    /// The name in docs, command lines and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::NoSmt => "no-smt",
            Self::Kexec => "kexec",
            Self::CrashKexec => "crash-kexec",
            Self::Hibernate => "hibernate",
            Self::Shutdown => "shutdown",
            Self::Boot => "boot",
            Self::Consolidate => "consolidate",
        }
    }

    /// The situation with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|situation| situation.name() == name)
    }

    /// What the situation asks of a mechanism. Change it as you like.
    #[must_use]
    pub const fn requirements(self) -> Requirements {
        match self {
            // Whoever is offline when a kexec comes must survive it.
            Self::Offline | Self::NoSmt => asks(OTHER_KERNEL, WELCOME.union(Guarantees::SLEEPS_DEEP)),
            // The next kernel may know nothing of park.
            Self::Kexec | Self::Boot => asks(OTHER_KERNEL.union(Guarantees::FOREIGN_KERNEL_CAN_TAKE), WELCOME),
            // As for kexec, but the CPU that crashed may be any: the bootstrap processor, whom nobody can take, is parked too.
            Self::CrashKexec => asks(OTHER_KERNEL, WELCOME.union(Guarantees::FOREIGN_KERNEL_CAN_TAKE)),
            Self::Hibernate => asks(OTHER_KERNEL, WELCOME),
            Self::Shutdown => asks(ALWAYS, WELCOME),
            Self::Consolidate => {
                asks(OTHER_KERNEL, WELCOME.union(Guarantees::SLEEPS_DEEP)).within(CONSOLIDATE_LATENCY_US)
            }
        }
    }

    /// Which CPUs the situation parks, if it is decided on the CPU `running`. `None` for [`Consolidate`](Self::Consolidate),
    /// where load decides.
    #[must_use]
    pub const fn which(self, running: ApicId) -> Option<Which<'static>> {
        match self {
            Self::Offline => Some(Which::Applications),
            Self::NoSmt => Some(Which::Siblings),
            Self::Kexec | Self::CrashKexec | Self::Hibernate | Self::Shutdown | Self::Boot => {
                Some(Which::AllBut(running))
            }
            Self::Consolidate => None,
        }
    }
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
