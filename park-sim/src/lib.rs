//! park-sim: a machine in software that executes the bytes a parked x86 CPU executes.
//!
//! [`machine`] is the machine and the CPU rules. It knows nothing of lots, claims or policy. [`platform`] gives park's
//! platform traits over it, [`world`] kernels, a lot and CPUs that park, [`foreign`] the parkers of others, [`scenario`] files
//! that say what happens to them, [`recording`] what a run looks like.
#![forbid(unsafe_code)]

pub mod compare;
pub mod explorer;
pub mod faults;
pub mod foreign;
pub mod machine;
pub mod platform;
pub mod recording;
pub mod scenario;
pub mod world;
