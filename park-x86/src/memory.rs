//! The lot's memory on the metal: [`LotMemory`] over a mapped range.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use park_core::{LotMemory, PlatformError};

/// A mapped lot, accessed by atomic instructions.
#[derive(Debug)]
pub struct MappedLot {
    words: NonNull<AtomicU64>,
    len: u64,
}

impl MappedLot {
    /// Takes the mapped range of `len` bytes at `base` as a lot.
    ///
    /// # Safety
    /// 1. `base` to `base + len` is mapped, readable and writable, in write-back memory, for as long as the value is used.
    /// 2. `base` is a multiple of 8.
    /// 3. The memory is a lot, or becomes one, and is accessed by nobody but lease holders and parked CPUs.
    /// 4. Nothing in it is aliased by a Rust reference.
    /// 5. Every entry that an operation publishes through it is code that a CPU may execute in the state that
    ///    `docs/registers.md` gives, on page tables and a stack that live until the CPU has left them.
    #[must_use]
    pub const unsafe fn new(base: NonNull<u8>, len: u64) -> Self {
        Self { words: base.cast(), len }
    }

    fn word(&self, offset: u64) -> Result<&AtomicU64, PlatformError> {
        let out_of_bounds = PlatformError::OutOfBounds { offset };
        if offset % 8 != 0 || offset >= self.len || self.len - offset < 8 {
            return Err(out_of_bounds);
        }
        let index = usize::try_from(offset / 8).map_err(|_| out_of_bounds)?;
        // SAFETY: the word lies within the `len` bytes that `new` was promised to be one mapped range.
        let word = unsafe { self.words.add(index) };
        // SAFETY: by the promises at `new` the range is mapped and writable (1), aligned (2), holds words that only
        // atomic accesses change (3), and no reference to plain memory aliases it (4).
        Ok(unsafe { word.as_ref() })
    }
}

// SAFETY: the words are atomics, and the promise at `new` is not about a thread.
unsafe impl Send for MappedLot {}

impl LotMemory for MappedLot {
    fn len(&self) -> u64 {
        self.len
    }

    fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
        Ok(self.word(offset)?.load(Ordering::Acquire))
    }

    fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError> {
        self.word(offset)?.store(value, Ordering::Release);
        Ok(())
    }

    fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError> {
        let result = self.word(offset)?.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst);
        Ok(result.unwrap_or_else(|found| found))
    }
}
