//! In which order CPUs fall asleep, and which never do.

use crate::assess::Assessments;
use crate::consolidate::{State, Track};
use crate::consolidate_tuning::{Keep, Tuning};
use crate::cpu::CpuView;
use crate::plan::Memo;
use crate::{Requirements, policy};
use park_core::op::Processor;

/// Fills `tracks`: states, break-even times and the order of nearness. Returns how many CPUs never sleep.
pub(crate) fn arrange(
    cpus: &[CpuView<'_>],
    requirements: &Requirements,
    keep: Keep<'_>,
    tuning: &Tuning,
    tracks: &mut [Track],
) -> usize {
    for (index, track) in tracks.iter_mut().enumerate() {
        *track = Track { order: u16::try_from(index).unwrap_or(u16::MAX), ..Track::EMPTY };
    }
    let home = cpus.iter().find(|cpu| cpu.processor == Processor::Bootstrap).or(cpus.first());
    tracks.sort_unstable_by_key(|track| {
        let cpu = cpus.get(usize::from(track.order));
        (cpu.map(|cpu| distance(cpu, home)), track.order)
    });

    let mut memo = Memo::new();
    for (track, cpu) in tracks.iter_mut().zip(cpus) {
        let fitting = latency_us(cpu, &memo.assess(cpu, *requirements));
        match fitting.filter(|_| cpu.processor == Processor::Application) {
            Some(latency_us) => track.break_even_us = latency_us.saturating_mul(tuning.break_even_latencies),
            None => track.state = State::Pinned,
        }
    }
    pin_kept(cpus, keep, tracks);
    tracks.iter().filter(|track| track.state == State::Pinned).count()
}

/// Sorts near before far: package, cache, core, thread; the home of each first.
type Distance = (bool, u32, bool, u32, bool, u32, u32);

fn distance(cpu: &CpuView<'_>, home: Option<&CpuView<'_>>) -> Distance {
    let elsewhere = |index: fn(&CpuView<'_>) -> u32| home.is_some_and(|home| index(home) != index(cpu));
    (
        elsewhere(|cpu| cpu.package),
        cpu.package,
        elsewhere(|cpu| cpu.cache),
        cpu.cache,
        elsewhere(|cpu| cpu.core),
        cpu.core,
        cpu.thread,
    )
}

/// The time out of the wait that a plan would choose, in microseconds; `None` if none fits.
fn latency_us(cpu: &CpuView<'_>, assessments: &Assessments) -> Option<u32> {
    let best = policy::best(assessments)?;
    cpu.kind.offers.of(best.mechanism).waits().map(|waits| waits.wake_latency_us)
}

/// Pins the nearest CPU of the machine, and of each package that must stay. Packages follow each other in the order.
fn pin_kept(cpus: &[CpuView<'_>], keep: Keep<'_>, tracks: &mut [Track]) {
    let mut last_package = None;
    for place in 0..tracks.len() {
        let index = tracks.get(place).map_or(usize::MAX, |track| track.order.into());
        let Some(cpu) = cpus.get(index) else { continue };
        let first_of_package = last_package != Some(cpu.package);
        last_package = Some(cpu.package);
        let kept = match keep {
            Keep::OneCpu => place == 0,
            Keep::EveryPackage => first_of_package,
            Keep::Packages(packages) => place == 0 || first_of_package && packages.contains(&cpu.package),
        };
        if let Some(track) = tracks.get_mut(index).filter(|_| kept) {
            track.state = State::Pinned;
        }
    }
}
