//! The `park` program as a library: every command computes a document, and prints it as JSON or as text.
//!
//! Documents are computed from arguments alone, without looking at a terminal; [`execute`] prints them, and `main` only
//! connects it to the world. Exit codes are in [`exit::Exit`].
#![forbid(unsafe_code)]

pub mod args;
pub mod deadline;
pub mod demo;
pub mod demo_text;
pub mod exit;
pub mod knobs;
pub mod likeness;
pub mod list;
pub mod names;
pub mod orders;
pub mod output;
pub mod paint;
pub mod sim;
pub mod sim_text;
pub mod source;
pub mod survey;
pub mod words;

use args::{Command, DEFAULT_DEADLINE_S, DEFAULT_SEED, DemoArguments, SimArguments};
use exit::{Exit, Failure};
use output::Output;

/// Seconds that the demo may take: far more than it needs.
const DEMO_DEADLINE_S: u64 = 60;

/// Carries a command out and prints what came of it.
///
/// # Errors
/// [`Failure`], with nothing printed unless output itself failed.
pub fn execute(command: &Command, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let exit = match command {
        Command::Demo(arguments) => run_demo(arguments, out)?,
        Command::Sim(arguments) if arguments.list => run_list(arguments, out)?,
        Command::Sim(arguments) => run_sim(arguments, out)?,
    };
    out.flush()?;
    Ok(exit)
}

fn run_demo(arguments: &DemoArguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let survey = survey::survey(survey::host_cpuid, survey::host_cpu_count());
    let seed = arguments.seed.unwrap_or(DEFAULT_SEED);
    let document = deadline::within(DEMO_DEADLINE_S, move || demo::demo(survey, seed))?;
    if arguments.json {
        out.document(&document)?
    } else {
        demo_text::print(&document, out)?
    }
    Ok(document.exit())
}

fn run_list(arguments: &SimArguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let document = list::list()?;
    if arguments.json {
        out.document(&document)?
    } else {
        list::print(&document, out)?
    }
    Ok(Exit::AsAsked)
}

fn run_sim(arguments: &SimArguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let name = arguments.scenario.as_deref().unwrap_or_default();
    let request = sim::SimRequest::read(arguments)?;
    let scenario = source::load(name)?;
    let seconds = arguments.deadline_s.unwrap_or(DEFAULT_DEADLINE_S);
    let document = deadline::within(seconds, move || sim::simulate(&scenario, &request))?;
    if arguments.json {
        out.document(&document)?
    } else {
        sim_text::print(&document, out)?
    }
    Ok(document.exit())
}
