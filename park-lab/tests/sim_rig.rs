//! The simulator as a rig of the conformance suite: `measure`, which sees only what any rig can show, comes to the same as
//! the simulator's own comparison, which looks into the machine.

use park_conformance::{Case, Coalescing, MeasureError, measure};
use park_core::lot::PagingLevels;
use park_core::op::Processor;
use park_core::{Mechanism, Response};
use park_lab::rig::SimRig;
use park_lab::simulated::orders;
use park_sim::compare::{Parked, Verdict, valuations};
use park_sim::machine::{KnobSet, Knobs, MachineConfig};
use park_sim::world::WorldError;

/// A CPU as the comparison parks it; `None` where the vendor has no orders, or they refuse it.
fn parked(config: &MachineConfig, processor: Processor, mechanism: Mechanism) -> Option<Parked> {
    match Parked::park_in(config.clone(), PagingLevels::Four, mechanism, processor, &orders) {
        Ok(parked) => parked,
        Err(WorldError::Sanitise { .. }) => None,
        Err(error) => panic!("{mechanism}: {error}"),
    }
}

/// What the comparison measures, for every value of every knob that its run consults.
fn compared(parked: &Parked, case: Case) -> Vec<(Knobs, KnobSet, Verdict)> {
    valuations(case.event, |knobs| {
        let measured = parked.measure(case.event, knobs).expect("the world plays");
        (measured.verdict, measured.consulted)
    })
}

fn both_agree(config: &MachineConfig, processor: Processor) {
    let mut rig = SimRig::new(config.clone(), processor, &orders);
    let mut wrong = Vec::new();
    let mut count = 0;
    for mechanism in Mechanism::ALL {
        let parked = parked(config, processor, mechanism);
        for case in Case::all().filter(|case| case.mechanism == mechanism) {
            let Some(parked) = &parked else {
                let own = measure(&mut rig, case, 1);
                assert!(matches!(own, Err(MeasureError::Lacks(_))), "{case}: {own:?}");
                continue;
            };
            for (knobs, consulted, verdict) in compared(parked, case) {
                rig.knobs = knobs;
                let own = measure(&mut rig, case, 1);
                count += 1;
                match (&own, &verdict) {
                    (Ok(measured), Verdict::Response(response)) if measured.response == *response => {}
                    (Err(MeasureError::Doubt(_)), Verdict::Lost(_)) => {}
                    (own, verdict) => {
                        let values: Vec<String> = consulted
                            .iter()
                            .map(|knob| format!("{}={}", knob.name(), knobs.value_name(knob)))
                            .collect();
                        wrong.push(format!("{case} ({values:?}): measured {own:?}, the comparison has {verdict}"));
                    }
                }
            }
        }
    }
    println!("{count} measurements");
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn intel_application_processors() {
    both_agree(&MachineConfig::intel(3), Processor::Application);
}

#[test]
fn intel_bootstrap_processor() {
    both_agree(&MachineConfig::intel(3), Processor::Bootstrap);
}

#[test]
fn amd_application_processors() {
    both_agree(&MachineConfig::amd(3), Processor::Application);
}

#[test]
fn amd_bootstrap_processor() {
    both_agree(&MachineConfig::amd(3), Processor::Bootstrap);
}

/// Fired three times at once, an event is seen three times, or fewer for the reason that the manuals name.
#[test]
fn several_at_once_are_seen_or_coalesce_by_name() {
    for (config, vendor) in [(MachineConfig::intel(3), "intel"), (MachineConfig::amd(3), "amd")] {
        let mut rig = SimRig::new(config, Processor::Application, &orders);
        for case in Case::all() {
            match measure(&mut rig, case, 3) {
                Ok(measured) => {
                    println!("{vendor} {measured}");
                    let expected = match (case.to_string().as_str(), measured.coalesced) {
                        (_, None) => measured.witnessed == 3,
                        ("hlt/nmi" | "mwait/nmi", Some(coalesced)) => coalesced == Coalescing::NmiLatch,
                        (_, Some(_)) => measured.witnessed < 3,
                    };
                    if case.to_string() == "hlt/smi-no-restart" {
                        // What an event implies, the rig sees to.
                        assert_eq!(measured.response, Response::Laps, "{vendor}");
                    }
                    assert!(expected && measured.fired == 3, "{vendor} {measured}");
                }
                Err(MeasureError::Lacks(_)) => {}
                Err(error) => panic!("{vendor} {case}: {error}"),
            }
        }
    }
}
