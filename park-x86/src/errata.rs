//! The form of an erratum. The errata themselves stand in the vendor crates.

use crate::features::Signature;

/// CPUs of one family, by ranges of model and stepping, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Models {
    /// Family.
    pub family: u16,
    /// First model.
    pub first: u8,
    /// Last model.
    pub last: u8,
    /// Last stepping; all of them with `u8::MAX`.
    pub last_stepping: u8,
}

impl Models {
    /// One model, all steppings.
    #[must_use]
    pub const fn one(family: u16, model: u8) -> Self {
        Self::range(family, model, model)
    }

    /// A range of models, all steppings.
    #[must_use]
    pub const fn range(family: u16, first: u8, last: u8) -> Self {
        Self { family, first, last, last_stepping: u8::MAX }
    }

    /// True if the CPU is among them.
    #[must_use]
    pub const fn contains(&self, signature: Signature) -> bool {
        self.family == signature.family
            && self.first <= signature.model
            && signature.model <= self.last
            && signature.stepping <= self.last_stepping
    }
}

/// What an erratum means for parking.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Consequence {
    /// A store to the monitored line may not end MWAIT: a ring needs an NMI too.
    StoreWakeUnreliable,
    /// The line must be flushed with CLFLUSH before MONITOR, or stores to it are missed.
    FlushBeforeMonitor,
    /// MWAIT saves nothing over HLT here: Mwait is not offered.
    MwaitPointless,
    /// Nothing that park must do beyond its usual steps; good to know when something looks odd.
    Informational,
}

/// A processor erratum that touches parking.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Erratum {
    /// The vendor's number.
    pub name: &'static str,
    /// Which CPUs have it.
    pub models: &'static [Models],
    /// What it means for parking.
    pub consequence: Consequence,
    /// What happens.
    pub what: &'static str,
    /// Where that was read.
    pub source: &'static str,
}

impl Erratum {
    /// True if a CPU with this signature has the erratum. A microcode update may have cured it since.
    #[must_use]
    pub fn applies(&self, signature: Signature) -> bool {
        self.models.iter().any(|models| models.contains(signature))
    }
}

/// The first of `errata` with this consequence that a CPU with this signature has.
#[must_use]
pub fn first(errata: &'static [Erratum], signature: Signature, consequence: Consequence) -> Option<&'static Erratum> {
    errata.iter().find(|erratum| erratum.consequence == consequence && erratum.applies(signature))
}
