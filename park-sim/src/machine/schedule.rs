//! A seeded scheduler.

use super::activity::Outcome;
use super::event::{Event, EventKind};
use super::tlb::Evict;

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
    #[inline]
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
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `n` on average; never for 0.
    #[inline]
    pub fn one_in(&mut self, n: u64) -> bool {
        n != 0 && self.below(n) == 0
    }
}

/// How often the scheduler does what the architecture allows at any time. Each is "one in n steps"; 0 = never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Drain one store of some CPU.
    pub drain: u64,
    /// Drain a store of the CPU whose turn it is, instead of its next instruction.
    pub drain_own: u64,
    /// Evict translations of the stepped CPU.
    pub evict: u64,
    /// End an MWAIT for no reason.
    pub false_wake: u64,
    /// Change to another CPU.
    pub switch: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self { drain: 4, drain_own: 2, evict: 16, false_wake: 256, switch: 3 }
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
        Self {
            rng: Rng::new(seed),
            rates: Rates::default(),
            current: 0,
            starved: vec![0; cpus],
            undrained: vec![0; cpus],
        }
    }
}

impl super::Machine {
    /// One scheduled step: picks a CPU that can step, maybe drains a store, evicts a translation or ends an MWAIT first. `None` if no CPU can
    /// move and no store waits.
    pub fn step_scheduled(&mut self, scheduler: &mut Scheduler) -> Option<(usize, Outcome)> {
        let cpus = self.cpu_count();
        scheduler.starved.resize(cpus, 0);
        scheduler.undrained.resize(cpus, 0);
        self.drain_scheduled(scheduler);
        if scheduler.rng.one_in(scheduler.rates.false_wake) {
            let cpu = scheduler.rng.below(cpus as u64) as usize;
            self.inject(Event::at(cpu, EventKind::FalseWake));
        }
        let cpu = self.pick(scheduler)?;
        if scheduler.rng.one_in(scheduler.rates.evict) {
            let which = if scheduler.rng.one_in(2) { Evict::Oldest } else { Evict::All };
            self.evict_tlb(cpu, which);
        }
        Some((cpu, self.step(cpu)))
    }

    fn drain_scheduled(&mut self, scheduler: &mut Scheduler) {
        for cpu in 0..self.cpu_count() {
            let Some(waited) = scheduler.undrained.get_mut(cpu) else { continue };
            if !self.cpu(cpu).stores_waiting() {
                *waited = 0;
                continue;
            }
            *waited += 1;
            if *waited > Scheduler::FAIR_STEPS || scheduler.rng.one_in(scheduler.rates.drain) {
                *waited = 0;
                self.drain_one(cpu);
            }
        }
    }

    fn pick(&mut self, scheduler: &mut Scheduler) -> Option<usize> {
        let cpus = self.cpu_count();
        let mut able = 0u64;
        let mut starving = None;
        for cpu in 0..cpus {
            let Some(starved) = scheduler.starved.get_mut(cpu) else { continue };
            if !self.can_step(cpu) {
                *starved = 0;
                continue;
            }
            able += 1;
            *starved += 1;
            if *starved > Scheduler::FAIR_STEPS.saturating_mul(cpus as u32) {
                starving = Some(cpu);
            }
        }
        if able == 0 {
            return None;
        }
        let stay = self.can_step(scheduler.current) && !scheduler.rng.one_in(scheduler.rates.switch);
        let chosen = match starving {
            Some(cpu) => cpu,
            None if stay => scheduler.current,
            None => {
                let nth = scheduler.rng.below(able) as usize;
                (0..cpus).filter(|cpu| self.can_step(*cpu)).nth(nth)?
            }
        };
        scheduler.current = chosen;
        if let Some(starved) = scheduler.starved.get_mut(chosen) {
            *starved = 0;
        }
        Some(chosen)
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
