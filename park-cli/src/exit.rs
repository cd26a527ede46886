//! How the program ends: exit codes, and errors of one sentence.

use core::fmt;
use std::io;

/// How the program ends. The numbers are part of its interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// As asked.
    AsAsked = 0,
    /// A verdict other than the expected one.
    Unexpected = 1,
    /// Wrong usage or wrong input.
    BadInput = 2,
    /// A tool that is needed is missing.
    ToolMissing = 3,
    /// The deadline passed, or what runs the scenario can't go on.
    Deadline = 4,
    /// Interrupted from the keyboard: 128 + SIGINT, as shells count (POSIX, Shell Command Language 2.8.2).
    Interrupted = 130,
    /// Ended by SIGTERM: 128 + SIGTERM, counted in the same way.
    Terminated = 143,
}

impl Exit {
    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// Why a command gave up: one sentence that names the file, line or value.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// Wrong usage or input.
    Input(String),
    /// A tool that the command needs is not there.
    ToolMissing(String),
    /// The time is up.
    Deadline(String),
    /// The simulator met something that it does not model, or the world failed in a way that no verdict describes.
    Run(String),
    /// Standard output can't be written; a closed pipe is no failure and ends the program quietly.
    Output(io::Error),
}

impl Failure {
    /// The exit that follows.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Input(_) => Exit::BadInput,
            Self::ToolMissing(_) => Exit::ToolMissing,
            Self::Deadline(_) | Self::Run(_) => Exit::Deadline,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::AsAsked,
            Self::Output(_) => Exit::BadInput,
        }
    }

    /// True if somebody is to be told.
    #[must_use]
    pub fn is_reported(&self) -> bool {
        self.exit() != Exit::AsAsked
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(text) | Self::ToolMissing(text) | Self::Deadline(text) | Self::Run(text) => f.write_str(text),
            Self::Output(error) => write!(f, "can't write to standard output: {error}"),
        }
    }
}

impl core::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<park_lab::LabError> for Failure {
    fn from(error: park_lab::LabError) -> Self {
        use park_lab::LabError;
        let text = error.to_string();
        match error {
            LabError::ToolMissing { .. } | LabError::ToolTooOld { .. } | LabError::Package { .. } => {
                Self::ToolMissing(text)
            }
            LabError::Input(_) | LabError::Kernel { .. } => Self::Input(text),
            LabError::Deadline { .. } => Self::Deadline(text),
            _ => Self::Run(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_success_and_a_full_disk_is_not() {
        let closed = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((closed.exit(), closed.is_reported()), (Exit::AsAsked, false));
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!((full.exit(), full.is_reported()), (Exit::BadInput, true));
    }
}
