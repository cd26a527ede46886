//! `park sim`: a scenario in the simulator.

pub mod args;
pub mod document;
pub mod knobs;
pub mod list;
pub mod orders;
pub mod picture;
pub mod source;
pub mod text;
pub mod words;

pub use args::Arguments;

use crate::args::DEFAULT_DEADLINE_S;
use crate::deadline;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Runs a scenario, or lists all, and prints what came of it.
///
/// # Errors
/// [`Failure`].
pub fn execute(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if arguments.list {
        return execute_list(arguments, out);
    }
    let name = arguments.scenario.as_deref().unwrap_or_default();
    let request = document::SimRequest::read(arguments)?;
    let scenario = source::load(name)?;
    let seconds = arguments.deadline_s.unwrap_or(DEFAULT_DEADLINE_S);
    let pictures = picture::Pictures { svg: arguments.svg.clone(), html: arguments.html.clone() };
    let document = deadline::within(seconds, move || document::simulate(&scenario, &request))?;
    if pictures.is_wanted() {
        pictures.write(&picture::picture(&document)?)?;
    }
    if arguments.json {
        out.document(&document)?
    } else {
        text::print(&document, out)?
    }
    Ok(document.exit())
}

fn execute_list(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let document = list::list()?;
    if arguments.json {
        out.document(&document)?
    } else {
        list::print(&document, out)?
    }
    Ok(Exit::AsAsked)
}
