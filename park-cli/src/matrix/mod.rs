//! `park matrix`: each claim beside what was measured, for every mechanism and event.
//!
//! Columns beyond the simulator's come from files: a lab's document, or a machine's serial log.
//!
//! Claims come from the vendor crates, measurements from rigs that have never seen a claim; here alone they meet.

pub mod against;
pub mod args;
pub mod column;
pub mod document;
pub mod heard;
pub mod html;
mod lab_file;
pub mod log;
pub mod simulator;
pub mod text;
pub mod told;
pub mod words;

pub use args::Arguments;

use crate::exit::{Exit, Failure};
use crate::names::unknown;
use crate::output::Output;
use crate::{deadline, files};
use column::MatrixVendor;

/// Seconds that measuring may take: far more than it needs.
const DEADLINE_S: u64 = 120;

/// Measures, compares and prints.
///
/// # Errors
/// [`Failure`].
pub fn execute(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let vendors = match &arguments.vendor {
        None => MatrixVendor::ALL.to_vec(),
        Some(name) => vec![vendor(name)?],
    };
    let mut heard = Vec::new();
    for path in &arguments.log {
        heard.extend(log::read(path)?);
    }
    let document = deadline::within(DEADLINE_S, move || {
        let mut columns = vec![simulator::measure(&vendors)?];
        columns.extend(heard::columns(&heard));
        Ok(document::document(&vendors, &columns))
    })?;
    if let Some(folder) = &arguments.against {
        return against::print(&document, folder, out);
    }
    if let Some(path) = &arguments.html {
        files::write_whole(path, html::page(&document).as_bytes())?;
    }
    match (arguments.json, &arguments.html) {
        (true, _) => out.document(&document)?,
        (false, Some(path)) => text::print_summary(&document, path, out)?,
        (false, None) => text::print(&document, out)?,
    }
    Ok(document.exit())
}

fn vendor(name: &str) -> Result<MatrixVendor, Failure> {
    MatrixVendor::from_name(name)
        .ok_or_else(|| Failure::Input(unknown("vendor", name, MatrixVendor::ALL.map(MatrixVendor::name))))
}
