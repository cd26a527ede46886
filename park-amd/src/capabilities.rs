//! What an AMD or Hygon CPU can do.

use crate::errata::ERRATA;
use park_core::CpuidResult;
use park_x86::errata::Erratum;
use park_x86::features::{FeatureSet, Features, Vendor};

/// What SVM says of itself: CPUID leaf 8000_000Ah (APM vol. 2, 15.30; vol. 3, appendix E).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Svm {
    /// STGI works while EFER.SVME is 0 (CPUID 8000_0001h ECX\[12\]).
    pub skinit: bool,
    /// VM_CR can be locked; whether SVMDIS *is* set only the register says.
    pub lock: bool,
}

/// What one AMD or Hygon CPU can do, from CPUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Capabilities {
    /// What every vendor's CPUs have in common.
    pub features: Features,
    /// SVM, if the CPU has it and firmware does not hide it.
    pub svm: Option<Svm>,
}

impl Capabilities {
    /// Reads CPUID, called with EAX and ECX; `None` if the CPU is neither AMD's nor Hygon's.
    #[must_use]
    pub fn detect(cpuid: impl FnMut(u32, u32) -> CpuidResult) -> Option<Self> {
        Self::from_features(Features::read(cpuid))
    }

    /// The same from features read already.
    #[must_use]
    pub fn from_features(features: Features) -> Option<Self> {
        if !matches!(features.vendor, Vendor::Amd | Vendor::Hygon) {
            return None;
        }
        let svm = features
            .has(FeatureSet::SVM)
            .then(|| Svm { skinit: features.has(FeatureSet::SKINIT), lock: features.has(FeatureSet::SVM_LOCK) });
        Some(Self { features, svm })
    }

    /// The errata of this CPU that touch parking.
    pub fn errata(&self) -> impl Iterator<Item = &'static Erratum> + use<> {
        let signature = self.features.signature;
        ERRATA.iter().filter(move |erratum| erratum.applies(signature))
    }
}
