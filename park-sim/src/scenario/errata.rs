//! Errata that the simulator has as knobs, with a CPU that has each.

use super::step::names;
use crate::machine::{Knob, Vendor};

names! {
    /// What is wrong with a machine's CPUs.
    Erratum {
        /// MONITOR may miss a store to a cached line (Xeon 7400).
        Aai65 = "AAI65",
        /// A store may not end MWAIT (Apollo Lake).
        Apl30 = "APL30",
        /// A store may not end MWAIT (Xeon, third generation).
        Icx143 = "ICX143",
        /// A store may not end MWAIT in C6 (Core Ultra 200V).
        Lnl030 = "LNL030",
        /// MWAIT may hang a thread (AMD family 17h model 1).
        Zen1109 = "1109",
    }
}

impl Erratum {
    /// Whose CPUs have it.
    #[must_use]
    pub const fn vendor(self) -> Vendor {
        match self {
            Self::Zen1109 => Vendor::Amd,
            _ => Vendor::Intel,
        }
    }

    /// EAX of CPUID leaf 1 of a CPU that has it: Dunnington, Goldmont, Ice Lake-SP, Lunar Lake, Zen.
    #[must_use]
    pub const fn signature(self) -> u32 {
        match self {
            Self::Aai65 => 0x0001_06d1,
            Self::Apl30 => 0x0005_06c9,
            Self::Icx143 => 0x0006_06a6,
            Self::Lnl030 => 0x000b_06d1,
            Self::Zen1109 => 0x0080_0f11,
        }
    }

    /// The knob that it is, and the value at which it shows.
    #[must_use]
    pub const fn knob(self) -> (Knob, &'static str) {
        match self {
            Self::Aai65 => (Knob::MonitorStale, "yes"),
            _ => (Knob::MonitorLost, "always"),
        }
    }
}
