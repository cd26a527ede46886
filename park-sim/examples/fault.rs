//! Replays a planted fault's counterexample: `fault NAME CASE POSITION THROW`, as the test of faults prints it. With the
//! variable CLEAN in the environment, the same journey without the fault.

#[path = "../tests/support/mod.rs"]
mod support;

use park_sim::faults::{Counterexample, Fault, Leg, Plant, Sweep, Wrong, list};
use std::process::ExitCode;

fn replay(arguments: &[String]) -> Result<(), String> {
    let [name, case, position, throw] = arguments else {
        let names: Vec<_> = list::all().map(|fault| fault.name).collect();
        return Err(format!("usage: fault NAME CASE POSITION THROW; the faults are {}", names.join(", ")));
    };
    let fault = Fault::from_name(name).ok_or_else(|| format!("no fault is called {name}"))?;
    let cases = fault.shown_by.cases(support::request).map_err(|error| error.to_string())?;
    let number: usize = case.parse().map_err(|_| format!("{case} is no number of a case"))?;
    let case = cases.get(number).ok_or_else(|| format!("{name} has {} cases", cases.len()))?;
    let setting = &fault.shown_by;
    let changes = if std::env::var_os("CLEAN").is_some() { &[][..] } else { fault.changes };
    let plant = Plant { changes, owner: fault.owner };
    let sweep = Sweep { case, throws: setting.throws, legs: setting.legs, end: setting.end, plant };
    let example = Counterexample {
        case: case.to_string(),
        position: position.parse().map_err(|_| format!("{position} is no number of a step"))?,
        leg: Leg::Arriving,
        throw: throw.parse().map_err(|()| format!("{throw} is no throw"))?,
        wrong: Wrong::NotFreed,
    };
    let (wrong, log) = sweep.replay(&example);
    println!("{name}: {}\n{case}", fault.what);
    log.iter().for_each(|line| println!("{line}"));
    println!("{}", wrong.map_or_else(|| "nothing went wrong".to_owned(), |wrong| wrong.to_string()));
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match replay(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
