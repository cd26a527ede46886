//! Whom the load leaves idle: what the consolidator of park-policy comes to if the load stays as it is.
//!
//! A kernel measures again and again, and asks the consolidator each time. Here the same loads are shown to it until it
//! leaves everything as it is; what a sleeping CPU did, those that are awake do.

use crate::exit::Failure;
use cpu_park::core::op::Processor;
use cpu_park::policy::{Consolidator, CpuView, Keep, Requirements, Track, Tuning, assess};
use std::borrow::Cow;

/// Bits of a word of marks.
const WORD_BITS: usize = 64;
/// Looks in a row at which nothing changes, one calm apart: then it has settled. More than the most patient parking waits
/// for, which is 32 calms.
const SETTLED_LOOKS: u32 = 40;
/// Looks until it is given up: an hour of calms of a tenth of a second. A steady load comes to rest long before.
const LOOKS_MAX: u32 = 36_000;
/// All of one CPU's time, in percent.
const FULL_PERCENT: u8 = 100;
/// What is assumed.
const TUNING: Tuning = Tuning::BALANCED;

/// Where a steady load comes to rest.
#[derive(Debug)]
pub(super) struct Rest {
    /// A bit for every CPU that sleeps.
    pub(super) marks: Vec<u64>,
    /// What should be known of it, in sentences without a full stop.
    pub(super) notes: Vec<String>,
}

/// Shows the loads of `cpus` to a consolidator until it has decided. Where no application processor could sleep, all are
/// marked: a plan for them says what is lacking.
///
/// # Errors
/// [`Failure::Run`] if there is no consolidator for so many CPUs, or it comes to no rest.
pub(super) fn rest(cpus: &[CpuView<'_>], requirements: &Requirements) -> Result<Rest, Failure> {
    let may_sleep =
        |cpu: &CpuView<'_>| assess(cpu.kind, cpu.processor, requirements).iter().any(|mechanism| mechanism.fits());
    let application = |cpu: &&CpuView<'_>| cpu.processor == Processor::Application;
    if !cpus.iter().filter(application).any(may_sleep) {
        return Ok(Rest {
            marks: marks(cpus, |index| cpus.get(index).as_ref().is_some_and(application)),
            notes: Vec::new(),
        });
    }
    let mut tracks = vec![Track::EMPTY; cpus.len()];
    let mut consolidator = Consolidator::new(cpus, requirements, Keep::EveryPackage, TUNING, &mut tracks)
        .map_err(|error| Failure::Run(error.to_string()))?;
    let mut seen = Cow::Borrowed(cpus);
    let (mut now_us, mut decided_us, mut quiet_looks) = (0, 0, 0);
    for _ in 0..LOOKS_MAX {
        now_us += TUNING.calm_us;
        let decision = consolidator.decide(&seen, now_us);
        if decision.parks + decision.wakes > 0 {
            (decided_us, quiet_looks) = (now_us, 0);
            seen = Cow::Owned(taken_over(cpus, |index| consolidator.sleeps(index)));
            continue;
        }
        quiet_looks += 1;
        if quiet_looks == SETTLED_LOOKS {
            let mut marks = marks(cpus, |_| false);
            consolidator.marks(&mut marks);
            return Ok(Rest { marks, notes: vec![note(decided_us)] });
        }
    }
    Err(Failure::Run(
        "the consolidator came to no rest under a steady load: a bug of park, please report it".to_owned(),
    ))
}

/// What was assumed, and when it was decided.
fn note(decided_us: u64) -> String {
    let decided = match decided_us {
        0 => "no CPU is parked".to_owned(),
        decided_us => format!("the last CPU is parked after {} ms", decided_us.div_ceil(1_000)),
    };
    format!(
        "the load is taken to stay as it is, and CPUs that are awake to take over what those asleep did: park's \
         consolidator parks CPUs as long as the rest are at most {} % busy on average, and of each package one goes on; \
         {decided}",
        TUNING.target_percent
    )
}

/// The loads once `sleeps` do: the least busy take over what they did, one percent at a time.
fn taken_over<'k>(cpus: &[CpuView<'k>], sleeps: impl Fn(usize) -> bool) -> Vec<CpuView<'k>> {
    let mut seen = cpus.to_vec();
    let mut homeless_percent = 0u64;
    let mut awake = Vec::new();
    for (index, cpu) in seen.iter_mut().enumerate() {
        if sleeps(index) {
            homeless_percent += u64::from(cpu.load_percent);
            cpu.load_percent = 0;
        } else {
            awake.push(cpu);
        }
    }
    for level in 0..FULL_PERCENT {
        for cpu in awake.iter_mut().filter(|cpu| cpu.load_percent == level) {
            if homeless_percent == 0 {
                return seen;
            }
            (cpu.load_percent, homeless_percent) = (level + 1, homeless_percent - 1);
        }
    }
    seen
}

/// A word for every 64 CPUs, with the bits of those that `is_marked`.
fn marks(cpus: &[CpuView<'_>], is_marked: impl Fn(usize) -> bool) -> Vec<u64> {
    let mut marks = vec![0u64; cpus.len().div_ceil(WORD_BITS)];
    for index in (0..cpus.len()).filter(|index| is_marked(*index)) {
        if let Some(word) = marks.get_mut(index / WORD_BITS) {
            *word |= 1 << (index % WORD_BITS);
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpu_park::policy::{CpuKind, Offers};

    #[test]
    fn what_sleepers_did_moves_to_the_least_busy_and_nothing_is_lost() {
        let kind = CpuKind { claims: &[], offers: Offers::NONE };
        let cpus = [30, 10, 50, 5].map(|load_percent| CpuView { load_percent, ..CpuView::new(&kind) });
        let loads = |sleeps: &[usize]| {
            let seen = taken_over(&cpus, |index| sleeps.contains(&index));
            seen.iter().map(|cpu| cpu.load_percent).collect::<Vec<_>>()
        };
        assert_eq!(loads(&[]), [30, 10, 50, 5]);
        assert_eq!(loads(&[3]), [30, 15, 50, 0]);
        assert_eq!(loads(&[2]), [32, 32, 0, 31]);
        assert_eq!(loads(&[0, 1, 2]), [0, 0, 0, 95]);
        assert_eq!(marks(&cpus, |index| index % 2 == 1), [0b1010]);
    }
}
