//! Guarantees are what the claims say, and nothing else.

mod common;

use common::{WAITS, all_claims, claim};
use park_core::op::Processor;
use park_core::{Condition, Event, Mechanism, Response};
use park_policy::{Accepts, Basis, Guarantees, Idle, PROMISES, StoreWake, Waits};

const PROCESSORS: [Processor; 2] = [Processor::Bootstrap, Processor::Application];

#[test]
fn the_table_names_every_flag_once_in_the_order_of_the_bits() {
    let flags: Vec<Guarantees> = Guarantees::all().iter().collect();
    assert_eq!(PROMISES.iter().map(|promise| promise.guarantee).collect::<Vec<_>>(), flags);
    for promise in &PROMISES {
        assert_eq!(Guarantees::from_promise_name(promise.name), Some(promise.guarantee));
        assert!(promise.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", promise.name);
        assert!(!promise.what.is_empty() && !promise.what.ends_with('.'), "{}", promise.what);
        assert_eq!(promise.guarantee.to_string(), promise.name);
    }
    assert_eq!(Guarantees::from_promise_name("survives-everything"), None);
}

/// The doc comment of each flag is its name: the flag and the table can't drift apart.
#[test]
fn flags_are_called_as_their_names_say() {
    for (name, flag) in Guarantees::all().iter_names() {
        assert_eq!(flag.to_string(), name.to_lowercase().replace('_', "-"));
    }
}

#[test]
fn every_event_counts_for_something() {
    for event in Event::ALL {
        let counts = PROMISES.iter().any(|promise| match promise.basis {
            Basis::Claims { events, .. } => events.contains(&event),
            Basis::Waits(_) => false,
        });
        assert!(counts, "no guarantee asks about {event}");
    }
}

#[test]
fn without_claims_nothing_is_guaranteed() {
    for processor in PROCESSORS {
        for mechanism in Mechanism::ALL {
            assert_eq!(Guarantees::of(mechanism, &[], processor), Guarantees::empty());
        }
    }
}

#[test]
fn each_response_gives_what_accepts_it() {
    for response in Response::ALL {
        let claims = all_claims(response);
        for promise in &PROMISES {
            let Basis::Claims { accepts, .. } = promise.basis else { continue };
            let provided = Guarantees::of(Mechanism::Hlt, &claims, Processor::Application);
            assert_eq!(provided.contains(promise.guarantee), accepts.includes(response), "{} {response}", promise.name);
        }
    }
    assert!(!Accepts::StaysParked.includes(Response::Shutdown) && Accepts::StaysParked.includes(Response::Laps));
}

/// One claim turned to the worse takes away the guarantees that ask about its event, on this mechanism, and no other.
#[test]
fn a_claim_that_turns_takes_its_guarantees_along() {
    let kind = all_claims(Response::Unnoticed);
    for (index, turned) in kind.iter().enumerate() {
        let mut claims = kind.clone();
        claims[index].response = Response::Hangs;
        for mechanism in Mechanism::ALL {
            let before = Guarantees::of(mechanism, &kind, Processor::Application);
            let after = Guarantees::of(mechanism, &claims, Processor::Application);
            let mut lost = Guarantees::empty();
            if mechanism == turned.mechanism {
                for promise in &PROMISES {
                    if matches!(promise.basis, Basis::Claims { events, .. } if events.contains(&turned.event)) {
                        lost |= promise.guarantee;
                    }
                }
            }
            assert_eq!(before - after, lost & before, "{turned}");
            assert!(after.difference(before).is_empty());
        }
    }
}

#[test]
fn a_claim_that_is_missing_takes_its_guarantees_along() {
    let kind = all_claims(Response::Unnoticed);
    for (index, gone) in kind.iter().enumerate() {
        let mut claims = kind.clone();
        claims.remove(index);
        let after = Guarantees::of(gone.mechanism, &claims, Processor::Application);
        for promise in &PROMISES {
            if matches!(promise.basis, Basis::Claims { events, .. } if events.contains(&gone.event)) {
                assert!(!after.contains(promise.guarantee), "{} without {gone}", promise.name);
            }
        }
    }
}

#[test]
fn conditions_are_for_whom_they_are() {
    let nmi = |condition, response| claim(Mechanism::Hlt, Event::Nmi, condition, response);
    let survives =
        |claims: &[_], processor| Guarantees::of(Mechanism::Hlt, claims, processor).contains(Guarantees::SURVIVES_NMI);
    let (bsp, ap) = (Processor::Bootstrap, Processor::Application);
    let split = [nmi(Condition::Ap, Response::Laps), nmi(Condition::Bsp, Response::Reset)];
    assert_eq!((survives(&split, ap), survives(&split, bsp)), (true, false));
    // The unkind implementation decides, wherever it stands.
    let kind = nmi(Condition::ImplementationKind, Response::Laps);
    let unkind = nmi(Condition::ImplementationUnkind, Response::Shutdown);
    assert!(!survives(&[kind, unkind], ap) && !survives(&[unkind, kind], ap));
    assert!(survives(&[kind, nmi(Condition::ImplementationUnkind, Response::Held)], ap));
    // Who says only what kind implementations do has not claimed anything of the others.
    assert!(!survives(&[kind], ap));
    // And a kind one that dies dies.
    let dies = nmi(Condition::ImplementationKind, Response::Shutdown);
    assert!(!survives(&[dies, nmi(Condition::ImplementationUnkind, Response::Laps)], ap));
}

#[test]
fn waits_give_what_they_are() {
    let of = |store_wake, idle| Guarantees::of_waits(&Waits { store_wake, idle, ..WAITS });
    use Guarantees as G;
    assert_eq!(of(StoreWake::Reliable, Idle::Polls), G::FREE_OF_ERRATA | G::WAKES_BY_STORE);
    assert_eq!(of(StoreWake::None, Idle::Halts), G::FREE_OF_ERRATA | G::SAVES_POWER);
    assert_eq!(of(StoreWake::Unreliable("X1"), Idle::Deep), G::SAVES_POWER | G::SLEEPS_DEEP);
    assert_eq!(of(StoreWake::None, Idle::Unknown), G::FREE_OF_ERRATA);
}

#[test]
fn an_earlier_guarantee_outweighs_all_later_ones() {
    for (index, promise) in PROMISES.iter().enumerate() {
        let later = PROMISES.iter().skip(index + 1).fold(Guarantees::empty(), |set, one| set | one.guarantee);
        assert!(promise.guarantee.weight() > later.weight());
    }
}
