//! The lease word: who may use the lot, in one self-checking 64-bit word.

use crate::Generation;

/// The state of a lease. The numbers are part of the lot ABI.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum LeaseState {
    /// A kernel uses the lot.
    Held = 1,
    /// Its kernel has let go of it: the next may *accept* it.
    Offered = 2,
    /// A kernel is taking the lot over and stamps the bays with its generation.
    Taking = 3,
}

impl LeaseState {
    /// The state with this number.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            1 => Some(Self::Held),
            2 => Some(Self::Offered),
            3 => Some(Self::Taking),
            _ => None,
        }
    }
}

/// The lease word: state in bits 7:0, generation in 31:8, and their complement in 63:32.
///
/// It is changed by compare-and-swap only and stands outside the header's CRC; a word whose halves don't
/// complement each other is damage, not a lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LeaseWord {
    /// Who may do what.
    pub state: LeaseState,
    /// The generation of the kernel that holds, offers or takes the lot.
    pub generation: Generation,
}

impl LeaseWord {
    /// The word in memory.
    #[must_use]
    pub const fn raw(self) -> u64 {
        let low = self.state as u32 | self.generation.raw() << 8;
        low as u64 | (!low as u64) << 32
    }

    /// Decodes a word; `None` if it is damaged.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Option<Self> {
        let low = raw as u32;
        if (raw >> 32) as u32 != !low {
            return None;
        }
        let generation = Generation::from_raw(low >> 8);
        if generation.raw() == 0 {
            return None;
        }
        match LeaseState::from_raw(low as u8) {
            Some(state) => Some(Self { state, generation }),
            None => None,
        }
    }
}
