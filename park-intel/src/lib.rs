//! CPU parking on Intel processors: what they can do, where they err, what each mechanism promises, and the steps
//! and orders to park by it.
//!
//! ```
//! use park_core::Mechanism;
//! use park_intel::Capabilities;
//!
//! # fn demo(cpuid: impl FnMut(u32, u32) -> [u32; 4]) -> Option<()> {
//! let capabilities = Capabilities::detect(cpuid)?;
//! // As deep as the CPU goes, if it is back within 100 µs.
//! let orders = capabilities.orders(Mechanism::Mwait, 100).ok()?;
//! for step in orders.steps() {
//!     let _ = (step.id, step.harm, step.why);
//! }
//! # Some(())
//! # }
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod capabilities;
mod claims;
mod depths;
mod errata;
mod orders;
mod steps;

pub use capabilities::Capabilities;
pub use claims::{CLAIMS, claim};
pub use depths::{C1, C3_HINT, DEPTHS, Depth, HLT_EXIT_LATENCY_US, ModelDepths, deepest, depths_of};
pub use errata::ERRATA;
pub use steps::{REFUSALS, STEPS};
