//! The choices of a consolidation.

use core::fmt;

/// Where somebody stays awake whatever the load.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Keep<'a> {
    /// Somewhere in the machine.
    OneCpu,
    /// In each of these packages, and somewhere in the machine: packages with devices or memory that the kernel uses.
    Packages(&'a [u32]),
    /// In each package.
    EveryPackage,
}

/// Loads and times at which CPUs are parked and woken. Loads are means over the CPUs that are awake.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tuning {
    /// The load that parking and waking lead to, in percent, 1 to 99.
    pub target_percent: u8,
    /// Above this load CPUs are woken, in percent; above the target, at most 99. A CPU busier than that is not parked.
    pub wake_above_percent: u8,
    /// How long fewer CPUs must do before some are parked, and how long a woken CPU runs at least, in microseconds.
    pub calm_us: u64,
    /// How many wake latencies a CPU sleeps at least.
    pub break_even_latencies: u32,
}

impl Tuning {
    /// A middle way. Measured on nobody's machine: start here and look.
    ///
    /// Three fifths busy leaves room for a burst of a third more; four fifths is where queues begin to grow. A tenth of a
    /// second is ten scheduler ticks at 100 Hz. A sleep of ten latencies spends a tenth of its time falling asleep and
    /// waking up, at most.
    pub const BALANCED: Self =
        Self { target_percent: 60, wake_above_percent: 80, calm_us: 100_000, break_even_latencies: 10 };

    pub(crate) const fn check(&self) -> Result<(), TuningError> {
        if self.target_percent == 0 || self.wake_above_percent > LOAD_MAX_PERCENT {
            return Err(TuningError::OutOfRange);
        }
        if self.wake_above_percent <= self.target_percent {
            return Err(TuningError::NoGap);
        }
        if self.calm_us == 0 || self.break_even_latencies == 0 {
            return Err(TuningError::NoTime);
        }
        Ok(())
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self::BALANCED
    }
}

/// The highest load that can be exceeded.
const LOAD_MAX_PERCENT: u8 = 99;

/// What is wrong with a tuning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TuningError {
    /// A load is 0, or is never exceeded.
    OutOfRange,
    /// CPUs would be woken at the load that parking leads to.
    NoGap,
    /// A time is 0.
    NoTime,
}

impl fmt::Display for TuningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "the target and the load to wake above are from 1 to 99 percent",
            Self::NoGap => "the load to wake above must be higher than the target: without a gap CPUs come and go",
            Self::NoTime => "the calm and the break-even are at least 1",
        })
    }
}

impl core::error::Error for TuningError {}
