//! A machine of a shape that was asked for: the CPU of park's simulator, as often as the shape says.

use super::{CountSource, Machine, Origin};
use crate::topology::Shape;
use cpu_park::core::CpuidResult;
use cpu_park::x86::registers::cpuid::LEAF_VERSION;
use park_sim::machine::{CpuidTable, MachineConfig};

/// Whose CPUs a machine of a shape has.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum VendorArgument {
    /// Intel's.
    #[default]
    Intel,
    /// AMD's.
    Amd,
}

impl VendorArgument {
    fn table(self) -> CpuidTable {
        match self {
            Self::Intel => MachineConfig::intel(1).cpuid,
            Self::Amd => MachineConfig::amd(1).cpuid,
        }
    }
}

/// CPUID of the CPU with `apic_id` on a machine of this shape: that of the simulated CPU, and the leaves that tell where it
/// sits.
#[must_use]
pub fn invented_cpuid(vendor: VendorArgument, shape: Shape, apic_id: u32, leaf: u32, subleaf: u32) -> CpuidResult {
    answer(&vendor.table(), shape, apic_id, leaf, subleaf)
}

/// Leaf 0Bh (SDM vol. 2A, "CPUID"; AMD has it since family 17h).
const LEAF_TOPOLOGY: u32 = 0xb;
/// Level types in ECX\[15:8\] of it.
const LEVEL_THREADS: u32 = 1 << 8;
const LEVEL_CORES: u32 = 2 << 8;
/// Leaf 1, EDX: the package may have more than one CPU.
const HTT: u32 = 1 << 28;

fn answer(table: &CpuidTable, shape: Shape, apic_id: u32, leaf: u32, subleaf: u32) -> CpuidResult {
    let regs = table.get(leaf, subleaf);
    let [eax, ebx, ecx, edx] = [regs.eax, regs.ebx, regs.ecx, regs.edx];
    let of_package = shape.cores_per_package * shape.threads_per_core;
    let (thread_bits, package_bits) = (shape.thread_bits(), shape.package_bits());
    match (leaf, subleaf) {
        (LEAF_VERSION, _) => {
            let htt = if of_package > 1 { edx | HTT } else { edx & !HTT };
            [eax, ebx & 0xffff | of_package.min(0xff) << 16 | (apic_id & 0xff) << 24, ecx, htt]
        }
        (LEAF_TOPOLOGY, 0) => [thread_bits, shape.threads_per_core, LEVEL_THREADS, apic_id],
        (LEAF_TOPOLOGY, 1) => [package_bits, of_package, LEVEL_CORES | 1, apic_id],
        (LEAF_TOPOLOGY, _) => [0, 0, subleaf & 0xff, apic_id],
        _ => [eax, ebx, ecx, edx],
    }
}

/// The machine.
pub(super) fn machine(vendor: VendorArgument, shape: Shape) -> Machine {
    let table = vendor.table();
    let cpuid = |leaf, subleaf| answer(&table, shape, 0, leaf, subleaf);
    Machine::alike(Origin::Asked, CountSource::Asked, &shape.identities(), cpuid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Identity;

    #[test]
    fn the_leaves_of_an_invented_machine_tell_its_shape() {
        for vendor in [VendorArgument::Intel, VendorArgument::Amd] {
            for text in ["1x1x1", "2x8x2", "3x5x1", "1x64x4", "64x64x2"] {
                let Ok(shape) = text.parse::<Shape>() else { panic!("{text}") };
                let cpuid = |apic_id| move |leaf, subleaf| invented_cpuid(vendor, shape, apic_id, leaf, subleaf);
                let step = (shape.cpus() as usize / 7).max(1);
                for wanted in shape.identities().iter().step_by(step) {
                    let read = Identity::read(cpuid(wanted.apic_id));
                    assert_eq!((read.apic_id, read.thread_bits), (wanted.apic_id, wanted.thread_bits), "{text}");
                    assert_eq!(read.package_bits, wanted.package_bits, "{text}");
                }
                let machine = machine(vendor, shape);
                assert_eq!(machine.cpus.len(), shape.cpus() as usize);
                assert_eq!(machine.topology.summary().shape.as_deref(), Some(text));
            }
        }
    }
}
