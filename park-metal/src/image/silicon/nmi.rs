//! Questions about NMIs while NMIs are blocked, and in the STI shadow.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use park_core::{Clock, IpiSender};

use super::panel::{Panel, QUIET_US, Reply};
use super::waits;
use crate::image::failure::Failure;
use crate::platform::apic::local_apic;

global_asm!(
    ".section .text.metal_sti, \"ax\"",
    ".code64",
    // RDI: the word that ends it. Every instruction up to the compare is one byte long, so RIP tells them apart.
    ".global metal_sti_loop",
    ".type metal_sti_loop, @function",
    "metal_sti_loop:",
    "sti",
    "nop", // here RIP points while STI's shadow lasts
    "nop",
    "cli",
    "nop",
    "cmpq $0, (%rdi)",
    "je metal_sti_loop",
    "ret",
    ".size metal_sti_loop, . - metal_sti_loop",
    options(att_syntax)
);

unsafe extern "C" {
    fn metal_sti_loop(end: *const AtomicU64);
}

/// NMIs that are sent while one is handled.
const BEHIND: u64 = 4;
/// NMIs of [`sti_shadow`], if there is time.
const SAMPLES: u64 = 4000;
const SAMPLES_US: u64 = 3_000_000;
/// Positions of RIP in the loop that are told apart.
const POSITIONS: usize = 5;
/// Where RIP points while STI's shadow lasts.
const SHADOW: usize = 1;
/// Hits outside the shadow before none inside means something.
const SAMPLES_MIN: u64 = 100;

/// True while the handler is to stay.
static HOLD: AtomicU64 = AtomicU64::new(0);
static RUNS: AtomicU64 = AtomicU64::new(0);
static HITS: [AtomicU64; POSITIONS] = [const { AtomicU64::new(0) }; POSITIONS];

/// Stays, with NMIs blocked, as long as it is told to.
pub(super) extern "C" fn hold(_rip: u64) {
    RUNS.fetch_add(1, Ordering::AcqRel);
    while HOLD.load(Ordering::Acquire) == 1 {
        core::hint::spin_loop();
    }
}

/// Puts the CPU that is asked into its NMI handler, until [`release`].
pub(super) fn block(panel: &Panel<'_>) -> Result<(), Failure> {
    let cpu = panel.asked()?;
    RUNS.store(0, Ordering::Release);
    HOLD.store(1, Ordering::Release);
    cpu.on_nmi(Some(hold));
    local_apic()?.send_nmi(cpu.apic_id)?;
    Ok(panel.world.wait(|| RUNS.load(Ordering::Acquire) == 1, "an NMI handler that is to stay")?)
}

pub(super) fn release() {
    HOLD.store(0, Ordering::Release);
}

pub(super) fn depth(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    block(panel)?;
    let mut apic = local_apic()?;
    for _ in 0..BEHIND {
        apic.send_nmi(cpu.apic_id)?;
        panel.pass_us(QUIET_US / BEHIND);
    }
    release();
    panel.pass_us(QUIET_US);
    let depth = RUNS.load(Ordering::Acquire) - 1;
    cpu.on_nmi(None);
    panel.recover()?;
    let answer = match depth {
        0 => return Ok(Reply::none("no NMI was latched behind another").with("sent", BEHIND)),
        1 => "1",
        2 => "2",
        _ => "more",
    };
    Ok(Reply::answer(answer).with("sent", BEHIND).with("latched", depth))
}

/// Waits by MWAIT with NMIs blocked.
extern "C" fn wait_blocked(_rip: u64) {
    // Whatever is latched behind this one is only counted.
    crate::image::percpu::current().on_nmi(None);
    waits::wait(waits::BY_MWAIT | waits::FLUSHED);
    RUNS.fetch_add(1, Ordering::AcqRel);
}

pub(super) fn blocked_nmi_mwait(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    waits::reset();
    RUNS.store(0, Ordering::Release);
    cpu.on_nmi(Some(wait_blocked));
    let mut apic = local_apic()?;
    apic.send_nmi(cpu.apic_id)?;
    panel.world.wait(|| waits::ready().load(Ordering::Acquire) == 1, "an NMI handler that is to wait")?;
    let before = waits::quiet_laps(panel);
    apic.send_nmi(cpu.apic_id)?;
    let after = waits::quiet_laps(panel);
    waits::word().store(1, Ordering::SeqCst);
    let ended = panel.within(QUIET_US, || RUNS.load(Ordering::Acquire) == 1);
    if !ended {
        // The store was lost; INIT fetches it.
        let _ = panel.restart()?;
    }
    panel.recover()?;
    let reply = if waits::is_loop(before) {
        Reply::none("MWAIT does not wait here, so nothing can end it")
    } else {
        Reply::answer(if after > before { "ends" } else { "waits" })
    };
    Ok(reply.with("laps_before", before).with("laps_after", after))
}

/// Counts where the NMI came.
extern "C" fn sample(rip: u64) {
    let position = rip.wrapping_sub(metal_sti_loop as *const () as u64);
    if let Some(hits) = HITS.get(position as usize) {
        hits.fetch_add(1, Ordering::AcqRel);
    }
    RUNS.fetch_add(1, Ordering::AcqRel);
}

extern "C" fn sti_loop(_argument: u64) {
    // SAFETY: the word lives for ever; fixed interrupts that come have handlers, and IF is 0 at the end.
    unsafe { metal_sti_loop(waits::word()) }
}

pub(super) fn sti_shadow(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    waits::reset();
    RUNS.store(0, Ordering::Release);
    for hits in &HITS {
        hits.store(0, Ordering::Release);
    }
    cpu.on_nmi(Some(sample));
    cpu.give(sti_loop, 0)?;
    let mut clock = panel.world.clock;
    let end = clock.now().saturating_add(clock.ticks_of_us(SAMPLES_US));
    let mut apic = local_apic()?;
    let mut sent = 0;
    while sent < SAMPLES && clock.now() < end {
        sent += 1;
        apic.send_nmi(cpu.apic_id)?;
        if !panel.within(QUIET_US, || RUNS.load(Ordering::Acquire) == sent) {
            break;
        }
    }
    waits::word().store(1, Ordering::SeqCst);
    let _ = panel.within(QUIET_US, || cpu.is_idle());
    cpu.on_nmi(None);
    panel.recover()?;
    let hits = |position: usize| HITS.get(position).map_or(0, |hits| hits.load(Ordering::Acquire));
    let (shadow, all) = (hits(SHADOW), (0..POSITIONS).map(hits).sum::<u64>());
    // Only the instruction after the shadow shows that NMIs are taken near it at all.
    let answer = match (shadow, hits(SHADOW + 1)) {
        (1.., _) => "no",
        (0, SAMPLES_MIN..) => "yes",
        _ => "not-sampled",
    };
    Ok(Reply::answer(answer).with("in_shadow", shadow).with("behind_shadow", hits(SHADOW + 1)).with("in_loop", all))
}
