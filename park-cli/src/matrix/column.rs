//! What a rig brings to the matrix: one column of measurements.

use park_core::{Claim, Event, Mechanism};
use serde::Serialize;
use std::collections::BTreeMap;

/// A vendor whose CPUs have claims of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MatrixVendor {
    /// Intel.
    Intel,
    /// AMD, and Hygon.
    Amd,
}

impl MatrixVendor {
    /// All.
    pub const ALL: [Self; 2] = [Self::Intel, Self::Amd];

    /// The name on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intel => "intel",
            Self::Amd => "amd",
        }
    }

    /// The name in headings.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Intel => "Intel",
            Self::Amd => "AMD and Hygon",
        }
    }

    /// The vendor with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vendor| vendor.name() == name)
    }

    /// All that its crate claims.
    #[must_use]
    pub const fn claims(self) -> &'static [Claim] {
        match self {
            Self::Intel => cpu_park::intel::CLAIMS,
            Self::Amd => cpu_park::amd::CLAIMS,
        }
    }
}

/// What kind of thing a measurement rests on, in rising weight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// park's own simulator: made by those who made the claims, so that it confirms nothing.
    Simulator,
    /// An emulator that others wrote, or a hypervisor.
    Emulator,
    /// A kernel that others wrote.
    Kernel,
    /// A machine.
    Silicon,
}

impl Evidence {
    /// Whether a claim that this kind of evidence agrees with counts as confirmed.
    #[must_use]
    pub const fn confirms(self) -> bool {
        !matches!(self, Self::Simulator)
    }

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Simulator => "simulator",
            Self::Emulator => "emulator",
            Self::Kernel => "kernel",
            Self::Silicon => "silicon",
        }
    }
}

/// A verdict, and what it holds for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Measured {
    /// The rig that measured it.
    pub rig: String,
    /// On which of the rig's machines, where it has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<String>,
    /// On which CPUs: `ap` for an application processor, `bsp` for the bootstrap processor.
    pub processors: Vec<&'static str>,
    /// A response as claims name them, or `lost: ` and how.
    pub verdict: String,
    /// The values of the knobs that decide the verdict, where not all verdicts of the cell are the same.
    pub knobs: BTreeMap<&'static str, &'static str>,
    /// How many runs came to it, each with another combination of values of the knobs that it consulted. A run that did
    /// not consult one of `knobs` counts in several verdicts.
    pub runs: usize,
    /// Whether it is what is claimed.
    pub agrees: bool,
    /// Why the rig does something else, where that is known: a named deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<String>,
    /// What one should know about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
}

impl Measured {
    /// Whether it speaks against a claim.
    #[must_use]
    pub const fn contradicts(&self) -> bool {
        !self.agrees && self.deviation.is_none()
    }
}

/// A case that a rig can't show.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NotShown {
    /// The rig.
    pub rig: String,
    /// On which of its machines.
    pub machines: Vec<String>,
    /// What kind of thing is missing, or `no-verdict`.
    pub lack: String,
    /// What is missing.
    pub why: String,
}

/// What a rig found out about one cell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CellResult {
    /// Whose CPU it is.
    pub vendor: MatrixVendor,
    /// How the CPU waits.
    pub mechanism: Mechanism,
    /// What happens.
    pub event: Event,
    /// The verdicts.
    pub measured: Vec<Measured>,
    /// What the rig could not show.
    pub not_shown: Vec<NotShown>,
    /// How many runs there were.
    pub runs: usize,
    /// The knobs of which every value was tried.
    pub varied: Vec<&'static str>,
    /// Where measurements and claims do not agree, each in one sentence.
    pub disagreements: Vec<String>,
}

impl CellResult {
    /// Of a cell of which nothing is known yet.
    #[must_use]
    pub const fn new(vendor: MatrixVendor, mechanism: Mechanism, event: Event) -> Self {
        Self {
            vendor,
            mechanism,
            event,
            measured: Vec::new(),
            not_shown: Vec::new(),
            runs: 0,
            varied: Vec::new(),
            disagreements: Vec::new(),
        }
    }
}

/// A machine that a rig has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MachineDocument {
    /// Its name.
    pub name: String,
    /// Whose CPUs it has.
    pub vendor: &'static str,
    /// Their model, in the rig's words.
    pub cpu_model: String,
}

/// A rig and all that it measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// The rig's name.
    pub rig: String,
    /// What its measurements rest on.
    pub evidence: Evidence,
    /// The version of an emulator, in its own words.
    pub version: Option<String>,
    /// Its machines, where it has several.
    pub machines: Vec<MachineDocument>,
    /// What it found out, by cell; a cell that it can't show is missing.
    pub results: Vec<CellResult>,
}
