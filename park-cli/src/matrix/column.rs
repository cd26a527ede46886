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
    /// An emulator that others wrote.
    Emulator,
    /// A kernel that others wrote.
    Kernel,
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
        }
    }
}

/// A verdict, and what it holds for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Measured {
    /// The rig that measured it.
    pub rig: &'static str,
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
    /// What one should know about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
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
    /// How many runs there were.
    pub runs: usize,
    /// The knobs of which every value was tried.
    pub varied: Vec<&'static str>,
    /// Where measurements and claims do not agree, each in one sentence.
    pub disagreements: Vec<String>,
}

/// A rig and all that it measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// The rig's name.
    pub rig: &'static str,
    /// What its measurements rest on.
    pub evidence: Evidence,
    /// What it found out, by cell; a cell that it can't show is missing.
    pub results: Vec<CellResult>,
}
