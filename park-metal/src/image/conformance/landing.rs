//! Where STARTUPs of events lead: a page of real-mode code that counts who comes, and one that counts NMIs in real mode.

use core::sync::atomic::{AtomicU16, Ordering};

use park_core::PhysAddr;

use crate::memory::{PAGE_BYTES, Region};

/// Offset of the count of arrivals in the page, and of the count of NMIs.
const STARTED: u64 = 0x800;
const NMIS: u64 = 0x802;
/// Offset of the NMI handler in the page.
const NMI_CODE: u64 = 0x40;
/// `LOCK INC word CS:[STARTED]; CLI; PAUSE; JMP` back to the PAUSE. CS is the page's own segment (SDM vol. 3, "MP
/// Initialization Protocol Algorithm": CS base = vector << 12). No HLT, in which TCG does not take an INIT.
const COUNT_AND_SPIN: [u8; 11] = [0x2e, 0xf0, 0xff, 0x06, 0x00, 0x08, 0xfa, 0xf3, 0x90, 0xeb, 0xfc];
/// `LOCK INC word CS:[NMIS]; IRET`.
const COUNT_AND_RETURN: [u8; 7] = [0x2e, 0xf0, 0xff, 0x06, 0x02, 0x08, 0xcf];
/// The real-mode vector of NMI: four bytes at physical 8 (SDM vol. 3, 20.1.4).
const NMI_VECTOR: u64 = 4 * 2;

/// The page, filled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Landing(Region);

impl Landing {
    /// Fills the page, and points the real-mode vector of NMI there. To be done again when memory was overwritten.
    ///
    /// # Safety
    /// 1. The region is a page of usable memory below 1 MiB that nobody else uses.
    /// 2. Nothing else uses the first page of memory, and no CPU is in real mode outside firmware.
    pub(crate) unsafe fn fill(page: Region) -> Self {
        let landing = Self(page);
        let started = landing.counter(STARTED).load(Ordering::Acquire);
        let nmis = landing.counter(NMIS).load(Ordering::Acquire);
        for (offset, code) in [(0, &COUNT_AND_SPIN[..]), (NMI_CODE, &COUNT_AND_RETURN)] {
            for (at, byte) in (page.start.0 + offset..).zip(code) {
                // SAFETY: (1); each byte lies in the page.
                unsafe { byte_at(at).write_volatile(*byte) };
            }
        }
        let segment = (page.start.0 >> 4) as u16;
        let vector = u32::from(segment) << 16 | NMI_CODE as u32;
        for (at, byte) in (NMI_VECTOR..).zip(vector.to_le_bytes()) {
            // SAFETY: (2).
            unsafe { byte_at(at).write_volatile(byte) };
        }
        landing.counter(STARTED).store(started, Ordering::Release);
        landing.counter(NMIS).store(nmis, Ordering::Release);
        landing
    }

    /// The vector of a STARTUP that leads here.
    pub(crate) const fn vector(self) -> u8 {
        (self.0.start.0 / PAGE_BYTES) as u8
    }

    /// CPUs that came.
    pub(crate) fn started(self) -> u32 {
        self.counter(STARTED).load(Ordering::Acquire).into()
    }

    /// NMIs that CPUs took in real mode.
    pub(crate) fn nmis(self) -> u32 {
        self.counter(NMIS).load(Ordering::Acquire).into()
    }

    /// The page as a region that is kept when memory is overwritten, so that counts go on.
    pub(crate) const fn region(self) -> Region {
        self.0
    }

    fn counter(self, offset: u64) -> &'static AtomicU16 {
        let at = PhysAddr(self.0.start.0 + offset);
        // SAFETY: (1) at `fill`: mapped at identity, aligned, and changed by locked instructions and atomics alone.
        unsafe { &*core::ptr::with_exposed_provenance::<AtomicU16>(at.0 as usize) }
    }
}

fn byte_at(at: u64) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(at as usize)
}
