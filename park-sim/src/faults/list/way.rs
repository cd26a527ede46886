//! Faults of the owner's half of both ways, of what arrival loads, of sanitising, and of the publisher.

use super::Fault;
use crate::faults::{Change, Code, Edit, Leg, Owner, Setting, Style, Throw, WayIn, With};
use crate::machine::Vendor;
use crate::machine::apic::Lvt;
use park_core::Mechanism::{Hlt, Mwait};
use park_x86::frame::{Arrival, FLAG_CET, FLAG_MCA};
use park_x86::registers::control::{Cr0, Cr4};
use park_x86::registers::msr;

const HLT: Setting = Setting::new(Vendor::Intel, Hlt);

const fn owner(from: &'static str, find: &'static str, skip: usize, with: With) -> Change {
    Change::Code(Edit { code: Code::Owner, from, find, skip, with })
}

/// IA32_S_CET with ENDBR_EN (Intel SDM vol. 1, "Control-flow Enforcement Technology").
const ENDBR_EN: u64 = 1 << 2;

/// IA32_FIXED_CTR_CTRL and IA32_PERF_GLOBAL_CTRL (Intel SDM vol. 4).
const FIXED_CTR_CTRL: u32 = 0x38d;
const PERF_GLOBAL_CTRL: u32 = 0x38f;
/// LVT entries: delivery as NMI; TSC-deadline mode; a vector (Intel SDM vol. 3, "Local Vector Table").
const LVT_NMI: u32 = 0x400;
const LVT_TSC_DEADLINE: u32 = 2 << 17;
const TIMER_VECTOR: u32 = 0x40;

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
    Fault::new(
        "write-protect-off-under-cet",
        "CR0.WP is cleared while CR4.CET is still set: MOV CR0 is #GP",
        &[Change::Arrival(|arrival| {
            keep(arrival, Cr4::CET);
            arrival.cr0 &= !Cr0::WP.bits();
        })],
        HLT,
    )
    .owner(&[Owner::Cr4(Cr4::CET.bits())]),
    Fault::new(
        "departure-changes-the-depth",
        "the frame of a kernel with four levels sets CR4.LA57: #GP in long mode",
        &[Change::DepartureCr4(Cr4::LA57.bits())],
        HLT,
    )
    .owner(&[Owner::RecursiveRoot]),
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
    Fault::new(
        "counters-stay",
        "a counter of the owner's runs on and its LVT entry says NMI: the next owner gets one that nobody sent",
        &[
            Change::Without("counters-off-v1"),
            Change::Without("counters-off"),
            Change::Without("mask-perf"),
            Change::Without("apic-soft-disable"),
        ],
        Setting::new(Vendor::Intel, Mwait).ring(Style::Store).throw(&[Throw::CounterOverflow]).on(&[Leg::Landed]),
    )
    .owner(&[
        Owner::Msr(FIXED_CTR_CTRL, 0b1011),
        Owner::Msr(PERF_GLOBAL_CTRL, 1 << 32),
        Owner::Lvt(Lvt::Perf, LVT_NMI),
    ]),
    Fault::new(
        "timer-stays",
        "the owner's timer is armed and open: its interrupt is requested when the next owner comes",
        &[Change::Without("mask-timer"), Change::Without("stop-deadline-timer"), Change::Without("apic-soft-disable")],
        HLT.throw(&[Throw::TimerExpiry]).on(&[Leg::Waiting]),
    )
    .owner(&[Owner::Lvt(Lvt::Timer, LVT_TSC_DEADLINE | TIMER_VECTOR), Owner::Msr(msr::TSC_DEADLINE, u64::MAX)]),
    Fault::new(
        "interrupts-open-in-the-owner-text",
        "STI where CLI should be: an interrupt that was requested before comes, and the early table has no gate for it",
        &[owner("arrive", "cli", 0, With::Bytes(&[0xfb]))],
        HLT,
    )
    .owner(&[Owner::Requested(0x40)]),
    // The publisher.
    Fault::new(
        "entry-after-doorbell",
        "the doorbell is rung before the entry is stored: the CPU leaves by an older one",
        &[Change::EntryAfterDoorbell],
        Setting::new(Vendor::Intel, Mwait).ring(Style::Store).slow(16),
    ),
];
