//! Ctrl-C and SIGTERM: the program ends at once, with its exit code for that and without half a file.

use crate::exit::{Exit, Failure};
use crate::files::forget_half_written;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::thread;

/// Makes SIGINT end the program with [`Exit::Interrupted`], and SIGTERM with [`Exit::Terminated`]. To be called once.
///
/// # Errors
/// [`Failure::Run`] if the system refuses.
pub fn install() -> Result<(), Failure> {
    let refused = |error| Failure::Run(format!("can't listen to signals: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(refused)?;
    let listen = move || {
        if let Some(signal) = signals.forever().next() {
            forget_half_written();
            let exit = if signal == SIGTERM { Exit::Terminated } else { Exit::Interrupted };
            std::process::exit(i32::from(exit.code()));
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(listen).map_err(refused)?;
    Ok(())
}
