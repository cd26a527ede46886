//! CPU parking on AMD and Hygon processors: what they can do, where they err, what each mechanism promises, and the
//! steps and orders to park by it.
//!
//! ```
//! use park_amd::Capabilities;
//! use park_core::Mechanism;
//!
//! # fn demo(cpuid: impl FnMut(u32, u32) -> [u32; 4]) -> Option<()> {
//! let capabilities = Capabilities::detect(cpuid)?;
//! match capabilities.orders(Mechanism::Clgi, u32::MAX) {
//!     Ok(orders) => assert!(orders.steps().count() > 0),
//!     Err(reason) => println!("{reason}"),
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

pub use capabilities::{Capabilities, Svm};
pub use claims::{CLAIMS, claim};
pub use depths::{HLT_EXIT_LATENCY_US, MWAIT_EXIT_LATENCY_US, deepest};
pub use errata::ERRATA;
pub use steps::{REFUSALS, STEPS};
