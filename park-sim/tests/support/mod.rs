//! Cases for tests: machines, and what the vendor crates order for them.
#![allow(dead_code, reason = "each test binary uses its part")]

use park_core::lot::PagingLevels;
use park_core::{Claim, Mechanism};
use park_sim::faults::{Case, Plan, TARGET, WayIn};
use park_sim::machine::{MachineConfig, Vendor};
use park_sim::world::ParkRequest;
use park_x86::features::Features;
use park_x86::orders::Orders;

/// Latency budget that leads to a deep MWAIT hint, in microseconds.
const LATENCY_US: u32 = 1000;

/// A machine of a vendor, with five-level paging available on both.
pub(crate) fn machine(vendor: Vendor, cpus: usize) -> MachineConfig {
    let mut config = match vendor {
        Vendor::Intel => MachineConfig::intel(cpus),
        Vendor::Amd => MachineConfig::amd(cpus),
    };
    // LA57: CPUID 7.0 ECX bit 16 (Intel SDM vol. 2A, CPUID).
    config.cpuid = config.cpuid.with(7, 0, |regs| regs.ecx |= 1 << 16);
    config
}

/// The mechanisms that park a CPU in a lot, by vendor.
pub(crate) fn mechanisms(vendor: Vendor) -> &'static [Mechanism] {
    match vendor {
        Vendor::Intel => &[Mechanism::Hlt, Mechanism::Mwait],
        Vendor::Amd => &[Mechanism::Hlt, Mechanism::Mwait, Mechanism::Clgi],
    }
}

/// What the vendor crate orders for a mechanism on a machine.
pub(crate) fn orders(machine: &MachineConfig, mechanism: Mechanism) -> Orders {
    let features = Features::read(|leaf, subleaf| {
        let regs = machine.cpuid.get(leaf, subleaf);
        [regs.eax, regs.ebx, regs.ecx, regs.edx]
    });
    orders_of(mechanism, &features).unwrap_or_else(|| panic!("no {mechanism} on {:?}", machine.vendor))
}

/// A request to park CPU `cpu`.
pub(crate) fn request(machine: &MachineConfig, cpu: usize, mechanism: Mechanism) -> ParkRequest {
    let orders = orders(machine, mechanism);
    ParkRequest::new(cpu, mechanism, orders.wait_flags, orders.mwait_hint, orders.steps())
}

/// A journey's case.
pub(crate) fn case(vendor: Vendor, mechanism: Mechanism, levels: PagingLevels, way_in: WayIn) -> Case {
    let machine = machine(vendor, 2);
    let request = request(&machine, TARGET, mechanism);
    Case { machine, request, levels, way_in, plan: Plan::default(), seed: 1 }
}

/// The vendor crate's orders for a mechanism on a CPU with these features.
pub(crate) fn orders_of(mechanism: Mechanism, features: &Features) -> Option<Orders> {
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
