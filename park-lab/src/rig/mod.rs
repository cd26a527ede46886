//! Rigs of the conformance suite that run on this host.

mod sim;

pub use sim::{SimError, SimRig};
