//! `park demo`: survey, plan and two runs of the kexec of a machine like this one.

pub mod args;
pub mod document;
pub mod likeness;
pub mod picture;
pub mod text;

pub use args::Arguments;

use crate::args::DEFAULT_SEED;
use crate::deadline;
use crate::exit::{Exit, Failure};
use crate::output::{Output, warn};
use crate::sim::picture::Pictures;

/// Seconds that the demo may take: far more than it needs.
const DEADLINE_S: u64 = 60;

/// Plays the demo and prints it.
///
/// # Errors
/// [`Failure`].
pub fn execute(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let machine = arguments.machine.machine()?;
    warn(&machine.warnings);
    let seed = arguments.seed.unwrap_or(DEFAULT_SEED);
    let document = deadline::within(DEADLINE_S, move || document::demo(&machine, seed))?;
    let pictures = Pictures { svg: arguments.svg.clone(), html: arguments.html.clone() };
    if pictures.is_wanted() {
        pictures.write(&picture::picture(&document, arguments.command(seed))?)?;
    }
    if arguments.json {
        out.document(&document)?
    } else {
        text::print(&document, out)?
    }
    Ok(document.exit())
}
