//! A simulated machine in the likeness of a surveyed one, and the two ways to park its CPUs.

use crate::exit::Failure;
use crate::machine::{Machine, MachineCpu, VendorArgument};
use crate::plan::{PlanDocument, PlanRequest, plan_machine};
use crate::sim::orders::{LATENCY_US, simulated};
use crate::topology::Shape;
use cpu_park::core::Mechanism;
use cpu_park::policy::Situation;
use cpu_park::x86::features::{FeatureSet, Vendor};
use park_sim::foreign::Parker;
use park_sim::machine::MachineConfig;
use park_sim::world::KERNEL_CPUS_MAX;
use serde::Serialize;

/// The example that is shown where a machine has no likeness.
pub const EXAMPLE: Shape = Shape { packages: 1, cores_per_package: 4, threads_per_core: 1 };

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

    /// The machine that is shown where a surveyed one has no likeness.
    fn example(self) -> Machine {
        let vendor = match self {
            Self::Intel => VendorArgument::Intel,
            Self::Amd => VendorArgument::Amd,
        };
        Machine::of_shape(vendor, EXAMPLE)
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
    /// Why this is an example and not the surveyed machine; `None` if it is.
    pub example_because: Option<String>,
    /// In what else it differs from the surveyed machine.
    pub notes: Vec<String>,
    /// How Linux would park.
    pub linux: &'static str,
    /// The CPUs in the simulator's order, by APIC id.
    #[serde(skip)]
    pub apic_ids: Vec<u32>,
    /// What happens to the CPUs: the plan of the surveyed machine, or of the example.
    #[serde(skip)]
    pub plan: PlanDocument,
}

impl Likeness {
    /// The mechanism of a simulated CPU; `None` if it goes on.
    #[must_use]
    pub fn mechanism_of(&self, cpu: usize) -> Option<&'static str> {
        self.apic_ids.get(cpu).and_then(|apic_id| self.plan.mechanism_of(*apic_id))
    }
}

/// Plans the kexec of a machine, as `park plan --situation kexec` does.
///
/// # Errors
/// Those of [`plan_machine`].
pub fn plan_kexec(machine: &Machine) -> Result<PlanDocument, Failure> {
    plan_machine(machine, &PlanRequest::new(Situation::Kexec))
}

/// Makes the likeness of a machine, or an example where there is none.
///
/// # Errors
/// Those of [`plan_machine`].
pub fn likeness(machine: &Machine, plan: &PlanDocument) -> Result<Likeness, Failure> {
    let vendor = match machine.vendor() {
        Vendor::Amd | Vendor::Hygon => SimulatedVendor::Amd,
        _ => SimulatedVendor::Intel,
    };
    match why_example(machine, plan, vendor) {
        None => Ok(shown(machine, plan.clone(), vendor)),
        Some(why) => {
            let example = vendor.example();
            let plan = plan_kexec(&example)?;
            Ok(Likeness { example_because: Some(why), ..shown(&example, plan, vendor) })
        }
    }
}

/// A machine that is shown as it is, as far as a simulated kernel has room.
fn shown(machine: &Machine, plan: PlanDocument, vendor: SimulatedVendor) -> Likeness {
    let mut notes = Vec::new();
    let present = machine.cpus.len();
    let (first, others): (Vec<&MachineCpu>, Vec<&MachineCpu>) =
        machine.cpus.iter().partition(|cpu| machine.is_bootstrap(cpu));
    let in_order = first.into_iter().chain(others).take(KERNEL_CPUS_MAX);
    let apic_ids: Vec<u32> = in_order.map(|cpu| cpu.place.apic_id).collect();
    if present > apic_ids.len() {
        notes.push(format!("{} of its {present} CPUs: a simulated kernel has room for no more", apic_ids.len()));
    }
    if machine.is_hybrid {
        notes.push("its cores are of several kinds; the simulated ones are all alike".to_owned());
    }
    let monitors = machine.detected().features().has(FeatureSet::MONITOR);
    let linux = if monitors { Parker::LinuxMwaitKicked } else { Parker::LinuxHlt };
    Likeness { vendor, cpus: apic_ids.len(), example_because: None, notes, linux: linux.name(), apic_ids, plan }
}

/// Why there is no likeness of a machine.
fn why_example(machine: &Machine, plan: &PlanDocument, vendor: SimulatedVendor) -> Option<String> {
    let detected = machine.detected();
    let features = detected.features();
    if !matches!(features.vendor, Vendor::Intel | Vendor::Amd | Vendor::Hygon) {
        let maker = machine.maker();
        return Some(format!("the simulator has rules for Intel and AMD CPUs, and this one is by {maker}"));
    }
    if features.has(FeatureSet::HYPERVISOR) {
        return Some("a virtual machine's CPUs are parked by its hypervisor".to_owned());
    }
    if !features.has(FeatureSet::APIC) {
        return Some("this CPU has no local APIC, or it is switched off".to_owned());
    }
    if machine.cpus.len() <= 1 {
        return Some("this machine has one CPU: there is none to park".to_owned());
    }
    let Some(planned) = &plan.cpus else {
        return Some("no mechanism keeps CPUs of this machine parked through a kexec".to_owned());
    };
    // The simulated CPU may lack what the real one has.
    let inside = simulated(&vendor.config(1));
    let missing = planned.iter().find_map(|cpu| {
        let mechanism = Mechanism::from_name(cpu.mechanism)?;
        inside.orders(mechanism, LATENCY_US).err().map(|why| (cpu.mechanism, why))
    });
    missing.map(|(mechanism, why)| format!("the simulated CPU can't park by {mechanism}: {why}"))
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
        let machine = Machine::alike(Origin::Asked, CountSource::Asked, &identities, cpuid);
        match plan_kexec(&machine).and_then(|plan| likeness(&machine, &plan)) {
            Ok(likeness) => likeness,
            Err(failure) => panic!("{cpus} CPUs: {failure}"),
        }
    }

    /// Why a mechanism was passed over.
    fn why_not<'l>(likeness: &'l Likeness, mechanism: &str) -> &'l str {
        let mut all = likeness.plan.passed_over.iter().flatten();
        all.find(|one| one.mechanism == mechanism).map_or("", |one| &one.why)
    }

    fn same(_leaf: u32, regs: CpuidResult) -> CpuidResult {
        regs
    }

    #[test]
    fn a_real_machine_is_shown_as_it_is_up_to_what_a_kernel_holds() {
        let intel = of(&MachineConfig::intel(2), same, 12);
        assert_eq!((intel.vendor, intel.cpus, intel.example_because.as_ref()), (SimulatedVendor::Intel, 12, None));
        // The simulated Intel CPU is an Ice Lake server, whose MWAIT may miss a store.
        assert_eq!((intel.mechanism_of(1), intel.linux), (Some("hlt"), "linux-mwait-kicked"));
        assert!(why_not(&intel, "mwait").contains("ICX143"), "{:?}", intel.plan.passed_over);
        let large = of(&MachineConfig::amd(2), same, 384);
        assert_eq!((large.vendor, large.cpus), (SimulatedVendor::Amd, KERNEL_CPUS_MAX));
        assert_eq!((large.mechanism_of(0), large.mechanism_of(63)), (None, Some("mwait")));
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
        assert_eq!((likeness.mechanism_of(3), likeness.linux), (Some("hlt"), "linux-hlt"));
        assert!(why_not(&likeness, "mwait").contains("MONITOR"), "{:?}", likeness.plan.passed_over);
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
            assert_eq!(likeness.cpus, EXAMPLE.cpus() as usize);
        }
        assert_eq!(of(&amd, hypervisor, 8).vendor, SimulatedVendor::Amd);
    }
}
