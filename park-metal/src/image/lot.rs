//! The lot under test: where it lies, how it is built, how operations on it are carried out.

use park_core::lot::Layout;
use park_core::op::{Lease, Timing};
use park_x86::builder::{self, LotParameters};

use crate::image::failure::Failure;
use crate::image::parking::detect_here;
use crate::image::serial;
use crate::image::world::World;
use crate::report::Value;

/// Tells this image's lots apart; any constant will do for a lot that no other kernel will see.
pub(crate) const LOT_ID: [u64; 2] = [u64::from_le_bytes(*b"park-met"), u64::from_le_bytes(*b"al-skel\0")];
/// Time between two NMIs to a CPU that does not claim; long, since one that is on its way already is counted.
const KICK_INTERVAL_US: u64 = 500_000;

/// Builds a lot with a bay for every CPU, and reports it.
pub(crate) fn build(world: &World) -> Result<Lease, Failure> {
    build_with(world, world.online())
}

/// Builds a lot with so many bays, and reports it. What was in its place is gone.
pub(crate) fn build_with(world: &World, bays: u32) -> Result<Lease, Failure> {
    let detected = detect_here();
    let phys = world.plan.lot.start;
    let layout = Layout::new(bays, detected.features().monitor.largest_line.into())?;
    let parameters = LotParameters { phys, layout, lot_id: LOT_ID, encryption_mask: 0, mailbox: None };
    let lot = builder::build(&mut world.platform().memory(), &parameters)?;
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

/// How long a ring may take in this world.
pub(crate) fn timing(world: &World) -> Timing {
    Timing { kick_interval_ticks: world.clock.ticks_of_us(KICK_INTERVAL_US), deadline: world.deadline() }
}
