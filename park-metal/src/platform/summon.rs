//! Getting another CPU to park itself: it is given a job.

use core::cell::UnsafeCell;

use park_core::op::Lease;
use park_core::{ApicId, PlatformError};

use crate::image::{parking, percpu};
use crate::platform::Platform;

/// What a CPU that parks must know of its kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    /// The kernel's platform.
    pub(crate) platform: Platform,
    /// Its lease of the lot.
    pub(crate) lease: Lease,
}

struct OwnerCell(UnsafeCell<Option<Owner>>);

// SAFETY: `set` and `current` promise that nobody reads while it is written.
unsafe impl Sync for OwnerCell {}

static OWNER: OwnerCell = OwnerCell(UnsafeCell::new(None));

impl Owner {
    /// Makes this the kernel that CPUs park for.
    ///
    /// # Safety
    /// No other CPU runs [`current`](Self::current) meanwhile: all are parked, or in their job loops.
    pub(crate) unsafe fn set(self) {
        // SAFETY: the caller's promise; this is the only writer.
        unsafe { *OWNER.0.get() = Some(self) }
    }

    /// The kernel that the executing CPU parks for, on its way into a lot or out of it.
    pub(crate) fn current() -> Option<Self> {
        // SAFETY: the promise at `set`; the job word's release and acquire order the write before this read.
        unsafe { *OWNER.0.get() }
    }
}

/// Gives `target` the job to park in the bay with this index.
pub(super) fn summon(target: ApicId, bay_index: u32) -> Result<(), PlatformError> {
    let cpu = percpu::with_apic_id(target).ok_or(PlatformError::CannotSummon)?;
    cpu.give(parking::enter, u64::from(bay_index)).map_err(|_| PlatformError::CannotSummon)
}
