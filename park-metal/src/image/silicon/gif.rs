//! Questions about AMD's GIF = 0. Each can lose the CPU: INIT is held too.

use core::sync::atomic::{AtomicU64, Ordering};

use park_core::IpiSender;
use park_x86::registers::control::Efer;
use park_x86::registers::msr;

use super::panel::{Panel, QUIET_US, Reply};
use super::{waits, write_efer};
use crate::image::failure::Failure;
use crate::image::percpu;
use crate::image::{insn, probe};
use crate::platform::apic::local_apic;

/// MPERF and TSC at the beginning and the end of a wait, as the CPU that is asked reads them.
static C0_TICKS: AtomicU64 = AtomicU64::new(0);
static TICKS: AtomicU64 = AtomicU64::new(0);
/// NMIs handled with SVME cleared, and after STGI.
static EARLY: AtomicU64 = AtomicU64::new(0);
static LATE: AtomicU64 = AtomicU64::new(0);
/// Waits of [`monitor`], with GIF = 1 and with GIF = 0.
const ROUNDS: u64 = 3;
/// How long the CPU that is asked looks for an NMI.
const LOOKS: u32 = 2_000_000;

/// Waits with GIF = 0 until the word is set.
extern "C" fn wait_gif0(order: u64) {
    if write_efer(|efer| efer | Efer::SVME.bits()).is_err() {
        return;
    }
    let c0 = probe::rdmsr(msr::MPERF);
    let tsc = insn::read_tsc();
    insn::clgi();
    waits::wait(order);
    insn::stgi();
    TICKS.store(insn::read_tsc().wrapping_sub(tsc), Ordering::Release);
    let c0 = c0.zip(probe::rdmsr(msr::MPERF)).map_or(0, |(before, after)| after.wrapping_sub(before));
    C0_TICKS.store(c0, Ordering::Release);
    let _ = write_efer(|efer| efer & !Efer::SVME.bits());
}

fn start(panel: &Panel<'_>, order: u64) -> Result<(), Failure> {
    waits::reset();
    panel.asked()?.give(wait_gif0, order)?;
    Ok(panel.world.wait(|| waits::ready().load(Ordering::Acquire) == 1, "a CPU that is to wait")?)
}

pub(super) fn mwait_ends(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    start(panel, waits::BY_MWAIT | waits::FLUSHED)?;
    let before = waits::quiet_laps(panel);
    local_apic()?.send_nmi(cpu.apic_id)?;
    let after = waits::quiet_laps(panel);
    waits::finish(panel)?;
    if waits::is_loop(before) {
        return Ok(Reply::none("MWAIT does not wait here, so nothing can end it"));
    }
    let answer = if after > before { "fall-through" } else { "never" };
    let (c0, all) = (C0_TICKS.load(Ordering::Acquire), TICKS.load(Ordering::Acquire));
    let c0_permille = c0.saturating_mul(1000).checked_div(all).unwrap_or(0);
    Ok(Reply::answer(answer).with("laps_before", before).with("laps_after", after).with("c0_permille", c0_permille))
}

/// How many of [`ROUNDS`] waits a store ends.
fn ended_by_store(
    panel: &mut Panel<'_>,
    start: fn(&Panel<'_>, u64) -> Result<(), Failure>,
) -> Result<Option<u64>, Failure> {
    let mut ended = 0;
    for _ in 0..ROUNDS {
        let cpu = panel.asked()?;
        start(panel, waits::BY_MWAIT | waits::FLUSHED)?;
        let before = waits::quiet_laps(panel);
        waits::word().store(1, Ordering::SeqCst);
        ended += u64::from(panel.within(QUIET_US, || cpu.is_idle()));
        waits::finish(panel)?;
        if waits::is_loop(before) {
            return Ok(None);
        }
    }
    Ok(Some(ended))
}

pub(super) fn monitor(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    // What a store does not end with GIF = 1 either says nothing about GIF.
    let (Some(open), Some(closed)) = (ended_by_store(panel, waits::start)?, ended_by_store(panel, start)?) else {
        return Ok(Reply::none("MWAIT does not wait here, so nothing can end it"));
    };
    let reply = match (open, closed) {
        (ROUNDS, ROUNDS) => Reply::answer("wakes"),
        (ROUNDS, 0) => Reply::answer("ignored"),
        _ => Reply::none("stores are lost here, with GIF = 1 or at times"),
    };
    Ok(reply.with("rounds", ROUNDS).with("ended_gif1", open).with("ended_gif0", closed))
}

pub(super) fn hlt_ends(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    start(panel, waits::BY_HLT)?;
    let before = waits::quiet_laps(panel);
    local_apic()?.send_nmi(cpu.apic_id)?;
    let after = waits::quiet_laps(panel);
    // If HLT goes on, the CPU is out of reach for all but a reset.
    waits::finish(panel)?;
    let answer = if after > before { "fall-through" } else { "never" };
    Ok(Reply::answer(answer).with("laps_before", before).with("laps_after", after))
}

/// Clears SVME with GIF = 0 and an NMI held, then sets it again, then GIF.
extern "C" fn clear_svme(_argument: u64) {
    let cpu = percpu::current();
    let count = || cpu.nmi_count.load(Ordering::Acquire);
    let look = |from: u64| {
        for _ in 0..LOOKS {
            if count() != from {
                break;
            }
            core::hint::spin_loop();
        }
        count() - from
    };
    if write_efer(|efer| efer | Efer::SVME.bits()).is_err() {
        return;
    }
    insn::clgi();
    waits::ready().store(1, Ordering::Release);
    while waits::word().load(Ordering::Acquire) == 0 {
        core::hint::spin_loop();
    }
    let before = count();
    let cleared = write_efer(|efer| efer & !Efer::SVME.bits());
    EARLY.store(look(before), Ordering::Release);
    let set = write_efer(|efer| efer | Efer::SVME.bits());
    if cleared.is_ok() && set.is_ok() {
        let before = count();
        insn::stgi();
        LATE.store(look(before), Ordering::Release);
    }
    let _ = write_efer(|efer| efer & !Efer::SVME.bits());
}

pub(super) fn svme_off(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    waits::reset();
    EARLY.store(0, Ordering::Release);
    LATE.store(0, Ordering::Release);
    cpu.give(clear_svme, 0)?;
    panel.world.wait(|| waits::ready().load(Ordering::Acquire) == 1, "a CPU with GIF = 0")?;
    local_apic()?.send_nmi(cpu.apic_id)?;
    panel.pass_us(QUIET_US);
    waits::word().store(1, Ordering::SeqCst);
    let ended = panel.within(panel.world.timeout_us(), || cpu.is_idle());
    panel.recover()?;
    let (early, late) = (EARLY.load(Ordering::Acquire), LATE.load(Ordering::Acquire));
    let reply = match (ended, early, late) {
        (false, ..) => Reply::none("the CPU did not come back"),
        (true, 1.., _) => Reply::answer("becomes-set"),
        (true, 0, 1..) => Reply::answer("stays"),
        (true, 0, 0) => Reply::answer("nmi-lost"),
    };
    Ok(reply.with("before_stgi", early).with("after_stgi", late))
}
