//! park-sim: a machine in software that executes the bytes a parked x86 CPU executes.
//!
//! [`machine`] is the machine and the CPU rules. It knows nothing of lots, claims or policy.
#![forbid(unsafe_code)]

pub mod machine;
