//! What can go wrong, by kind, with where and what to do.

use core::fmt;

/// A failure inside the platform's implementation of a trait.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PlatformError {
    /// An offset into the lot that is out of bounds or not a multiple of 8.
    OutOfBounds {
        /// The offset, in bytes.
        offset: u64,
    },
    /// The instruction faulted with this vector.
    Fault {
        /// Exception vector.
        vector: u8,
    },
    /// The register is not there, or can't be written.
    NoSuchRegister,
    /// The APIC id can't be named in the local APIC's mode.
    IdTooWide {
        /// The id.
        apic_id: u32,
    },
    /// The local APIC did not accept the message in time.
    ApicBusy,
    /// The platform can't get a CPU to park itself.
    CannotSummon,
    /// Something of the platform's own; the number is the platform's.
    Other(u32),
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds { offset } => write!(f, "lot offset {offset:#x} is out of bounds or unaligned"),
            Self::Fault { vector } => write!(f, "the instruction faulted with vector {vector}"),
            Self::NoSuchRegister => f.write_str("no such register, or not writable"),
            Self::IdTooWide { apic_id } => {
                write!(f, "APIC id {apic_id} needs x2APIC mode; in xAPIC form it would reach another CPU")
            }
            Self::ApicBusy => f.write_str("the local APIC did not accept the message in time"),
            Self::CannotSummon => f.write_str("this platform can't get a CPU to park itself"),
            Self::Other(code) => write!(f, "platform error {code}"),
        }
    }
}

impl core::error::Error for PlatformError {}

/// What kind of failure an operation had. Each operation documents its subset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// This machine or this lot can't do that.
    NotSupported,
    /// No such bay or CPU, or the wrong one for this operation.
    InvalidCpu,
    /// An address is not canonical, not aligned, not below a bound, or overlaps.
    InvalidAddress,
    /// The bay, lease or lot is not in a state in which this can be done.
    WrongState,
    /// The ticket was taken back: the CPU has certainly not taken it, and never will.
    Revoked,
    /// The CPU certainly took the command before it could be taken back.
    TooLate,
    /// Nobody can say where the CPU is; its bay is quarantined and never freed.
    Uncertain,
    /// The CPU sits in its bay with a fault record.
    Faulted,
    /// The lot is of a version, size or content that this code can't use.
    AbiMismatch,
    /// Another kernel holds the lease now.
    StaleGeneration,
    /// The platform's own error.
    Platform,
}

/// An error of park: its kind, what, where.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Error {
    kind: ErrorKind,
    what: &'static str,
    offset: Option<u64>,
    value: Option<u64>,
    platform: Option<PlatformError>,
}

impl Error {
    /// An error of `kind`; `what` is one sentence without a full stop: what is wrong and what to do.
    #[must_use]
    pub const fn new(kind: ErrorKind, what: &'static str) -> Self {
        Self { kind, what, offset: None, value: None, platform: None }
    }

    /// Adds where in the lot, in bytes from its first byte.
    #[must_use]
    pub const fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Adds the value that was found.
    #[must_use]
    pub const fn found(mut self, value: u64) -> Self {
        self.value = Some(value);
        self
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What is wrong, as a sentence.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        self.what
    }

    /// Where in the lot, in bytes from its first byte.
    #[must_use]
    pub const fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// The value that was found.
    #[must_use]
    pub const fn value(&self) -> Option<u64> {
        self.value
    }

    /// The platform's own error, if that was the cause.
    #[must_use]
    pub const fn platform(&self) -> Option<PlatformError> {
        self.platform
    }
}

impl From<PlatformError> for Error {
    fn from(platform: PlatformError) -> Self {
        let mut error = Self::new(ErrorKind::Platform, "the platform failed");
        error.platform = Some(platform);
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        if let Some(value) = self.value {
            write!(f, " (found {value:#x})")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at lot offset {offset:#x}")?;
        }
        if let Some(platform) = self.platform {
            write!(f, ": {platform}")?;
        }
        Ok(())
    }
}

impl core::error::Error for Error {}
