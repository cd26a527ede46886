//! Quantiles, and ratios of them with what resampling says of their error.
//!
//! The mean is of no use on a shared machine: one turn that the host gives to somebody else is as long as ten thousand wakes.
//! A tenth of the samples has met nobody else even then, so p10 is what is compared.

/// Resamplings that an interval is made of.
const RESAMPLINGS: usize = 1000;
/// Of them, the share on each side that a 95 % interval leaves out.
const TAIL: f64 = 0.025;
/// Where the stream of choices begins: any number, so that an interval is the same each time.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// The quantile of `samples`: the smallest sample that a share `share` of all is not above (nearest rank). `None` of none.
#[must_use]
pub fn quantile(samples: &[u64], share: f64) -> Option<u64> {
    let mut samples = samples.to_vec();
    let index = rank(samples.len(), share)?;
    Some(*samples.select_nth_unstable(index).1)
}

fn rank(len: usize, share: f64) -> Option<usize> {
    let last = len.checked_sub(1)?;
    let rank = (share * len as f64).ceil() as usize;
    Some(rank.saturating_sub(1).min(last))
}

/// What is told of a series.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// How many samples.
    pub n: usize,
    /// The smallest.
    pub min: u64,
    /// A tenth is not above it.
    pub p10: u64,
    /// Half is not above it.
    pub p50: u64,
    /// 99 % are not above it.
    pub p99: u64,
    /// 99.9 % are not above it.
    pub p999: u64,
    /// The largest.
    pub max: u64,
}

impl Summary {
    /// The summary of samples; `None` of none.
    #[must_use]
    pub fn of(samples: &[u64]) -> Option<Self> {
        let at = |share| quantile(samples, share);
        let (min, max) = (*samples.iter().min()?, *samples.iter().max()?);
        Some(Self { n: samples.len(), min, p10: at(0.1)?, p50: at(0.5)?, p99: at(0.99)?, p999: at(0.999)?, max })
    }
}

/// How often one series' quantile is another's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ratio {
    /// Of the samples as they are.
    pub value: f64,
    /// Where 95 % of resamplings lie: from.
    pub low: f64,
    /// To.
    pub high: f64,
}

/// The quantile `share` of `over` by that of `under`, with its bootstrap interval: both are drawn again, with repetition, as
/// often as they have samples. `None` if either is empty, or the lower quantile is 0.
#[must_use]
pub fn ratio(over: &[u64], under: &[u64], share: f64) -> Option<Ratio> {
    let value = quotient(quantile(over, share)?, quantile(under, share)?)?;
    let mut draws = Draws(SEED);
    let mut resampled: Vec<f64> = (0..RESAMPLINGS)
        .filter_map(|_| quotient(draws.quantile(over, share)?, draws.quantile(under, share)?))
        .collect();
    resampled.sort_by(f64::total_cmp);
    let at = |share| rank(resampled.len(), share).and_then(|index| resampled.get(index).copied());
    Some(Ratio { value, low: at(TAIL)?, high: at(1.0 - TAIL)? })
}

fn quotient(over: u64, under: u64) -> Option<f64> {
    (under != 0).then(|| over as f64 / under as f64)
}

/// A stream of choices: xorshift64*.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((drawn * end as u64) >> 32) as usize
    }

    /// The quantile of as many samples, drawn with repetition.
    fn quantile(&mut self, samples: &[u64], share: f64) -> Option<u64> {
        let drawn: Vec<u64> = samples.iter().filter_map(|_| samples.get(self.below(samples.len())).copied()).collect();
        quantile(&drawn, share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_by_rank() {
        let samples: Vec<u64> = (1..=10).rev().collect();
        for (share, expected) in [(0.0, 1), (0.1, 1), (0.11, 2), (0.5, 5), (0.9, 9), (0.91, 10), (1.0, 10)] {
            assert_eq!(quantile(&samples, share), Some(expected), "{share}");
        }
        assert_eq!((quantile(&[], 0.5), quantile(&[7], 0.999)), (None, Some(7)));
        let summary = Summary::of(&samples).unwrap();
        assert_eq!(
            (summary.n, summary.min, summary.p10, summary.p50, summary.p999, summary.max),
            (10, 1, 1, 5, 10, 10)
        );
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn a_ratio_lies_in_its_interval_and_is_the_same_each_time() {
        // Two known distributions, one three times the other, with outliers that would move a mean by a factor of ten.
        let under: Vec<u64> = (0..500).map(|i| 1000 + i * 7 % 101 + if i % 9 == 0 { 1_000_000 } else { 0 }).collect();
        let over: Vec<u64> = (0..500).map(|i| 3000 + i * 11 % 303).collect();
        let found = ratio(&over, &under, 0.1).unwrap();
        assert!(found.low <= found.value && found.value <= found.high, "{found:?}");
        assert!(
            (2.9..3.1).contains(&found.low) && (2.9..3.1).contains(&found.high) && found.low < found.high,
            "{found:?}"
        );
        assert_eq!(ratio(&over, &under, 0.1), Some(found));
    }

    #[test]
    fn equal_samples_leave_no_doubt_and_none_leave_no_ratio() {
        assert_eq!(ratio(&[6; 20], &[4; 20], 0.1), Some(Ratio { value: 1.5, low: 1.5, high: 1.5 }));
        assert_eq!((ratio(&[], &[1], 0.1), ratio(&[1], &[], 0.1), ratio(&[1], &[0], 0.1)), (None, None, None));
    }
}
