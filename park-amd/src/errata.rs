//! AMD errata that touch parking, by name. Hygon's family 18h is AMD's 17h model 1 and has its errata.

use park_x86::errata::{Consequence, Erratum, Models};

/// Barcelona to Istanbul, Deneb, Thuban.
const K10: u16 = 0x10;
/// Llano.
const LLANO: u16 = 0x12;
/// Zen, Zen+, Zen 2.
const ZEN: u16 = 0x17;
/// Hygon Dhyana.
const DHYANA: u16 = 0x18;
/// Summit Ridge and Naples; Dhyana repeats the number.
const ZEN1: u8 = 0x01;

/// Families 17h and 18h where FreeBSD saw stores that did not end MWAIT.
const ZEN1_PARTS: &[Models] = &[Models::one(ZEN, ZEN1), Models::range(DHYANA, 0x00, 0x01)];

/// All that park knows of.
pub const ERRATA: &[Erratum] = &[
    Erratum {
        name: "1057",
        models: ZEN1_PARTS,
        consequence: Consequence::StoreWakeUnreliable,
        what: "MWAIT or MWAITX may fail to leave the monitor wait state",
        source: "FreeBSD sys/x86/x86/cpu_machdep.c, mwait_cpustop_broken: family 17h model 1",
    },
    Erratum {
        name: "1109",
        models: ZEN1_PARTS,
        consequence: Consequence::StoreWakeUnreliable,
        what: "MWAIT may hang a thread",
        source: "FreeBSD sys/x86/x86/cpu_machdep.c, mwait_cpustop_broken: family 17h model 1",
    },
    Erratum {
        name: "MWAIT on family 10h",
        models: &[Models::range(K10, 0x00, u8::MAX)],
        consequence: Consequence::MwaitPointless,
        what: "MWAIT keeps the core in C0 or C1, where HLT may reach C1E",
        source: "Xen drops MWAIT on family 10h as \"pointless\" (xen/arch/x86/cpu/amd.c)",
    },
    Erratum {
        name: "400",
        models: &[Models::range(K10, 0x02, u8::MAX)],
        consequence: Consequence::Informational,
        what: "the local APIC timer stops in C1E: nothing may wait for it, and nothing here does",
        source: "AMD family 10h revision guide; Linux X86_BUG_AMD_E400",
    },
    Erratum {
        name: "411",
        models: &[Models::range(K10, 0x00, u8::MAX), Models::range(LLANO, 0x00, u8::MAX)],
        consequence: Consequence::Informational,
        what: "a timer with an initial count keeps the CPU from message-triggered C1E: step stop-timer writes 0",
        source: "Linux commit ffd95846c6ec, which names it",
    },
];
