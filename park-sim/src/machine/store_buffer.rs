//! The x86-TSO store buffer of one CPU (S:8.2.2): first in, first out, forwarding to the CPU's own loads.

/// Most entries a buffer has.
pub const CAPACITY: usize = 8;

/// One buffered store; never crosses a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Entry {
    pub(crate) phys: u64,
    pub(crate) value: u64,
    pub(crate) frame: u32,
    pub(crate) size: u8,
}

/// The buffer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StoreBuffer {
    entries: [Entry; CAPACITY],
    head: u8,
    len: u8,
}

impl StoreBuffer {
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(crate) const fn len(&self) -> u8 {
        self.len
    }

    #[inline]
    pub(crate) fn push(&mut self, entry: Entry) {
        let at = (usize::from(self.head) + usize::from(self.len)) % CAPACITY;
        self.entries[at] = entry;
        self.len += 1;
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        if self.len == 0 {
            return None;
        }
        let entry = self.entries[usize::from(self.head) % CAPACITY];
        self.head = (self.head + 1) % CAPACITY as u8;
        self.len -= 1;
        Some(entry)
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        (0..usize::from(self.len)).map(move |i| &self.entries[(usize::from(self.head) + i) % CAPACITY])
    }

    /// Whether a buffered store lies in this frame.
    #[inline]
    pub(crate) fn touches(&self, frame: u32) -> bool {
        self.iter().any(|entry| entry.frame == frame)
    }

    /// `memory` (the `size` bytes at `phys` as memory has them) overlaid with the buffered stores.
    #[inline]
    pub(crate) fn forward(&self, phys: u64, size: u8, memory: u64) -> u64 {
        let mut value = memory;
        for entry in self.iter() {
            let delta = entry.phys.wrapping_sub(phys) as i64;
            if delta >= i64::from(size) || delta <= -i64::from(entry.size) {
                continue;
            }
            let mask = u64::MAX >> (64 - 8 * u32::from(entry.size));
            let (mask, bytes) = if delta >= 0 {
                (mask << (8 * delta), entry.value << (8 * delta))
            } else {
                (mask >> (-8 * delta), (entry.value & mask) >> (-8 * delta))
            };
            value = (value & !mask) | (bytes & mask);
        }
        value & (u64::MAX >> (64 - 8 * u32::from(size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_bytes_newest_last() {
        let mut buffer = StoreBuffer::default();
        buffer.push(Entry { phys: 0x1000, value: 0x1122_3344_5566_7788, frame: 1, size: 8 });
        buffer.push(Entry { phys: 0x1002, value: 0xaabb, frame: 1, size: 2 });
        assert_eq!(buffer.forward(0x1000, 8, 0), 0x1122_3344_aabb_7788);
        assert_eq!(buffer.forward(0x1004, 8, 0x9999_9999_0000_0000), 0x9999_9999_1122_3344);
        assert_eq!(buffer.forward(0x0ffe, 4, 0x0000_eeff), 0x7788_eeff);
        assert_eq!(buffer.forward(0x1003, 1, 0), 0xaa);
        assert_eq!(buffer.forward(0x1008, 4, 5), 5);
    }

    #[test]
    fn first_in_first_out_around_the_ring() {
        let mut buffer = StoreBuffer::default();
        for round in 0..20u64 {
            buffer.push(Entry { phys: round, ..Entry::default() });
            buffer.push(Entry { phys: 100 + round, ..Entry::default() });
            assert_eq!(buffer.pop().map(|entry| entry.phys), Some(round));
            assert_eq!(buffer.pop().map(|entry| entry.phys), Some(100 + round));
        }
        assert!(buffer.pop().is_none());
    }
}
