//! Waiting: for another CPU, and for time to pass.

use core::fmt;

use park_core::Clock;

use crate::platform::clock::TscClock;

/// Why there is no clock, or why a wait ended without what was waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClockError {
    /// PIT channel 2 did not count, or the TSC did not.
    NoPit,
    /// It took longer than the limit.
    TimedOut {
        /// What was waited for.
        what: &'static str,
    },
}

impl fmt::Display for ClockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPit => f.write_str("PIT channel 2 does not count, so the TSC's rate is unknown"),
            Self::TimedOut { what } => write!(f, "waited in vain for {what}"),
        }
    }
}

impl core::error::Error for ClockError {}

impl TscClock {
    /// Waits, spinning, until `done` says so.
    pub(crate) fn wait(
        mut self,
        timeout_us: u64,
        what: &'static str,
        mut done: impl FnMut() -> bool,
    ) -> Result<(), ClockError> {
        let start = self.now();
        let timeout = self.ticks_of_us(timeout_us);
        while !done() {
            if self.now().wrapping_sub(start) > timeout {
                return Err(ClockError::TimedOut { what });
            }
            core::hint::spin_loop();
        }
        Ok(())
    }

    /// Lets `duration_us` microseconds pass.
    pub(crate) fn pass_us(mut self, duration_us: u64) {
        let start = self.now();
        let duration = self.ticks_of_us(duration_us);
        while self.now().wrapping_sub(start) < duration {
            core::hint::spin_loop();
        }
    }
}
