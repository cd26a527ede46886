//! `park survey`: who made a machine, how many CPUs it has, and what park can do with them.

pub mod args;
pub mod document;
pub mod text;

pub use args::Arguments;

use crate::exit::{Exit, Failure};
use crate::machine::MachineArguments;
use crate::output::{Output, warn};

/// Surveys a machine and prints it.
///
/// # Errors
/// [`Failure`].
pub fn execute(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let chosen = MachineArguments { cpuid: arguments.cpuid.clone(), ..MachineArguments::default() };
    let machine = chosen.machine()?;
    warn(&machine.warnings);
    let document = document::survey(&machine);
    if arguments.json {
        out.document(&document)?
    } else {
        text::print(&document, out)?
    }
    Ok(Exit::AsAsked)
}
