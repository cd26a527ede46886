//! What a CPU counts by itself: SMIs, time in C0 and deeper, machine checks. Each can be read on that CPU alone, so it
//! is read before it parks and after it woke.

use core::sync::atomic::{AtomicU64, Ordering};

use park_core::Cpu;
use park_x86::features::Vendor;
use park_x86::registers::msr;

use crate::image::failure::Failure;
use crate::image::parking::detect_here;
use crate::image::percpu::{self, PerCpu};
use crate::image::world::World;
use crate::image::{insn, probe};
use crate::memory::MAX_CPUS;
use crate::platform::apic::this_cpu;

/// A counter that a CPU does not have.
const ABSENT: u64 = u64::MAX;
/// The counters, in the order of [`Counters`].
const MSRS: [u32; 7] = [
    msr::SMI_COUNT,
    msr::MPERF,
    msr::CORE_C3_RESIDENCY,
    msr::CORE_C6_RESIDENCY,
    msr::CORE_C7_RESIDENCY,
    msr::MCG_STATUS,
    msr::APERF,
];
/// CPUID leaf 6, and the bit of its ECX that stands for MPERF and APERF (SDM vol. 2A, CPUID).
const LEAF_POWER: u32 = 6;
const POWER_MPERF: u32 = 1 << 0;
const TSC: usize = MSRS.len();

/// One CPU's counters; `None` for those that it does not have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters {
    /// SMIs since reset.
    pub(crate) smi: Option<u64>,
    /// Ticks in C0.
    pub(crate) c0: Option<u64>,
    /// Ticks in C3, C6, C7.
    pub(crate) deep: [Option<u64>; 3],
    /// MCG_STATUS.
    pub(crate) mcg_status: Option<u64>,
    /// Ticks of the CPU's own clock in C0.
    pub(crate) own: Option<u64>,
    /// The TSC when they were read.
    pub(crate) tsc: u64,
}

static READ: [[AtomicU64; TSC + 1]; MAX_CPUS] = [const { [const { AtomicU64::new(0) }; TSC + 1] }; MAX_CPUS];

extern "C" fn read_here(_argument: u64) {
    let Some(row) = READ.get(percpu::current().index as usize) else { return };
    for (cell, number) in row.iter().zip(MSRS) {
        // Emulators read 0 where there is no register, so CPUID has a say.
        let value = if exists(number) { probe::rdmsr(number) } else { None };
        cell.store(value.unwrap_or(ABSENT), Ordering::Relaxed);
    }
    row[TSC].store(insn::read_tsc(), Ordering::Release);
}

/// Whether CPUID allows for a counter; that it does not fault is another matter.
fn exists(number: u32) -> bool {
    let mut cpu = this_cpu();
    match number {
        msr::MPERF | msr::APERF => {
            let [highest, ..] = cpu.cpuid(0, 0);
            highest >= LEAF_POWER && cpu.cpuid(LEAF_POWER, 0)[2] & POWER_MPERF != 0
        }
        msr::CORE_C3_RESIDENCY | msr::CORE_C6_RESIDENCY | msr::CORE_C7_RESIDENCY => {
            detect_here().features().vendor == Vendor::Intel
        }
        _ => true,
    }
}

/// Reads the counters of a CPU that is in its job loop.
pub(crate) fn read(world: &World, cpu: &PerCpu) -> Result<Counters, Failure> {
    cpu.give(read_here, 0)?;
    world.wait(|| cpu.is_idle(), "a CPU to read its counters")?;
    let row = READ.get(cpu.index as usize).ok_or(Failure::TooManyCpus)?;
    let value = |index: usize| Some(row[index].load(Ordering::Acquire)).filter(|&value| value != ABSENT);
    Ok(Counters {
        smi: value(0).map(|smi| smi & u64::from(u32::MAX)),
        c0: value(1),
        deep: [value(2), value(3), value(4)],
        mcg_status: value(5),
        own: value(6),
        tsc: row[TSC].load(Ordering::Acquire),
    })
}

impl Counters {
    /// SMIs since `before`.
    pub(crate) fn smis_since(&self, before: &Self) -> Option<u64> {
        Some(self.smi?.wrapping_sub(before.smi?) & u64::from(u32::MAX))
    }

    /// Thousandths of the time since `before` that the CPU was in C0.
    pub(crate) fn c0_permille_since(&self, before: &Self) -> Option<u64> {
        Some(permille(self.c0?.wrapping_sub(before.c0?), self.tsc.wrapping_sub(before.tsc)))
    }

    /// The CPU's own rate in C0 since `before`, in thousandths of the TSC's.
    pub(crate) fn speed_permille_since(&self, before: &Self) -> Option<u64> {
        Some(permille(self.own?.wrapping_sub(before.own?), self.c0?.wrapping_sub(before.c0?)))
    }

    /// Thousandths of the time since `before` that its core was in C3, C6 or C7.
    pub(crate) fn deep_permille_since(&self, before: &Self) -> Option<u64> {
        let known = self.deep.iter().zip(before.deep).filter_map(|(now, then)| Some(now.as_ref()?.wrapping_sub(then?)));
        let ticks = known.reduce(u64::wrapping_add)?;
        Some(permille(ticks, self.tsc.wrapping_sub(before.tsc)))
    }
}

const fn permille(part: u64, whole: u64) -> u64 {
    // Thousandths without overflow: some hours of a TSC are 2^44 ticks.
    match part.saturating_mul(1000).checked_div(whole) {
        Some(share) => share,
        None => 0,
    }
}
