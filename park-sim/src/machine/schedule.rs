//! A seeded scheduler.

/// A deterministic source of choices (xoshiro256**, seeded by SplitMix64).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng([u64; 4]);

impl Rng {
    /// The stream that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut split_mix = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Self([split_mix(), split_mix(), split_mix(), split_mix()])
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let out = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= t;
        *d = d.rotate_left(45);
        out
    }

    /// A number below `bound`; 0 for bound 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `n` on average; never for 0.
    pub fn one_in(&mut self, n: u64) -> bool {
        n != 0 && self.below(n) == 0
    }
}

/// How often the scheduler does what the architecture allows at any time. Each is "one in n steps"; 0 = never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Drain one store of some CPU.
    pub drain: u64,
    /// Evict translations of the stepped CPU.
    pub evict: u64,
    /// End an MWAIT for no reason.
    pub false_wake: u64,
    /// Change to another CPU.
    pub switch: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self { drain: 4, evict: 16, false_wake: 256, switch: 3 }
    }
}

/// Picks CPUs, drains, evictions and false wakes from a seed. Fair: no store waits, and no runnable CPU starves, for more than
/// [`Scheduler::FAIR_STEPS`] steps.
#[derive(Debug, Clone)]
pub struct Scheduler {
    /// The source of choices; a caller may draw from it too.
    pub rng: Rng,
    /// The rates.
    pub rates: Rates,
    pub(crate) current: usize,
    pub(crate) starved: Vec<u32>,
    pub(crate) undrained: Vec<u32>,
}

impl Scheduler {
    /// The bound of unfairness, in scheduler steps per CPU.
    pub const FAIR_STEPS: u32 = 64;

    /// A scheduler for `cpus` CPUs.
    #[must_use]
    pub fn new(seed: u64, cpus: usize) -> Self {
        Self { rng: Rng::new(seed), rates: Rates::default(), current: 0, starved: vec![0; cpus], undrained: vec![0; cpus] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_stream_and_bounds_hold() {
        let mut a = Rng::new(7);
        let mut b = Rng::new(7);
        for _ in 0..1000 {
            assert_eq!(a.next_u64(), b.next_u64());
            assert!(a.below(10) == b.below(10));
            assert!(a.below(3) < 3);
            b.below(3);
        }
        assert_ne!(Rng::new(1).next_u64(), Rng::new(2).next_u64());
    }
}
