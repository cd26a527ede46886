//! Each response is derived from what a CPU of that response shows.

use crate::scripted::{Script, Scripted, run};
use park_conformance::{Answer, Case, Coalescing, Fate, Measurement, Waiting, Witness, measure};
use park_core::Response;

const ZERO: Witness = Witness::ZERO;

fn response(case: &str, script: Script) -> Response {
    measured(case, script).response
}

fn measured(case: &str, script: Script) -> Measurement {
    run(case, script).unwrap_or_else(|error| panic!("{case}: {error}"))
}

#[test]
fn a_cpu_that_takes_no_notice() {
    let overwritten = Script { event: Witness { overwrites: 1, ..ZERO }, ..Script::default() };
    assert_eq!(response("hlt/overwrite", overwritten), Response::Unnoticed);
    let stored = Script { event: Witness { stores: 1, ..ZERO }, ..Script::default() };
    assert_eq!(response("hlt/store-doorbell", stored), Response::Unnoticed);
    // Dropped at a soft-disabled APIC, and seen to arrive there.
    assert_eq!(response("hlt/intr", Script::default()), Response::Unnoticed);
    // Repeated in wait-for-SIPI.
    let repeated = Script {
        event: Witness { init: 1, ..ZERO },
        fate_before: Fate::WaitsForSipi,
        fate_after: Fate::WaitsForSipi,
        ..Script::default()
    };
    let seen = measured("wait-for-sipi/init", repeated);
    assert_eq!((seen.response, seen.confirmed), (Response::Unnoticed, Answer::NotAsked));
}

#[test]
fn a_cpu_that_only_goes_through_firmware() {
    let smi = Script { event: Witness { smi: 1, ..ZERO }, ..Script::default() };
    assert_eq!(response("hlt/smi", smi), Response::Transparent);
    // SMIs that come by themselves are not the event's.
    let noisy = Script {
        by_itself: Witness { smi: 2, ..ZERO },
        event: Witness { smi: 1, ..ZERO },
        wake: Witness { smi: 2, ..ZERO },
        ..Script::default()
    };
    let seen = measured("hlt/smi", noisy);
    assert_eq!((seen.response, seen.witnessed), (Response::Transparent, 1));
}

#[test]
fn a_cpu_that_laps() {
    let nmi = Script { event: Witness { nmi: 1, laps: 1, ..ZERO }, ..Script::default() };
    // The kicks of a wake are NMIs too, and none of the event's.
    let kicked = Script { wake: Witness { nmi: 3, laps: 3, ..ZERO }, ..nmi };
    let seen = measured("hlt/nmi", kicked);
    assert_eq!((seen.response, seen.witnessed, seen.waiting), (Response::Laps, 1, Waiting::Still));
    // Nor does a kick make an NMI that the CPU never took one that it held.
    let dropped = Script { wake: Witness { nmi: 3, laps: 3, ..ZERO }, ..Script::default() };
    assert_eq!(response("hlt/nmi", dropped), Response::Unnoticed);
    let mc = Script { event: Witness { mc: 1, laps: 1, ..ZERO }, ..Script::default() };
    assert_eq!(response("mwait/mc-local", mc), Response::Laps);
    let smi = Script { event: Witness { smi: 1, laps: 1, ..ZERO }, ..Script::default() };
    assert_eq!(response("mwait/smi", smi), Response::Laps);
    let store = Script { event: Witness { stores: 1, laps: 1, ..ZERO }, ..Script::default() };
    assert_eq!(response("mwait/store-doorbell", store), Response::Laps);
}

/// A loop that nothing holds can't show that a store ended a wait, and still shows what the CPU took.
#[test]
fn a_cpu_that_laps_by_itself() {
    let lapping = Script { by_itself: Witness { laps: 1000, ..ZERO }, ..Script::default() };
    let store = Script { event: Witness { stores: 1, laps: 1, ..ZERO }, ..lapping };
    let seen = measured("mwait/store-doorbell", store);
    assert_eq!((seen.response, seen.waiting), (Response::Unnoticed, Waiting::Lapping));
    let nmi = Script { event: Witness { nmi: 1, laps: 1, ..ZERO }, ..lapping };
    assert_eq!(response("mwait/nmi", nmi), Response::Laps);
}

#[test]
fn a_cpu_that_takes_it_once_it_is_woken() {
    let held = |wake| Script { wake, ..Script::default() };
    assert_eq!(response("clgi/nmi", held(Witness { nmi: 1, ..ZERO })), Response::Held);
    assert_eq!(response("clgi/smi", held(Witness { smi: 1, ..ZERO })), Response::Held);
    assert_eq!(response("clgi/mc-local", held(Witness { mc: 1, ..ZERO })), Response::Held);
    assert_eq!(response("wait-for-sipi/smi", held(Witness { smi: 1, ..ZERO })), Response::Held);
    assert_eq!(response("clgi/intr", held(Witness { intr: 1, ..ZERO })), Response::Held);
    // Seen to be pending while the CPU waits, or only once it is awake; taken then, or still pending.
    let pends = Script { event: Witness { pending_irr: 1, ..ZERO }, ..held(ZERO) };
    assert_eq!(response("clgi/intr", pends), Response::Held);
    let taken = Script { wake: Witness { intr: 1, pending_irr: u32::MAX, ..ZERO }, ..pends };
    let seen = measured("hlt/intr", taken);
    assert_eq!((seen.response, seen.witnessed), (Response::Held, 1));
    assert_eq!(response("hlt/intr", held(Witness { pending_irr: 1, ..ZERO })), Response::Held);
    // Whether the CPU lands then is not the question.
    let init = Script {
        wake: Witness { init: 1, ..ZERO },
        answer: Answer::Silent,
        entries: 0,
        fate_last: Fate::WaitsForSipi,
        ..Script::default()
    };
    assert_eq!(response("clgi/init", init), Response::Held);
    // A rig that can't count INITs sees where the CPU is.
    assert_eq!(response("clgi/init", Script { wake: ZERO, ..init }), Response::Held);
    // The proof that it came is that it comes.
    let unattested = Script { event: ZERO, ..held(Witness { nmi: 1, ..ZERO }) };
    assert_eq!(response("clgi/nmi", unattested), Response::Held);
}

#[test]
fn a_cpu_that_is_taken_away() {
    let gone = |fate_after| Script {
        fate_after,
        fate_last: fate_after,
        answer: Answer::Silent,
        entries: 0,
        ..Script::default()
    };
    assert_eq!(response("hlt/init", gone(Fate::WaitsForSipi)), Response::WaitsForSipi);
    assert_eq!(response("hlt/init", gone(Fate::Reset)), Response::Reset);
    assert_eq!(response("wait-for-sipi/mc-broadcast", gone(Fate::Shutdown)), Response::Shutdown);
    assert_eq!(response("wait-for-sipi/smi-rendezvous", gone(Fate::Hangs)), Response::Hangs);
    let ran_off = Script {
        fate_before: Fate::WaitsForSipi,
        fate_after: Fate::WaitsForSipi,
        fate_last: Fate::Taken,
        entries: 0,
        ..Script::default()
    };
    assert_eq!(response("wait-for-sipi/smi-rendezvous", ran_off), Response::Taken);
    assert_eq!(response("hlt/init-sipi-sipi", gone(Fate::Taken)), Response::Taken);
    let started = Script { event: Witness { started: 1, init: 1, ..ZERO }, entries: 0, ..Script::default() };
    assert_eq!(response("hlt/init-sipi-sipi", started), Response::Taken);
    assert_eq!(response("wait-for-sipi/sipi", Script { fate_before: Fate::WaitsForSipi, ..started }), Response::Taken);
}

/// Held until the CPU is woken, it ends it then.
#[test]
fn a_cpu_that_is_lost_once_it_is_woken() {
    let shuts_down = Script { entries: 0, fate_last: Fate::Shutdown, ..Script::default() };
    assert_eq!(response("wait-for-sipi/mc-local", shuts_down), Response::Shutdown);
}

#[test]
fn a_cpu_that_cannot_be_taken() {
    let stuck = Script {
        answer: Answer::Silent,
        entries: 0,
        fate_last: Fate::WaitsForSipi,
        wake: Witness { init: 1, ..ZERO },
        ..Script::default()
    };
    assert_eq!(response("clgi/init-sipi-sipi", stuck), Response::Refused);
    // INIT is refused altogether, and the CPU wakes.
    assert_eq!(response("clgi/init-sipi-sipi", Script::default()), Response::Refused);
}

#[test]
fn several_events_may_come_as_fewer_only_where_something_holds_one() {
    let three = |event| Script { fires: 3, event, ..Script::default() };
    let nmi = measured("hlt/nmi", three(Witness { nmi: 2, laps: 2, ..ZERO }));
    assert_eq!((nmi.fired, nmi.witnessed, nmi.coalesced), (3, 2, Some(Coalescing::NmiLatch)));
    let all = measured("hlt/nmi", three(Witness { nmi: 3, laps: 1, ..ZERO }));
    assert_eq!((all.fired, all.witnessed, all.coalesced), (3, 3, None));
    let smi = measured("hlt/smi", three(Witness { smi: 1, ..ZERO }));
    assert_eq!(smi.coalesced, Some(Coalescing::SmiLatch));
    let init = Script { fate_after: Fate::WaitsForSipi, ..three(Witness { init: 1, ..ZERO }) };
    assert_eq!(measured("hlt/init", init).coalesced, Some(Coalescing::Ended));
    let held = Script { wake: Witness { mc: 1, ..ZERO }, ..three(ZERO) };
    assert_eq!(measured("clgi/mc-local", held).coalesced, Some(Coalescing::McLatch));
    // The rig saw them all arrive; the CPU took one.
    let attested = Script { wake: Witness { nmi: 1, ..ZERO }, ..three(Witness { attested: 3, ..ZERO }) };
    assert_eq!(measured("clgi/nmi", attested).coalesced, Some(Coalescing::NmiLatch));
}

#[test]
fn a_machine_that_is_lost_is_not_asked() {
    let mut rig = Scripted::new(Script { fate_after: Fate::Reset, ..Script::default() });
    let case = Case::from_name("hlt/init").expect("a case of this name");
    assert_eq!(measure(&mut rig, case, 1).map(|seen| seen.response), Ok(Response::Reset));
    assert_eq!(rig.calls, ["park", "settle", "look", "witness", "settle", "witness", "fire", "settle", "look", "end"]);
}

#[test]
fn a_measurement_is_one_line() {
    let two = Script { fires: 2, event: Witness { nmi: 1, laps: 1, ..ZERO }, ..Script::default() };
    let line = measured("hlt/nmi", two).to_string();
    assert_eq!(line, "hlt/nmi: laps, fired 2, witnessed 1 (nmi-latch), answered, entered 1");
}
