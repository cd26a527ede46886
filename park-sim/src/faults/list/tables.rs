//! Faults of the lot's tables and header: what a wrong builder would build.

use super::Fault;
use crate::faults::{Change, Idt, Page, Setting, Throw};
use crate::machine::Vendor;
use park_core::Mechanism::{Hlt, Mwait};
use park_core::lot::{PagingLevels, bay, header};
use park_x86::registers::control::Cr4;

const HLT: Setting = Setting::new(Vendor::Intel, Hlt);
/// Vector of the NMI and of #MC.
const NMI: u8 = 2;
const MC: u8 = 18;
/// Bits of a page-table entry (Intel SDM vol. 3, "4-Level Paging").
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const CACHE_DISABLE: u64 = 1 << 4;
const NO_EXECUTE: u64 = 1 << 63;
/// Offset of IST 1 and of IST 2 in a TSS (Intel SDM vol. 3, "TSS in 64-bit Mode").
const IST1: u64 = bay::TSS + 0x24;
const IST2: u64 = bay::TSS + 0x2c;

pub(super) const FAULTS: &[Fault] = &[
    Fault::new(
        "nmi-without-ist",
        "the NMI gate of the parked table has no IST: on the way out the NMI is on the owner's stack, and finds no bay",
        &[Change::GateStack { table: Idt::Parked, vector: NMI, ist: 0 }],
        HLT.throw(&[Throw::Nmi]),
    ),
    Fault::new(
        "mc-without-ist",
        "the #MC gate of the parked table has no IST",
        &[Change::GateStack { table: Idt::Parked, vector: MC, ist: 0 }],
        HLT.throw(&[Throw::Mc]),
    ),
    Fault::new(
        "no-mc-gate-arriving",
        "the arriving table has no gate for #MC",
        &[Change::GateAbsent { table: Idt::Arriving, vector: MC }],
        HLT.throw(&[Throw::Mc]),
    ),
    Fault::new(
        "no-mc-gate-parked",
        "the parked table has no gate for #MC",
        &[Change::GateAbsent { table: Idt::Parked, vector: MC }],
        HLT.throw(&[Throw::Mc]),
    ),
    Fault::new(
        "no-nmi-gate-leaving",
        "the leaving table has no gate for NMI",
        &[Change::GateAbsent { table: Idt::Leaving, vector: NMI }],
        HLT.throw(&[Throw::Nmi]),
    ),
    Fault::new(
        "mc-as-nmi",
        "#MC enters the NMI handler: nobody clears MCIP",
        &[Change::GateAs { table: Idt::Parked, vector: MC, other: NMI }],
        HLT.throw(&[Throw::Mc]),
    ),
    Fault::new(
        "arriving-table-is-the-parked-one",
        "IST gates are loaded while the TSS is still the owner's",
        &[Change::HeaderWord { offset: header::IDTR_ARRIVING, from: header::IDTR_PARKED }],
        HLT.throw(&[Throw::Nmi]),
    ),
    Fault::new(
        "leaving-table-is-the-parked-one",
        "handlers that abandon what they interrupt stay loaded in the owner's code: the entry is taken twice",
        &[Change::HeaderWord { offset: header::IDTR_LEAVING, from: header::IDTR_PARKED }],
        HLT.throw(&[Throw::Nmi]),
    ),
    Fault::new(
        "parked-table-is-the-arriving-one",
        "handlers that return to what they interrupted stay loaded while the CPU waits",
        &[Change::HeaderWord { offset: header::IDTR_PARKED, from: header::IDTR_ARRIVING }],
        HLT.ring(crate::faults::Style::OneKick).throw(&[Throw::Nmi]),
    ),
    Fault::new(
        "five-level-root-is-the-four-level-one",
        "with CR4.LA57 the walk begins one level too low",
        &[Change::HeaderWord { offset: header::ROOT5, from: header::ROOT4 }],
        HLT.levels(PagingLevels::Five),
    ),
    Fault::new(
        "bays-read-only",
        "the lot's root maps bays without write permission",
        &[Change::PageEntry { page: Page::Bays, clear: WRITABLE, set: 0 }],
        HLT,
    ),
    Fault::new(
        "code-not-executable",
        "the lot's root maps bay code with NX",
        &[Change::PageEntry { page: Page::Code, clear: 0, set: NO_EXECUTE }],
        HLT,
    ),
    Fault::new(
        "bays-uncached",
        "the lot's root maps bays uncached: MONITOR does not arm, and MWAIT does not wait",
        &[Change::PageEntry { page: Page::Bays, clear: 0, set: CACHE_DISABLE }],
        Setting::new(Vendor::Intel, Mwait),
    ),
    Fault::new(
        "user-code-under-smep",
        "the lot's root maps bay code for users, and CR4.SMEP stays set",
        &[Change::PagePath { page: Page::Code, set: USER }, Change::Arrival(|arrival| arrival.cr4 |= Cr4::SMEP.bits())],
        HLT,
    ),
    Fault::new(
        "user-bays-under-smap",
        "the lot's root maps bays for users, and CR4.SMAP stays set",
        &[Change::PagePath { page: Page::Bays, set: USER }, Change::Arrival(|arrival| arrival.cr4 |= Cr4::SMAP.bits())],
        HLT,
    ),
    Fault::new(
        "tables-not-mapped",
        "the lot's root does not map the IDTs",
        &[Change::PageEntry { page: Page::Tables, clear: 1, set: 0 }],
        HLT,
    ),
    Fault::new(
        "no-nmi-stack",
        "IST 1 of the bay's TSS is 0",
        &[Change::BayWord { offset: IST1, clear: !0, set: 0 }],
        HLT,
    ),
    Fault::new(
        "no-mc-stack",
        "IST 2 of the bay's TSS is 0",
        &[Change::BayWord { offset: IST2, clear: !0, set: 0 }],
        HLT.throw(&[Throw::Mc]),
    ),
];
