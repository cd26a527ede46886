//! Rivals in hand-written assembly: the least that claims a ring against a revocation.

use core::sync::atomic::{AtomicU64, Ordering};

use park_core::lot::{Command, Phase};
use park_core::{Cpu, Register};
use park_x86::state::{CR0_IN_LOT, CR4_IN_LOT};

use crate::bench::Row;
use crate::image::area::Area;
use crate::image::bench::parked::ParkTimes;
use crate::image::bench::slot::{SLOT, Slot};
use crate::image::bench::stopwatch::{Arrived, DOOR, Kick, Slice, Times, Watch};
use crate::image::failure::Failure;
use crate::image::insn;
use crate::image::percpu::{Job, PerCpu};
use crate::image::world::World;
use crate::platform::apic::this_cpu;

/// The doorbell of a slot that is rung. Bits as in a bay's: command, phase.
const RUNG: u64 = Command::Wake as u64 | (Phase::Rung as u64) << u8::BITS;

unsafe extern "C" {
    fn metal_bench_pause(slot: u64);
    fn metal_bench_mwait(slot: u64);
    fn metal_bench_hlt(slot: u64);
    fn metal_bench_clgi(slot: u64);
    fn metal_bench_park(slot: u64);
}

extern "C" fn pause(slot: u64) {
    // SAFETY: `wait` gives the slot's address; it came back by `metal_bench_home`, with its stack as it was.
    unsafe { metal_bench_pause(slot) }
}

extern "C" fn mwait(slot: u64) {
    // SAFETY: as in `pause`; the row is left out on CPUs without MONITOR.
    unsafe { metal_bench_mwait(slot) }
}

extern "C" fn hlt(slot: u64) {
    // SAFETY: as in `pause`.
    unsafe { metal_bench_hlt(slot) }
}

extern "C" fn clgi(slot: u64) {
    // SAFETY: as in `pause`; the row is left out on CPUs without SVM. GIF is 1 again at the end.
    unsafe { metal_bench_clgi(slot) }
}

extern "C" fn park(slot: u64) {
    let area = Area::current();
    let tables = SLOT.tables();
    for (register, (base, len)) in [(&tables.gdtr, area.gdt()), (&tables.idtr, area.idt())] {
        register[0].store(u64::from(len - 1) | base << u16::BITS, Ordering::Relaxed);
        register[1].store(base >> (u64::BITS - u16::BITS), Ordering::Relaxed);
    }
    let mut cpu = this_cpu();
    let (Ok(cr0), Ok(cr4)) = (cpu.read(Register::Cr0), cpu.read(Register::Cr4)) else { return };
    tables.cr0_own.store(cr0, Ordering::Relaxed);
    tables.cr4_own.store(cr4, Ordering::Relaxed);
    tables.cr0_parked.store(CR0_IN_LOT.bits(), Ordering::Relaxed);
    tables.cr4_parked.store(CR4_IN_LOT.bits(), Ordering::Relaxed);
    BEGAN.store(insn::read_tsc(), Ordering::Release);
    DOOR.pass();
    // SAFETY: as in `pause`; the tables are the CPU's own, the root too, and the registers are set back before the entry.
    unsafe { metal_bench_park(slot) }
}

/// When the last hand-written arrival began.
static BEGAN: AtomicU64 = AtomicU64::new(0);

/// The job of a row; `None` for rows of park.
const fn job(row: Row) -> Option<Job> {
    match row {
        Row::HandHlt => Some(hlt),
        Row::HandMwait => Some(mwait),
        Row::HandPause => Some(pause),
        Row::HandClgi => Some(clgi),
        Row::HandPark => Some(park),
        _ => None,
    }
}

/// Makes the target wait by the row's assembly. What counts of the times is the switch of [`Row::HandPark`].
pub(super) fn wait(world: &World, target: &'static PerCpu, row: Row, slice: Slice) -> Result<ParkTimes, Failure> {
    let job = job(row).ok_or(Failure::Machine("the row is not one of hand-written assembly"))?;
    // The other waits have no door.
    let slice = if row == Row::HandPark { slice } else { Slice::Whole };
    SLOT.arm_by_hand(insn::read_cr3(), 0);
    DOOR.set(slice);
    target.give(job, SLOT.address())?;
    let watch = Watch::of_stage(word(|slot| &slot.stage));
    // SAFETY: the slot's own word, which is an atomic.
    let Arrived { began, acknowledged, .. } = unsafe { watch.arrival(world, slice) }?;
    let switch = acknowledged.saturating_sub(began.max(BEGAN.load(Ordering::Acquire)));
    Ok(ParkTimes { switch, ..ParkTimes::default() })
}

/// Wakes the target, and waits until it is in its job loop.
pub(super) fn wake(world: &World, target: &'static PerCpu, row: Row, slice: Slice) -> Result<Times, Failure> {
    let watch = Watch::of_doorbell(word(|slot| &slot.doorbell), 0, RUNG, word(|slot| &slot.stage));
    let kick = if row == Row::HandHlt { Kick::Nmi(target.apic_id) } else { Kick::None };
    // SAFETY: the slot's own words, which are atomics.
    let (times, _) = unsafe { watch.ring(world, kick, slice) }?;
    world.wait(|| target.is_idle(), "a CPU out of a hand-written wait")?;
    Ok(times)
}

fn word(of: impl Fn(&'static Slot) -> &'static AtomicU64) -> u64 {
    core::ptr::from_ref(of(&SLOT)).expose_provenance() as u64
}
