//! The steps of a scenario: a closed set of verbs, each with its own keys.

use super::error::Place;
use crate::foreign::Parker;
use park_core::{ErrorKind, Event, Mechanism};

/// One step, and where it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub place: Place,
    /// What is done.
    pub verb: Verb,
}

/// How a CPU is parked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// In the lot.
    Lot(Mechanism),
    /// By code that is not park's, in its kernel's memory.
    Foreign(Parker),
}

impl By {
    /// All names that `by` takes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Mechanism::ALL.iter().map(|mechanism| mechanism.name()).chain(Parker::ALL.iter().map(|parker| parker.name()))
    }

    /// The name in scenario files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lot(mechanism) => mechanism.name(),
            Self::Foreign(parker) => parker.name(),
        }
    }

    /// What has this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Mechanism::from_name(name).map(Self::Lot).or_else(|| Parker::from_name(name).map(Self::Foreign))
    }
}

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in scenario files, command lines and JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What has this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }

            /// All names.
            pub fn names() -> impl Iterator<Item = &'static str> {
                Self::ALL.iter().map(|one| one.name())
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(super) use names;

names! {
    /// Out of what a CPU parks.
    From {
        /// Its idle loop.
        Idle = "idle",
        /// The NMI handler of its kernel, as in a crash.
        Nmi = "nmi",
        /// The machine-check handler of its kernel, with MCIP still set.
        Mc = "mc",
        /// An idle loop of `sti; hlt`, called by an interrupt.
        IdleHlt = "idle-hlt",
        /// An idle loop of `sti; mwait`, called by an interrupt.
        IdleMwait = "idle-mwait",
        /// An idle loop of MWAIT with `ECX[0]` = 1 and interrupts masked, called by an interrupt.
        IdleMwaitBreak = "idle-mwait-break",
        /// An idle loop of TPAUSE with interrupts masked, called by an interrupt.
        IdleTpause = "idle-tpause",
    }
}

names! {
    /// What an operation must come to.
    Result {
        /// Success.
        Done = "done",
        /// The CPU did not answer; it has certainly not acted.
        Revoked = "revoked",
        /// The CPU acted first.
        TooLate = "too-late",
        /// Nobody can say.
        Uncertain = "uncertain",
        /// The CPU stopped in its bay.
        Faulted = "faulted",
        /// Not in a state for this.
        WrongState = "wrong-state",
        /// The lease is void.
        StaleGeneration = "stale-generation",
        /// The lot is not what it says.
        AbiMismatch = "abi-mismatch",
        /// Not to be had.
        NotSupported = "not-supported",
    }
}

impl Result {
    /// The result that an operation's error is; `None` for kinds that no scenario can expect.
    #[must_use]
    pub const fn of(kind: ErrorKind) -> Option<Self> {
        Some(match kind {
            ErrorKind::Revoked => Self::Revoked,
            ErrorKind::TooLate => Self::TooLate,
            ErrorKind::Uncertain => Self::Uncertain,
            ErrorKind::Faulted => Self::Faulted,
            ErrorKind::WrongState => Self::WrongState,
            ErrorKind::StaleGeneration => Self::StaleGeneration,
            ErrorKind::AbiMismatch => Self::AbiMismatch,
            ErrorKind::NotSupported => Self::NotSupported,
            _ => return None,
        })
    }
}

names! {
    /// When an event's effects are awaited.
    When {
        /// The step ends when the machine has digested it.
        Settled = "settled",
        /// It happens some time in the steps that follow.
        Meanwhile = "meanwhile",
    }
}

names! {
    /// What becomes of the last kernel's memory.
    Old {
        /// It is overwritten: a kexec.
        Overwritten = "overwritten",
        /// It is left alone: a crash kernel runs in memory of its own.
        Kept = "kept",
    }
}

names! {
    /// How a kernel takes a lot over.
    How {
        /// After a clean hand-over.
        Accept = "accept",
        /// From a dead owner.
        Seize = "seize",
    }
}

names! {
    /// What is damaged in a lot.
    Damage {
        /// The header page.
        Header = "header",
        /// The bay code.
        Code = "code",
        /// The page tables and the IDT.
        Tables = "tables",
        /// The lease word.
        Lease = "lease",
        /// Not damage: a sound lot of a newer version, with a feature that this one does not know.
        Newer = "newer-version",
    }
}

names! {
    /// What a CPU was left in by the kernel's own business.
    Left {
        /// VMX root operation.
        VmxRoot = "vmx-root",
        /// An interrupt handler that has not written end-of-interrupt.
        InService = "in-service",
        /// CR4.MCE = 0, as a kernel has it that was told to ignore machine checks.
        MceOff = "mce-off",
    }
}

names! {
    /// What survives a reset.
    Ram {
        /// All memory: a warm reset.
        Kept = "kept",
        /// Nothing: the power was off.
        Lost = "lost",
    }
}

/// What a step does. CPUs are indices in the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verb {
    /// Parks CPUs, one after the other.
    Park {
        /// Which.
        cpus: Vec<usize>,
        /// How.
        by: By,
        /// Out of what.
        from: From,
        /// What it must come to.
        expect: Result,
    },
    /// Reserves a bay, and gives up before the CPU has arrived: its acknowledgement comes late.
    ParkLate {
        /// Which CPU.
        cpu: usize,
        /// How.
        mechanism: Mechanism,
    },
    /// Something happens to CPUs.
    Event {
        /// What.
        event: Event,
        /// To which.
        cpus: Vec<usize>,
        /// How often.
        times: u64,
        /// Awaited or not.
        when: When,
    },
    /// The next kernel takes the machine over.
    Kexec {
        /// The CPU that it starts on.
        boss: Option<usize>,
        /// What becomes of the last one's memory.
        old: Old,
    },
    /// Everything outside the lot and the current kernel is overwritten.
    Overwrite,
    /// Wakes CPUs as their parker's plan says: lots by a ring, others by what they wait for.
    Wake {
        /// Which.
        cpus: Vec<usize>,
        /// What it must come to.
        expect: Result,
    },
    /// Asks parked CPUs for a sign of life.
    Confirm {
        /// Which.
        cpus: Vec<usize>,
        /// What it must come to.
        expect: Result,
    },
    /// Has parked CPUs spin.
    Hold {
        /// Which.
        cpus: Vec<usize>,
    },
    /// Lets held CPUs wait again.
    Release {
        /// Which.
        cpus: Vec<usize>,
    },
    /// Has parked CPUs write back their caches.
    Flush {
        /// Which.
        cpus: Vec<usize>,
    },
    /// Publishes a wake and does not wait.
    Ring {
        /// Which CPU.
        cpu: usize,
    },
    /// Takes the published wake back.
    Revoke {
        /// Which CPU.
        cpu: usize,
        /// What it must come to.
        expect: Vec<Result>,
    },
    /// Rings with the lease of the kernel before.
    StaleRing {
        /// Which CPU.
        cpu: usize,
        /// What it must come to.
        expect: Result,
    },
    /// Lets go of the lot.
    HandOver,
    /// Takes the lot over.
    Adopt {
        /// By which right.
        how: How,
        /// What it must come to.
        expect: Result,
    },
    /// Gives up on CPUs: their bays are never given away.
    Quarantine {
        /// Which.
        cpus: Vec<usize>,
    },
    /// Takes a CPU that came late for parked after all.
    Rehabilitate {
        /// Which CPU.
        cpu: usize,
    },
    /// Builds a lot anew at the place of the old one.
    BuildLot,
    /// Changes one bit of the lot in memory, or what a newer version would change.
    Corrupt {
        /// Where.
        what: Damage,
        /// Which bit of it.
        bit: u64,
    },
    /// A kernel that knows nothing of park starts CPUs.
    InitSipiSipi {
        /// Which.
        cpus: Vec<usize>,
    },
    /// The kernel does something to CPUs that they have on them when they park.
    Prepare {
        /// Which.
        cpus: Vec<usize>,
        /// What.
        state: Left,
    },
    /// The machine is reset, and another kernel boots on all CPUs.
    Reset {
        /// What survives.
        ram: Ram,
    },
    /// Suspend to RAM: the boss goes on where it was, all others are in wait-for-SIPI.
    S3,
    /// The kernel's memory is written to disk.
    HibernateImage,
    /// The image is written over the running kernel, and goes on.
    HibernateRestore,
    /// Nothing: time passes.
    Run {
        /// How many steps of the machine.
        steps: u64,
    },
    /// Steps that are done several times.
    Repeat {
        /// How often.
        times: u64,
        /// What.
        steps: Vec<Step>,
    },
}

impl Verb {
    /// The names of all verbs.
    pub const NAMES: [&'static str; 27] = [
        "park",
        "park-late",
        "event",
        "kexec",
        "overwrite",
        "wake",
        "confirm",
        "hold",
        "release",
        "flush",
        "ring",
        "revoke",
        "stale-ring",
        "hand-over",
        "adopt",
        "quarantine",
        "rehabilitate",
        "build-lot",
        "corrupt",
        "init-sipi-sipi",
        "prepare",
        "reset",
        "s3",
        "hibernate-image",
        "hibernate-restore",
        "run",
        "repeat",
    ];
}
