//! Scenarios: what happens to parked CPUs, told in a file, played in the simulator, and judged by what is found then.
//!
//! [`Scenario::parse`] reads one (the format: docs/scenario.md), [`run`] plays it from a seed, and the [`Report`] says
//! what became of each CPU, *measured*: from what the CPUs do, what they touched, and what bays and witnesses hold.

mod act;
mod builtin;
mod describe;
mod end;
mod errata;
mod error;
mod events;
mod measure;
mod orders;
mod parse;
mod passing;
mod reader;
mod report;
mod run;
mod step;

pub use builtin::{builtin_text, names};
pub use end::{Cause, Declared, End};
pub use errata::Erratum;
pub use error::{Place, ScenarioError};
pub use orders::{GenericOrders, Orders, ParkOrders};
pub use report::{CpuReport, EventReport, Failure, KnobReport, Outcome, Report};
pub use run::{Record, RunOptions, run};
pub use step::{By, Damage, From, How, Left, Old, Ram, Result, Step, Verb, When};

use crate::machine::{Knob, MachineConfig, Vendor};
use park_core::lot::PagingLevels;
use park_core::{Event, Mechanism};

/// A scenario, read and checked.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows, in a sentence.
    pub summary: String,
    /// What must come of it.
    pub expect: Expect,
    /// On what it plays.
    pub(crate) machine: MachineSpec,
    /// The knobs that it is about, each with the index of its value. The others are anybody's.
    pub knobs: Vec<(Knob, u8)>,
    /// What happens.
    pub(crate) steps: Vec<Step>,
    /// Where particular CPUs end.
    pub(crate) expect_cpus: Vec<ExpectCpu>,
    /// Ends of the machine that a mechanism declares, and that count as safe here.
    pub(crate) declared: Vec<Declared>,
}

/// What must come of a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// Every CPU ends where the plan said.
    Safe,
    /// Some CPU does not.
    Lost {
        /// The event without which it would be safe.
        deadly: Event,
        /// The mechanism of the lot with which it would be safe.
        remedy: Mechanism,
    },
}

/// A machine for a scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineSpec {
    /// Whose rules hold.
    pub vendor: Vendor,
    /// How many CPUs.
    pub cpus: usize,
    /// Which of them is the bootstrap processor.
    pub bsp: usize,
    /// Their APIC ids.
    pub apic_ids: Vec<u32>,
    /// Whether the local APICs are in x2APIC mode.
    pub x2apic: bool,
    /// Levels of paging.
    pub levels: PagingLevels,
    /// Bays of the lot.
    pub bays: u32,
    /// What is wrong with its CPUs.
    pub errata: Vec<Erratum>,
}

/// CPUID leaf with family, model and stepping in EAX.
const SIGNATURE_LEAF: u32 = 1;

impl MachineSpec {
    fn config(&self) -> MachineConfig {
        let mut config = match self.vendor {
            Vendor::Intel => MachineConfig::intel(self.cpus),
            Vendor::Amd => MachineConfig::amd(self.cpus),
        };
        config.x2apic = self.x2apic;
        for erratum in &self.errata {
            config.cpuid = config.cpuid.with(SIGNATURE_LEAF, 0, |regs| regs.eax = erratum.signature());
        }
        for (index, cpu) in config.cpus.iter_mut().enumerate() {
            cpu.bsp = index == self.bsp;
            cpu.apic_id = self.apic_ids.get(index).copied().unwrap_or(cpu.apic_id);
        }
        config
    }
}

/// Where a CPU must end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExpectCpu {
    /// Index of the CPU.
    pub cpu: usize,
    /// Its end.
    pub end: End,
    /// Why; any of these. Empty: whatever.
    pub causes: Vec<Cause>,
}

impl Scenario {
    /// On what it plays.
    #[must_use]
    pub const fn machine(&self) -> &MachineSpec {
        &self.machine
    }

    /// What happens.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Where particular CPUs end.
    #[must_use]
    pub fn expect_cpus(&self) -> &[ExpectCpu] {
        &self.expect_cpus
    }

    /// Ends of the machine that a mechanism declares, and that count as safe here.
    #[must_use]
    pub fn declared(&self) -> &[Declared] {
        &self.declared
    }

    /// A scenario that is built in.
    ///
    /// # Errors
    /// [`ScenarioError::UnknownScenario`].
    pub fn builtin(name: &str) -> core::result::Result<Self, ScenarioError> {
        let text = builtin_text(name).ok_or_else(|| ScenarioError::UnknownScenario { name: name.to_owned() })?;
        Self::parse(text, &format!("{name}.toml"))
    }
}
