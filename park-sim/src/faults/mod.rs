//! Planted faults: what park would be without one of its instructions, bits or orders, and what finds out.
//!
//! A fault is data: a change of the assembled bytes, of the lot's tables, of what arrival loads, or a sanitising step
//! left out. Bay code, machine and checks know nothing of faults; [`Plant`] changes memory before anything runs.

pub mod change;
pub mod driver;
pub mod journey;
pub mod list;
pub mod listing;
pub mod plant;
pub mod ring;
pub mod setting;
pub mod sweep;
pub mod wrong;

pub use change::{Change, Idt, Owner, Page, PlantError};
pub use driver::{DRIVER_FAULTS, DriverFault, driver_is_sound};
pub use journey::{BOSS, Case, Drains, EntryKind, Evictions, Journey, Plan, Progress, TARGET, WayIn};
pub use list::{FAULTS, Fault, KEPT_FENCES};
pub use listing::{Code, Edit, With};
pub use plant::Plant;
pub use ring::{Order, Style};
pub use setting::Setting;
pub use sweep::{Counterexample, End, Report, Sweep, Throw};
pub use wrong::{Leg, Wrong};
