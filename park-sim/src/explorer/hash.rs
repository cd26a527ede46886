//! 128-bit hashes of states, and the table of those that were visited.

use core::hash::{Hash, Hasher};

/// Odd constants (the fractional digits of the golden ratio, of pi, of e and of the square root of two).
const SALT: [u64; 4] = [0x9e37_79b9_7f4a_7c15, 0x243f_6a88_85a3_08d3, 0xb7e1_5162_8aed_2a6b, 0x6a09_e667_f3bc_c909];

/// A hasher with 128 bits of result: two lanes, each a chain of folded multiplications over the same pairs of words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash128([u64; 2]);

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Hash128 {
    pub(crate) const fn new() -> Self {
        Self([SALT[1], SALT[2]])
    }

    #[inline]
    fn pair(&mut self, first: u64, second: u64) {
        let [a, b] = self.0;
        self.0 = [
            fold(first ^ a ^ SALT[0], second ^ a.rotate_left(32) ^ SALT[1]),
            fold(first ^ SALT[2], second ^ b ^ SALT[3]) ^ b.rotate_left(23),
        ];
    }

    #[inline]
    fn word(&mut self, word: u64) {
        self.pair(word, SALT[0]);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let (pairs, rest) = bytes.as_chunks::<16>();
        for pair in pairs {
            let both = u128::from_le_bytes(*pair);
            self.pair(both as u64, (both >> 64) as u64);
        }
        let mut last = [0; 16];
        if let Some(to) = last.get_mut(..rest.len()) {
            to.copy_from_slice(rest);
        }
        let both = u128::from_le_bytes(last);
        self.pair(both as u64, (both >> 64) as u64);
        self.word(bytes.len() as u64);
    }

    /// The result; never 0, which stands for an empty slot.
    pub(crate) fn end(mut self) -> u128 {
        self.word(SALT[2]);
        self.word(SALT[3]);
        let [a, b] = self.0;
        (u128::from(a) << 64 | u128::from(b)).max(1)
    }
}

impl Hasher for Hash128 {
    fn finish(&self) -> u64 {
        self.end() as u64
    }
    fn write(&mut self, bytes: &[u8]) {
        self.bytes(bytes);
    }
    fn write_u8(&mut self, value: u8) {
        self.word(value.into());
    }
    fn write_u32(&mut self, value: u32) {
        self.word(value.into());
    }
    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }
}

/// The 128-bit hash of a value.
pub(crate) fn of(value: &impl Hash) -> u128 {
    let mut hash = Hash128::new();
    value.hash(&mut hash);
    hash.end()
}

/// An open-addressing table from 128-bit hashes to the numbers of states.
#[derive(Debug)]
pub(crate) struct Visited {
    keys: Vec<u128>,
    numbers: Vec<u32>,
    len: usize,
}

/// Slots of an empty table.
const FIRST_SLOTS: usize = 1 << 16;

impl Visited {
    pub(crate) fn new() -> Self {
        Self { keys: vec![0; FIRST_SLOTS], numbers: vec![0; FIRST_SLOTS], len: 0 }
    }

    /// The number under `key`, which becomes `number` if there is none; and whether it was there.
    pub(crate) fn enter(&mut self, key: u128, number: u32) -> (u32, bool) {
        if self.len * 4 >= self.keys.len() * 3 {
            self.grow();
        }
        let at = self.slot(key);
        if self.keys[at] == key {
            return (self.numbers[at], true);
        }
        self.keys[at] = key;
        self.numbers[at] = number;
        self.len += 1;
        (number, false)
    }

    fn slot(&self, key: u128) -> usize {
        let mask = self.keys.len() - 1;
        let mut at = key as usize & mask;
        while self.keys[at] != 0 && self.keys[at] != key {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let slots = self.keys.len() * 2;
        let keys = core::mem::replace(&mut self.keys, vec![0; slots]);
        let numbers = core::mem::replace(&mut self.numbers, vec![0; slots]);
        for (key, number) in keys.into_iter().zip(numbers).filter(|(key, _)| *key != 0) {
            let at = self.slot(key);
            self.keys[at] = key;
            self.numbers[at] = number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entered_keys_are_found_after_growing() {
        let mut visited = Visited::new();
        for number in 0..200_000u32 {
            assert_eq!(visited.enter(of(&number), number), (number, false));
        }
        for number in 0..200_000u32 {
            assert_eq!(visited.enter(of(&number), 0), (number, true));
        }
    }

    #[test]
    fn length_and_order_matter() {
        let hash = |bytes: &[u8]| {
            let mut hash = Hash128::new();
            hash.bytes(bytes);
            hash.end()
        };
        assert_ne!(hash(&[0]), hash(&[0, 0]));
        assert_ne!(hash(&[1; 16]), hash(&[1; 8]));
        let mut other = [0; 16];
        other[8] = 1;
        let mut one = [0; 16];
        one[0] = 1;
        assert_ne!(hash(&one), hash(&other));
    }
}
