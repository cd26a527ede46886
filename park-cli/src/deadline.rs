//! Work that must end in time.

use crate::exit::Failure;
use core::time::Duration;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;

/// Runs `work` for at most `deadline_s` seconds. Work that is late goes on until the program ends, which is at once.
///
/// # Errors
/// That of the work; [`Failure::Deadline`] if the time is up.
pub fn within<T, W>(deadline_s: u64, work: W) -> Result<T, Failure>
where
    T: Send + 'static,
    W: FnOnce() -> Result<T, Failure> + Send + 'static,
{
    let (sender, receiver) = channel();
    let worker = thread::Builder::new().name("simulator".to_owned()).spawn(move || {
        // Nobody listens any more after the deadline.
        let _ = sender.send(work());
    });
    worker.map_err(|error| Failure::Run(format!("can't start a thread for the simulator: {error}")))?;
    match receiver.recv_timeout(Duration::from_secs(deadline_s)) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(Failure::Deadline(format!(
            "the simulator has not finished in {deadline_s} s; --deadline-s N gives it longer"
        ))),
        Err(RecvTimeoutError::Disconnected) => {
            Err(Failure::Run("the simulator stopped without a result: a bug of park, please report it".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_work_is_given_up() {
        let late = within(0, || {
            thread::sleep(Duration::from_secs(30));
            Ok(())
        });
        assert!(matches!(late, Err(Failure::Deadline(_))));
        assert!(matches!(within(60, || Ok(7)), Ok(7)));
    }
}
