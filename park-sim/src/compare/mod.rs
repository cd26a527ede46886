//! Measured verdicts: what an event does to a CPU that waits in the lot, found by executing the bytes.
//!
//! A claim is compared with a measurement, never read to make one: [`Parked::park`] parks a CPU by one mechanism,
//! [`Parked::measure`] throws an event at it and classifies what became of the CPU, [`Table::measure`] does so for every
//! mechanism, event and knob value that a run consults, and only [`Table::compare`] is shown claims.

mod cases;
pub mod harms;
mod knobs;
mod observe;
mod parked;
mod table;

pub use cases::{Case, cases};
pub use knobs::{Kindness, kindness, stipulated, valuations};
pub use observe::Verdict;
pub use parked::{Measured, OrdersOf, Parked};
pub use table::{Cell, Mismatch, Reason, Row, Table};

/// Nothing happens in `world` but what is measured: no translation vanishes, no MWAIT ends, for no reason.
const fn calm(world: &mut crate::world::World) {
    world.scheduler.rates.evict = 0;
    world.scheduler.rates.false_wake = 0;
}
