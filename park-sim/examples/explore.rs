//! Explores configurations by name (all without arguments), and prints what it found.

use park_sim::explorer::{Coverage, configurations, explore};

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut coverage = Coverage::default();
    for config in configurations() {
        if !wanted.is_empty() && !wanted.iter().any(|name| config.name.starts_with(name.as_str())) {
            continue;
        }
        match explore(&config, |_| {}) {
            Ok(report) => {
                println!(
                    "{:24} {:9} states {:10} transitions {:7} rests {:7.2} s{}",
                    report.name,
                    report.states,
                    report.transitions,
                    report.rests,
                    report.time.as_secs_f64(),
                    if report.complete { "" } else { "  (gave up)" }
                );
                if let Some(trace) = &report.counterexample {
                    println!("{trace}");
                }
                coverage.add(&report.coverage);
            }
            Err(error) => println!("{:24} {error}", config.name),
        }
    }
    let (all, executed) = coverage.instructions();
    println!("instructions: {executed} of {all}");
    for (offset, text) in coverage.missed() {
        println!("  never executed: +{offset:03x} {text}");
    }
    for (knob, values) in coverage.knobs() {
        println!("  knob {} {values:?}", knob.name());
    }
}
