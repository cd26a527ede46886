//! The built-in scenarios: each has its right outcome, from several seeds and with every value of every knob.

use park_core::lot::WaitFlags;
use park_core::{CpuidResult, Event, Mechanism, Response};
use park_sim::machine::Knob;
use park_sim::scenario::{Cause, Expect, Orders, Outcome, ParkOrders, Report, RunOptions, Scenario, names, run};

/// The vendor crates' orders.
struct VendorOrders;

/// No bound on how long a CPU may take to come back: the deepest state that the vendor crate knows.
const ANY_LATENCY_US: u32 = u32::MAX;

impl Orders for VendorOrders {
    fn orders(
        &self,
        mechanism: Mechanism,
        cpuid: &mut dyn FnMut(u32, u32) -> CpuidResult,
    ) -> Result<ParkOrders, String> {
        let orders = if let Some(intel) = park_intel::Capabilities::detect(&mut *cpuid) {
            intel.orders(mechanism, ANY_LATENCY_US)
        } else if let Some(amd) = park_amd::Capabilities::detect(&mut *cpuid) {
            amd.orders(mechanism, ANY_LATENCY_US)
        } else {
            return Err("neither Intel nor AMD".to_owned());
        };
        let orders = orders.map_err(|reason| reason.to_string())?;
        let flags = WaitFlags::from_bits_retain(orders.wait_flags.bits());
        Ok(ParkOrders { flags, mwait_hint: orders.mwait_hint, steps: orders.steps().collect() })
    }

    fn declares(&self, mechanism: Mechanism, event: Event, cpuid: &mut dyn FnMut(u32, u32) -> CpuidResult) -> bool {
        let claims =
            if park_intel::Capabilities::detect(&mut *cpuid).is_some() { park_intel::CLAIMS } else { park_amd::CLAIMS };
        let bad = [Response::Shutdown, Response::Reset, Response::Hangs];
        claims.iter().any(|claim| claim.mechanism == mechanism && claim.event == event && bad.contains(&claim.response))
    }
}

const SEEDS: [u64; 3] = [1, 2, 0x5eed];

fn play(scenario: &Scenario, options: &RunOptions) -> Report {
    match run(scenario, options, &VendorOrders) {
        Ok(report) => report,
        Err(error) => panic!("{}: {error} ({options:?})", scenario.name),
    }
}

fn scenarios() -> impl Iterator<Item = Scenario> {
    names().map(|name| Scenario::builtin(name).unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn each_ends_as_it_expects() {
    let mut wrong = String::new();
    for scenario in scenarios() {
        for seed in SEEDS {
            let report = play(&scenario, &RunOptions { seed, ..RunOptions::default() });
            if !report.expected {
                wrong += &format!("{} seed {seed}: {report:#?}\n", scenario.name);
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn each_lost_one_is_safe_without_its_deadly_event_and_with_its_remedy() {
    let mut wrong = String::new();
    for scenario in scenarios() {
        let Expect::Lost { deadly, remedy } = scenario.expect else { continue };
        for seed in SEEDS {
            let without = RunOptions { seed, without: Some(deadly), ..RunOptions::default() };
            let with = RunOptions { seed, mechanism: Some(remedy), ..RunOptions::default() };
            for options in [without, with] {
                let report = play(&scenario, &options);
                if report.outcome != Outcome::Safe {
                    wrong += &format!("{} {options:?}: {report:#?}\n", scenario.name);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Every run that a scenario consults a knob in is repeated with every other value of that knob.
fn over_knobs(scenario: &Scenario, base: &RunOptions, mut judge: impl FnMut(&Report, &RunOptions)) {
    let mut pending: Vec<Knob> = Vec::new();
    let mut seen: Vec<Knob> = scenario.knobs.iter().map(|(knob, _)| *knob).collect();
    let note = |report: &Report, seen: &mut Vec<Knob>, pending: &mut Vec<Knob>| {
        for knob in report.knobs.iter().filter_map(|knob| Knob::from_name(knob.knob)) {
            if !seen.contains(&knob) {
                seen.push(knob);
                pending.push(knob);
            }
        }
    };
    let report = play(scenario, base);
    note(&report, &mut seen, &mut pending);
    while let Some(knob) = pending.pop() {
        for index in 0..knob.values().len() {
            let index = u8::try_from(index).unwrap_or(0);
            let mut options = base.clone();
            options.knobs.push((knob, index));
            let report = play(scenario, &options);
            judge(&report, &options);
            note(&report, &mut seen, &mut pending);
        }
    }
}

#[test]
fn safety_holds_for_every_value_of_every_knob() {
    let mut wrong = String::new();
    for scenario in scenarios() {
        let base = match scenario.expect {
            Expect::Safe => RunOptions { seed: 7, ..RunOptions::default() },
            Expect::Lost { remedy, .. } => RunOptions { seed: 7, mechanism: Some(remedy), ..RunOptions::default() },
        };
        over_knobs(&scenario, &base, |report, options| {
            if report.outcome != Outcome::Safe {
                wrong += &format!("{} {:?}: {report:#?}\n", scenario.name, options.knobs);
            }
        });
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The lot's own scenarios on other machines: the other vendor, five levels, ids that need x2APIC.
#[test]
fn the_lot_holds_on_other_machines() {
    let wide = "levels = 5\nx2apic = true\napic_ids = [700, 3, 255]";
    for scenario in scenarios().filter(|scenario| scenario.expect == Expect::Safe && scenario.machine().cpus == 3) {
        let text = park_sim::scenario::builtin_text(&scenario.name).unwrap_or_default();
        let by_clgi = text.contains("by = \"clgi\"");
        let vendors: &[&str] = if by_clgi { &["amd"] } else { &["intel", "amd"] };
        for vendor in vendors {
            for more in ["levels = 5", wide] {
                let machine = format!("vendor = \"{vendor}\"\n{more}");
                let text = text
                    .replace("vendor = \"intel\"", &machine)
                    .replace("vendor = \"amd\"\ncpus", &format!("{machine}\ncpus"));
                let other = Scenario::parse(&text, &scenario.name).unwrap_or_else(|error| panic!("{error}"));
                let report = play(&other, &RunOptions { seed: 3, ..RunOptions::default() });
                assert_eq!(report.outcome, Outcome::Safe, "{vendor} {more}: {report:#?}");
            }
        }
    }
}

#[test]
fn a_reset_counts_as_safe_only_if_it_is_declared_and_named() {
    for name in ["wait-for-sipi-declared", "bsp-taken-declared"] {
        let text = park_sim::scenario::builtin_text(name).unwrap_or_default();
        let scenario = Scenario::builtin(name).unwrap_or_else(|error| panic!("{error}"));
        let report = play(&scenario, &RunOptions::default());
        assert_eq!((report.outcome, report.declared.len()), (Outcome::Safe, 1), "{report:#?}");
        // Named by the mechanism, but not by the scenario.
        let unnamed: String =
            text.lines().filter(|line| !line.starts_with("declared")).map(|line| format!("{line}\n")).collect();
        let unnamed = Scenario::parse(&unnamed, name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(play(&unnamed, &RunOptions::default()).outcome, Outcome::Lost);
        // Named by the scenario, but not by the mechanism.
        let undeclared = run(&scenario, &RunOptions::default(), &park_sim::scenario::GenericOrders);
        assert_eq!(undeclared.unwrap_or_else(|error| panic!("{error}")).outcome, Outcome::Lost);
    }
}

#[test]
fn equal_seeds_give_equal_reports() {
    for scenario in scenarios().take(3) {
        let options = RunOptions { seed: 99, ..RunOptions::default() };
        assert_eq!(play(&scenario, &options), play(&scenario, &options));
    }
}

/// The examples of docs/scenario.md, as they stand there.
fn documented() -> Vec<String> {
    let text = include_str!("../../docs/scenario.md");
    text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

#[test]
fn the_documented_examples_play_as_they_say() {
    let examples = documented();
    assert!(examples.len() >= 2);
    for text in examples {
        let scenario = Scenario::parse(&text, "docs/scenario.md").unwrap_or_else(|error| panic!("{error}"));
        for seed in SEEDS {
            let report = play(&scenario, &RunOptions { seed, ..RunOptions::default() });
            assert!(report.expected, "{report:#?}");
        }
    }
}

#[test]
fn the_document_names_every_verb_parker_end_and_cause() {
    let text = include_str!("../../docs/scenario.md");
    let verbs = park_sim::scenario::Verb::NAMES.into_iter();
    let names = verbs
        .chain(park_sim::scenario::By::names())
        .chain(park_sim::scenario::End::names())
        .chain(park_sim::scenario::Cause::names())
        .chain(park_sim::scenario::Declared::names())
        .chain(park_sim::scenario::Erratum::names())
        .chain(park_sim::scenario::Result::names())
        .chain(Event::ALL.iter().map(|event| event.name()));
    for name in names {
        assert!(text.contains(&format!("`{name}`")), "docs/scenario.md does not name {name}");
    }
    // Causes are a closed set: the table has each once, in order, and no other.
    let table = text.split_once("| cause | |\n|---|---|\n").and_then(|(_, rest)| rest.split_once("\n\n"));
    let Some((table, _)) = table else { panic!("docs/scenario.md has no table of causes") };
    let rows: Vec<&str> = table.lines().filter_map(|row| row.split('`').nth(1)).collect();
    assert_eq!(rows, Cause::names().collect::<Vec<_>>());
    for row in table.lines() {
        assert!(row.split('|').nth(2).is_some_and(|meaning| !meaning.trim().is_empty()), "{row}");
    }
}

/// Where leaving an event out does harm: of an INIT and a later INIT-SIPI-SIPI under CLGI, either alone leaves the CPU
/// with an INIT that is held, or that no STARTUP follows.
const NEEDED: [(&str, Event); 2] = [("lot-clgi", Event::Init), ("lot-clgi", Event::InitSipiSipi)];

#[test]
fn leaving_an_event_out_makes_no_safe_scenario_lost() {
    let mut left_out = 0;
    for scenario in scenarios().filter(|scenario| scenario.expect == Expect::Safe) {
        let whole = play(&scenario, &RunOptions { seed: 1, ..RunOptions::default() });
        let thrown = |event: &&Event| whole.events.iter().any(|thrown| thrown.event == event.name());
        for event in Event::ALL.iter().filter(thrown).copied() {
            let options = RunOptions { seed: 1, without: Some(event), ..RunOptions::default() };
            left_out += 1;
            match run(&scenario, &options, &VendorOrders) {
                Ok(report) => {
                    let is_needed = NEEDED.contains(&(scenario.name.as_str(), event));
                    assert_eq!(report.expected, !is_needed, "{} without {event}: {report:#?}", scenario.name);
                }
                // Without what starts a CPU, a later step may have nothing to act on.
                Err(error) => assert_eq!(event, Event::InitSipiSipi, "{}: {error}", scenario.name),
            }
        }
    }
    assert!(left_out > 20, "{left_out}");
}

#[test]
fn another_mechanism_than_the_remedy_is_safe_or_lost_as_it_declares() {
    for scenario in scenarios() {
        let Expect::Lost { remedy, .. } = scenario.expect else { continue };
        for mechanism in Mechanism::ALL.into_iter().filter(|mechanism| *mechanism != remedy) {
            let options = RunOptions { seed: 1, mechanism: Some(mechanism), ..RunOptions::default() };
            // A mechanism that the machine does not have, or that it refuses, is an error.
            let Ok(report) = run(&scenario, &options, &VendorOrders) else { continue };
            let declares = !report.declared.is_empty();
            assert_eq!(report.expected, report.outcome == Outcome::Safe || declares, "{}: {mechanism}", scenario.name);
        }
    }
}
