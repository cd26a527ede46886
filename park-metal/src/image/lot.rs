//! The lot under test: where it lies, how it is built, how operations on it are carried out.

use core::ptr::NonNull;

use park_core::lot::Layout;
use park_core::op::{self, Lease, Operation, Timing};
use park_core::{Error, LotMemory, PlatformError};
use park_x86::builder::{self, LotParameters};
use park_x86::memory::MappedLot;

use crate::image::apic::local_apic;
use crate::image::clock::TscClock;
use crate::image::failure::Failure;
use crate::image::parking::{Parked, detect_here};
use crate::image::serial;
use crate::image::world::World;
use crate::memory::Region;
use crate::report::Value;

/// Tells this image's lots apart; any constant will do for a lot that no other kernel will see.
const LOT_ID: [u64; 2] = [u64::from_le_bytes(*b"park-met"), u64::from_le_bytes(*b"al-skel\0")];
/// Time between two NMIs to a CPU that does not claim; long, since one that is on its way already is counted.
const KICK_INTERVAL_US: u64 = 500_000;

/// Builds a lot with a bay for every CPU, and reports it.
pub(crate) fn build(world: &World) -> Result<Lease, Failure> {
    let detected = detect_here();
    let phys = world.plan.lot.start;
    let layout = Layout::new(world.online(), detected.features().monitor.largest_line.into())?;
    let parameters = LotParameters { phys, layout, lot_id: LOT_ID, encryption_mask: 0, mailbox: None };
    let lot = builder::build(&mut Platform::of(world).memory(), &parameters)?;
    serial::emit(
        "lot",
        &[
            ("phys", Value::Hex(phys.0)),
            ("bytes", Value::Number(layout.total_len())),
            ("bays", Value::Number(layout.bay_count.into())),
        ],
    );
    Ok(Lease::first(lot))
}

/// What operations are carried out with, on any CPU of the image: the lot's memory, the time, the local APIC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Platform {
    clock: TscClock,
    lot: Region,
}

impl Platform {
    /// The platform of this world. The lot's region comes from `memory::plan` alone.
    pub(crate) const fn of(world: &World) -> Self {
        Self { clock: world.clock, lot: world.plan.lot }
    }

    /// The lot, as the executing CPU accesses it.
    fn memory(self) -> MappedLot {
        let base = core::ptr::with_exposed_provenance_mut(self.lot.start.0 as usize);
        // SAFETY: the region does not begin at address 0.
        let base = unsafe { NonNull::new_unchecked(base) };
        // SAFETY:
        // 1. `memory::plan` found the region in usable memory; it is mapped at identity, write-back, for ever.
        // 2. It begins with a page.
        // 3. Nothing uses it but through this function and through the lot's own code.
        // 4. No reference into it is ever made.
        // 5. Entries are made in `parking.rs` alone: a departure into the image's own code, on a transit root and a stack
        //    of the woken CPU's own area, which live for ever.
        unsafe { MappedLot::new(base, self.lot.len_bytes) }
    }

    /// Carries out an operation on the executing CPU.
    pub(crate) fn drive<O: Operation>(self, operation: O) -> Result<O::Output, Error> {
        let mut clock = self.clock;
        op::drive(operation, &mut self.memory(), &mut local_apic()?, &mut clock)
    }

    /// A word of the CPU's bay, by its offset there.
    pub(crate) fn bay_word(self, parked: &Parked, offset: u64) -> Result<u64, PlatformError> {
        self.memory().load(parked.bay.offset() + offset)
    }
}

/// How long a ring may take in this world.
pub(crate) fn timing(world: &World) -> Timing {
    Timing { kick_interval_ticks: world.clock.ticks_of_us(KICK_INTERVAL_US), deadline: world.deadline() }
}
