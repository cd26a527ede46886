//! What holds of every verdict, whatever a rig says.

use park_conformance::{Answer, Case, Doubt, Fate, Observed, Witness, classify};
use park_core::{Event, Response};

const FATES: [Fate; 7] =
    [Fate::Alive, Fate::Shutdown, Fate::Reset, Fate::Hangs, Fate::WaitsForSipi, Fate::Taken, Fate::Strays];
const ANSWERS: [Answer; 3] = [Answer::Answered, Answer::Silent, Answer::NotAsked];

/// Counters of which that of `event` moved by `own`.
fn moved(event: Event, own: u32) -> Witness {
    let mut moved = Witness::ZERO;
    match event {
        Event::Intr => moved.intr = own,
        Event::Nmi => moved.nmi = own,
        Event::Smi | Event::SmiNoRestart | Event::SmiRendezvous => moved.smi = own,
        Event::Init => moved.init = own,
        Event::Sipi | Event::InitSipiSipi => moved.started = own,
        Event::McLocal | Event::McBroadcast => moved.mc = own,
        Event::StoreDoorbell => moved.stores = own,
        Event::Overwrite => moved.overwrites = own,
        other => panic!("a counter for {other}"),
    }
    moved
}

/// All runs of `case` in which counters move by 0, 1 or 2.
fn runs(case: Case) -> impl Iterator<Item = Observed> {
    let numbers = (0..3u32.pow(5)).map(|number| core::array::from_fn(|digit| number / 3u32.pow(digit as u32) % 3));
    numbers.flat_map(move |[own, later, laps, attested, entries]: [u32; 5]| {
        FATES.into_iter().flat_map(move |fate_after| {
            FATES.into_iter().flat_map(move |fate_last| {
                ANSWERS.into_iter().map(move |confirmed| Observed {
                    case,
                    fired: 1,
                    parked: Witness::ZERO,
                    before: Witness::ZERO,
                    after: Witness { laps, attested, ..moved(case.event, own) },
                    fate_after,
                    last: Witness { laps, attested, ..moved(case.event, own + later) },
                    confirmed,
                    entries,
                    fate_last,
                })
            })
        })
    })
}

#[test]
fn no_verdict_without_a_witness_a_proof_of_life_and_one_entry() {
    let (mut verdicts, mut doubts) = (0, 0);
    for case in Case::all() {
        for seen in runs(case) {
            let (response, witnessed, coalesced) = match classify(&seen) {
                Ok(verdict) => verdict,
                Err(doubt) => {
                    doubts += 1;
                    assert!(doubt != Doubt::NothingFired, "{seen:?}");
                    continue;
                }
            };
            verdicts += 1;
            assert_eq!((witnessed, coalesced), (1, None), "{seen:?}");
            assert!(seen.entries <= 1, "{seen:?}");
            let shown = seen.after != seen.before || seen.last != seen.after;
            assert!(shown || !response.stays_parked(), "{seen:?}");
            if matches!(response, Response::Unnoticed | Response::Transparent | Response::Laps) {
                assert!(
                    seen.entries == 1 && seen.fate_last == Fate::Alive && seen.confirmed != Answer::Silent,
                    "{seen:?}"
                );
            }
            if response == Response::Unnoticed {
                // NMIs that come later may be kicks.
                assert!(seen.after.nmi == 0 && seen.last.mc == 0 && seen.last.smi == 0, "{seen:?}");
            }
        }
    }
    assert!(verdicts > 10_000 && doubts > verdicts, "{verdicts} verdicts, {doubts} doubts");
}

/// Nothing that a rig says makes it panic.
#[test]
fn counters_wrap_without_harm() {
    for case in Case::all() {
        for wild in [u32::MAX, u32::MAX / 2, 1 << 31] {
            let all = Witness {
                nmi: wild,
                mc: wild,
                laps: wild,
                smi: wild,
                init: wild,
                intr: wild,
                pending_irr: wild,
                started: wild,
                stores: wild,
                overwrites: wild,
                attested: wild,
            };
            for seen in runs(case).step_by(97) {
                let wild = Observed { parked: all, before: Witness::ZERO, last: all, fired: u32::MAX, ..seen };
                let _ = classify(&wild);
                let _ = classify(&Observed { after: all, ..wild });
            }
        }
    }
}
