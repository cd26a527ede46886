//! Exhaustive exploration of the bay code and the operations as they are, and of a few that are wrong.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use park_core::Mechanism;
use park_core::lot::header;
use park_sim::explorer::{
    Config, Coverage, Do, EXCLUDED_KNOBS, Plant, Reduction, Report, STUBS_WITHOUT_GATE, Violation, configurations,
    explore, replay,
};
use park_sim::machine::{EventKind, Knob, TlbMode, Vendor};
use park_x86::code::{EXCEPTION_STUB_LEN, bay_labels};

/// Keeps the test within three minutes on two cores.
const TRANSITIONS_MAX: u64 = 24_000_000;
/// Configurations are independent: two at a time.
const THREADS: usize = 2;

/// What each configuration came to, in their order.
fn explore_all(configs: &[Config]) -> Vec<Report> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut reports = Vec::new();
        while let Some((at, config)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, configs.get(at)?)))
        {
            let report = explore(config, |_| {}).unwrap_or_else(|error| panic!("{}: {error}", config.name));
            reports.push((at, report));
        }
        reports
    };
    let mut reports: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    reports.sort_by_key(|(at, _)| *at);
    reports.into_iter().map(|(_, report)| report).collect()
}

#[test]
fn every_interleaving_holds_every_property() {
    let mut coverage = Coverage::default();
    let (mut states, mut transitions, mut time) = (0, 0, Duration::ZERO);
    for report in explore_all(&configurations()) {
        println!(
            "{:24} {:9} states {:10} transitions {:7.2} s",
            report.name,
            report.states,
            report.transitions,
            report.time.as_secs_f64()
        );
        if let Some(trace) = &report.counterexample {
            panic!("{trace}");
        }
        assert!(report.complete, "{}: gave up", report.name);
        assert!(report.rests > 0, "{}: nobody ever comes to rest", report.name);
        assert_eq!(report.strays, 0, "{}: memory changed that no state holds", report.name);
        states += report.states;
        transitions += report.transitions;
        time += report.time;
        coverage.add(&report.coverage);
    }
    let (all, executed) = coverage.instructions();
    println!("{states} states, {transitions} transitions, {:.0} s of {THREADS} threads", time.as_secs_f64());
    println!("{executed} of {all} instructions of the bay code executed; excluded are:");
    for stub in STUBS_WITHOUT_GATE {
        println!("  the stub of vector {}: {}", stub.what, stub.reason);
    }
    assert!(transitions <= TRANSITIONS_MAX, "{transitions} transitions");
    check_instructions(&coverage);
    check_knobs(&coverage);
}

fn check_instructions(coverage: &Coverage) {
    // The way in from the ACPI mailbox's reset vector is one CPU's own, and nobody's to interleave with before it is in its
    // bay: tests/mailbox.rs executes it.
    let reset = u64::from(bay_labels().reset)..u64::from(bay_labels().nmi_parked);
    let excused = |offset| {
        let stub = coverage.stub(offset);
        reset.contains(&offset) || stub.is_some_and(|stub| STUBS_WITHOUT_GATE.iter().any(|other| other.what == stub))
    };
    let missed = coverage.missed();
    let wrong: Vec<_> = missed.iter().filter(|(offset, _)| !excused(*offset)).collect();
    assert!(wrong.is_empty(), "never executed: {wrong:x?}");
    for stub in STUBS_WITHOUT_GATE {
        let executed = !missed.iter().any(|(offset, _)| coverage.stub(*offset) == Some(stub.what));
        assert!(!executed, "vector {} is on the list of those without a gate, and its stub was executed", stub.what);
    }
}

fn check_knobs(coverage: &Coverage) {
    let tried = coverage.knobs();
    let mut wrong = Vec::new();
    for knob in Knob::ALL {
        let excluded = EXCLUDED_KNOBS.iter().find(|other| other.what == *knob);
        match (tried.get(knob), excluded) {
            (None, Some(excluded)) => println!("  knob {} is not varied: {}", knob.name(), excluded.reason),
            (None, None) => wrong.push(format!("{} was never explored", knob.name())),
            (Some(_), Some(_)) => {
                wrong.push(format!("{} is explored, and on the list of those that are not", knob.name()))
            }
            (Some(values), None) if values.len() == knob.values().len() => {}
            (Some(values), None) => wrong.push(format!("{} was tried at {values:?} only", knob.name())),
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Bytes of a gate, and the vectors that have one.
const GATE_LEN: usize = 16;
const VECTORS: u8 = 32;

#[test]
fn the_stubs_that_nothing_executes_have_no_gate() {
    let seen = explore(&configuration("clgi-bad-rip"), |plant| {
        let lot = plant.header.self_phys.0;
        let stub = |vector: u8| {
            let offset = plant.labels.exceptions + u32::from(vector) * EXCEPTION_STUB_LEN;
            lot + header::CODE_OFFSET + u64::from(offset)
        };
        for idtr in [header::IDTR_PARKED, header::IDTR_ARRIVING, header::IDTR_LEAVING] {
            let base = plant.lot[idtr as usize + 2..].first_chunk().map(|base| u64::from_le_bytes(*base) - lot);
            let table = &plant.lot[base.expect("an IDTR") as usize..];
            let (gates, _) = table.as_chunks::<GATE_LEN>();
            for (vector, gate) in (0..VECTORS).zip(gates) {
                let gate = u128::from_le_bytes(*gate);
                let handler = (gate & 0xffff | gate >> 32 & 0xffff_ffff_ffff_0000) as u64;
                let without = STUBS_WITHOUT_GATE.iter().any(|other| other.what == vector);
                assert_eq!(handler == stub(vector), !without, "vector {vector} of the table at {idtr:#x}");
                let leads = (0..VECTORS).find(|other| stub(*other) == handler);
                assert_eq!(leads, (!without).then_some(vector), "vector {vector} of the table at {idtr:#x}");
            }
        }
    });
    assert!(seen.is_ok());
}

fn configuration(name: &str) -> Config {
    configurations().into_iter().find(|config| config.name == name).unwrap_or_else(|| panic!("no configuration {name}"))
}

/// Replaces every `from` in the bay code; panics if there is none.
fn replace(plant: &mut Plant<'_>, from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let code = plant.code();
    let places: Vec<usize> = (0..code.len() - from.len()).filter(|at| code[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "{from:02x?} is not in the bay code");
    for at in places {
        code[at..at + to.len()].copy_from_slice(to);
    }
}

/// Explores with a fault, prints what is found, replays it.
fn found(name: &str, fault: impl FnOnce(&mut Plant<'_>)) -> Violation {
    let report = explore(&configuration(name), fault).expect("the scene is built");
    let trace = report.counterexample.expect("the fault is found");
    println!("{trace}");
    assert_eq!(trace.lines().len(), trace.len());
    assert_eq!(replay(&trace).expect("the scene is built again").as_ref(), Some(trace.violation()));
    trace.violation().clone()
}

#[test]
fn an_acknowledgement_before_the_end_of_the_way_in_is_found() {
    // mov qword ptr [rbx + STAGE], ARRIVING -> WAITING
    let violation = found("hlt-arrival", |plant| {
        replace(plant, &[0x48, 0xc7, 0x43, 0x50, 1, 0, 0, 0], &[0x48, 0xc7, 0x43, 0x50, 2, 0, 0, 0]);
    });
    assert!(matches!(violation, Violation::EarlyAck(_)), "{violation}");
}

#[test]
fn a_claim_without_lock_is_found() {
    // lock cmpxchg [rbx], rdx -> nop; cmpxchg [rbx], rdx
    let violation = found("hlt-hasty", |plant| {
        replace(plant, &[0xf0, 0x48, 0x0f, 0xb1, 0x13], &[0x90, 0x48, 0x0f, 0xb1, 0x13]);
    });
    assert!(matches!(violation, Violation::Doorbell { .. } | Violation::Stage { .. }), "{violation}");
}

#[test]
fn a_monitor_without_a_second_look_is_found() {
    // monitor; mov rax, [rbx]; test ah, ah; jnz -> no jump
    let violation = found("clgi-monitor", |plant| {
        let code = plant.code();
        let look = [0x0f, 0x01, 0xc8, 0x48, 0x8b, 0x03, 0x84, 0xe4, 0x75];
        for at in 0..code.len() - look.len() {
            if code[at..].starts_with(&look) {
                code[at + 8..at + 10].copy_from_slice(&[0x90, 0x90]);
            }
        }
    });
    assert_eq!(violation, Violation::LostWake);
}

#[test]
fn an_entry_with_another_stack_is_found() {
    // mov rsp, [rbx + ENTRY_RSP] -> [rbx + ENTRY_ARG]
    let violation = found("hlt-hasty", |plant| replace(plant, &[0x48, 0x8b, 0x63, 0x10], &[0x48, 0x8b, 0x63, 0x20]));
    assert!(matches!(violation, Violation::WrongEntry { .. }), "{violation}");
}

#[test]
fn a_hold_that_never_ends_is_found() {
    // cmp rax, [rbx + RELEASE]; je -> no jump
    let violation = found("clgi-commands", |plant| {
        let code = plant.code();
        let compare = [0x48, 0x3b, 0x43, 0x28, 0x74];
        for at in 0..code.len() - compare.len() {
            if code[at..].starts_with(&compare) {
                code[at + 4..at + 6].copy_from_slice(&[0x90, 0x90]);
            }
        }
    });
    assert_eq!(violation, Violation::Livelock);
}

#[test]
fn clgi_with_monitor_loses_wakes_where_stores_do_not_end_mwait() {
    // Why no vendor's orders wait so.
    let config = Config { pinned: park_sim::explorer::PINNED, ..configuration("clgi-monitor") };
    let report = explore(&config, |_| {}).expect("the scene is built");
    let trace = report.counterexample.expect("the lost wake is found");
    assert_eq!(*trace.violation(), Violation::LostWake);
    let knobs = ["gif0-monitor", "monitor-lost", "monitor-stale"];
    assert!(trace.lines().iter().any(|line| knobs.iter().any(|knob| line.contains(knob))), "{trace}");
}

/// Small configurations, for which the search without any reduction ends soon.
fn small() -> Vec<Config> {
    use EventKind::{MachineCheck, Nmi, Smi};
    let config = |name, vendor, mechanism| Config::new(name, vendor, mechanism);
    let mwait = Config { pinned: MWAIT_WAITS, ..config("mwait", Vendor::Intel, Mechanism::Mwait) };
    vec![
        config("hlt", Vendor::Intel, Mechanism::Hlt).holders(&[Do::Confirm], &[]),
        config("hlt-nmi-mc", Vendor::Intel, Mechanism::Hlt).holders(&[], &[]).events(2, &[Nmi, MachineCheck]),
        config("hlt-nmi-smi", Vendor::Amd, Mechanism::Hlt).holders(&[], &[]).events(2, &[Nmi, Smi]),
        mwait.holders(&[Do::Confirm], &[]),
        config("clgi-nmi", Vendor::Amd, Mechanism::Clgi).holders(&[], &[]).events(1, &[Nmi]),
    ]
}

/// Knobs that would make an unreduced search of MWAIT long.
const MWAIT_WAITS: &[(Knob, u8)] = &[
    (Knob::SmmRendezvous, 0),
    (Knob::IcrBusy, 0),
    (Knob::McBroadcastAmd, 0),
    (Knob::MonitorLost, 0),
    (Knob::MonitorStale, 0),
    (Knob::MwaitWaits, 0),
    (Knob::NmiDepth, 0),
];

#[test]
fn reductions_hide_no_outcome() {
    for config in small() {
        let reduced = explore(&config, |_| {}).expect("the scene is built");
        let plain =
            explore(&Config { reduction: Reduction::Off, ..config.clone() }, |_| {}).expect("the scene is built");
        println!(
            "{:12} {:8} states for {:8}, {:3} outcomes, {:.2} s",
            config.name,
            reduced.states,
            plain.states,
            plain.outcomes.len(),
            plain.time.as_secs_f64()
        );
        let of_keys = Config { reduction: Reduction::OfKeys, ..config.clone() };
        let of_keys = explore(&of_keys, |_| {}).expect("the scene is built");
        let (some, all) = (&of_keys.projections, &plain.projections);
        let (lost, made) = (all.difference(some).count(), some.difference(all).count());
        println!("{:12} {:8} states to a reduced key; {lost} lost, {made} made", config.name, all.len());
        // Translations that may vanish at any moment do so always.
        let evicted = Config { tlb: TlbMode::EvictAlways, ..config.clone() };
        let evicted = explore(&evicted, |_| {}).expect("the scene is built");
        for report in [&reduced, &plain, &of_keys, &evicted] {
            assert!(report.complete, "{}: gave up", config.name);
            if let Some(trace) = &report.counterexample {
                panic!("{trace}");
            }
        }
        assert!(!plain.outcomes.is_empty());
        assert_eq!((lost, made), (0, 0), "{}", config.name);
        assert_eq!(reduced.outcomes, plain.outcomes, "{}", config.name);
        assert_eq!(reduced.outcomes, evicted.outcomes, "{}", config.name);
        assert_eq!(reduced.coverage.missed(), plain.coverage.missed(), "{}", config.name);
    }
}
