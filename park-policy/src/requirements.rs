//! What is asked of a mechanism.

use crate::Guarantees;
use park_core::{Mechanism, MechanismSet};

/// What a mechanism must provide to be chosen, and what decides between those that do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Requirements {
    /// What it must provide.
    pub require: Guarantees,
    /// What it had better provide: among those that provide all that is required, the one wins that provides the first
    /// of these, in the order of [`PROMISES`](crate::PROMISES).
    pub prefer: Guarantees,
    /// The longest time out of the wait, in microseconds.
    pub latency_us: u32,
    /// Mechanisms that are out of the question.
    pub exclude: MechanismSet,
}

impl Requirements {
    /// The latency of those who have time.
    pub const ANY_LATENCY_US: u32 = u32::MAX;

    /// Nothing is required, and any mechanism will do but wait-for-SIPI, which is for those who [`allow`](Self::allow)
    /// it: the CPU acknowledges nothing, and a machine check that is broadcast ends the machine.
    pub const NONE: Self = Self {
        require: Guarantees::empty(),
        prefer: Guarantees::empty(),
        latency_us: Self::ANY_LATENCY_US,
        exclude: MechanismSet::WAIT_FOR_SIPI,
    };

    /// The same, and this required too.
    #[must_use]
    pub const fn and_require(mut self, more: Guarantees) -> Self {
        self.require = self.require.union(more);
        self
    }

    /// The same, and this preferred too.
    #[must_use]
    pub const fn and_prefer(mut self, more: Guarantees) -> Self {
        self.prefer = self.prefer.union(more);
        self
    }

    /// The same within `latency_us` microseconds.
    #[must_use]
    pub const fn within(mut self, latency_us: u32) -> Self {
        self.latency_us = latency_us;
        self
    }

    /// The same without `mechanism`.
    #[must_use]
    pub fn without(mut self, mechanism: Mechanism) -> Self {
        self.exclude |= mechanism.into();
        self
    }

    /// The same, and `mechanism` may be chosen.
    #[must_use]
    pub fn allow(mut self, mechanism: Mechanism) -> Self {
        self.exclude -= mechanism.into();
        self
    }
}

impl Default for Requirements {
    fn default() -> Self {
        Self::NONE
    }
}
