//! Cases once, for every rig: what an event does to a parked CPU, measured.
//!
//! A [`Case`] is a mechanism and an event, `hlt/nmi`. A [`Rig`] is a place where cases run: a simulator, an emulator, a
//! real machine. [`measure`] parks a CPU on a rig, fires the event, and derives the [`Response`](park_core::Response) from
//! what the rig saw at the CPU ([`Witness`], [`Fate`]) and from what the CPU still does (it confirms, it wakes, once).
//! Claims are never looked at: whoever compares does that later.
//!
//! [`platform::check`] lets any kernel test its own implementation of the platform traits; [`Faulty`] loses, delays and
//! doubles its IPIs.
//!
//! There is no `unsafe` here, no allocation, and `park-core` is the only dependency: the crate runs on the metal.
#![no_std]
#![forbid(unsafe_code)]

mod case;
mod classify;
mod doubt;
mod faulty;
mod measure;
pub mod platform;
mod rig;
mod witness;

pub use case::{Case, matches_glob};
pub use classify::{Observed, classify};
pub use doubt::Doubt;
pub use faulty::{Faults, Faulty, Tally};
pub use measure::{MeasureError, Measurement, Moment, measure};
pub use rig::{Answer, Fate, Lack, LackKind, Rig};
pub use witness::{Coalescing, Waiting, Witness};
