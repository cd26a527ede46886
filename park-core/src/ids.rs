//! Newtypes for the numbers that must never be mixed up.

use core::fmt;

/// A physical address, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PhysAddr(pub u64);

impl PhysAddr {
    /// The address `bytes` further on, or `None` on overflow.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// True if the address is a multiple of `align`, a power of two in bytes.
    #[must_use]
    pub const fn is_aligned(self, align: u64) -> bool {
        self.0 & (align - 1) == 0
    }
}

impl fmt::Debug for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A local APIC id: 8 bits wide in xAPIC mode, 32 bits in x2APIC mode (Intel SDM vol. 3, "Local APIC ID").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ApicId(pub u32);

impl ApicId {
    /// The largest id that an xAPIC destination field can name; 255 is the broadcast id.
    ///
    /// An INIT sent to id 256 in xAPIC form reaches CPU 0 (Linux commit 3f874c9b2aae).
    pub const XAPIC_MAX: Self = Self(254);
}

impl fmt::Debug for ApicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "APIC id {}", self.0)
    }
}

impl fmt::Display for ApicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Counts the owners of a lot: 24 bits, bumped by every `accept` and `seize`. Never 0 in a valid lot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation(u32);

impl Generation {
    /// Bits that a generation has in the lease word and in the doorbell.
    pub const BITS: u32 = 24;
    /// The largest generation.
    pub const MAX: u32 = (1 << Self::BITS) - 1;
    /// The generation of the kernel that built the lot.
    pub const FIRST: Self = Self(1);

    /// `raw` as a generation, cut to 24 bits.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw & Self::MAX)
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The next owner's generation; after the largest comes 1 again.
    #[must_use]
    pub const fn next(self) -> Self {
        if self.0 >= Self::MAX { Self::FIRST } else { Self(self.0 + 1) }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Counts the tickets of one bay: 24 bits, bumped by every publish.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sequence(u32);

impl Sequence {
    /// Bits that a sequence has in the doorbell.
    pub const BITS: u32 = 24;
    /// The largest sequence.
    pub const MAX: u32 = (1 << Self::BITS) - 1;

    /// `raw` as a sequence, cut to 24 bits.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw & Self::MAX)
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The next sequence, wrapping to 0.
    #[must_use]
    pub const fn next(self) -> Self {
        Self((self.0 + 1) & Self::MAX)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
