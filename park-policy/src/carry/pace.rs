//! How long to wait for what, and how far to go.

use park_core::Ticks;
use park_core::op::{SipiTiming, Timing};

/// What to do about a CPU that shall be woken and does not answer its doorbell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rescue {
    /// Quarantine its bay.
    Quarantine,
    /// If it is an application processor that waits by Hlt: take it by INIT, and fetch it by STARTUP. What that costs where
    /// SMM rendezvous or VMX are about stands with [`SinkToSipi`](park_core::op::SinkToSipi).
    InitStartup,
}

/// Times, in ticks of the clock that drives, and how often to try.
///
/// A CPU's time to *arrive* is not here: it is its placement's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pace {
    /// Ticks of the clock in a second.
    pub ticks_per_second: u64,
    /// Between two NMIs to a CPU that has not claimed yet, and between two looks at something that nobody announces.
    pub kick_interval_ticks: Ticks,
    /// The first ring's time for its claim; each further attempt gets twice the time of the one before.
    pub ring_ticks: Ticks,
    /// From the claim of a wake until the CPU should have given its bay back.
    pub leave_ticks: Ticks,
    /// How long the CPUs that missed their deadlines are looked for, once all others are settled.
    pub grace_ticks: Ticks,
    /// How often a CPU is rung before it is given up; at least once.
    pub attempts: u32,
    /// What to do about a CPU that shall be woken and does not answer.
    pub rescue: Rescue,
}

/// Between two NMIs: many times the way to a CPU and through its handler, and few enough not to fill it.
const KICK_US: u64 = 1_000;
/// For a claim: longer than stays in SMM that firmware is known for (tens of milliseconds).
const RING_US: u64 = 100_000;
/// What each further CPU adds to the time of a ring: those of a package may come out of a deep state one after another.
const RING_SHARE_US: u64 = 100;
/// For a woken CPU to give its bay back: as long as one may take to arrive.
const LEAVE_US: u64 = crate::ARRIVAL_US as u64;
/// What each further CPU adds to that.
const LEAVE_SHARE_US: u64 = crate::ARRIVAL_SHARE_US as u64;
/// For those that are late, once all others are settled.
const GRACE_US: u64 = 100_000;
/// Rings before a CPU is given up: the last one lasts four times as long as the first.
const ATTEMPTS: u32 = 3;
/// Longest shift of a ring's time: beyond, it would be all shift and no time.
const DOUBLINGS_MAX: u32 = 16;

/// Delays of INIT and STARTUP (Intel SDM vol. 3, "MP Initialization Protocol Algorithm for MP Systems").
const INIT_DELAY_US: u64 = crate::SINK_US as u64;
const STARTUP_DELAY_US: u64 = 200;

impl Pace {
    /// A pace for `cpus` CPUs, by a clock of this rate.
    #[must_use]
    pub fn new(ticks_per_second: u64, cpus: usize) -> Self {
        let others = u64::try_from(cpus.saturating_sub(1)).unwrap_or(u64::MAX);
        let scaled =
            |us: u64, share_us: u64| ticks(us.saturating_add(others.saturating_mul(share_us)), ticks_per_second);
        Self {
            ticks_per_second,
            kick_interval_ticks: ticks(KICK_US, ticks_per_second),
            ring_ticks: scaled(RING_US, RING_SHARE_US),
            leave_ticks: scaled(LEAVE_US, LEAVE_SHARE_US),
            grace_ticks: ticks(GRACE_US, ticks_per_second),
            attempts: ATTEMPTS,
            rescue: Rescue::Quarantine,
        }
    }

    /// The same with another way to treat a CPU that shall be woken and does not answer.
    #[must_use]
    pub const fn with_rescue(mut self, rescue: Rescue) -> Self {
        self.rescue = rescue;
        self
    }

    /// When `timeout_us` from `now` are over.
    pub(super) fn after_us(&self, now: Ticks, timeout_us: u32) -> Ticks {
        now.saturating_add(ticks(timeout_us.into(), self.ticks_per_second))
    }

    /// The time of the `attempt`-th ring, counted from 0.
    pub(super) fn ring_time(&self, attempt: u32) -> Ticks {
        self.ring_ticks.saturating_mul(1 << attempt.min(DOUBLINGS_MAX))
    }

    /// The timing of the `attempt`-th ring, counted from 0.
    pub(super) fn ring(&self, now: Ticks, attempt: u32) -> Timing {
        let deadline = now.saturating_add(self.ring_time(attempt));
        Timing { kick_interval_ticks: self.kick_interval_ticks, deadline }
    }

    /// When to look again at something that nobody announces, until `end`.
    pub(super) fn look_again(&self, now: Ticks, end: Ticks) -> Ticks {
        now.saturating_add(self.kick_interval_ticks.max(1)).min(end)
    }

    pub(super) fn init_delay(&self) -> Ticks {
        ticks(INIT_DELAY_US, self.ticks_per_second)
    }

    pub(super) fn sipi(&self, now: Ticks) -> SipiTiming {
        SipiTiming {
            init_delay_ticks: self.init_delay(),
            startup_delay_ticks: ticks(STARTUP_DELAY_US, self.ticks_per_second),
            retry_interval_ticks: self.ring_ticks,
            deadline: now.saturating_add(self.ring_time(self.attempts)),
        }
    }
}

/// `us` microseconds in ticks, rounded up.
fn ticks(us: u64, ticks_per_second: u64) -> Ticks {
    const US_PER_SECOND: u128 = 1_000_000;
    let ticks = (u128::from(us) * u128::from(ticks_per_second)).div_ceil(US_PER_SECOND);
    Ticks::try_from(ticks).unwrap_or(Ticks::MAX)
}
