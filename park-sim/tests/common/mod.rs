//! What the tests of the simulator share: the vendor crates, as the simulator may see them in tests alone.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod guard;
#[path = "../support/mod.rs"]
pub(crate) mod support;

use park_core::{Claim, Mechanism};
use park_sim::machine::Vendor;
use park_x86::features::Features;
use park_x86::orders::Orders;

/// Longest time to leave MWAIT that these tests order, in microseconds.
pub(crate) const LATENCY_US: u32 = 1000;

/// The vendor crate's orders for a mechanism on a CPU with these features.
pub(crate) fn orders(mechanism: Mechanism, features: &Features) -> Option<Orders> {
    let intel = park_intel::Capabilities::from_features(*features);
    let amd = park_amd::Capabilities::from_features(*features);
    match (intel, amd) {
        (Some(intel), _) => intel.orders(mechanism, LATENCY_US).ok(),
        (_, Some(amd)) => amd.orders(mechanism, LATENCY_US).ok(),
        (None, None) => None,
    }
}

/// All that a vendor's crate claims.
pub(crate) const fn claims(vendor: Vendor) -> &'static [Claim] {
    match vendor {
        Vendor::Intel => park_intel::CLAIMS,
        Vendor::Amd => park_amd::CLAIMS,
    }
}
