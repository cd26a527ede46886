//! Take an x86 CPU away from an operating system, hold it safely, give it back.
//!
//! This is the crate that a kernel, bootloader or hypervisor depends on: the heart ([`core`]), the x86 half ([`x86`]),
//! a backend for each vendor ([`intel`], [`amd`], each behind the feature of its name), [`detect`], which picks one, and
//! [`policy`], which plans (behind the feature of its name).
//!
//! ```
//! use cpu_park::core::Mechanism;
//! use cpu_park::detect;
//!
//! # fn cpuid(leaf: u32, _subleaf: u32) -> [u32; 4] {
//! #     if leaf == 0 { [1, 0x756e_6547, 0x6c65_746e, 0x4965_6e69] } else { [0; 4] }
//! # }
//! let machine = detect(cpuid);
//! for (mechanism, orders) in machine.mechanisms(100) {
//!     match orders {
//!         Ok(orders) => println!("{mechanism}: {} sanitising steps", orders.steps().count()),
//!         Err(reason) => println!("{mechanism}: {reason}"),
//!     }
//! }
//! assert!(machine.orders(Mechanism::Clgi, 0).is_err());
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod detected;
#[cfg(feature = "policy")]
mod kind;

pub use detected::{Backend, Detected, detect};

#[cfg(feature = "amd")]
pub use park_amd as amd;
pub use park_core as core;
#[cfg(feature = "intel")]
pub use park_intel as intel;
#[cfg(feature = "policy")]
pub use park_policy as policy;
pub use park_x86 as x86;
