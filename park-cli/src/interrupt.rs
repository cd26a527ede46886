//! Ctrl-C: the program ends at once, with its exit code for that and without half a file.

use crate::exit::{Exit, Failure};
use crate::files::forget_half_written;

/// Makes SIGINT end the program with [`Exit::Interrupted`]. To be called once.
///
/// # Errors
/// [`Failure::Run`] if the system refuses.
pub fn install() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        forget_half_written();
        std::process::exit(i32::from(Exit::Interrupted.code()));
    })
    .map_err(|error| Failure::Run(format!("can't listen to Ctrl-C: {error}")))
}
