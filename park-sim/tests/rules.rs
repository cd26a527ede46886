//! Every CPU rule matters: with it off, the guard that is listed beside it fails.

mod common;

use park_sim::compare::harms;
use park_sim::machine::{Rule, RuleSet};
use std::collections::BTreeSet;
use std::time::Instant;

#[test]
fn each_rule_off_fails_its_guard() {
    let start = Instant::now();
    let guards: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.guard()).collect();
    let mut wrong: Vec<String> = guards
        .iter()
        .filter(|guard| !common::guard::holds(guard, RuleSet::ALL))
        .map(|guard| format!("{guard} does not hold with every rule on"))
        .collect();
    for rule in Rule::ALL {
        if common::guard::holds(rule.guard(), RuleSet::ALL.without(*rule)) {
            wrong.push(format!("{}: {} holds without it", rule.name(), rule.guard()));
        } else {
            println!("{:<30} {}", rule.name(), rule.guard());
        }
    }
    println!("{} rules in {:.1} s", Rule::ALL.len(), start.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Finds, for every rule, all guards that fail without it: run by hand to choose one (`--ignored`).
#[test]
#[ignore = "prints candidates for the list beside the rules; takes minutes"]
fn discover() {
    let mut guards = common::guard::cells();
    guards.extend(harms::all().iter().map(|harm| format!("sanitise:{}", harm.name())));
    guards.extend(park_sim::faults::list::all().map(|fault| format!("fault:{}", fault.name)));
    guards.extend(park_sim::scenario::names().map(|name| format!("scenario:{name}")));
    guards.retain(|guard| common::guard::holds(guard, RuleSet::ALL));
    println!("{} guards hold", guards.len());
    let wanted = std::env::var("RULES").unwrap_or_default();
    for rule in Rule::ALL.iter().filter(|rule| wanted.is_empty() || wanted.split(',').any(|name| name == rule.name())) {
        let found: Vec<&String> =
            guards.iter().filter(|guard| !common::guard::holds(guard, RuleSet::ALL.without(*rule))).collect();
        println!("{}: {} {:?}", rule.name(), found.len(), found.iter().take(12).collect::<Vec<_>>());
    }
}
