//! What can go wrong while a world is built or played.

use crate::machine::{ConfigError, Machine, Stop};
use iced_x86::IcedError;
use thiserror::Error;

/// An error of a world.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorldError {
    /// An operation, or a builder of park, failed.
    #[error("{0}")]
    Park(#[from] park_core::Error),
    /// Sanitising refused the CPU or failed.
    #[error("CPU {cpu}: {error}")]
    Sanitise {
        /// The CPU.
        cpu: usize,
        /// What refused.
        error: park_x86::sanitise::SanitiseError,
    },
    /// The machine can't be built.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A simulated kernel's code does not assemble.
    #[error("a simulated kernel's code does not assemble: {0}")]
    Assemble(#[from] IcedError),
    /// More CPUs than a simulated kernel has room for.
    #[error("{cpus} CPUs are more than a simulated kernel has room for")]
    TooManyCpus {
        /// How many.
        cpus: usize,
    },
    /// There is no lot in this world.
    #[error("there is no lot yet: build one first")]
    NoLot,
    /// No CPU of this number.
    #[error("there is no CPU {cpu}")]
    NoSuchCpu {
        /// The number.
        cpu: usize,
    },
    /// The machine met something that it does not model.
    #[error("CPU {cpu} at {rip:#x}: {text} is not modelled (bytes {bytes:02x?})")]
    Unsupported {
        /// The CPU.
        cpu: usize,
        /// Its RIP.
        rip: u64,
        /// The bytes there.
        bytes: [u8; 15],
        /// What it is.
        text: String,
    },
    /// A CPU took its entry and never reached it.
    #[error("CPU {cpu} took its entry and never reached it")]
    NotLanded {
        /// The CPU.
        cpu: usize,
    },
    /// A CPU does not enter VMX operation.
    #[error("CPU {cpu} does not enter VMX operation: choose a machine that has it")]
    NotVmx {
        /// The CPU.
        cpu: usize,
    },
    /// The machine was reset while somebody still wanted to run on it.
    #[error("the machine was reset")]
    Reset,
    /// An operation ended without a result: a bug of the operation.
    #[error("an operation ended without a result")]
    Stuck,
}

impl WorldError {
    /// Why `machine` does not go on.
    pub(crate) fn stopped(machine: &Machine) -> Self {
        match machine.stopped() {
            Some(Stop::Unsupported { cpu, rip, bytes, text }) => {
                Self::Unsupported { cpu: *cpu, rip: *rip, bytes: *bytes, text: text.clone() }
            }
            _ => Self::Reset,
        }
    }
}
