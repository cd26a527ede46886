//! Which backend serves this CPU, and what it offers.

use park_core::{Claim, Condition, CpuidResult, Event, Mechanism};
use park_x86::errata::Erratum;
use park_x86::features::{Features, Vendor};
use park_x86::orders::{Orders, Unavailable, generic_hlt};

/// Who knows this CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Backend {
    /// `park-intel`.
    #[cfg(feature = "intel")]
    Intel(park_intel::Capabilities),
    /// `park-amd`, for Hygon too.
    #[cfg(feature = "amd")]
    Amd(park_amd::Capabilities),
    /// Nobody: HLT in the lot is offered, nothing is claimed. See [`Detected::unknown`].
    Generic,
}

/// A CPU, and what park can do with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Detected {
    features: Features,
    backend: Backend,
}

/// Reads CPUID through `cpuid`, called with EAX and ECX, and picks the backend.
///
/// CPUs of one machine may differ: detect on each CPU that parks.
#[must_use]
pub fn detect(cpuid: impl Fn(u32, u32) -> CpuidResult) -> Detected {
    let features = Features::read(cpuid);
    Detected { features, backend: backend(features) }
}

fn backend(features: Features) -> Backend {
    #[cfg(feature = "intel")]
    if let Some(capabilities) = park_intel::Capabilities::from_features(features) {
        return Backend::Intel(capabilities);
    }
    #[cfg(feature = "amd")]
    if let Some(capabilities) = park_amd::Capabilities::from_features(features) {
        return Backend::Amd(capabilities);
    }
    let _ = features;
    Backend::Generic
}

/// HLT has one depth: the latency budget goes unused.
fn generic(features: &Features, mechanism: Mechanism, _latency_us: u32) -> Result<Orders, Unavailable> {
    match mechanism {
        Mechanism::Hlt => generic_hlt(features),
        _ => Err(Unavailable::NotOnThisVendor),
    }
}

impl Detected {
    /// What the CPU can do.
    #[must_use]
    pub const fn features(&self) -> &Features {
        &self.features
    }

    /// Who knows the CPU.
    #[must_use]
    pub const fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Orders to park by `mechanism`; `latency_us` bounds the depth of MWAIT, in microseconds.
    ///
    /// That orders exist does not promise that sanitising accepts the CPU: what only a register tells is found there.
    ///
    /// # Errors
    /// [`Unavailable`] with the reason.
    pub fn orders(&self, mechanism: Mechanism, latency_us: u32) -> Result<Orders, Unavailable> {
        match &self.backend {
            #[cfg(feature = "intel")]
            Backend::Intel(capabilities) => capabilities.orders(mechanism, latency_us),
            #[cfg(feature = "amd")]
            Backend::Amd(capabilities) => capabilities.orders(mechanism, latency_us),
            Backend::Generic => generic(&self.features, mechanism, latency_us),
        }
    }

    /// Every mechanism, with its orders or the reason why there are none.
    pub fn mechanisms(&self, latency_us: u32) -> impl Iterator<Item = (Mechanism, Result<Orders, Unavailable>)> {
        Mechanism::ALL.into_iter().map(move |mechanism| (mechanism, self.orders(mechanism, latency_us)))
    }

    /// What the mechanisms promise on this vendor's CPUs; empty where nobody knows.
    ///
    /// A claim speaks of a mechanism whether or not this very CPU offers it.
    #[must_use]
    pub const fn claims(&self) -> &'static [Claim] {
        match &self.backend {
            #[cfg(feature = "intel")]
            Backend::Intel(_) => park_intel::CLAIMS,
            #[cfg(feature = "amd")]
            Backend::Amd(_) => park_amd::CLAIMS,
            Backend::Generic => &[],
        }
    }

    /// The claim for this mechanism and event that holds under `condition`: its own, or the one that always holds.
    #[must_use]
    pub fn claim(&self, mechanism: Mechanism, event: Event, condition: Condition) -> Option<&'static Claim> {
        self.claims().iter().find(|claim| {
            claim.mechanism == mechanism
                && claim.event == event
                && (claim.condition == condition || claim.condition == Condition::Always)
        })
    }

    /// The errata of this CPU that touch parking.
    pub fn errata(&self) -> impl Iterator<Item = &'static Erratum> + use<> {
        let known: &'static [Erratum] = match &self.backend {
            #[cfg(feature = "intel")]
            Backend::Intel(_) => park_intel::ERRATA,
            #[cfg(feature = "amd")]
            Backend::Amd(_) => park_amd::ERRATA,
            Backend::Generic => &[],
        };
        let signature = self.features.signature;
        known.iter().filter(move |erratum| erratum.applies(signature))
    }

    /// What park does not know of this CPU, one sentence each; empty with a vendor's backend.
    #[must_use]
    pub const fn unknown(&self) -> &'static [&'static str] {
        match (&self.backend, self.features.vendor) {
            (Backend::Generic, Vendor::Intel | Vendor::Amd | Vendor::Hygon) => {
                &["this build of cpu-park lacks the vendor's backend: switch its feature on"]
            }
            (Backend::Generic, _) => &[
                "no claim stands: which events reach the CPU in HLT is assumed to be as on Intel, and was never checked",
                "whether a machine check is broadcast (Zhaoxin's are: Linux mce_check_crashing_cpu())",
                "VMX: a CPU in VMX operation would hold INIT; leave it before parking",
                "errata of MONITOR: Mwait is not offered",
                "vendor MSRs of counters, tracing and memory encryption: stop all three before parking",
            ],
            #[cfg(any(feature = "intel", feature = "amd"))]
            _ => &[],
        }
    }
}
