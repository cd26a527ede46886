//! Faults of the owner's half of both ways, of what arrival loads, of sanitising, and of the publisher.

use super::Fault;
use crate::faults::{Change, Code, Edit, Owner, Setting, Style, Throw, WayIn, With};
use crate::machine::Vendor;
use park_core::Mechanism::{Hlt, Mwait};
use park_x86::frame::{Arrival, FLAG_CET, FLAG_MCA};
use park_x86::registers::control::Cr4;
use park_x86::registers::msr;

const HLT: Setting = Setting::new(Vendor::Intel, Hlt);

const fn owner(from: &'static str, find: &'static str, skip: usize, with: With) -> Change {
    Change::Code(Edit { code: Code::Owner, from, find, skip, with })
}

/// IA32_S_CET with ENDBR_EN (Intel SDM vol. 1, "Control-flow Enforcement Technology").
const ENDBR_EN: u64 = 1 << 2;

const fn keep(arrival: &mut Arrival, bit: Cr4) {
    arrival.cr4 |= bit.bits();
}

pub(super) const FAULTS: &[Fault] = &[
    // CR4 on the way in.
    Fault::new(
        "mce-off",
        "CR4.MCE is 0 in the lot: a machine check is a shutdown",
        &[Change::Arrival(|arrival| arrival.cr4 &= !Cr4::MCE.bits())],
        HLT.throw(&[Throw::Mc]),
    ),
    Fault::new(
        "lass-on",
        "CR4.LASS stays set: an identity mapping is in the lower half",
        &[Change::Arrival(|arrival| keep(arrival, Cr4::LASS))],
        HLT,
    )
    .owner(&[Owner::Cr4(Cr4::LASS.bits())]),
    Fault::new(
        "global-pages-on",
        "CR4.PGE stays set: a global translation of the owner's survives the load of CR3, at an address of the lot",
        &[Change::Arrival(|arrival| {
            keep(arrival, Cr4::PGE);
            arrival.cr4_without_fred |= Cr4::PGE.bits();
        })],
        HLT.calm(),
    )
    .owner(&[Owner::Cr4(Cr4::PGE.bits()), Owner::GlobalOverLot]),
    Fault::new(
        "fred-on",
        "CR4.FRED stays set: an NMI enters at the owner's entry point and not through the lot's IDT",
        &[Change::Arrival(|arrival| {
            keep(arrival, Cr4::FRED);
            arrival.cr4_without_fred |= Cr4::FRED.bits();
        })],
        HLT,
    )
    .owner(&[Owner::Cr4(Cr4::FRED.bits())]),
    Fault::new(
        "cet-on",
        "CR4.CET and IA32_S_CET stay set: handlers have no ENDBR64",
        &[Change::Arrival(|arrival| {
            keep(arrival, Cr4::CET);
            arrival.flags &= !FLAG_CET;
        })],
        HLT,
    )
    .owner(&[Owner::Cr4(Cr4::CET.bits()), Owner::Msr(msr::S_CET, ENDBR_EN)]),
    // Other steps of the owner text.
    Fault::new(
        "mcip-not-cleared-on-arrival",
        "a CPU out of a #MC handler parks with MCIP set",
        &[Change::Arrival(|arrival| arrival.flags &= !FLAG_MCA)],
        HLT.from(WayIn::McHandler),
    ),
    Fault::new(
        "no-transit-root",
        "the owner text jumps to the lot on the owner's own root, which does not map it",
        &[owner("arrive", "mov cr3,rax", 0, With::Nops)],
        HLT,
    ),
    Fault::new(
        "no-early-table-on-departure",
        "the lot's leaving table stays loaded when the owner's own root comes, which does not map it",
        &[owner("depart", "lidt", 0, With::Nops)],
        HLT.throw(&[Throw::Nmi]),
    ),
    Fault::new(
        "owner-tss-stays-busy",
        "the owner's TSS descriptor is not marked available before LTR",
        &[owner("depart", "and byte ptr", 0, With::Nops)],
        HLT,
    ),
    // Sanitising.
    Fault::new(
        "breakpoints-stay",
        "a breakpoint of the owner's at a linear address of the lot is #DB in bay code",
        &[Change::Without("breakpoints-off")],
        HLT,
    )
    .owner(&[Owner::Breakpoint("wait")]),
    // The publisher.
    Fault::new(
        "entry-after-doorbell",
        "the doorbell is rung before the entry is stored: the CPU leaves by an older one",
        &[Change::EntryAfterDoorbell],
        Setting::new(Vendor::Intel, Mwait).ring(Style::Store).slow(16),
    ),
];
