//! Consolidation: which CPUs sleep, decided from load and wake latency over time.
//!
//! A [`Consolidator`] is told again and again how busy the running CPUs are. It parks those that the rest can do without,
//! once that has been so for a while, and wakes them as soon as the rest gets too busy.

use crate::consolidate_order::arrange;
use crate::consolidate_tuning::{Keep, Tuning, TuningError};
use crate::{CpuView, Requirements};
use core::fmt;

/// The most CPUs: what an index in a [`Track`] can name, rounded to what park is made for.
pub const CONSOLIDATE_CPUS_MAX: usize = 8192;
/// Doublings of the calm, at most.
const REGRETS_MAX: u8 = 5;
/// Without an error for so many calms, one doubling is taken back.
const FORGIVEN_AFTER_CALMS: u64 = 16;
/// All of one CPU's time, in percent.
const FULL_PERCENT: u64 = 100;

/// What a consolidator remembers of one CPU: the caller's storage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Track {
    /// When its state last changed.
    pub(crate) changed_us: u64,
    /// How long it sleeps at least.
    pub(crate) break_even_us: u32,
    /// Not of this CPU: which CPU has this place in the order of nearness.
    pub(crate) order: u16,
    pub(crate) state: State,
}

impl Track {
    /// What fills storage.
    pub const EMPTY: Self = Self { changed_us: 0, break_even_us: 0, order: 0, state: State::Runs };
}

const _: () = {
    /// 128 KiB for 8192 CPUs.
    const SIZE_MAX: usize = 16;
    assert!(size_of::<Track>() <= SIZE_MAX && CONSOLIDATE_CPUS_MAX <= 1 << u16::BITS);
};

/// What a CPU does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum State {
    /// It never sleeps.
    Pinned,
    Runs,
    /// It was decided just now that it sleeps.
    Parks,
    Parked,
    /// It was decided just now that it wakes.
    Wakes,
}

impl State {
    const fn is_awake(self) -> bool {
        matches!(self, Self::Pinned | Self::Runs | Self::Wakes)
    }
}

/// What is to be done with a CPU now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Change {
    /// Park it.
    Park,
    /// Wake it.
    Wake,
}

/// What was decided.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Decision {
    /// CPUs to park now.
    pub parks: usize,
    /// CPUs to wake now.
    pub wakes: usize,
    /// CPUs that are awake once that is done.
    pub awake: usize,
}

/// Why there is no consolidator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ConsolidateError {
    /// The storage is too small: so many tracks are needed.
    TooFewTracks {
        /// One for each CPU.
        needed: usize,
    },
    /// More than [`CONSOLIDATE_CPUS_MAX`] CPUs.
    TooManyCpus {
        /// How many.
        count: usize,
    },
    /// The tuning makes no sense.
    Tuning(TuningError),
}

impl fmt::Display for ConsolidateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewTracks { needed } => write!(f, "consolidating needs {needed} tracks: one for each CPU"),
            Self::TooManyCpus { count } => {
                write!(f, "{count} CPUs are more than the {CONSOLIDATE_CPUS_MAX} that can be consolidated")
            }
            Self::Tuning(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConsolidateError {}

/// A time in which fewer CPUs would have done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Low {
    since_us: u64,
    /// How many would have done, at the busiest moment.
    needed: usize,
}

/// Decides from load and wake latency over time which CPUs sleep.
///
/// It is told again and again how busy the running CPUs are. It parks those that the rest can do without, once that has
/// been so for a while, and wakes them as soon as the rest gets too busy. It carries nothing out:
/// [`changes`](Self::changes) says what is to be done now, and [`marks`](Self::marks) which CPUs sleep, for a
/// [plan](crate::plan) of [`Which::Marked`](crate::Which::Marked). Loads and times are a [`Tuning`].
///
/// # Which CPUs
/// CPUs have a fixed order of nearness to the bootstrap processor: its core, its cache, its package, then the others, core
/// by core. The farthest sleep first and wake last. So load packs into cores that share a cache, whole cores sleep, and at
/// most one is half asleep, unless a CPU is too busy to be moved.
///
/// # Why it does not thrash
/// * Between the load at which CPUs are woken and the load that parking leads to is a gap: constant load comes to rest.
/// * What sleeps, sleeps for its break-even time at least; what was woken, runs for the calm time at least. So in any time
///   `t` a CPU is parked at most `1 + t / (calm + break-even)` times, whatever the load does.
/// * A CPU that is woken soon after it was parked was parked in error: each such error doubles the calm that the next
///   parking waits for, until there have been none for long.
#[derive(Debug)]
pub struct Consolidator<'s> {
    tracks: &'s mut [Track],
    tuning: Tuning,
    pinned: usize,
    low: Option<Low>,
    last_us: u64,
    regrets: u8,
    regretted_us: u64,
}

impl<'s> Consolidator<'s> {
    /// Begins with all CPUs awake. `tracks` needs one for each CPU; the rest is left alone.
    ///
    /// A CPU sleeps only if a mechanism [fits](crate::Assessment::fits) `requirements`; the mechanism's wake latency gives
    /// its break-even time. The bootstrap processor never sleeps, nor the nearest CPU of what `keep` says.
    ///
    /// # Errors
    /// [`ConsolidateError`].
    pub fn new(
        cpus: &[CpuView<'_>],
        requirements: &Requirements,
        keep: Keep<'_>,
        tuning: Tuning,
        tracks: &'s mut [Track],
    ) -> Result<Self, ConsolidateError> {
        if cpus.len() > CONSOLIDATE_CPUS_MAX {
            return Err(ConsolidateError::TooManyCpus { count: cpus.len() });
        }
        tuning.check().map_err(ConsolidateError::Tuning)?;
        let Some(tracks) = tracks.get_mut(..cpus.len()) else {
            return Err(ConsolidateError::TooFewTracks { needed: cpus.len() });
        };
        let pinned = arrange(cpus, requirements, keep, &tuning, tracks);
        Ok(Self { tracks, tuning, pinned, low: None, last_us: 0, regrets: 0, regretted_us: 0 })
    }

    /// Decides what is to be done at `now_us`, from the loads of `cpus`: the list that the consolidator was made with, with
    /// other loads. Loads of CPUs that sleep don't count.
    ///
    /// Call it as often as loads are measured. What is to be done counts as done: report [`failed`](Self::failed) before the
    /// next decision. Where time has not gone on, nothing is decided.
    pub fn decide(&mut self, cpus: &[CpuView<'_>], now_us: u64) -> Decision {
        for track in self.tracks.iter_mut() {
            track.state = match track.state {
                State::Parks => State::Parked,
                State::Wakes => State::Runs,
                other => other,
            };
        }
        let awake = self.awake();
        let unchanged = Decision { awake, ..Decision::default() };
        if now_us <= self.last_us {
            return unchanged;
        }
        self.last_us = now_us;
        let busy = self.tracks.iter().zip(cpus).filter(|(track, _)| track.state.is_awake());
        let demand: u64 = busy.map(|(_, cpu)| u64::from(cpu.load_percent).min(FULL_PERCENT)).sum();
        let needed = demand.div_ceil(self.tuning.target_percent.into());
        let needed = usize::try_from(needed).unwrap_or(usize::MAX).max(self.pinned).max(1).min(self.tracks.len());
        if demand > u64::from(self.tuning.wake_above_percent) * awake as u64 {
            self.low = None;
            let wakes = self.wake(needed.saturating_sub(awake), now_us);
            return Decision { wakes, awake: awake + wakes, parks: 0 };
        }
        if needed >= awake {
            self.low = None;
            return unchanged;
        }
        let low = self.low.get_or_insert(Low { since_us: now_us, needed });
        low.needed = low.needed.max(needed);
        let (spare, lasted_us) = (awake.saturating_sub(low.needed), now_us - low.since_us);
        if lasted_us < self.calm_us() {
            return unchanged;
        }
        let parks = self.park(spare, cpus, now_us, lasted_us);
        if parks > 0 {
            // Those that still should and could not wait on: their time has begun.
            self.low = None;
        }
        Decision { parks, awake: awake - parks, wakes: 0 }
    }

    /// What was decided last: each CPU's index in the list, and what is to be done with it. Nearest first.
    pub fn changes(&self) -> impl Iterator<Item = (usize, Change)> + '_ {
        self.tracks.iter().filter_map(|place| {
            let index = usize::from(place.order);
            match self.tracks.get(index)?.state {
                State::Parks => Some((index, Change::Park)),
                State::Wakes => Some((index, Change::Wake)),
                State::Pinned | State::Runs | State::Parked => None,
            }
        })
    }

    /// What was to be done with the CPU at `index` was not: it is as it was. One that could not be parked is left alone for
    /// as many calms as the most patient parking waits for; one that could not be woken, for its break-even time.
    pub fn failed(&mut self, index: usize) {
        if let Some(track) = self.tracks.get_mut(index) {
            track.state = match track.state {
                State::Parks => {
                    // In the future: until then it is not parked.
                    track.changed_us =
                        self.last_us.saturating_add(self.tuning.calm_us.saturating_mul(1 << REGRETS_MAX));
                    State::Runs
                }
                State::Wakes => State::Parked,
                other => other,
            };
        }
    }

    /// True if the CPU at `index` sleeps, or is to.
    #[must_use]
    pub fn sleeps(&self, index: usize) -> bool {
        self.tracks.get(index).is_some_and(|track| !track.state.is_awake())
    }

    /// How many CPUs are awake, or to be woken.
    #[must_use]
    pub fn awake(&self) -> usize {
        self.tracks.iter().filter(|track| track.state.is_awake()).count()
    }

    /// Marks the CPUs that sleep, as [`Which::Marked`](crate::Which::Marked) reads them. A word for every 64 CPUs; what has
    /// no room is left out.
    pub fn marks(&self, words: &mut [u64]) {
        words.fill(0);
        for (index, _) in self.tracks.iter().enumerate().filter(|(_, track)| !track.state.is_awake()) {
            if let Some(word) = words.get_mut(index / 64) {
                *word |= 1 << (index % 64);
            }
        }
    }

    /// How long fewer CPUs must do before some are parked.
    const fn calm_us(&self) -> u64 {
        self.tuning.calm_us.saturating_mul(1 << self.regrets)
    }

    /// Wakes up to `count` CPUs that have slept long enough, the nearest first.
    fn wake(&mut self, count: usize, now_us: u64) -> usize {
        let mut woken = 0;
        let mut regret = false;
        for place in 0..self.tracks.len() {
            if woken == count {
                break;
            }
            let Some(track) = self.at_place(place) else { continue };
            let slept_us = now_us.saturating_sub(track.changed_us);
            if track.state == State::Parked && slept_us >= track.break_even_us.into() {
                (track.state, track.changed_us) = (State::Wakes, now_us);
                woken += 1;
                regret |= slept_us < self.tuning.calm_us;
            }
        }
        if regret {
            self.regrets = (self.regrets + 1).min(REGRETS_MAX);
            self.regretted_us = now_us;
        }
        woken
    }

    /// Parks up to `count` CPUs that are not too busy to be moved, the farthest first. All have run for `lasted_us`: what is
    /// woken ends a low.
    fn park(&mut self, count: usize, cpus: &[CpuView<'_>], now_us: u64, lasted_us: u64) -> usize {
        let forgiven_us = self.calm_us().saturating_mul(FORGIVEN_AFTER_CALMS);
        if self.regrets > 0 && now_us.saturating_sub(self.regretted_us) >= forgiven_us {
            (self.regrets, self.regretted_us) = (self.regrets - 1, now_us);
        }
        let wake_above_percent = self.tuning.wake_above_percent;
        let mut parked = 0;
        for place in (0..self.tracks.len()).rev() {
            if parked == count {
                break;
            }
            let index = self.tracks.get(place).map_or(usize::MAX, |track| track.order.into());
            let busy = cpus.get(index).is_none_or(|cpu| cpu.load_percent > wake_above_percent);
            let Some(track) = self.at_place(place) else { continue };
            // What was calm for less than the break-even time is not worth a sleep of that length.
            if track.state == State::Runs
                && !busy
                && now_us >= track.changed_us
                && lasted_us >= track.break_even_us.into()
            {
                (track.state, track.changed_us) = (State::Parks, now_us);
                parked += 1;
            }
        }
        parked
    }

    fn at_place(&mut self, place: usize) -> Option<&mut Track> {
        let index = usize::from(self.tracks.get(place)?.order);
        self.tracks.get_mut(index)
    }
}
