//! Time: the time stamp counter.

use park_core::{Clock, Ticks};

use crate::image::insn;

/// The time stamp counter at a measured rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TscClock {
    ticks_per_second: u64,
}

impl TscClock {
    /// A clock of this rate, which must not be 0. The TSC must be invariant, and the same on all CPUs.
    pub(crate) const fn new(ticks_per_second: u64) -> Self {
        Self { ticks_per_second }
    }

    /// `duration_us` microseconds in ticks.
    pub(crate) const fn ticks_of_us(&self, duration_us: u64) -> Ticks {
        duration_us.saturating_mul(self.ticks_per_second) / 1_000_000
    }
}

impl Clock for TscClock {
    fn now(&mut self) -> Ticks {
        insn::read_tsc()
    }

    fn ticks_per_second(&self) -> u64 {
        self.ticks_per_second
    }
}
