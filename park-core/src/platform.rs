//! What a kernel implements: memory, time, IPIs. Small traits in the manner of embedded-hal.

use crate::{ApicId, PlatformError};

/// A time in ticks of the platform's [`Clock`].
pub type Ticks = u64;

/// The lot's memory, by byte offset from its first byte, in aligned 64-bit words.
///
/// # For implementers
/// Every access is one single-copy-atomic access of 8 bytes in write-back memory; `compare_exchange` is a
/// locked instruction and a full barrier. Loads and stores have x86 ordering (TSO) or stronger. An offset that
/// is out of bounds or not a multiple of 8 is an error, never an access. That the memory is the lot, that it is
/// yours, mapped and write-back is promised once, in the unsafe constructor of an implementation.
///
/// # For callers
/// A load may be stale the moment it returns. A store is visible to others when it leaves the store buffer;
/// [`IpiSender`] methods and `compare_exchange` wait for that.
pub trait LotMemory {
    /// Bytes that may be accessed.
    fn len(&self) -> u64;

    /// True if there is nothing to access.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the word at `offset` bytes.
    ///
    /// # Errors
    /// [`PlatformError`] if `offset` is out of bounds or not a multiple of 8.
    fn load(&mut self, offset: u64) -> Result<u64, PlatformError>;

    /// Writes the word at `offset` bytes.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError>;

    /// Replaces `current` by `new` at `offset` if it is there; returns what was there, `Ok(current)` on success.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError>;
}

/// A monotonic clock.
///
/// # For implementers
/// `now` never decreases, on any CPU that drives operations; `ticks_per_second` is constant and not 0.
pub trait Clock {
    /// The time in ticks.
    fn now(&mut self) -> Ticks;
    /// Ticks in one second.
    fn ticks_per_second(&self) -> u64;
}

/// Sends inter-processor interrupts.
///
/// # For implementers
/// Stores that the caller made before are globally visible before the IPI is (MFENCE; LFENCE before a WRMSR to
/// the x2APIC ICR: Intel SDM vol. 3, "MSR Access in x2APIC Mode"). In xAPIC mode an id above 254 is refused:
/// it would reach another CPU. Waits for delivery are bounded.
///
/// # For callers
/// `Ok` means that the local APIC has the message. It does *not* mean that the target took it: a CPU in SMM,
/// in VMX operation or with GIF = 0 holds an INIT, and drops a STARTUP.
pub trait IpiSender {
    /// Sends an NMI to `target`.
    ///
    /// # Errors
    /// [`PlatformError`] if the id cannot be named or the local APIC does not accept the message in time.
    fn send_nmi(&mut self, target: ApicId) -> Result<(), PlatformError>;
    /// Sends an INIT to `target`.
    ///
    /// # Errors
    /// As [`send_nmi`](Self::send_nmi).
    fn send_init(&mut self, target: ApicId) -> Result<(), PlatformError>;
    /// Sends a STARTUP to `target`, which starts at physical address `vector << 12` if it waits for one.
    ///
    /// # Errors
    /// As [`send_nmi`](Self::send_nmi).
    fn send_startup(&mut self, target: ApicId, vector: u8) -> Result<(), PlatformError>;
}

/// Gets another CPU to run the owner's parking code, for kernels that can.
///
/// # For implementers
/// `Ok` means that the request is on its way. The CPU calls its parking code with IF = 0; if it can't come, no
/// acknowledgement appears in its bay and the operation times out.
pub trait Summon {
    /// Asks `target` to park itself in the bay with this index.
    ///
    /// # Errors
    /// [`PlatformError`] if the request could not be made.
    fn summon(&mut self, target: ApicId, bay_index: u32) -> Result<(), PlatformError>;
}

impl<T: LotMemory + ?Sized> LotMemory for &mut T {
    #[inline]
    fn len(&self) -> u64 {
        T::len(self)
    }
    #[inline]
    fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
        T::load(self, offset)
    }
    #[inline]
    fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError> {
        T::store(self, offset, value)
    }
    #[inline]
    fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError> {
        T::compare_exchange(self, offset, current, new)
    }
}

impl<T: Clock + ?Sized> Clock for &mut T {
    #[inline]
    fn now(&mut self) -> Ticks {
        T::now(self)
    }
    #[inline]
    fn ticks_per_second(&self) -> u64 {
        T::ticks_per_second(self)
    }
}

impl<T: IpiSender + ?Sized> IpiSender for &mut T {
    #[inline]
    fn send_nmi(&mut self, target: ApicId) -> Result<(), PlatformError> {
        T::send_nmi(self, target)
    }
    #[inline]
    fn send_init(&mut self, target: ApicId) -> Result<(), PlatformError> {
        T::send_init(self, target)
    }
    #[inline]
    fn send_startup(&mut self, target: ApicId, vector: u8) -> Result<(), PlatformError> {
        T::send_startup(self, target, vector)
    }
}

impl<T: Summon + ?Sized> Summon for &mut T {
    #[inline]
    fn summon(&mut self, target: ApicId, bay_index: u32) -> Result<(), PlatformError> {
        T::summon(self, target, bay_index)
    }
}
