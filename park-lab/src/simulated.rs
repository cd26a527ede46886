//! Conformance on park's own simulator: in this process, for every value of every knob that a case consults.
//!
//! It reports in the same lines as the image, and is judged as the image is.

use park_conformance::{Case, MeasureError, Measurement, measure};
use park_core::Mechanism;
use park_core::op::Processor;
use park_sim::compare::valuations;
use park_sim::machine::MachineConfig;
use park_x86::features::Features;
use park_x86::orders::Orders;

use crate::configuration::Configuration;
use crate::conformance::{NOT_COALESCED, Vendor};
use crate::rig::SimRig;

/// How often each event is made to happen in a run: several at once are a case of their own, and the emulators'.
const TIMES: u32 = 1;
/// Longest time to leave MWAIT that is ordered, in microseconds: any depth will do.
const LATENCY_US: u32 = u32::MAX;

/// The vendor crate's orders for a mechanism on a CPU with these features.
#[must_use]
pub fn orders(mechanism: Mechanism, features: &Features) -> Option<Orders> {
    let intel = park_intel::Capabilities::from_features(*features);
    let amd = park_amd::Capabilities::from_features(*features);
    match (intel, amd) {
        (Some(intel), _) => intel.orders(mechanism, LATENCY_US).ok(),
        (_, Some(amd)) => amd.orders(mechanism, LATENCY_US).ok(),
        (None, None) => None,
    }
}

/// Measures every case on an application processor of the machine, and reports as the image does. What came out alike for
/// several combinations of values is one line, with their number in `runs`.
#[must_use]
pub fn lines(configuration: &Configuration) -> Vec<String> {
    let cpus = usize::try_from(configuration.cpus).unwrap_or(usize::MAX);
    let machine = match configuration.vendor() {
        Vendor::Intel => MachineConfig::intel(cpus),
        Vendor::Amd => MachineConfig::amd(cpus),
    };
    let mut rig = SimRig::new(machine, Processor::Application, &orders);
    let mut lines = Vec::new();
    for case in Case::all() {
        lines.push(format!("{{\"event\":\"case\",\"case\":\"{case}\"}}"));
        let runs = valuations(case.event, |knobs| {
            rig.knobs = *knobs;
            let line = line(case, measure(&mut rig, case, TIMES));
            (line, rig.consulted)
        });
        let mut alike: Vec<(String, usize)> = Vec::new();
        for (_, _, line) in runs {
            match alike.iter_mut().find(|(other, _)| *other == line) {
                Some((_, runs)) => *runs += 1,
                None => alike.push((line, 1)),
            }
        }
        lines.extend(alike.into_iter().map(|(line, runs)| format!("{line},\"runs\":{runs}}}")));
    }
    lines
}

/// The line that ends a case, without its last brace.
fn line<E: core::fmt::Display>(case: Case, measured: Result<Measurement, MeasureError<E>>) -> String {
    match measured {
        Ok(Measurement { fired, witnessed, coalesced, response, confirmed, entries, waiting, .. }) => format!(
            "{{\"event\":\"verdict\",\"case\":\"{case}\",\"fired\":{fired},\"witnessed\":{witnessed},\
             \"coalesced\":\"{}\",\"response\":\"{response}\",\"confirmed\":\"{confirmed}\",\"entries\":{entries},\
             \"waiting\":\"{}\"",
            coalesced.map_or(NOT_COALESCED, |coalesced| coalesced.name()),
            waiting.name(),
        ),
        Err(MeasureError::Lacks(lack)) => format!(
            "{{\"event\":\"lacks\",\"case\":\"{case}\",\"kind\":\"{}\",\"why\":{}",
            lack.kind,
            quoted(lack.detail)
        ),
        Err(other) => {
            format!("{{\"event\":\"doubt\",\"case\":\"{case}\",\"why\":{}", quoted(&other.to_string()))
        }
    }
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{Came, shown, surprises};

    #[test]
    fn both_machines_show_every_case_and_surprise_nobody() {
        for name in ["sim-amd", "sim-intel"] {
            let configuration = Configuration::from_name(name).unwrap();
            let (all, open) = shown(&lines(configuration));
            assert_eq!(open, None);
            for case in Case::all() {
                assert!(all.iter().any(|shown| shown.case == case), "{name}: {case}");
            }
            assert_eq!(surprises(configuration, &all), Vec::<String>::new(), "{name}");
            let measured = all.iter().filter(|shown| matches!(shown.came, Came::Measured(_))).count();
            assert!(measured > 30, "{name}: {measured}");
        }
    }
}
