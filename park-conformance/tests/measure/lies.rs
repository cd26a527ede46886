//! Rigs that lie, fail or lack something get no verdict.

use crate::scripted::{Script, Scripted, run};
use park_conformance::{Answer, Case, Doubt, Fate, Lack, LackKind, MeasureError, Moment, Witness, measure};

fn doubt(case: &str, script: Script) -> Doubt {
    match run(case, script) {
        Err(MeasureError::Doubt(doubt)) => doubt,
        other => panic!("{case}: {other:?}"),
    }
}

fn nmi_laps() -> Script {
    Script { event: Witness { nmi: 1, laps: 1, ..Witness::default() }, ..Script::default() }
}

#[test]
fn nothing_fired_or_nothing_seen() {
    assert_eq!(doubt("hlt/nmi", Script { fires: 0, ..nmi_laps() }), Doubt::NothingFired);
    let unseen = Script { event: Witness::default(), ..Script::default() };
    for case in ["hlt/intr", "hlt/overwrite", "mwait/store-doorbell", "clgi/nmi", "clgi/init-sipi-sipi"] {
        assert_eq!(doubt(case, unseen), Doubt::ZeroWitnessed { fired: 1 }, "{case}");
    }
    // A lap alone is no witness: an MWAIT ends for no reason, too.
    let lap = Script { event: Witness { laps: 1, ..Witness::default() }, ..Script::default() };
    assert_eq!(doubt("mwait/store-doorbell", lap), Doubt::ZeroWitnessed { fired: 1 });
    // Nor is another event.
    let smi = Script { event: Witness { smi: 1, laps: 1, ..Witness::default() }, ..Script::default() };
    assert_eq!(doubt("hlt/nmi", smi), Doubt::ZeroWitnessed { fired: 1 });
}

#[test]
fn some_are_missing() {
    let one = Witness { overwrites: 1, ..Witness::default() };
    let script = Script { fires: 2, event: one, ..Script::default() };
    assert_eq!(doubt("hlt/overwrite", script), Doubt::Missing { fired: 2, witnessed: 1 });
    let sipi = Script { fires: 3, event: Witness { attested: 2, ..Witness::default() }, ..Script::default() };
    assert_eq!(doubt("hlt/sipi", sipi), Doubt::Missing { fired: 3, witnessed: 2 });
    let stores = Script { fires: 2, event: Witness { stores: 1, ..Witness::default() }, ..Script::default() };
    assert_eq!(doubt("hlt/store-doorbell", stores), Doubt::Missing { fired: 2, witnessed: 1 });
}

#[test]
fn more_than_were_fired() {
    let two = Script { event: Witness { nmi: 2, laps: 2, ..Witness::default() }, ..Script::default() };
    assert_eq!(doubt("hlt/nmi", two), Doubt::MoreThanFired { fired: 1, witnessed: 2 });
}

#[test]
fn doubled_entries() {
    assert_eq!(doubt("hlt/nmi", Script { entries: 2, ..nmi_laps() }), Doubt::DoubleEntry { entries: 2 });
    // Also where whether it lands is not the question.
    let held = Script { wake: Witness { nmi: 1, ..Witness::default() }, entries: 2, ..Script::default() };
    assert_eq!(doubt("clgi/nmi", held), Doubt::DoubleEntry { entries: 2 });
}

#[test]
fn silence_and_sleep() {
    assert_eq!(doubt("hlt/nmi", Script { answer: Answer::Silent, ..nmi_laps() }), Doubt::Silent);
    assert_eq!(doubt("hlt/intr", Script { answer: Answer::Silent, ..Script::default() }), Doubt::Silent);
    assert_eq!(doubt("hlt/nmi", Script { entries: 0, ..nmi_laps() }), Doubt::NotWoken);
    assert_eq!(doubt("clgi/init-sipi-sipi", Script { entries: 0, ..Script::default() }), Doubt::NotWoken);
    // That a CPU does nothing any more does not make it another's, unless it waited to be started by anybody.
    let ran_off = Script { fate_last: Fate::Taken, entries: 0, ..nmi_laps() };
    assert_eq!(doubt("hlt/nmi", ran_off), Doubt::NotWoken);
}

#[test]
fn a_cpu_that_was_not_parked() {
    let waits = Script { fate_before: Fate::WaitsForSipi, ..nmi_laps() };
    assert_eq!(doubt("hlt/nmi", waits), Doubt::NotParked { fate: Fate::WaitsForSipi });
    assert!(run("wait-for-sipi/intr", Script { fate_before: Fate::WaitsForSipi, ..Script::default() }).is_ok());
}

#[test]
fn taken_without_a_lap() {
    let stuck = Script { event: Witness { nmi: 1, ..Witness::default() }, ..Script::default() };
    assert_eq!(doubt("hlt/nmi", stuck), Doubt::NoLap);
}

#[test]
fn a_cpu_that_strays() {
    assert_eq!(doubt("hlt/nmi", Script { fate_after: Fate::Strays, ..nmi_laps() }), Doubt::Strays);
    let later = Script { fate_last: Fate::Strays, ..nmi_laps() };
    assert_eq!(doubt("hlt/nmi", later), Doubt::LostLater { fate: Fate::Strays });
}

#[test]
fn something_comes_later() {
    let later = Script { wake: Witness { mc: 1, ..Witness::default() }, ..nmi_laps() };
    assert_eq!(doubt("hlt/nmi", later), Doubt::LeftBehind);
    let later = Script { wake: Witness { smi: 1, ..Witness::default() }, ..nmi_laps() };
    assert_eq!(doubt("hlt/nmi", later), Doubt::LeftBehind);
    let lost = Script { fate_last: Fate::Shutdown, ..nmi_laps() };
    assert_eq!(doubt("hlt/nmi", lost), Doubt::LostLater { fate: Fate::Shutdown });
    let lost = Script { fate_last: Fate::Shutdown, entries: 0, ..Script::default() };
    assert_eq!(doubt("clgi/init-sipi-sipi", lost), Doubt::LostLater { fate: Fate::Shutdown });
}

#[test]
fn what_a_rig_lacks_is_said_before_anything_happens() {
    let case = Case::from_name("clgi/nmi").expect("a case of this name");
    for kind in [LackKind::NoMechanism, LackKind::NoSource] {
        let lack = Lack { kind, detail: "it has none" };
        let mut rig = Scripted::new(Script { lack: Some(lack), ..Script::default() });
        assert_eq!(measure(&mut rig, case, 1), Err(MeasureError::Lacks(lack)));
        assert_eq!(rig.calls, [""; 0]);
    }
}

/// A rig that fails is told apart from a CPU that fails, and may clear away in every case.
#[test]
fn a_rig_that_fails() {
    let case = Case::from_name("hlt/nmi").expect("a case of this name");
    for (name, moment) in [
        ("park", Moment::Park),
        ("settle", Moment::Settle),
        ("look", Moment::Look),
        ("witness", Moment::Witness),
        ("fire", Moment::Fire),
        ("confirm", Moment::Confirm),
        ("wake", Moment::Wake),
        ("end", Moment::End),
    ] {
        let mut rig = Scripted::new(Script { fails_at: Some(name), ..nmi_laps() });
        let error = MeasureError::Rig { moment, error: "the cable came off" };
        assert_eq!(measure(&mut rig, case, 1), Err(error));
        assert_eq!(rig.calls.last(), Some(&"end"), "{name}");
    }
}
