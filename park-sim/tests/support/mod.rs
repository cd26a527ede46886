//! Cases for tests: machines, and what the vendor crates order for them.

use park_core::Mechanism;
use park_core::lot::PagingLevels;
use park_sim::faults::{Case, Plan, TARGET, WayIn};
use park_sim::machine::{MachineConfig, Vendor};
use park_sim::world::ParkRequest;
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
    let cpuid = |leaf, subleaf| {
        let regs = machine.cpuid.get(leaf, subleaf);
        [regs.eax, regs.ebx, regs.ecx, regs.edx]
    };
    let orders = match machine.vendor {
        Vendor::Intel => {
            park_intel::Capabilities::detect(cpuid).map(|capabilities| capabilities.orders(mechanism, LATENCY_US))
        }
        Vendor::Amd => {
            park_amd::Capabilities::detect(cpuid).map(|capabilities| capabilities.orders(mechanism, LATENCY_US))
        }
    };
    match orders {
        Some(Ok(orders)) => orders,
        other => panic!("{mechanism} on {:?}: {other:?}", machine.vendor),
    }
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
