//! `platform::check` on a platform that is right, and on many that are wrong in one way each.

mod model;
mod wrong;

use model::Model;
use park_conformance::platform::{Check, Gap, Outcome, Platform, Report, Scratch, check};
use park_conformance::{Faults, Faulty};
use park_core::lot::ApicMode;
use park_core::{ApicId, Clock, LotMemory};
use wrong::{FLAWS, Flaw, Wrong, names};

const SCRATCH: Scratch =
    Scratch { word: 0x80, bay_index: 2, target: Some(ApicId(1)), bystander: Some(ApicId(2)), rounds: 200, pauses: 300 };

fn outcome(report: &Report, check: Check) -> Outcome {
    report.iter().find(|(found, _)| *found == check).map(|(_, outcome)| outcome).expect("every check is made")
}

#[test]
fn a_right_platform_is_clean_and_left_as_it_was() {
    let mut model = Model::new();
    model.store(SCRATCH.word, 77).expect("the word is in the lot");
    let report = check(&mut model, &SCRATCH);
    assert!(report.is_clean(), "{report}");
    assert!(report.iter().all(|(_, outcome)| outcome == Outcome::Holds), "{report}");
    assert_eq!(model.load(SCRATCH.word), Ok(77));
}

/// Each by its own name; a flaw in one place does not make other places look wrong.
#[test]
fn every_flaw_is_found_by_its_name() {
    for (flaw, name) in FLAWS {
        let report = check(&mut Wrong::new(Model::new(), flaw), &SCRATCH);
        let found = names(report.findings().map(|(_, finding)| finding));
        let expected: &[&str] = match flaw {
            // Nothing that waits or measures works with these.
            Flaw::ClockStands => &["clock-stands", "clock-rate"],
            Flaw::ClockWraps => &["clock-backwards", "clock-rate", "clock-differs"],
            // Without NMIs nobody sees a store.
            Flaw::NmiLost => &["nmi-lost"],
            _ => &[name],
        };
        assert_eq!(found, expected, "{flaw:?}\n{report}");
        assert!(report.to_string().contains(name), "{report}");
    }
}

#[test]
fn what_cannot_be_looked_at_is_said() {
    let alone = check(&mut Model::new(), &Scratch { target: None, bystander: None, ..SCRATCH });
    for check in [Check::ClockAgrees, Check::NmiOnce, Check::StoreFirst, Check::Summon] {
        assert_eq!(outcome(&alone, check), Outcome::NotShown(Gap::NoOtherCpu));
    }
    assert!(alone.is_clean());
    let mut model = Model::new();
    model.mode = ApicMode::X2Apic;
    assert_eq!(outcome(&check(&mut model, &SCRATCH), Check::WideIds), Outcome::NotShown(Gap::X2Apic));
    assert!(model.now() > 0 && model.executing() == ApicId(0));
}

/// Faults that come now and then are found by looking often.
#[test]
fn faults_of_one_in_a_hundred_are_found() {
    let now_and_then = 3;
    for (faults, name) in [
        (Faults { lost_of_256: now_and_then, ..Faults::default() }, "nmi-lost"),
        (Faults { late_of_256: now_and_then, delay_ticks: u64::MAX, ..Faults::default() }, "nmi-lost"),
    ] {
        let scratch = Scratch { rounds: 1000, ..SCRATCH };
        let report = check(&mut Faulty::new(Model::new(), faults, 1), &scratch);
        let found = names(report.findings().map(|(_, finding)| finding));
        assert!(found.contains(&name), "{report}");
    }
    assert!(check(&mut Faulty::new(Model::new(), Faults::default(), 1), &SCRATCH).is_clean());
}
