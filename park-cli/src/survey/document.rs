//! This machine by CPUID: who made it, how many CPUs, what park can do with them.

use cpu_park::core::{CpuidResult, Mechanism};
use cpu_park::x86::features::{FeatureSet, Features, Vendor};
use cpu_park::x86::registers::cpuid::LEAF_EXTENDED;
use cpu_park::{Detected, detect};
use serde::Serialize;

/// Extended topology enumeration, the second and the first form (SDM vol. 2A, "CPUID", leaves 1Fh and 0Bh).
const LEAVES_TOPOLOGY: [u32; 2] = [0x1f, 0xb];
/// AMD: size identifiers; ECX\[7:0\] is the number of threads in the package less one (APM vol. 3, Fn8000_0008).
const LEAF_SIZES: u32 = 0x8000_0008;
/// Structured extended features; EDX\[15\] of subleaf 0 says hybrid (SDM vol. 2A, "CPUID", leaf 7).
const LEAF_STRUCTURED: u32 = 7;
const HYBRID_BIT: u32 = 15;
/// Levels that the topology leaves may list before we stop looking; six are defined.
const TOPOLOGY_LEVELS_MAX: u32 = 8;
/// What an unlimited latency budget is called in orders.
const ANY_LATENCY_US: u32 = u32::MAX;

/// Where the number of CPUs comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuCountSource {
    /// CPUID: those of one package.
    Cpuid,
    /// The operating system's list of CPUs that are present.
    OperatingSystem,
}

/// What the demo needs to know of a machine.
#[derive(Clone, Debug, Serialize)]
pub struct Survey {
    /// `Intel`, `AMD`, `Hygon`, `Centaur`, `Zhaoxin` or `unknown vendor`.
    pub vendor: &'static str,
    /// EAX of leaf 1, hexadecimal.
    pub signature: String,
    /// Family, extended fields added in.
    pub family: u16,
    /// Model, extended field added in.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
    /// A hypervisor is present.
    pub hypervisor: bool,
    /// Cores of several kinds.
    pub hybrid: bool,
    /// Logical CPUs.
    pub logical_cpus: u32,
    /// Who says so.
    pub cpu_count_source: CpuCountSource,
    /// Every mechanism, and why it is or isn't available.
    pub mechanisms: Vec<MechanismSurvey>,
    /// What park does not know of this CPU.
    pub unknown: &'static [&'static str],
    /// The CPU that was asked.
    #[serde(skip)]
    pub detected: Detected,
}

/// One mechanism on a machine.
#[derive(Clone, Debug, Serialize)]
pub struct MechanismSurvey {
    /// Its name.
    pub name: &'static str,
    /// Whether a CPU of this machine can park by it, as far as CPUID tells.
    pub available: bool,
    /// Why, in a sentence.
    pub why: String,
}

/// CPUID of the CPU that executes this.
#[must_use]
pub fn host_cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    let result = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [result.eax, result.ebx, result.ecx, result.edx]
}

/// How many CPUs the operating system says are present; `None` where it does not say.
#[must_use]
pub fn host_cpu_count() -> Option<u32> {
    // Linux Documentation/ABI/testing/sysfs-devices-system-cpu: a list such as 0-3,8.
    let list = std::fs::read_to_string("/sys/devices/system/cpu/present").ok()?;
    count_of_list(list.trim())
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

/// Surveys the machine that `cpuid` belongs to. `present` is the operating system's number of CPUs, if it has one.
#[must_use]
pub fn survey(cpuid: impl Fn(u32, u32) -> CpuidResult, present: Option<u32>) -> Survey {
    let detected = detect(&cpuid);
    let features = detected.features();
    let highest = cpuid(0, 0)[0];
    let hybrid = highest >= LEAF_STRUCTURED && cpuid(LEAF_STRUCTURED, 0)[3] >> HYBRID_BIT & 1 == 1;
    let (logical_cpus, cpu_count_source) = match present {
        Some(count) => (count, CpuCountSource::OperatingSystem),
        None => (cpuid_cpu_count(&cpuid, features), CpuCountSource::Cpuid),
    };
    let signature = if highest >= 1 { cpuid(1, 0)[0] } else { 0 };
    Survey {
        vendor: features.vendor.name(),
        signature: format!("{signature:08x}"),
        family: features.signature.family,
        model: features.signature.model,
        stepping: features.signature.stepping,
        hypervisor: features.has(FeatureSet::HYPERVISOR),
        hybrid,
        logical_cpus,
        cpu_count_source,
        mechanisms: mechanisms(&detected),
        unknown: detected.unknown(),
        detected,
    }
}

fn mechanisms(detected: &Detected) -> Vec<MechanismSurvey> {
    let describe = |mechanism: Mechanism, orders| match orders {
        Ok(()) => MechanismSurvey { name: mechanism.name(), available: true, why: offered(mechanism).to_owned() },
        Err(reason) => MechanismSurvey { name: mechanism.name(), available: false, why: reason },
    };
    let offers = detected.mechanisms(ANY_LATENCY_US);
    offers.map(|(mechanism, orders)| describe(mechanism, orders.map(|_| ()).map_err(|why| why.to_string()))).collect()
}

/// What an available mechanism is, in a sentence.
const fn offered(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Hlt => "HLT in the lot; an NMI makes the CPU look at its doorbell",
        Mechanism::Mwait => "MONITOR/MWAIT on the doorbell; a store wakes the CPU",
        Mechanism::Clgi => "global interrupt flag clear, the doorbell is polled; NMI, SMI and INIT are held",
        Mechanism::WaitForSipi => "INIT, on request only: a broadcast machine check would end the machine",
    }
}

/// Logical CPUs of one package, as CPUID says.
fn cpuid_cpu_count(cpuid: impl Fn(u32, u32) -> CpuidResult, features: &Features) -> u32 {
    let highest = cpuid(0, 0)[0];
    for leaf in LEAVES_TOPOLOGY.into_iter().filter(|leaf| *leaf <= highest) {
        let levels = (0..TOPOLOGY_LEVELS_MAX).map(|level| cpuid(leaf, level));
        // ECX[15:8] is the level's type, 0 after the last; EBX[15:0] counts the logical CPUs below it.
        let listed = levels.take_while(|level| level[2] >> 8 & 0xff != 0);
        if let Some(count) = listed.map(|level| level[1] & 0xffff).max().filter(|count| *count > 0) {
            return count;
        }
    }
    if cpuid(LEAF_EXTENDED, 0)[0] >= LEAF_SIZES {
        let count = cpuid(LEAF_SIZES, 0)[2] & 0xff;
        if count > 0 {
            return count + 1;
        }
    }
    // Leaf 1, EBX[23:16]: addressable ids in the package, if the package can have more than one.
    if features.has(FeatureSet::HTT) && highest >= 1 { (cpuid(1, 0)[1] >> 16 & 0xff).max(1) } else { 1 }
}

/// Who made the CPU, for code that must decide by it.
#[must_use]
pub const fn vendor(survey: &Survey) -> Vendor {
    survey.detected.features().vendor
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `GenuineIntel` with the given highest leaf, in the order of CPUID's result.
    const fn intel(highest: u32) -> CpuidResult {
        [highest, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]
    }

    fn client(leaf: u32, subleaf: u32) -> CpuidResult {
        match (leaf, subleaf) {
            (0, _) => intel(0x1f),
            (1, _) => [0x000b_0671, 0x0080_0800, 1 << 3, 1 << 28 | 1 << 9 | 1 << 7 | 1 << 14],
            (7, 0) => [0, 0, 0, 1 << HYBRID_BIT],
            (0xb | 0x1f, 0) => [1, 2, 1 << 8, 0],
            (0xb | 0x1f, 1) => [7, 24, 2 << 8 | 1, 0],
            (0x8000_0000, _) => [0x8000_0008, 0, 0, 0],
            (0x8000_0001, _) => [0, 0, 0, 1 << 29 | 1 << 20],
            _ => [0; 4],
        }
    }

    #[test]
    fn cpus_are_counted_by_cpuid_unless_the_system_knows() {
        let by_cpuid = survey(client, None);
        assert_eq!((by_cpuid.logical_cpus, by_cpuid.cpu_count_source), (24, CpuCountSource::Cpuid));
        let by_system = survey(client, Some(16));
        assert_eq!((by_system.logical_cpus, by_system.cpu_count_source), (16, CpuCountSource::OperatingSystem));
    }

    #[test]
    fn a_hybrid_client_is_told_as_such() {
        let survey = survey(client, None);
        assert_eq!((survey.vendor, survey.hybrid, survey.hypervisor), ("Intel", true, false));
        assert_eq!((survey.family, survey.model, survey.signature.as_str()), (6, 0xb7, "000b0671"));
        let of = |name| survey.mechanisms.iter().find(|one| one.name == name).map(|one| one.available);
        assert_eq!((of("hlt"), of("mwait"), of("clgi")), (Some(true), Some(true), Some(false)));
    }

    #[test]
    fn amd_without_topology_leaves_counts_by_its_size_leaf() {
        let amd = |leaf, _| match leaf {
            0 => [1, 0x6874_7541, 0x444d_4163, 0x6974_6e65],
            0x8000_0000 => [LEAF_SIZES, 0, 0, 0],
            LEAF_SIZES => [0, 0, 15, 0],
            _ => [0; 4],
        };
        assert_eq!(survey(amd, None).logical_cpus, 16);
        assert_eq!(survey(|_, _| [0; 4], None).logical_cpus, 1);
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
