//! Every sanitising step, left out one at a time: the simulator shows the harm, or the step says that it can't.

mod common;

use park_sim::compare::harms::{self, Step as Run};
use park_sim::machine::RuleSet;
use park_x86::sanitise::{BY_ARRIVAL, COMMON, FIRST, Harm, REFUSALS, Step};
use std::collections::BTreeSet;
use std::time::Instant;

fn all_steps() -> Vec<&'static Step> {
    [REFUSALS, FIRST, COMMON, BY_ARRIVAL, park_intel::REFUSALS, park_intel::STEPS, park_amd::REFUSALS, park_amd::STEPS]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn leaving_a_step_out_shows_its_harm() {
    let start = Instant::now();
    let mut wrong = Vec::new();
    for harm in harms::all() {
        let with = harm.run(Run::Taken, RuleSet::ALL, &common::orders).expect("the world can be built");
        let without = harm.run(Run::LeftOut, RuleSet::ALL, &common::orders).expect("the world can be built");
        println!("{:<32} left out: {}", harm.name(), without.as_deref().unwrap_or("nothing"));
        if let Some(with) = with {
            wrong.push(format!("{}: with the step: {with}", harm.name()));
        }
        if without.is_none() {
            wrong.push(format!("{}: no harm without the step", harm.name()));
        }
    }
    println!("{} programs in {:.1} s", harms::all().len(), start.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A step is shown to matter, or labelled, and never both.
#[test]
fn every_step_is_shown_or_labelled() {
    let shown: BTreeSet<&str> = harms::all().iter().map(|harm| harm.step).collect();
    let steps = all_steps();
    let mut wrong = Vec::new();
    println!("Steps without which the simulator shows no harm:");
    for step in &steps {
        match (step.harm, shown.contains(step.id.0)) {
            (Harm::Safety, false) => wrong.push(format!("{}: labelled safety, and nothing shows it", step.id)),
            (Harm::Safety, true) => {}
            (label, true) => wrong.push(format!("{}: labelled {}, and yet it is shown", step.id, label.name())),
            (label, false) => {
                println!("  {:<28} {:<13} {} [{}]", step.id.0, label.name(), step.why, step.source);
                assert!(!step.source.is_empty() && !step.why.is_empty());
            }
        }
    }
    let known: BTreeSet<&str> = steps.iter().map(|step| step.id.0).collect();
    wrong.extend(shown.difference(&known).map(|step| format!("{step}: a program for a step that is in no list")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
