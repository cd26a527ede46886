//! Why a test failed, or could not begin.

use core::fmt;

use park_core::{ApicId, PhysAddr, PlatformError};

use crate::cmdline::CmdlineError;
use crate::image::ap_start::StartError;
use crate::image::apic::ApicError;
use crate::image::clock::ClockError;
use crate::image::percpu::JobBusy;
use crate::madt::AcpiError;
use crate::memory::{MAX_CPUS, NotUsable};
use crate::pvh::PvhError;

/// Everything that ends a test early.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    Pvh(PvhError),
    Cmdline(CmdlineError<'static>),
    OutOfReach {
        what: &'static str,
        at: PhysAddr,
    },
    Memory(NotUsable),
    Clock(ClockError),
    Apic(ApicError),
    Acpi(AcpiError),
    TooManyCpus,
    Start {
        apic_id: ApicId,
        error: StartError,
    },
    WrongCpuCount {
        online: u32,
        wanted: u32,
    },
    Job(JobBusy),
    Park(park_core::Error),
    /// The machine is not one that the test can run on.
    Machine(&'static str),
    /// A CPU shows another number than the test wants.
    Wrong {
        index: u32,
        what: &'static str,
        found: u64,
        wanted: u64,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pvh(error) => write!(f, "{error}"),
            Self::Cmdline(error) => write!(f, "{error}"),
            Self::OutOfReach { what, at } => write!(f, "{what} lies at {at}, outside the low 4 GiB"),
            Self::Memory(error) => write!(f, "{error}"),
            Self::Clock(error) => write!(f, "{error}"),
            Self::Apic(error) => write!(f, "{error}"),
            Self::Acpi(error) => write!(f, "{error}"),
            Self::TooManyCpus => write!(f, "the machine has more than {MAX_CPUS} CPUs; give it fewer"),
            Self::Start { apic_id, error } => write!(f, "{apic_id:?}: {error}"),
            Self::WrongCpuCount { online, wanted } => {
                write!(f, "{online} CPUs are online, but cpus={wanted} is on the command line")
            }
            Self::Job(error) => write!(f, "{error}"),
            Self::Park(error) => write!(f, "{error}"),
            Self::Machine(what) => f.write_str(what),
            Self::Wrong { index, what, found, wanted } => write!(f, "CPU {index}: {what} is {found}, not {wanted}"),
        }
    }
}

impl core::error::Error for Failure {}

macro_rules! from {
    ($($error:ty => $variant:ident),* $(,)?) => { $(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )* };
}

from! {
    PvhError => Pvh,
    CmdlineError<'static> => Cmdline,
    NotUsable => Memory,
    ClockError => Clock,
    ApicError => Apic,
    AcpiError => Acpi,
    JobBusy => Job,
    park_core::Error => Park,
}

impl From<PlatformError> for Failure {
    fn from(error: PlatformError) -> Self {
        Self::Park(error.into())
    }
}
