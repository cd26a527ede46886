//! The lot's memory as QEMU saved it, held against what it was before another kernel ran.

use std::fs;
use std::path::PathBuf;

use crate::LabError;
use crate::linux::machine::Ride;
use crate::observer::event;

/// The lease word's bytes (docs/abi.md).
const LEASE_BYTES: usize = 8;

/// Which bytes of a lot may change: what the image has told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Changing {
    /// Where the lease word is.
    pub lease: usize,
    /// Where the first bay begins.
    pub bays: usize,
    /// Where the last one ends.
    pub bays_end: usize,
}

/// Memory of a lot, whenever another kernel began or came to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// How often it was looked at.
    pub looks: usize,
    /// Bytes outside the bays and the lease word.
    pub fixed_bytes: usize,
    /// How many of those were ever another value than at the first look.
    pub changed: usize,
}

impl Kept {
    /// What the files that a run has left say.
    ///
    /// # Errors
    /// [`LabError::File`]; [`LabError::Program`] if the run has told nothing of its lot.
    pub fn of(ride: &Ride) -> Result<Self, LabError> {
        let silent = || LabError::Program("the image has not told where its lot changes".to_owned());
        let told = ride.first("lot_crc").ok_or_else(silent)?;
        let number = |key| told.number(key).and_then(|offset| usize::try_from(offset).ok()).ok_or_else(silent);
        let changing =
            Changing { lease: number("lease_offset")?, bays: number("bays_offset")?, bays_end: number("bays_end")? };
        let files = ride.reports().filter(|line| line.event() == event::MEMORY);
        let files: Vec<PathBuf> = files.filter_map(|line| line.text("file").map(PathBuf::from)).collect();
        let looks: Result<Vec<Vec<u8>>, LabError> =
            files.iter().map(|file| fs::read(file).map_err(LabError::file(file))).collect();
        Ok(Self::among(&looks?, changing))
    }

    fn among(looks: &[Vec<u8>], changing: Changing) -> Self {
        let Changing { lease, bays, bays_end } = changing;
        let is_fixed =
            |offset: &usize| !(lease..lease + LEASE_BYTES).contains(offset) && !(bays..bays_end).contains(offset);
        let Some((first, others)) = looks.split_first() else { return Self { looks: 0, fixed_bytes: 0, changed: 0 } };
        let fixed: Vec<usize> = (0..first.len()).filter(is_fixed).collect();
        let differs = |offset: &&usize| others.iter().any(|other| other.get(**offset) != first.get(**offset));
        Self { looks: looks.len(), fixed_bytes: fixed.len(), changed: fixed.iter().filter(differs).count() }
    }

    /// Whether nobody has written into it. At least two looks and some bytes: otherwise nothing is shown.
    #[must_use]
    pub const fn is_untouched(&self) -> bool {
        self.looks >= 2 && self.fixed_bytes != 0 && self.changed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bays_and_the_lease_word_may_change() {
        let changing = Changing { lease: 8, bays: 32, bays_end: 64 };
        let first = vec![1; 96];
        let changed = |offsets: &[usize]| {
            let mut second = first.clone();
            offsets.iter().for_each(|&offset| second[offset] = 2);
            Kept::among(&[first.clone(), first.clone(), second], changing)
        };
        assert_eq!(changed(&[8, 15, 32, 63]), Kept { looks: 3, fixed_bytes: 96 - 8 - 32, changed: 0 });
        assert!(changed(&[]).is_untouched());
        for offset in [0, 7, 16, 31, 64, 95] {
            assert_eq!(changed(&[offset]).changed, 1, "{offset}");
            assert!(!changed(&[offset]).is_untouched());
        }
        // One look shows nothing, nor does a lot of which a part was not saved.
        assert!(!Kept::among(&[first.clone()], changing).is_untouched());
        assert!(!Kept::among(&[first.clone(), first[..90].to_vec()], changing).is_untouched());
        assert!(!Kept::among(&[], changing).is_untouched());
    }
}
