//! The right to use a lot, and one bay under it.

use crate::lot::{LeaseState, LeaseWord, Lot, bay, header};
use crate::{Error, ErrorKind, Generation, PhysAddr};

/// The right to use a lot, as its owner holds it: which lot, and the generation that the lease word must show.
///
/// A value, not a guard: it may be copied into operations, kept across hibernation, or lost in a crash. Each operation
/// checks the lease word before it changes anything, so a lease that another kernel has taken is refused with
/// [`ErrorKind::StaleGeneration`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Lease {
    lot: Lot,
    generation: Generation,
}

impl Lease {
    /// The lease of the kernel that built the lot: generation 1.
    ///
    /// Makes no promise that the lot's lease word says so; operations check it.
    #[must_use]
    pub const fn first(lot: Lot) -> Self {
        Self::of(lot, Generation::FIRST)
    }

    /// The lease of the kernel that took `lot` over as `generation`.
    pub(super) const fn of(lot: Lot, generation: Generation) -> Self {
        Self { lot, generation }
    }

    /// The lot.
    #[must_use]
    pub const fn lot(&self) -> &Lot {
        &self.lot
    }

    /// The owner's generation.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The bay with this index, to operate on under this lease.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCpu`] if the lot has no such bay.
    pub const fn bay(&self, index: u32) -> Result<Bay, Error> {
        match self.lot.bay(index) {
            Ok(offset) => Ok(Bay { offset, index, generation: self.generation }),
            Err(error) => Err(error),
        }
    }

    /// The physical address of a bay of this lease's lot.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCpu`] if `bay` is not one of this lot's.
    pub fn bay_phys(&self, bay: Bay) -> Result<PhysAddr, Error> {
        let invalid = Error::new(ErrorKind::InvalidCpu, "the bay is not one of this lot's").at(bay.offset);
        if self.lot.bay(bay.index) != Ok(bay.offset) {
            return Err(invalid);
        }
        self.lot.header().self_phys.checked_add(bay.offset).ok_or(invalid)
    }
}

/// One bay, and the generation of the lease under which it is operated on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bay {
    offset: u64,
    index: u32,
    generation: Generation,
}

impl Bay {
    /// Where the bay starts, in bytes from the lot's first byte.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The bay's number.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// The generation of the lease.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Where the bay's doorbell is, in bytes from the lot's first byte.
    pub(super) const fn doorbell(&self) -> u64 {
        self.offset + bay::DOORBELL
    }

    /// Where the bay's owner word is.
    pub(super) const fn owner(&self) -> u64 {
        self.offset + bay::OWNER
    }

    /// Where the bay's stage is.
    pub(super) const fn stage(&self) -> u64 {
        self.offset + bay::STAGE
    }

    /// Where the bay's identity word is.
    pub(super) const fn identity(&self) -> u64 {
        self.offset + bay::IDENTITY
    }
}

/// Decodes a lease word.
pub(super) fn decode(raw: u64) -> Result<LeaseWord, Error> {
    LeaseWord::from_raw(raw).ok_or(
        Error::new(ErrorKind::AbiMismatch, "the lease word is damaged: the lot can't be used")
            .at(header::LEASE)
            .found(raw),
    )
}

/// Checks that a lease word says that `generation` holds the lot.
pub(super) fn check(raw: u64, generation: Generation) -> Result<(), Error> {
    let word = decode(raw)?;
    if word.generation != generation {
        return Err(stale(header::LEASE, word.generation));
    }
    match word.state {
        LeaseState::Held => Ok(()),
        LeaseState::Offered | LeaseState::Taking => {
            Err(Error::new(ErrorKind::WrongState, "the lease is not held any more: it was handed over")
                .at(header::LEASE)
                .found(raw))
        }
    }
}

/// The error of a lease that is another kernel's now.
pub(super) const fn stale(offset: u64, found: Generation) -> Error {
    Error::new(ErrorKind::StaleGeneration, "another kernel has the lot now: this lease is void")
        .at(offset)
        .found(found.raw() as u64)
}

/// True if `found` is a later owner's generation than `own`, up to half the range of the 24-bit count.
pub(super) const fn is_later(found: Generation, own: Generation) -> bool {
    let distance = found.raw().wrapping_sub(own.raw()) & Generation::MAX;
    distance != 0 && distance <= Generation::MAX / 2
}
