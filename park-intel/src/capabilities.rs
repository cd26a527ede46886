//! What an Intel CPU can do.

use crate::errata::ERRATA;
use park_core::CpuidResult;
use park_x86::errata::Erratum;
use park_x86::features::{Features, Vendor};

/// What one Intel CPU can do, from CPUID.
///
/// Hybrid machines have CPUs that differ: read it on each CPU that parks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Capabilities {
    /// What every vendor's CPUs have in common.
    pub features: Features,
}

impl Capabilities {
    /// Reads CPUID, called with EAX and ECX; `None` if the CPU is not Intel's.
    #[must_use]
    pub fn detect(cpuid: impl FnMut(u32, u32) -> CpuidResult) -> Option<Self> {
        Self::from_features(Features::read(cpuid))
    }

    /// The same from features read already.
    #[must_use]
    pub fn from_features(features: Features) -> Option<Self> {
        (features.vendor == Vendor::Intel).then_some(Self { features })
    }

    /// The errata of this CPU that touch parking.
    pub fn errata(&self) -> impl Iterator<Item = &'static Erratum> + use<> {
        let signature = self.features.signature;
        ERRATA.iter().filter(move |erratum| erratum.applies(signature))
    }
}
