//! A simulated machine in the likeness of a surveyed one, and the two ways to park its CPUs.

use crate::machine::Machine;
use crate::sim::orders::{LATENCY_US, simulated};
use cpu_park::Detected;
use cpu_park::core::{Condition, Event, Mechanism};
use cpu_park::x86::features::{FeatureSet, Vendor};
use cpu_park::x86::orders::StoreWake;
use park_sim::foreign::Parker;
use park_sim::machine::MachineConfig;
use park_sim::world::KERNEL_CPUS_MAX;
use serde::Serialize;

/// CPUs of the example that is shown where this machine has no likeness.
pub const EXAMPLE_CPUS: usize = 4;

/// Whose rules a simulated machine follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SimulatedVendor {
    /// Intel's.
    Intel,
    /// AMD's, for Hygon too.
    Amd,
}

impl SimulatedVendor {
    /// The name in scenario files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intel => "intel",
            Self::Amd => "amd",
        }
    }

    /// The name that people know.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Intel => "Intel",
            Self::Amd => "AMD",
        }
    }

    fn config(self, cpus: usize) -> MachineConfig {
        match self {
            Self::Intel => MachineConfig::intel(cpus),
            Self::Amd => MachineConfig::amd(cpus),
        }
    }
}

/// The simulated machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Likeness {
    /// Whose rules hold.
    pub vendor: SimulatedVendor,
    /// How many CPUs; CPU 0 is the bootstrap processor.
    pub cpus: usize,
    /// Why this is an example and not this machine; `None` if it is.
    pub example_because: Option<String>,
    /// In what else it differs from the surveyed machine.
    pub notes: Vec<String>,
    /// How park parks its application processors.
    pub choice: Choice,
    /// How Linux would.
    pub linux: &'static str,
}

/// The mechanism that park parks by, and why that one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Choice {
    /// Its name.
    pub mechanism: &'static str,
    /// Why this one, in a sentence.
    pub why: String,
    /// Why not the others, by name.
    pub passed_over: Vec<(&'static str, String)>,
}

/// What happens to the CPUs in the demo, and must not hurt those in the lot.
pub const EVENTS: [Event; 5] = [Event::Overwrite, Event::Nmi, Event::SmiNoRestart, Event::McLocal, Event::McBroadcast];

/// From what is saved and given up, the better first: MWAIT sleeps deeper than HLT and needs no IPI to wake; CLGI polls.
const PREFERENCE: [Mechanism; 4] = [Mechanism::Mwait, Mechanism::Hlt, Mechanism::Clgi, Mechanism::WaitForSipi];

/// Makes the likeness of a machine, or an example where there is none.
#[must_use]
pub fn likeness(machine: &Machine) -> Likeness {
    let of = machine.vendor();
    let simulated_vendor =
        if matches!(of, Vendor::Amd | Vendor::Hygon) { SimulatedVendor::Amd } else { SimulatedVendor::Intel };
    let example_because = why_example(machine);
    let mut notes = Vec::new();
    let present = machine.cpus.len();
    let cpus = match example_because {
        Some(_) => EXAMPLE_CPUS,
        None => present.min(KERNEL_CPUS_MAX),
    };
    let config = simulated_vendor.config(cpus);
    let inside = simulated(&config);
    let real = if example_because.is_some() { inside } else { machine.detected() };
    if example_because.is_none() {
        if present > cpus {
            notes.push(format!("{cpus} of its {present} CPUs: a simulated kernel has room for no more"));
        }
        if machine.is_hybrid {
            notes.push("its cores are of several kinds; the simulated ones are all alike".to_owned());
        }
    }
    let choice = choose(&real, &inside);
    let monitors = real.features().has(FeatureSet::MONITOR);
    let linux = if monitors { Parker::LinuxMwaitKicked } else { Parker::LinuxHlt };
    Likeness { vendor: simulated_vendor, cpus, example_because, notes, choice, linux: linux.name() }
}

/// Why there is no likeness of a machine.
fn why_example(machine: &Machine) -> Option<String> {
    let detected = machine.detected();
    let features = detected.features();
    if !matches!(features.vendor, Vendor::Intel | Vendor::Amd | Vendor::Hygon) {
        return Some(format!("the simulator has rules for Intel and AMD CPUs, and this one is by {}", machine.maker()));
    }
    if features.has(FeatureSet::HYPERVISOR) {
        return Some("a virtual machine's CPUs are parked by its hypervisor".to_owned());
    }
    if !features.has(FeatureSet::APIC) {
        return Some("this CPU has no local APIC, or it is switched off".to_owned());
    }
    (machine.cpus.len() <= 1).then(|| "this machine has one CPU: there is none to park".to_owned())
}

/// The first mechanism that the CPU offers, that the simulated CPU offers too, and whose claims keep it parked under all
/// events of the demo.
fn choose(real: &Detected, inside: &Detected) -> Choice {
    let mut passed_over = Vec::new();
    for mechanism in PREFERENCE {
        match objection(mechanism, real, inside) {
            Some(why) => passed_over.push((mechanism.name(), why)),
            None => {
                let why = match mechanism {
                    Mechanism::Mwait => {
                        "it stays parked under all of these events, sleeps deepest, and a store wakes it"
                    }
                    Mechanism::Hlt => "it stays parked under all of these events",
                    Mechanism::Clgi | Mechanism::WaitForSipi => {
                        "it stays parked under all of these events, and nothing milder does"
                    }
                };
                return Choice { mechanism: mechanism.name(), why: why.to_owned(), passed_over };
            }
        }
    }
    // HLT in the lot needs nothing of a vendor; where even its claims are unknown it is what there is.
    let why = "nothing else is known to work here".to_owned();
    Choice { mechanism: Mechanism::Hlt.name(), why, passed_over }
}

/// What speaks against a mechanism.
fn objection(mechanism: Mechanism, real: &Detected, inside: &Detected) -> Option<String> {
    let orders = match real.orders(mechanism, LATENCY_US) {
        Ok(orders) => orders,
        Err(why) => return Some(why.to_string()),
    };
    if let Err(why) = inside.orders(mechanism, LATENCY_US) {
        return Some(format!("the simulated CPU does not have it: {why}"));
    }
    if let (Mechanism::Mwait, StoreWake::Unreliable(erratum)) = (mechanism, orders.store_wake) {
        return Some(format!("erratum {}: a store may not wake it", erratum.name));
    }
    let claims = real.claims().iter().filter(|claim| claim.mechanism == mechanism);
    let mut concerned = claims.filter(|claim| EVENTS.contains(&claim.event) && claim.condition != Condition::Bsp);
    let broken = concerned.find(|claim| !claim.response.stays_parked())?;
    Some(format!("{} may end it: {}", broken.event, broken.response))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{CountSource, Origin};
    use crate::topology::Identity;
    use cpu_park::core::CpuidResult;

    fn of(config: &MachineConfig, change: impl Fn(u32, CpuidResult) -> CpuidResult, cpus: u32) -> Likeness {
        let cpuid = |leaf, subleaf| {
            let regs = config.cpuid.get(leaf, subleaf);
            change(leaf, [regs.eax, regs.ebx, regs.ecx, regs.edx])
        };
        let identities: Vec<Identity> = (0..cpus).map(|apic_id| Identity::packed(apic_id, 0, 10, 10)).collect();
        likeness(&Machine::alike(Origin::Asked, CountSource::Asked, &identities, cpuid))
    }

    fn same(_leaf: u32, regs: CpuidResult) -> CpuidResult {
        regs
    }

    #[test]
    fn a_real_machine_is_shown_as_it_is_up_to_what_a_kernel_holds() {
        let intel = of(&MachineConfig::intel(2), same, 12);
        assert_eq!((intel.vendor, intel.cpus, intel.example_because), (SimulatedVendor::Intel, 12, None));
        // The simulated Intel CPU is an Ice Lake server, whose MWAIT may miss a store.
        assert_eq!((intel.choice.mechanism, intel.linux), ("hlt", "linux-mwait-kicked"));
        assert!(intel.choice.passed_over.iter().any(|(name, why)| *name == "mwait" && why.contains("ICX143")));
        let large = of(&MachineConfig::amd(2), same, 384);
        assert_eq!((large.vendor, large.cpus), (SimulatedVendor::Amd, KERNEL_CPUS_MAX));
        assert_eq!(large.choice.mechanism, "mwait");
        assert!(large.notes.iter().any(|note| note.contains("384")), "{:?}", large.notes);
    }

    #[test]
    fn without_monitor_it_is_hlt_both_ways() {
        let no_monitor = |leaf, mut regs: CpuidResult| {
            if leaf == 1 {
                regs[2] &= !(1 << 3);
            }
            regs
        };
        let likeness = of(&MachineConfig::intel(2), no_monitor, 4);
        assert_eq!((likeness.choice.mechanism, likeness.linux), ("hlt", "linux-hlt"));
        assert!(likeness.choice.passed_over.iter().any(|(name, why)| *name == "mwait" && why.contains("MONITOR")));
    }

    #[test]
    fn what_has_no_likeness_is_an_example_that_says_why() {
        let hypervisor = |leaf, mut regs: CpuidResult| {
            if leaf == 1 {
                regs[2] |= 1 << 31;
            }
            regs
        };
        let other = |leaf, regs| if leaf == 0 { [0xd, 0x746e_6543, 0x736c_7561, 0x4872_7561] } else { regs };
        let amd = MachineConfig::amd(2);
        for (likeness, named) in
            [(of(&amd, hypervisor, 8), "hypervisor"), (of(&amd, same, 1), "one CPU"), (of(&amd, other, 8), "Centaur")]
        {
            let why = likeness.example_because.unwrap_or_default();
            assert!(why.contains(named), "{why}");
            assert_eq!(likeness.cpus, EXAMPLE_CPUS);
        }
        assert_eq!(of(&amd, hypervisor, 8).vendor, SimulatedVendor::Amd);
    }
}
