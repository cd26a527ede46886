//! Why the lab itself can't go on: none of these is a verdict about the image.

use std::path::{Path, PathBuf};

use crate::linux::kernel::KernelError;

/// What kept the lab from doing its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// A program or a ROM is not there.
    #[error("{tool} is missing; install the Debian package {package} (`cargo xtask setup` does)")]
    ToolMissing {
        /// The program or the file.
        tool: String,
        /// The package that has it.
        package: &'static str,
    },
    /// A program is there, but older than what the lab needs.
    #[error("{tool} is version {found}, and the lab needs {wanted} or newer; install a newer {package}")]
    ToolTooOld {
        /// The program.
        tool: &'static str,
        /// Its version.
        found: String,
        /// The oldest that will do.
        wanted: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// The time is up.
    #[error("{what} ended at its time limit of {limit_s} s")]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long it could have taken, in seconds.
        limit_s: u64,
    },
    /// A program did not do what it was started for.
    #[error("{0}")]
    Program(String),
    /// A file can't be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A Debian package can't be fetched, or is not what it should be.
    #[error("Debian's package {package}: {why}")]
    Package {
        /// The package.
        package: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A kernel is not taken.
    #[error("{}: {why}", path.display())]
    Kernel {
        /// The file, or the folder that should have it.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: KernelError,
    },
    /// The connection to QEMU's monitor failed.
    #[error("QMP: {0}")]
    Qmp(String),
    /// Something that the caller asked for does not exist.
    #[error("{0}")]
    Input(String),
}

impl LabError {
    /// For `map_err`: the error about the file at `path`.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }
}
