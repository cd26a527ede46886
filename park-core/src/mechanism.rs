//! How a parked CPU waits: a closed, numbered set, recorded in the bay.

use core::fmt;

/// How a CPU waits in its bay. The numbers are part of the lot ABI and never change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Mechanism {
    /// `HLT` in bay code; an NMI makes it look at the doorbell. Works on every x86-64 CPU.
    Hlt = 1,
    /// `MONITOR`/`MWAIT` on the doorbell; a store wakes it, an NMI too.
    Mwait = 2,
    /// AMD: `EFER.SVME` and `CLGI`, then the doorbell is polled; NMI, SMI, INIT and INTR are held.
    Clgi = 3,
    /// Wait-for-SIPI, entered by an INIT IPI that another CPU sends; left by a STARTUP IPI.
    WaitForSipi = 4,
}

impl Mechanism {
    /// All mechanisms, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Hlt, Self::Mwait, Self::Clgi, Self::WaitForSipi];

    /// The mechanism with this number in a bay, or `None`: then a newer version parked the CPU.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            1 => Some(Self::Hlt),
            2 => Some(Self::Mwait),
            3 => Some(Self::Clgi),
            4 => Some(Self::WaitForSipi),
            _ => None,
        }
    }

    /// The number in the bay.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self as u8
    }

    /// The name in docs, command lines and JSON: `hlt`, `mwait`, `clgi`, `wait-for-sipi`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hlt => "hlt",
            Self::Mwait => "mwait",
            Self::Clgi => "clgi",
            Self::WaitForSipi => "wait-for-sipi",
        }
    }

    /// The mechanism with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// True if a ring must be accompanied by an NMI: the doorbell alone does not end the wait.
    #[must_use]
    pub const fn needs_nmi(self) -> bool {
        matches!(self, Self::Hlt)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

bitflags::bitflags! {
    /// A set of mechanisms.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct MechanismSet: u8 {
        /// [`Mechanism::Hlt`].
        const HLT = 1 << 1;
        /// [`Mechanism::Mwait`].
        const MWAIT = 1 << 2;
        /// [`Mechanism::Clgi`].
        const CLGI = 1 << 3;
        /// [`Mechanism::WaitForSipi`].
        const WAIT_FOR_SIPI = 1 << 4;
    }
}

impl From<Mechanism> for MechanismSet {
    fn from(mechanism: Mechanism) -> Self {
        Self::from_bits_truncate(1 << mechanism.raw())
    }
}
