//! Where woken CPUs enter.

use park_core::op::Bay;
use park_core::{ApicId, Entry, Error, ErrorKind};

/// Makes ready what CPUs need that are woken.
///
/// # For implementers
/// Called right before a CPU is rung, while it is parked; what it is given (frame, page tables, stack) stays until the CPU
/// has given its bay back. It may be called again for the same CPU, which then has not taken the entry before.
pub trait Entries {
    /// Where the CPU enters.
    ///
    /// # Errors
    /// Any; the CPU then stays parked.
    fn entry(&mut self, apic_id: ApicId, bay: Bay) -> Result<Entry, Error>;

    /// Fills the start-up page for a CPU that is fetched by STARTUP, and says its vector. One CPU at a time uses the page.
    ///
    /// # Errors
    /// Any; the CPU then stays where it is. [`ErrorKind::NotSupported`] unless implemented.
    fn startup(&mut self, apic_id: ApicId, bay: Bay, entry: &Entry) -> Result<u8, Error> {
        let _ = (apic_id, entry);
        let what = "no start-up page: the CPU can't be fetched out of wait-for-SIPI";
        Err(Error::new(ErrorKind::NotSupported, what).at(bay.offset()))
    }
}
