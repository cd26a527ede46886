//! Why a test failed, or could not begin.

use core::fmt;

use park_core::acpi::AcpiError;
use park_core::{PhysAddr, PlatformError};
use park_x86::orders::Unavailable;
use park_x86::sanitise::SanitiseError;

use crate::cmdline::CmdlineError;
use crate::image::percpu::JobBusy;
use crate::image::wait::ClockError;
use crate::linux::LinuxError;
use crate::memory::{BadLot, MAP_RANGES_MAX, MAX_CPUS, NotUsable};
use crate::multiboot2::Multiboot2Error;
use crate::pvh::PvhError;

/// Everything that ends a test early.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    Pvh(PvhError),
    Multiboot2(Multiboot2Error),
    /// The memory map has more ranges than the image keeps.
    MapTooLong,
    Cmdline(CmdlineError<'static>),
    OutOfReach {
        what: &'static str,
        at: PhysAddr,
    },
    Memory(NotUsable),
    Lot(BadLot),
    Clock(ClockError),
    /// The local APIC is off, can't be put into the mode that is wanted, or is not where it is after reset.
    ApicBase(u64),
    Acpi(AcpiError),
    /// Linux can't be entered.
    Linux(LinuxError),
    TooManyCpus,
    WrongCpuCount {
        online: u32,
        wanted: u32,
    },
    /// More CPUs are to be handed on than there are.
    TooFewToHand {
        handed: u32,
        others: u32,
    },
    Job(JobBusy),
    /// A CPU was told to park, but not for whom, or in no bay.
    NoOwner,
    Park(park_core::Error),
    /// The mechanism is not available on this machine.
    Unavailable(Unavailable),
    Sanitise(SanitiseError),
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
            Self::Multiboot2(error) => write!(f, "{error}"),
            Self::MapTooLong => write!(f, "the memory map has more than {MAP_RANGES_MAX} ranges"),
            Self::Cmdline(error) => write!(f, "{error}"),
            Self::OutOfReach { what, at } => write!(f, "{what} lies at {at}, outside the low 4 GiB"),
            Self::Lot(error) => write!(f, "{error}"),
            Self::Memory(error) => write!(f, "{error}"),
            Self::Clock(error) => write!(f, "{error}"),
            Self::ApicBase(found) => {
                write!(
                    f,
                    "IA32_APIC_BASE is {found:#x}; the image needs it enabled, at the address after reset, and x2APIC mode only where `apic=x2` asks for it"
                )
            }
            Self::Acpi(error) => write!(f, "{error}"),
            Self::Linux(error) => write!(f, "{error}"),
            Self::TooManyCpus => write!(f, "the machine has more than {MAX_CPUS} CPUs; give it fewer"),
            Self::WrongCpuCount { online, wanted } => {
                write!(f, "{online} CPUs are online, but cpus={wanted} is on the command line")
            }
            Self::TooFewToHand { handed, others } => {
                write!(f, "handed={handed} is on the command line, but there are {others} CPUs beside the first")
            }
            Self::Job(error) => write!(f, "{error}"),
            Self::NoOwner => f.write_str("a CPU was told to park for no kernel, or in no bay"),
            Self::Park(error) => write!(f, "{error}"),
            Self::Unavailable(reason) => write!(f, "{reason}; try -cpu EPYC"),
            Self::Sanitise(error) => write!(f, "{error}"),
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
    Multiboot2Error => Multiboot2,
    CmdlineError<'static> => Cmdline,
    BadLot => Lot,
    NotUsable => Memory,
    ClockError => Clock,
    AcpiError => Acpi,
    LinuxError => Linux,
    JobBusy => Job,
    park_core::Error => Park,
    Unavailable => Unavailable,
    SanitiseError => Sanitise,
}

impl From<PlatformError> for Failure {
    fn from(error: PlatformError) -> Self {
        Self::Park(error.into())
    }
}
