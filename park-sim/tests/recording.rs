//! Recordings: they change nothing of a run, have no gaps, and show where a CPU dies.

use park_core::Event;
use park_sim::machine::AccessKind;
use park_sim::recording::{Mark, MarkKind, Recording, State};
use park_sim::scenario::{GenericOrders, Record, Report, RunOptions, Scenario, names, run};

fn play(name: &str, options: &RunOptions) -> Report {
    let report = Scenario::builtin(name).and_then(|scenario| run(&scenario, options, &GenericOrders));
    report.unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn recorded(name: &str) -> Recording {
    let options = RunOptions { seed: 1, record: Record::On, ..RunOptions::default() };
    let Some(recording) = play(name, &options).recording else { panic!("{name}: no recording") };
    *recording
}

fn states(recording: &Recording, cpu: usize) -> Vec<&'static str> {
    recording.lanes[cpu].intervals.iter().map(|interval| interval.state.name()).collect()
}

#[test]
fn a_recording_changes_nothing_of_a_run() {
    for name in names().filter(|name| *name != "kexec-chain-100") {
        let off = RunOptions { seed: 3, ..RunOptions::default() };
        let without = play(name, &off);
        assert_eq!(without.recording, None);
        let with = play(name, &RunOptions { record: Record::On, ..off });
        assert!(with.recording.is_some());
        assert_eq!(Report { recording: None, ..with }, without, "{name}");
    }
}

#[test]
fn lanes_have_no_gaps_and_end_with_the_run() {
    for name in names() {
        let recording = recorded(name);
        assert!(!recording.is_truncated, "{name}");
        for (cpu, lane) in recording.lanes.iter().enumerate() {
            assert_eq!(lane.intervals.first().map(|interval| interval.start_tick), Some(0), "{name}: CPU {cpu}");
            assert_eq!(lane.intervals.last().map(|interval| interval.end_tick), Some(recording.end_tick));
            for pair in lane.intervals.windows(2) {
                let [one, next] = pair else { continue };
                assert_eq!(one.end_tick, next.start_tick, "{name}: CPU {cpu}");
                assert!(one.start_tick < one.end_tick && one.state != next.state, "{name}: CPU {cpu}: {one:?}");
            }
        }
        assert!(recording.marks.is_sorted_by_key(|mark| mark.tick) || !recording.fronts.is_empty(), "{name}");
        assert!(recording.acts.is_sorted_by_key(|act| act.tick), "{name}");
        assert!(recording.marks.iter().all(|mark| mark.tick <= recording.end_tick), "{name}");
    }
}

#[test]
fn a_cpu_dies_at_an_instruction_that_its_successor_wrote() {
    let recording = recorded("linux-mwait-kexec");
    let Some(death) = &recording.lanes[1].death else { panic!("CPU 1 lives: {:?}", states(&recording, 1)) };
    assert_eq!(death.instruction.as_deref(), Some("int3"), "{death:?}");
    let [front] = &recording.fronts[..] else { panic!("{:?}", recording.fronts) };
    assert_eq!(death.access.map(|(kind, phys)| (kind, front.range.contains(phys))), Some((AccessKind::Fetch, true)));
    assert!(death.shutdown.is_some_and(|(tick, _)| tick >= death.tick && death.tick >= front.start_tick));
    assert_eq!(death.event, Some(MarkKind::Store));
    let store = recording.marks.iter().find(|mark| mark.kind == MarkKind::Store);
    assert!(store.is_some_and(|mark| mark.cpu == 1 && mark.by == Some(0) && mark.tick > front.start_tick));
    assert_eq!(recording.lanes[1].intervals.last().map(|last| last.state), Some(State::Shutdown));
    assert_eq!(recording.lanes[0].death, None);
}

#[test]
fn a_cpu_in_the_lot_arrives_waits_and_leaves() {
    for (name, waits) in [("lot-hlt", "lot-hlt"), ("lot-mwait", "lot-mwait"), ("lot-clgi", "lot-clgi")] {
        let recording = recorded(name);
        assert!(recording.lot.is_some());
        let cpu = (0..recording.lanes.len()).find(|cpu| states(&recording, *cpu).contains(&waits));
        let Some(cpu) = cpu else { panic!("{name}: nobody waits") };
        let seen = states(&recording, cpu);
        let at = |state| seen.iter().position(|seen| *seen == state);
        assert!(at("kernel") < at("arriving") && at("arriving") < at(waits), "{name}: {seen:?}");
        assert_eq!(recording.lanes[cpu].death, None);
        let marked = |kind| recording.marks.iter().any(|mark| mark.cpu == cpu && mark.kind == kind);
        assert!(marked(MarkKind::Parked), "{name}");
    }
    let recording = recorded("lot-hlt");
    let landed = recording.marks.iter().find(|mark| mark.kind == MarkKind::Landed);
    let Some(landed) = landed else { panic!("nobody lands") };
    let claims = |mark: &Mark| mark.cpu == landed.cpu && mark.kind == MarkKind::Claim && mark.tick < landed.tick;
    assert!(recording.marks.iter().any(claims), "{:?}", recording.marks);
    assert!(states(&recording, landed.cpu).contains(&"leaving"));
}

#[test]
fn every_event_that_the_report_tells_is_marked() {
    for name in ["linux-hlt-kexec-nmi", "lot-hlt", "mc-storm-faults", "init-broadcast-mce"] {
        let options = RunOptions { seed: 2, record: Record::On, ..RunOptions::default() };
        let report = play(name, &options);
        let Some(recording) = &report.recording else { panic!("{name}: no recording") };
        for event in &report.events {
            let kind = match Event::from_name(&event.event) {
                Some(Event::Nmi) => MarkKind::Nmi,
                Some(Event::McLocal | Event::McBroadcast) => MarkKind::MachineCheck,
                Some(Event::Smi | Event::SmiNoRestart | Event::SmiRendezvous) => MarkKind::Smi,
                Some(Event::Init) => MarkKind::Init,
                _ => continue,
            };
            for cpu in &event.cpus {
                assert!(recording.marks.iter().any(|mark| mark.cpu == *cpu && mark.kind == kind), "{name}: {event:?}");
            }
        }
    }
}

#[test]
fn a_reset_ends_every_lane() {
    let recording = recorded("init-broadcast-mce");
    for cpu in 0..recording.lanes.len() {
        assert_eq!(states(&recording, cpu).last(), Some(&"reset"));
    }
}

#[test]
fn only_a_ring_is_taken_back() {
    // Each of a hundred kernels writes its generation into quiet doorbells: that revokes nothing.
    let of = |recording: &Recording, kind| recording.marks.iter().filter(|mark| mark.kind == kind).count();
    assert_eq!(of(&recorded("kexec-chain-100"), MarkKind::Revoke), 0);
    assert!(of(&recorded("ring-revoke-ring-again"), MarkKind::Revoke) > 0);
}
