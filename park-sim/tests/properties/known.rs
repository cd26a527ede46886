//! What is known of a CPU in a play, and how a play can end.

use park_core::Mechanism;
use park_core::op::Bay;

/// Why a play is over before its end, as declared: nothing more can be asked of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Over;

/// How an operation of a play can end without a result.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// As declared.
    Over,
    /// Something is wrong.
    Wrong(String),
}

impl From<Over> for Stopped {
    fn from(_: Over) -> Self {
        Self::Over
    }
}

impl From<String> for Stopped {
    fn from(wrong: String) -> Self {
        Self::Wrong(wrong)
    }
}

/// What is known of a CPU.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    pub(crate) bay: Option<Bay>,
    pub(crate) mechanism: Option<Mechanism>,
    /// An INIT was thrown at it: it is taken, at once or once it is woken.
    pub(crate) init: bool,
    /// A machine check was thrown that is a declared shutdown there.
    pub(crate) doomed: bool,
    /// Landings in the current kernel that were no wakes: it was fetched by INIT and STARTUP.
    pub(crate) fetched: u64,
}
