//! Questions about SMIs. Firmware's handler runs, and may not expect them.

use core::sync::atomic::{AtomicU64, Ordering};

use park_core::IpiSender;

use super::panel::{Panel, QUIET_US, Reply};
use super::{nmi, waits};
use crate::image::failure::Failure;
use crate::image::rendezvous::call;
use crate::image::{counters, insn};
use crate::platform::apic::{local_apic, send_smi};

/// SMIs of [`auto_halt`].
const SMIS: u64 = 8;
/// A rendezvous that waits takes so much longer: EDK2 waits 100 ms and more.
const TIME_OUT_US: u64 = 10_000;

pub(super) fn auto_halt(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    let Some(counted) = smis(panel)? else { return Ok(NO_COUNT) };
    waits::start(panel, waits::BY_HLT)?;
    let before = waits::quiet_laps(panel);
    let from = waits::laps().load(Ordering::Acquire);
    for _ in 0..SMIS {
        send_smi(cpu.apic_id)?;
        panel.pass_us(QUIET_US / SMIS);
    }
    panel.pass_us(QUIET_US);
    let after = waits::laps().load(Ordering::Acquire) - from;
    waits::finish(panel)?;
    let witnessed = smis_since(panel, counted)?;
    if witnessed == 0 {
        return Ok(NOT_WITNESSED.with("sent", SMIS));
    }
    let answer = if after > before { "clear" } else { "keep" };
    Ok(Reply::answer(answer).with("smis", witnessed).with("laps_before", before).with("laps_after", after))
}

/// Why there is no answer where nothing counts SMIs.
const NO_COUNT: Reply = Reply::none("the CPU does not count SMIs (MSR 34h), so none can be witnessed");
/// Why there is none where the count stays.
const NOT_WITNESSED: Reply = Reply::none("the CPU that is asked has counted no SMI");

/// SMIs that the CPU that is asked has counted since reset.
fn smis(panel: &Panel<'_>) -> Result<Option<u64>, Failure> {
    Ok(counters::read(panel.world, panel.asked()?)?.smi)
}

/// SMIs since `before`; 0 if the CPU is another one now.
fn smis_since(panel: &Panel<'_>, before: u64) -> Result<u64, Failure> {
    Ok(smis(panel)?.unwrap_or(0).saturating_sub(before))
}

static ARMED: AtomicU64 = AtomicU64::new(0);
static GO: AtomicU64 = AtomicU64::new(0);

/// Arms, lets an SMI come, waits.
extern "C" fn armed_wait(_argument: u64) {
    insn::clflush(waits::line_address());
    insn::monitor(waits::line_address());
    ARMED.store(1, Ordering::Release);
    while GO.load(Ordering::Acquire) == 0 {
        core::hint::spin_loop();
    }
    insn::mwait(0);
}

/// Whether the wait was still on a while after it began.
fn still_waits(panel: &mut Panel<'_>, smi: Option<()>) -> Result<bool, Failure> {
    let cpu = panel.asked()?;
    waits::reset();
    ARMED.store(0, Ordering::Release);
    GO.store(0, Ordering::Release);
    cpu.give(armed_wait, 0)?;
    panel.world.wait(|| ARMED.load(Ordering::Acquire) == 1, "a CPU that is to arm its monitor")?;
    if smi.is_some() {
        send_smi(cpu.apic_id)?;
    }
    panel.pass_us(QUIET_US);
    GO.store(1, Ordering::Release);
    let waits = !panel.within(QUIET_US, || cpu.is_idle());
    waits::finish(panel)?;
    Ok(waits)
}

pub(super) fn monitor(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    if !still_waits(panel, None)? {
        return Ok(Reply::none("MWAIT does not wait here, so nothing can disarm it"));
    }
    let Some(counted) = smis(panel)? else { return Ok(NO_COUNT) };
    let waits = still_waits(panel, Some(()))?;
    let witnessed = smis_since(panel, counted)?;
    if witnessed == 0 {
        return Ok(NOT_WITNESSED.with("sent", 1));
    }
    Ok(Reply::answer(if waits { "kept" } else { "disarmed" }).with("smis", witnessed))
}

pub(super) fn nmi_block(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    let Some(counted) = smis(panel)? else { return Ok(NO_COUNT) };
    nmi::block(panel)?;
    // One that comes while the handler stays uses its stack: it is only counted, and the CPU is started again.
    cpu.on_nmi(None);
    send_smi(cpu.apic_id)?;
    panel.pass_us(QUIET_US);
    let before = cpu.nmi_count.load(Ordering::Acquire);
    local_apic()?.send_nmi(cpu.apic_id)?;
    panel.pass_us(QUIET_US);
    let handled = cpu.nmi_count.load(Ordering::Acquire) - before;
    if handled == 0 {
        nmi::release();
        panel.pass_us(QUIET_US);
    } else if !panel.restart()? {
        return Ok(Reply::none("the CPU did not start again"));
    }
    nmi::release();
    let late = cpu.nmi_count.load(Ordering::Acquire) - before - handled;
    panel.recover()?;
    let witnessed = smis_since(panel, counted)?;
    if witnessed == 0 {
        return Ok(NOT_WITNESSED.with("sent", 1));
    }
    let answer = if handled > 0 { "lost" } else { "kept" };
    Ok(Reply::answer(answer).with("smis", witnessed).with("in_handler", handled).with("behind_it", late))
}

/// How long an SMI at all CPUs takes.
fn smi_us(panel: &Panel<'_>) -> u64 {
    let start = insn::read_tsc();
    call();
    let ticks = insn::read_tsc().wrapping_sub(start);
    let ticks_per_ms = panel.world.clock.ticks_of_us(1000).max(1);
    ticks.saturating_mul(1000) / ticks_per_ms
}

pub(super) fn rendezvous(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    let all_us = smi_us(panel).min(smi_us(panel));
    local_apic()?.send_init(cpu.apic_id)?;
    panel.pass_us(QUIET_US);
    let without_us = smi_us(panel);
    if panel.restart()? {
        panel.recover()?;
    }
    let answer = if without_us > all_us + TIME_OUT_US { "time-out" } else { "none" };
    Ok(Reply::answer(answer).with("all_us", all_us).with("without_us", without_us))
}
