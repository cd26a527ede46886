//! `park lot`: what a lot in a dump of physical memory says: lease, bays, tickets, counts, faults.

pub mod args;
pub mod bay;
pub mod document;
pub mod dump;
pub mod elf;
pub mod find;
pub mod text;

pub use args::Arguments;

use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Finds a lot, decodes it and prints it.
///
/// # Errors
/// [`Failure::Input`] if there is no lot, or no telling which.
pub fn execute(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut dump = dump::Dump::open(&arguments.file)?;
    let place = find::find(&mut dump, arguments.at)?;
    let document = document::document(&mut dump, place)?;
    if arguments.json {
        out.document(&document)?
    } else {
        text::print(&document, out)?
    }
    Ok(document.exit())
}
