//! `platform::check` on a simulated kernel, right and wrong.

use crate::platform::{Fences, SimPlatform};
use crate::wrong::{FLAWS, Flaw, Wrong, names};
use park_conformance::platform::{Check, Gap, Outcome, Scratch, check};
use park_core::ApicId;
use park_core::lot::{ApicMode, PagingLevels, bay};
use park_sim::machine::MachineConfig;
use park_sim::world::{DEFAULT_LOT, World};

/// Bays of the lot: more than CPUs.
const BAYS: u32 = 4;

fn kernel(mode: ApicMode, fences: Fences) -> (SimPlatform, Scratch) {
    let mut config = MachineConfig::intel(3);
    config.x2apic = mode == ApicMode::X2Apic;
    let mut world = World::boot(config, PagingLevels::Four, 1).expect("it boots");
    world.build_lot(DEFAULT_LOT, BAYS).expect("a lot");
    let lot = world.lot().expect("the lot").lot;
    let word = lot.bay(BAYS - 1).expect("a bay") + bay::ENTRY_RIP;
    let scratch = Scratch {
        word,
        bay_index: BAYS - 1,
        target: Some(ApicId(1)),
        bystander: Some(ApicId(2)),
        rounds: 120,
        pauses: 2000,
    };
    (SimPlatform::new(world, 0, fences), scratch)
}

#[test]
fn a_simulated_kernel_is_clean() {
    for mode in [ApicMode::XApic, ApicMode::X2Apic] {
        let (mut platform, scratch) = kernel(mode, Fences::Yes);
        let report = check(&mut platform, &scratch);
        assert!(report.is_clean(), "{report}");
        for (check, outcome) in report.iter() {
            let expected = match check {
                Check::ClockRate => Outcome::NotShown(Gap::NoOtherClock),
                Check::WideIds if mode == ApicMode::X2Apic => Outcome::NotShown(Gap::X2Apic),
                _ => Outcome::Holds,
            };
            assert_eq!(outcome, expected, "{check}");
        }
    }
}

#[test]
fn a_simulated_kernel_with_a_flaw_is_named() {
    for (flaw, name) in FLAWS {
        let (platform, scratch) = kernel(ApicMode::XApic, Fences::Yes);
        let report = check(&mut Wrong::new(platform, flaw), &scratch);
        let found = names(report.findings().map(|(_, finding)| finding));
        // A simulated machine has no second clock.
        let expected = if flaw == Flaw::RateInKilohertz { None } else { Some(&name) };
        assert_eq!(found.first(), expected, "{flaw:?}\n{report}");
    }
}

/// The machine itself lets the IPI overtake the store.
#[test]
fn a_missing_fence_shows_in_x2apic_mode() {
    let (mut platform, scratch) = kernel(ApicMode::X2Apic, Fences::No);
    // Stores leave when they must.
    platform.world.scheduler.rates.drain = u64::MAX;
    let report = check(&mut platform, &scratch);
    let found = names(report.findings().map(|(_, finding)| finding));
    assert_eq!(found, ["store-after-ipi"], "{report}");
    // In xAPIC mode the ICR is uncached memory: the store is visible first.
    let (mut platform, scratch) = kernel(ApicMode::XApic, Fences::No);
    let report = check(&mut platform, &scratch);
    let found = names(report.findings().map(|(_, finding)| finding));
    assert_eq!(found, ["wide-id-accepted"], "{report}");
}
