//! Which cache lines of memory a CPU holds dirty: an over-approximation by stores since the last write-back.

/// Bytes of a cache line.
pub(crate) const LINE_BYTES: u64 = 64;

/// Dirty lines of one CPU, by frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DirtyLines {
    frames: Vec<(u64, u64)>,
    /// Lines that an INVD threw away.
    pub(crate) lost: u64,
}

const fn split(phys: u64) -> (u64, u64) {
    (phys >> 12, 1 << ((phys >> 6) & 63))
}

impl DirtyLines {
    pub(crate) fn mark(&mut self, phys: u64) {
        let (frame, bit) = split(phys);
        match self.frames.iter_mut().find(|entry| entry.0 == frame) {
            Some(entry) => entry.1 |= bit,
            None => self.frames.push((frame, bit)),
        }
    }

    pub(crate) fn clean(&mut self, phys: u64) {
        let (frame, bit) = split(phys);
        if let Some(entry) = self.frames.iter_mut().find(|entry| entry.0 == frame) {
            entry.1 &= !bit;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.frames.clear();
    }

    pub(crate) fn discard(&mut self) {
        self.lost += self.iter().count() as u64;
        self.frames.clear();
    }

    /// Physical addresses of the dirty lines.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.frames.iter().flat_map(|(frame, bits)| {
            (0..64u64).filter(move |line| bits & (1 << line) != 0).map(move |line| (frame << 12) | (line << 6))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_cleans_and_lists() {
        let mut lines = DirtyLines::default();
        lines.mark(0x1000);
        lines.mark(0x103f);
        lines.mark(0x2fff);
        assert_eq!(lines.iter().collect::<Vec<_>>(), [0x1000, 0x2fc0]);
        lines.clean(0x1010);
        assert_eq!(lines.iter().collect::<Vec<_>>(), [0x2fc0]);
        lines.discard();
        assert_eq!((lines.iter().count(), lines.lost), (0, 1));
    }
}
