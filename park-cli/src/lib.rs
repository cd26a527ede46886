//! The `park` program as a library: every command computes a document, and prints it as JSON or as text.
//!
//! Documents are computed from arguments alone, without looking at a terminal; [`execute`] prints them, and `main` only
//! connects it to the world. Exit codes are in [`exit::Exit`].
#![forbid(unsafe_code)]

pub mod args;
pub mod bench;
pub mod completions;
pub mod deadline;
pub mod demo;
pub mod dump;
pub mod exit;
pub mod files;
pub mod image;
pub mod input;
pub mod interrupt;
pub mod lab;
pub mod lot;
pub mod machine;
pub mod matrix;
pub mod names;
pub mod output;
pub mod page;
pub mod paint;
pub mod plan;
pub mod sim;
pub mod survey;
pub mod timeline;
pub mod topology;

use args::Command;
use exit::{Exit, Failure};
use output::Output;

/// Carries a command out and prints what came of it.
///
/// # Errors
/// [`Failure`], with nothing printed unless output itself failed.
pub fn execute(command: &Command, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let exit = match command {
        Command::Demo(arguments) => demo::execute(arguments, out)?,
        Command::Survey(arguments) => survey::execute(arguments, out)?,
        Command::Plan(arguments) => plan::execute(arguments, out)?,
        Command::Sim(arguments) => sim::execute(arguments, out)?,
        Command::Matrix(arguments) => matrix::execute(arguments, out)?,
        Command::Lot(arguments) => lot::execute(arguments, out)?,
        Command::Lab(arguments) => lab::execute(arguments, out)?,
        Command::Bench(arguments) => bench::execute(arguments, out)?,
        Command::Image(arguments) => image::execute(arguments, out)?,
        Command::Completions(arguments) => completions::execute(arguments, out)?,
    };
    out.flush()?;
    Ok(exit)
}
