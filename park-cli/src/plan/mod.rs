//! `park plan`: which CPUs of a machine are parked in a situation, by which mechanism, and why.

pub mod args;
mod consolidate;
pub mod document;
mod groups;
mod passed_over;
pub mod request;
pub mod text;

pub use args::Arguments;
pub use document::{PlanDocument, plan_machine};
pub use passed_over::PassedOver;
pub use request::PlanRequest;

use crate::exit::{Exit, Failure};
use crate::output::{Output, warn};

/// Plans and prints it.
///
/// # Errors
/// [`Failure`].
pub fn execute(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    // Names first: what is wrong with them needs no machine to be found.
    let request = PlanRequest::read(arguments)?;
    let machine = arguments.machine.machine()?;
    warn(&machine.warnings);
    let document = plan_machine(&machine, &request)?;
    if arguments.json {
        out.document(&document)?
    } else {
        text::print(&document, out)?
    }
    Ok(document.exit())
}
