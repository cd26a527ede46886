//! Intel errata that touch parking, by name.

use park_x86::errata::{Consequence, Erratum, Models};

const FAMILY: u16 = 6;
/// Xeon 7400, "Dunnington".
const DUNNINGTON: u8 = 0x1d;
/// Xeon 7500, "Nehalem-EX".
const NEHALEM_EX: u8 = 0x2e;
/// Xeon E7, "Westmere-EX".
const WESTMERE_EX: u8 = 0x2f;
/// Apollo Lake, Goldmont cores.
const GOLDMONT: u8 = 0x5c;
/// Xeon, third generation.
const ICE_LAKE_X: u8 = 0x6a;
/// Xeon D, Ice Lake.
const ICE_LAKE_D: u8 = 0x6c;
/// Core Ultra 200V.
const LUNAR_LAKE_M: u8 = 0xbd;

/// All that park knows of.
pub const ERRATA: &[Erratum] = &[
    Erratum {
        name: "AAI65",
        models: &[Models::one(FAMILY, DUNNINGTON), Models::one(FAMILY, NEHALEM_EX), Models::one(FAMILY, WESTMERE_EX)],
        consequence: Consequence::FlushBeforeMonitor,
        what: "MONITOR may miss a store to a line that is in the cache: CLFLUSH it before",
        source: "Intel Xeon 7400 specification update; Linux and Xen X86_BUG_CLFLUSH_MONITOR, which add models 2Eh, 2Fh",
    },
    Erratum {
        name: "APL30",
        models: &[Models::one(FAMILY, GOLDMONT)],
        consequence: Consequence::StoreWakeUnreliable,
        what: "a store to the monitored line may not end MWAIT",
        source: "Intel Apollo Lake specification update; Linux and Xen X86_BUG_MONITOR",
    },
    Erratum {
        name: "APL31",
        models: &[Models::one(FAMILY, GOLDMONT)],
        consequence: Consequence::StoreWakeUnreliable,
        what: "a store to the monitored line may not end MWAIT",
        source: "FreeBSD sys/x86/x86/cpu_machdep.c, mwait_cpustop_broken",
    },
    Erratum {
        name: "ICX143",
        models: &[Models::one(FAMILY, ICE_LAKE_X), Models::one(FAMILY, ICE_LAKE_D)],
        consequence: Consequence::StoreWakeUnreliable,
        what: "the monitor may not be triggered, leading to a processor hang",
        source: "Intel Xeon (third generation) specification update; Xen xen/arch/x86/cpu/intel.c",
    },
    Erratum {
        name: "LNL030",
        models: &[Models::one(FAMILY, LUNAR_LAKE_M)],
        consequence: Consequence::StoreWakeUnreliable,
        what: "a store to the monitored line may not end MWAIT in C6",
        source: "Linux commit c9a4b55431e5; Xen xen/arch/x86/cpu/intel.c",
    },
    Erratum {
        name: "BA80",
        models: &[Models::one(FAMILY, NEHALEM_EX)],
        consequence: Consequence::Informational,
        what: "rapid changes between C3 or C6 and C0 with Hyper-Threading may hang or fault",
        source: "Xen xen/arch/x86/acpi/cpu_idle.c; kin of AAK120 on other Nehalem and Westmere parts",
    },
];
