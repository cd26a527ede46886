//! Planted faults: what park would be without one of its instructions, bits or orders, and what finds out.
//!
//! A fault is data: a change of the assembled bytes, of the lot's tables, of what arrival loads, or a sanitising step
//! left out. Bay code, machine and checks know nothing of faults; [`Plant`] changes memory before anything runs.

pub mod journey;
pub mod listing;
pub mod plant;
pub mod sweep;
pub mod wrong;

pub use journey::{BOSS, Case, Journey, Progress, TARGET, WayIn};
pub use listing::{Code, Edit, With};
pub use plant::{Change, Idt, Owner, Page, Plant, PlantError};
pub use sweep::{Counterexample, Report, Sweep, Throw};
pub use wrong::{Leg, Wrong};
