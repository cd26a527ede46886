//! The machine that the program runs on.

use super::count::packed;
use super::{CountSource, Machine, Origin};
use crate::topology::{CPUS_MAX, Identity};
use cpu_park::core::CpuidResult;
use std::collections::BTreeSet;

/// CPUID of the CPU that executes this.
#[must_use]
pub fn host_cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    let result = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [result.eax, result.ebx, result.ecx, result.edx]
}

/// What the operating system says of its CPUs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Told {
    /// APIC ids of those that are online, the first CPU's first.
    apic_ids: Vec<u32>,
    /// How many are present, online or not.
    present: Option<u32>,
}

/// This machine. One CPU is asked, and the operating system for the others' ids.
pub(super) fn machine() -> Machine {
    // Linux Documentation/ABI/testing/sysfs-devices-system-cpu: a list such as 0-3,8.
    let present = std::fs::read_to_string("/sys/devices/system/cpu/present").ok();
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let told = Told { apic_ids: apic_ids(&info), present: present.and_then(|list| count_of_list(list.trim())) };
    of(host_cpuid, &told)
}

fn of(cpuid: impl Fn(u32, u32) -> CpuidResult, told: &Told) -> Machine {
    let mut notes = Vec::new();
    // Leaves that tell an id differ from CPU to CPU, and the program may be moved between two of them.
    let asked = Identity::read(&cpuid);
    let (identities, count_source) = match (told.apic_ids.as_slice(), told.present) {
        ([], Some(present)) => {
            notes.push("the system tells the number of its CPUs, but not their ids; packed ones are shown".to_owned());
            (packed(asked, present.min(CPUS_MAX)), CountSource::OperatingSystem)
        }
        ([], None) => {
            notes.push("the number of CPUs is that of one package, by its topology leaves".to_owned());
            (packed(asked, asked.counts.package.min(CPUS_MAX)), CountSource::TopologyLeaves)
        }
        (ids, present) => {
            let online = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            if let Some(present) = present.filter(|present| *present > online) {
                notes.push(format!("{online} of {present} CPUs are online, and only those are shown"));
            }
            let known = ids.iter().take(CPUS_MAX as usize);
            (known.map(|apic_id| Identity { apic_id: *apic_id, ..asked }).collect(), CountSource::OperatingSystem)
        }
    };
    let mut machine = Machine::alike(Origin::Host, count_source, &identities, &cpuid);
    if machine.is_hybrid {
        notes.push("its cores are of several kinds, and one of them was asked".to_owned());
    }
    machine.notes = notes;
    machine
}

/// The `apicid` of each CPU in Linux's /proc/cpuinfo; none if two are alike.
fn apic_ids(info: &str) -> Vec<u32> {
    let fields = info.lines().filter_map(|line| line.split_once(':'));
    let ids: Vec<u32> =
        fields.filter(|(name, _)| name.trim() == "apicid").filter_map(|(_, id)| id.trim().parse().ok()).collect();
    let distinct = ids.iter().collect::<BTreeSet<_>>().len() == ids.len();
    if distinct { ids } else { Vec::new() }
}

fn count_of_list(list: &str) -> Option<u32> {
    let mut count = 0u32;
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{VendorArgument, invented_cpuid};
    use crate::topology::Shape;

    const SHAPE: Shape = Shape { packages: 1, cores_per_package: 4, threads_per_core: 2 };

    #[test]
    fn the_system_knows_best() {
        let cpuid = |leaf, subleaf| invented_cpuid(VendorArgument::Intel, SHAPE, 0, leaf, subleaf);
        let ids = |machine: &Machine| machine.cpus.iter().map(|cpu| cpu.place.apic_id).collect::<Vec<_>>();
        let online = of(cpuid, &Told { apic_ids: vec![0, 2, 4], present: Some(4) });
        assert_eq!((ids(&online), online.count_source), (vec![0, 2, 4], CountSource::OperatingSystem));
        assert!(online.notes.iter().any(|note| note.contains("3 of 4")), "{:?}", online.notes);
        let counted = of(cpuid, &Told { apic_ids: Vec::new(), present: Some(3) });
        assert_eq!((ids(&counted), counted.count_source), (vec![0, 1, 2], CountSource::OperatingSystem));
        let silent = of(cpuid, &Told::default());
        assert_eq!((ids(&silent).len(), silent.count_source), (8, CountSource::TopologyLeaves));
        assert_eq!(silent.topology.summary().shape.as_deref(), Some("1x4x2"));
    }

    #[test]
    fn ids_of_cpuinfo() {
        let info = "processor\t: 0\napicid\t\t: 4\ninitial apicid\t: 9\n\nprocessor\t: 1\napicid\t\t: 6\n";
        assert_eq!(apic_ids(info), [4, 6]);
        assert!(apic_ids("apicid : 1\napicid : 1\n").is_empty());
    }

    #[test]
    fn lists_of_cpus() {
        assert_eq!(count_of_list("0"), Some(1));
        assert_eq!(count_of_list("0-3,8,10-11"), Some(7));
        for wrong in ["", "x", "3-1", "0-4294967295"] {
            assert_eq!(count_of_list(wrong), None, "{wrong}");
        }
    }
}
