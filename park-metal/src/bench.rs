//! What `t=bench` times: its rows and stamps, and the chances that it draws.
//!
//! Rows take turns in one run, in an order drawn anew for every round, each after an idle time that is drawn too: numbers of
//! separate runs are not compared, and no row always follows the same one.

/// One way in which the target waits and is woken. All rows are timed by the same waker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Row {
    /// park: HLT in bay code, woken by store and NMI.
    Hlt,
    /// park: MWAIT on the doorbell, as shallow as it can be.
    Mwait,
    /// park: MWAIT, as deep as the CPU has it.
    MwaitDeep,
    /// park: GIF = 0 and a PAUSE loop (AMD).
    Clgi,
    /// park: the PAUSE loop of a bay that watches the ACPI mailbox beside its doorbell.
    Pause,
    /// INIT and STARTUP without delays, to 64-bit code: park's trampoline and nothing else.
    InitSipi,
    /// INIT, 10 ms, STARTUP, 200 µs, STARTUP.
    MpsInitSipi,
    /// Assembly by hand: HLT, NMI, one LOCK CMPXCHG.
    HandHlt,
    /// Assembly by hand: MWAIT, one LOCK CMPXCHG.
    HandMwait,
    /// Assembly by hand: PAUSE loop, one LOCK CMPXCHG.
    HandPause,
    /// Assembly by hand: GIF = 0 and a PAUSE loop; EFER.SVME off and GIF = 1 before the LOCK CMPXCHG.
    HandClgi,
    /// Assembly by hand: the register writes of an arrival, with a CPU's own tables.
    HandPark,
    /// UEFI firmware's StartupThisAP, timed before boot services end: in the same boot as the other rows, but not in turn with them.
    Firmware,
}

impl Row {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Hlt,
        Self::Mwait,
        Self::MwaitDeep,
        Self::Clgi,
        Self::Pause,
        Self::InitSipi,
        Self::MpsInitSipi,
        Self::HandHlt,
        Self::HandMwait,
        Self::HandPause,
        Self::HandClgi,
        Self::HandPark,
        Self::Firmware,
    ];

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hlt => "hlt",
            Self::Mwait => "mwait",
            Self::MwaitDeep => "mwait-deep",
            Self::Clgi => "clgi",
            Self::Pause => "pause",
            Self::InitSipi => "init-sipi",
            Self::MpsInitSipi => "init-sipi-mps",
            Self::HandHlt => "hand-hlt",
            Self::HandMwait => "hand-mwait",
            Self::HandPause => "hand-pause",
            Self::HandClgi => "hand-clgi",
            Self::HandPark => "hand-park",
            Self::Firmware => "startup-this-ap",
        }
    }

    /// The row with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|row| row.name() == name)
    }

    /// How many samples this row gives where others give `samples`. MPS' delays take 10 ms each time, and vary by nothing.
    #[must_use]
    pub const fn samples(self, samples: u32) -> u32 {
        match self {
            Self::MpsInitSipi => samples.div_ceil(MPS_SHARE),
            _ => samples,
        }
    }
}

/// INIT-SIPI with delays has one sample for so many of the other rows.
const MPS_SHARE: u32 = 20;

/// A moment of a wake or of a park. Ticks of a sample count from its beginning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stamp {
    /// Wake: the waker has seen the first store behind the claim; for STARTUP, the first store of 64-bit code.
    Seen,
    /// Wake: the target's own time at the first instruction of the entry, on the caller's CR3. Needs one time for both CPUs.
    Entry,
    /// Wake: the waker has seen the entry's store: there and back on one clock.
    Back,
    /// Park, from the request: the target's time when it was sanitised.
    Sanitised,
    /// Park, from the request: the target's time when its arrival frame was written.
    Framed,
    /// Park, from the request: the waker has seen that the target runs bay code.
    Arrived,
    /// Park, from the request: the waker has seen the acknowledgement.
    Acknowledged,
    /// Park, from the jump into the owner text to the acknowledgement that the waker has seen.
    Switch,
}

impl Stamp {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Seen,
        Self::Entry,
        Self::Back,
        Self::Sanitised,
        Self::Framed,
        Self::Arrived,
        Self::Acknowledged,
        Self::Switch,
    ];

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Entry => "entry",
            Self::Back => "back",
            Self::Sanitised => "sanitised",
            Self::Framed => "framed",
            Self::Arrived => "arrived",
            Self::Acknowledged => "acknowledged",
            Self::Switch => "switch",
        }
    }

    /// The stamp with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stamp| stamp.name() == name)
    }
}

/// The longest idle time of `bench` unless the command line says otherwise.
pub const DEFAULT_IDLE_US: u32 = 1000;

/// Samples of each row of `bench` unless the command line says otherwise.
pub const DEFAULT_SAMPLES: u32 = 1000;

/// What `bench` is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BenchOptions {
    /// Wakes of each row.
    pub samples: u32,
    /// What decides the order of rows and the idle times.
    pub seed: u32,
    /// The longest idle time before a wake, in microseconds.
    pub idle_us: u32,
    /// The number of the CPU that is parked and woken.
    pub target: u32,
    /// The longest slice of the target, in ticks, under an emulator that counts instructions; 0 for whole ones.
    pub slices: u32,
    /// Wakes whose IPIs are lost now and then.
    pub losses: u32,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { samples: DEFAULT_SAMPLES, seed: 1, idle_us: DEFAULT_IDLE_US, target: 1, slices: 0, losses: 0 }
    }
}

/// A stream of numbers that a seed decides: xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift
/// generators, scrambled", 2014). Good for shuffling, and for nothing that must not be guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream of this seed; a stream of zeros has none.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        // Any odd number: seeds that differ in few bits shall not begin alike.
        let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(if mixed == 0 { 1 } else { mixed })
    }

    /// The next number.
    #[must_use]
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is not 0. Bits are dropped from the bottom, which are the weakest.
    #[must_use]
    pub const fn below(&mut self, end: u64) -> u64 {
        ((self.next() >> 32) * (end & u32::MAX as u64)) >> 32
    }

    /// Puts `items` into a new order, each as likely as any other (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).unwrap_or(0);
            items.swap(last, other);
        }
    }

    /// A time from 1 to `longest_us` µs: each octave as likely as any other, since states, caches and predictors go with the
    /// logarithm of the time that a CPU has been idle.
    #[must_use]
    pub const fn idle_us(&mut self, longest_us: u32) -> u64 {
        let octaves = u64::BITS - (longest_us as u64).leading_zeros();
        if octaves == 0 {
            return 0;
        }
        let octave = 1 << self.below(octaves as u64);
        let drawn = octave + self.below(octave);
        if drawn > longest_us as u64 { longest_us as u64 } else { drawn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_and_stamp_is_found_by_its_name() {
        for row in Row::ALL {
            assert_eq!(Row::from_name(row.name()), Some(row));
        }
        for stamp in Stamp::ALL {
            assert_eq!(Stamp::from_name(stamp.name()), Some(stamp));
        }
        assert_eq!((Row::from_name("nap"), Stamp::from_name("")), (None, None));
    }

    #[test]
    fn rows_with_long_delays_give_few_samples_but_at_least_one() {
        assert_eq!((Row::Hlt.samples(1000), Row::MpsInitSipi.samples(1000)), (1000, 50));
        assert_eq!((Row::MpsInitSipi.samples(1), Row::MpsInitSipi.samples(0)), (1, 0));
    }

    #[test]
    fn a_seed_decides_the_stream() {
        let numbers = |seed| {
            let mut chance = Chance::new(seed);
            [chance.next(), chance.next(), chance.next()]
        };
        assert_eq!(numbers(7), numbers(7));
        for seed in [0, 1, u64::MAX, u64::MAX - 1] {
            assert!(numbers(seed).iter().all(|&number| number != 0));
            assert_ne!(numbers(seed), numbers(seed.wrapping_add(1)));
        }
    }

    #[test]
    fn every_order_comes_up_about_as_often() {
        let mut chance = Chance::new(1);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..6000 {
            let mut items = [0, 1, 2];
            chance.shuffle(&mut items);
            *counts.entry(items).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        // Five standard deviations of 29 around 1000.
        assert!(counts.values().all(|count| (855..1145).contains(count)), "{counts:?}");
    }

    #[test]
    fn idle_times_fill_every_octave_and_stay_inside() {
        let mut chance = Chance::new(3);
        let mut octaves = [0; 10];
        for _ in 0..10_000 {
            let idle_us = chance.idle_us(1000);
            assert!((1..=1000).contains(&idle_us));
            octaves[idle_us.ilog2() as usize] += 1;
        }
        assert!(octaves.iter().all(|count| (800..1200).contains(count)), "{octaves:?}");
        assert_eq!((chance.idle_us(0), chance.idle_us(1)), (0, 1));
        assert!((0..1000).all(|_| chance.idle_us(u32::MAX) > 0));
    }
}
