//! Checks a kernel's platform, and the same with one mistake.
//!
//! The kernel is a model on four CPUs: `tests/platform/model.rs` is what to write for one's own, over the traits that the
//! kernel parks with. The mistake is one of many in `tests/platform/wrong.rs`; name another to see it found.
//!
//! `cargo run -p park-conformance --example check_platform [MISTAKE]`

#[path = "../tests/platform/model.rs"]
mod model;
#[path = "../tests/platform/wrong.rs"]
mod wrong;

use model::Model;
use park_conformance::platform::{Scratch, check};
use park_core::ApicId;
use std::process::ExitCode;
use wrong::{FLAWS, Flaw, Wrong, names};

fn main() -> ExitCode {
    // On real CPUs, `Scratch::new` is patient enough; this model needs less.
    let scratch = Scratch { rounds: 200, pauses: 1000, ..Scratch::new(0x80, 2, Some(ApicId(1))) };
    let right = check(&mut Model::new(), &scratch);
    println!("as it should be:\n{right}");

    let mistake = std::env::args().nth(1);
    let flaw = match &mistake {
        None => Some(Flaw::NoFence),
        Some(name) => FLAWS.into_iter().map(|(flaw, _)| flaw).find(|flaw| format!("{flaw:?}") == *name),
    };
    let Some(flaw) = flaw else {
        eprintln!("no such mistake; there are {:?}", FLAWS.map(|(flaw, _)| flaw));
        return ExitCode::FAILURE;
    };
    let report = check(&mut Wrong::new(Model::new(), flaw), &scratch);
    println!("with {flaw:?}:\n{report}");
    let found = names(report.findings().map(|(_, finding)| finding));
    println!("found: {}", found.join(", "));
    if right.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
