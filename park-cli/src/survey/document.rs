//! A machine by CPUID, and the document of schema `park.survey/1`.

use crate::machine::{CountSource, Machine, MachineCpu, Origin, vendor_name};
use crate::topology::{Place, Summary};
use cpu_park::Detected;
use cpu_park::core::Mechanism;
use cpu_park::x86::errata::Erratum;
use cpu_park::x86::features::{FeatureSet, MonitorLeaf};
use serde::Serialize;
use std::collections::BTreeMap;

/// A latency budget that no depth of MWAIT exceeds, in microseconds.
const ANY_LATENCY_US: u32 = u32::MAX;
/// C-states that leaf 5 counts sub-states of (SDM vol. 2A, "CPUID", leaf 5, EDX).
const C_STATES: u32 = 8;

/// The document of schema `park.survey/1`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SurveyDocument {
    /// `park.survey/1`.
    pub schema: &'static str,
    /// Where the machine comes from.
    pub origin: Origin,
    /// `intel`, `amd`, `hygon`, `centaur`, `zhaoxin` or `other`.
    pub vendor: &'static str,
    /// Twelve characters of leaf 0.
    pub vendor_id: String,
    /// EAX of leaf 1, eight hexadecimal digits.
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
    /// Who says how many.
    pub logical_cpus_source: CountSource,
    /// Packages, caches, cores and threads.
    pub topology: Summary,
    /// Every CPU, by APIC id.
    pub cpus: Vec<Place>,
    /// What the bootstrap processor has and has not.
    pub features: BTreeMap<String, bool>,
    /// What MONITOR watches, and how deep MWAIT may go.
    pub monitor: Option<Monitor>,
    /// Names of the errata that touch parking.
    pub errata: Vec<&'static str>,
    /// Every mechanism, and why it is or isn't available.
    pub mechanisms: Vec<MechanismSurvey>,
    /// What park does not know of this CPU.
    pub unknown: &'static [&'static str],
    /// Contradictions in what was read.
    pub warnings: Vec<String>,
    /// What had to be assumed.
    pub notes: Vec<String>,
    /// The vendor as people call it.
    #[serde(skip)]
    pub maker: String,
    /// The errata in full.
    #[serde(skip)]
    pub errata_in_full: Vec<&'static Erratum>,
}

/// Leaf 5.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Monitor {
    /// Bytes of the smallest monitor line.
    pub smallest_line_bytes: u16,
    /// Bytes of the largest.
    pub largest_line_bytes: u16,
    /// MWAIT's sub-states of C0 to C7.
    pub mwait_substates: Vec<u32>,
}

impl Monitor {
    fn new(leaf: MonitorLeaf) -> Self {
        Self {
            smallest_line_bytes: leaf.smallest_line,
            largest_line_bytes: leaf.largest_line,
            mwait_substates: (0..C_STATES).map(|c| leaf.substates_of(c)).collect(),
        }
    }
}

/// One mechanism on a machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MechanismSurvey {
    /// Its name.
    pub name: &'static str,
    /// Whether every CPU of this machine can park by it, as far as CPUID tells.
    pub available: bool,
    /// Why, in a sentence.
    pub why: String,
}

/// Surveys a machine.
#[must_use]
pub fn survey(machine: &Machine) -> SurveyDocument {
    let detected = machine.detected();
    let features = detected.features();
    let summary = machine.topology.summary();
    let errata_in_full = errata(machine);
    let has = |(name, feature): (&str, FeatureSet)| (feature_name(name), features.has(feature));
    SurveyDocument {
        schema: "park.survey/1",
        origin: machine.origin,
        vendor: vendor_name(features.vendor),
        vendor_id: machine.vendor_id.clone(),
        signature: machine.signature_text(),
        family: features.signature.family,
        model: features.signature.model,
        stepping: features.signature.stepping,
        hypervisor: features.has(FeatureSet::HYPERVISOR),
        hybrid: machine.is_hybrid,
        logical_cpus: summary.threads,
        logical_cpus_source: machine.count_source,
        topology: summary,
        cpus: machine.cpus.iter().map(|cpu| cpu.place).collect(),
        features: FeatureSet::all().iter_names().map(has).collect(),
        monitor: features.has(FeatureSet::MONITOR).then(|| Monitor::new(features.monitor)),
        errata: errata_in_full.iter().map(|erratum| erratum.name).collect(),
        mechanisms: Mechanism::ALL.into_iter().map(|mechanism| mechanism_of(machine, mechanism)).collect(),
        unknown: detected.unknown(),
        warnings: machine.warnings.clone(),
        notes: machine.notes.clone(),
        maker: machine.maker(),
        errata_in_full,
    }
}

/// `MWAIT_INTERRUPT_BREAK` is `mwait-interrupt-break` in documents.
fn feature_name(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

/// The errata of any kind of CPU that the machine has, each name once.
fn errata(machine: &Machine) -> Vec<&'static Erratum> {
    let mut found: Vec<&'static Erratum> = Vec::new();
    for erratum in machine.kinds.iter().flat_map(Detected::errata) {
        if !found.iter().any(|known| known.name == erratum.name) {
            found.push(erratum);
        }
    }
    found
}

/// A mechanism is available if every CPU has it.
fn mechanism_of(machine: &Machine, mechanism: Mechanism) -> MechanismSurvey {
    let reasons: Vec<Option<String>> = machine
        .kinds
        .iter()
        .map(|kind| kind.orders(mechanism, ANY_LATENCY_US).err().map(|why| why.to_string()))
        .collect();
    let reason_of = |cpu: &MachineCpu| reasons.get(cpu.kind).and_then(Option::as_deref);
    let lacking = machine.cpus.iter().filter(|cpu| reason_of(cpu).is_some()).count();
    let first = machine.cpus.iter().find_map(reason_of);
    let why = match first {
        None => offered(mechanism).to_owned(),
        Some(why) if lacking == machine.cpus.len() => why.to_owned(),
        Some(why) => format!("not on {lacking} of {} CPUs: {why}", machine.cpus.len()),
    };
    MechanismSurvey { name: mechanism.name(), available: first.is_none(), why }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{MachineArguments, VendorArgument};

    fn of(shape: &str, vendor: VendorArgument) -> Machine {
        let chosen = MachineArguments { cpuid: None, topology: shape.parse().ok(), vendor: Some(vendor) };
        match chosen.machine() {
            Ok(machine) => machine,
            Err(failure) => panic!("{shape}: {failure}"),
        }
    }

    #[test]
    fn a_survey_says_what_the_machine_is() {
        let intel = survey(&of("2x8x2", VendorArgument::Intel));
        assert_eq!((intel.vendor, intel.vendor_id.as_str()), ("intel", "GenuineIntel"));
        assert_eq!((intel.signature.as_str(), intel.family, intel.model, intel.stepping), ("000606a6", 6, 0x6a, 6));
        assert_eq!((intel.logical_cpus, intel.cpus.len(), intel.topology.packages), (32, 32, 2));
        assert_eq!(intel.errata, ["ICX143"]);
        let monitor =
            Monitor { smallest_line_bytes: 64, largest_line_bytes: 64, mwait_substates: vec![0, 2, 0, 2, 0, 0, 0, 0] };
        assert_eq!(intel.monitor, Some(monitor));
        assert_eq!(intel.features.get("mwait-interrupt-break"), Some(&true));
        assert_eq!(intel.features.get("svm"), Some(&false));
        let available = |survey: &SurveyDocument| {
            survey.mechanisms.iter().filter(|one| one.available).map(|one| one.name).collect::<Vec<_>>()
        };
        assert_eq!(available(&intel), ["hlt", "mwait", "wait-for-sipi"]);
        let amd = survey(&of("1x4x1", VendorArgument::Amd));
        assert_eq!((amd.vendor, available(&amd)), ("amd", vec!["hlt", "mwait", "clgi", "wait-for-sipi"]));
    }

    #[test]
    fn a_mechanism_that_one_kind_of_cpu_lacks_is_not_available() {
        let mut machine = of("1x4x1", VendorArgument::Intel);
        // A CPU of another kind, without MONITOR.
        machine.kinds.push(cpu_park::detect(|_, _| [0; 4]));
        if let Some(last) = machine.cpus.last_mut() {
            last.kind = 1;
        }
        let mwait = mechanism_of(&machine, Mechanism::Mwait);
        assert!(!mwait.available && mwait.why.starts_with("not on 1 of 4 CPUs: "), "{mwait:?}");
    }
}
