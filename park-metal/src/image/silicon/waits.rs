//! Questions about CPUs that wait: what ends MWAIT and HLT.
//!
//! The CPU that is asked arms, checks and waits in a loop until the word is set, and counts its laps. A lap without a store is a
//! wait that something else has ended.

use core::sync::atomic::{AtomicU64, Ordering};

use park_core::{Cpu, IpiSender, Register};
use park_x86::features::MonitorLeaf;
use park_x86::registers::apic::{SVR, SVR_ENABLE};

use super::panel::{Panel, QUIET_US, Reply};
use crate::image::failure::Failure;
use crate::image::insn;
use crate::image::traps::{FIXED_VECTOR, SPURIOUS_VECTOR};
use crate::platform::apic::{local_apic, send_fixed, this_cpu};

/// How the CPU waits, as its job's argument. Bits 7:0 are MWAIT's hint.
pub(super) const BY_MWAIT: u64 = 0;
/// HLT instead.
pub(super) const BY_HLT: u64 = 1 << 8;
/// CLFLUSH before MONITOR.
pub(super) const FLUSHED: u64 = 1 << 9;
/// The local APIC is software-disabled meanwhile.
const SOFT_OFF: u64 = 1 << 10;
/// MWAIT's hint in a wait's order.
const HINT: u64 = 0xff;

/// More laps than this in [`QUIET_US`] are those of a loop that does not wait. A loop of MONITOR and MWAIT makes more
/// than a million on silicon, some ten thousand under an emulator; false wakes are rare.
const LAPS_OF_A_LOOP: u64 = 500;
/// Waits of questions that count whether something ends them.
const ROUNDS: u64 = 4;
/// Stores of [`monitor_lost`].
const STORES: u64 = 1000;
/// A store that is not seen for this long is lost.
const LOST_US: u64 = 20_000;

/// A page for the line that is monitored, so that nothing else is near it.
#[repr(C, align(4096))]
struct Page([AtomicU64; 512]);

static LINE: Page = Page([const { AtomicU64::new(0) }; 512]);
/// What the CPU that is asked writes: laps, whether it is ready, and the last value that it has seen.
static COUNTS: Page = Page([const { AtomicU64::new(0) }; 512]);

/// The word that ends a wait.
pub(super) fn word() -> &'static AtomicU64 {
    &LINE.0[0]
}

pub(super) fn laps() -> &'static AtomicU64 {
    &COUNTS.0[0]
}

pub(super) fn ready() -> &'static AtomicU64 {
    &COUNTS.0[1]
}

fn seen() -> &'static AtomicU64 {
    &COUNTS.0[2]
}

pub(super) fn line_address() -> u64 {
    core::ptr::from_ref(word()).expose_provenance() as u64
}

/// Waits until the word is set.
pub(super) extern "C" fn wait(order: u64) {
    if order & SOFT_OFF != 0 && this_cpu().write(Register::Apic(SVR), SPURIOUS_VECTOR.into()).is_err() {
        return;
    }
    ready().store(1, Ordering::Release);
    while word().load(Ordering::Acquire) == 0 {
        lap(order);
        laps().fetch_add(1, Ordering::Release);
    }
    if order & SOFT_OFF != 0 {
        // An APIC that can't be written could not have been switched off either.
        let _ = this_cpu().write(Register::Apic(SVR), SVR_ENABLE | u64::from(SPURIOUS_VECTOR));
    }
}

/// Arms, checks, waits once.
pub(super) fn lap(order: u64) {
    if order & BY_HLT != 0 {
        insn::hlt();
        return;
    }
    if order & FLUSHED != 0 {
        insn::clflush(line_address());
    }
    insn::monitor(line_address());
    if word().load(Ordering::Acquire) == 0 {
        insn::mwait((order & HINT) as u32);
    }
}

/// Sees every store: acknowledges each value, and ends with [`u64::MAX`].
extern "C" fn follow(order: u64) {
    let mut last = 0;
    ready().store(1, Ordering::Release);
    while last != u64::MAX {
        if order & FLUSHED != 0 {
            insn::clflush(line_address());
        }
        insn::monitor(line_address());
        let value = word().load(Ordering::Acquire);
        if value == last {
            insn::mwait((order & HINT) as u32);
            laps().fetch_add(1, Ordering::Release);
            continue;
        }
        last = value;
        seen().store(value, Ordering::Release);
    }
}

/// Nobody waits, nothing is counted.
pub(super) fn reset() {
    word().store(0, Ordering::Release);
    laps().store(0, Ordering::Release);
    ready().store(0, Ordering::Release);
    seen().store(0, Ordering::Release);
}

/// Sends the CPU that is asked into a wait.
pub(super) fn start(panel: &Panel<'_>, order: u64) -> Result<(), Failure> {
    reset();
    panel.asked()?.give(wait, order)?;
    Ok(panel.world.wait(|| ready().load(Ordering::Acquire) == 1, "a CPU that is to wait")?)
}

/// Laps in a quiet time.
pub(super) fn quiet_laps(panel: &Panel<'_>) -> u64 {
    let before = laps().load(Ordering::Acquire);
    panel.pass_us(QUIET_US);
    laps().load(Ordering::Acquire).wrapping_sub(before)
}

/// True of a lap count in [`QUIET_US`] that only a loop makes.
pub(super) const fn is_loop(laps: u64) -> bool {
    laps > LAPS_OF_A_LOOP
}

/// Ends the wait, by NMIs if the store does not.
pub(super) fn finish(panel: &mut Panel<'_>) -> Result<(), Failure> {
    let cpu = panel.asked()?;
    word().store(u64::MAX, Ordering::SeqCst);
    let mut apic = local_apic()?;
    for _ in 0..3 {
        if panel.within(LOST_US, || cpu.is_idle()) {
            break;
        }
        apic.send_nmi(cpu.apic_id)?;
    }
    panel.recover()
}

const DOES_NOT_WAIT: Reply = Reply::none("MWAIT does not wait here, so nothing can end it");

pub(super) fn mwait_waits(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    start(panel, BY_MWAIT | FLUSHED)?;
    let laps = quiet_laps(panel);
    finish(panel)?;
    Ok(Reply::answer(if is_loop(laps) { "never" } else { "yes" }).with("laps", laps).with("quiet_us", QUIET_US))
}

/// How many of [`ROUNDS`] waits had more laps behind what `disturb` does than before; `None` if MWAIT does not wait.
fn disturbed(
    panel: &mut Panel<'_>,
    disturb: impl Fn(&Panel<'_>) -> Result<(), Failure>,
) -> Result<Option<u64>, Failure> {
    let mut ended = 0;
    for _ in 0..ROUNDS {
        start(panel, BY_MWAIT | FLUSHED)?;
        let before = quiet_laps(panel);
        if is_loop(before) {
            finish(panel)?;
            return Ok(None);
        }
        let from = laps().load(Ordering::Acquire);
        disturb(panel)?;
        panel.pass_us(QUIET_US);
        let after = laps().load(Ordering::Acquire).wrapping_sub(from);
        ended += u64::from(after > before);
        finish(panel)?;
    }
    Ok(Some(ended))
}

/// False wakes are legal, so once is nothing.
fn ends_or_waits(ended: Option<u64>, ends: &'static str, waits: &'static str) -> Reply {
    let reply = match ended {
        None => return DOES_NOT_WAIT,
        Some(ROUNDS) => Reply::answer(ends),
        Some(0 | 1) => Reply::answer(waits),
        Some(_) => Reply::none("at times it does, which may be false wakes"),
    };
    reply.with("rounds", ROUNDS).with("ended", ended.unwrap_or(0))
}

pub(super) fn masked_interrupt(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    let counted = disturbed(panel, |_| Ok(send_fixed(cpu.apic_id, FIXED_VECTOR)?))?;
    Ok(ends_or_waits(counted, "ends", "waits"))
}

pub(super) fn near_store(panel: &mut Panel<'_>, leaf: &MonitorLeaf) -> Result<Reply, Failure> {
    let (smallest, largest) = (usize::from(leaf.smallest_line), usize::from(leaf.largest_line));
    if smallest >= largest {
        let figures = Reply::answer("lines-are-alike").with("smallest", smallest as u64);
        return Ok(figures.with("largest", largest as u64));
    }
    let near = LINE.0.get(smallest / size_of::<u64>()..largest / size_of::<u64>()).unwrap_or(&[]);
    let counted = disturbed(panel, |_| {
        for word in near {
            word.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    })?;
    Ok(ends_or_waits(counted, "yes", "no").with("largest", largest as u64))
}

/// How many of [`STORES`] stores were not seen in time; `None` if MWAIT does not wait. A second store follows a lost one.
fn lost_stores(panel: &mut Panel<'_>, order: u64) -> Result<Option<u64>, Failure> {
    reset();
    let cpu = panel.asked()?;
    cpu.give(follow, order)?;
    panel.world.wait(|| ready().load(Ordering::Acquire) == 1, "a CPU that is to wait")?;
    let waits = !is_loop(quiet_laps(panel));
    let mut lost = 0;
    let mut value = 0;
    let mut apic = local_apic()?;
    while waits && value < STORES {
        value += 1;
        // At another moment of the loop each time: 0 to 62 µs.
        panel.pass_us(value * 29 % 63);
        word().store(value, Ordering::SeqCst);
        if !panel.within(LOST_US, || seen().load(Ordering::Acquire) == value) {
            lost += 1;
            apic.send_nmi(cpu.apic_id)?;
            panel.pass_us(LOST_US);
        }
    }
    finish(panel)?;
    Ok(waits.then_some(lost))
}

/// The deepest hint that leaf 5 lists: C-state number less one, in bits 7:4 (SDM vol. 2B, MWAIT, table 4-10).
fn deepest_hint(leaf: &MonitorLeaf) -> u64 {
    let deepest = (1..8).rev().find(|&state| leaf.substates_of(state) > 0).unwrap_or(1);
    u64::from(deepest - 1) << 4
}

pub(super) fn monitor_lost(panel: &mut Panel<'_>, leaf: &MonitorLeaf) -> Result<Reply, Failure> {
    let hint = deepest_hint(leaf);
    let Some(lost) = lost_stores(panel, FLUSHED | hint)? else { return Ok(DOES_NOT_WAIT) };
    let answer = match lost {
        0 => "never",
        STORES => "always",
        _ => "sometimes",
    };
    Ok(Reply::answer(answer).with("stores", STORES).with("lost", lost).with("hint", hint))
}

pub(super) fn monitor_stale(panel: &mut Panel<'_>, leaf: &MonitorLeaf) -> Result<Reply, Failure> {
    let hint = deepest_hint(leaf);
    let Some(flushed) = lost_stores(panel, FLUSHED | hint)? else { return Ok(DOES_NOT_WAIT) };
    let Some(unflushed) = lost_stores(panel, hint)? else { return Ok(DOES_NOT_WAIT) };
    if flushed > STORES / 2 {
        return Ok(Reply::none("stores are lost behind CLFLUSH, too").with("lost_flushed", flushed));
    }
    let answer = if unflushed > flushed { "yes" } else { "no" };
    Ok(Reply::answer(answer).with("lost_flushed", flushed).with("lost_unflushed", unflushed).with("hint", hint))
}

pub(super) fn nmi_soft_off(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    let cpu = panel.asked()?;
    start(panel, BY_HLT | SOFT_OFF)?;
    panel.pass_us(QUIET_US);
    let (laps_before, handled_before) = (laps().load(Ordering::Acquire), cpu.nmi_count.load(Ordering::Acquire));
    local_apic()?.send_nmi(cpu.apic_id)?;
    panel.pass_us(QUIET_US);
    let laps = laps().load(Ordering::Acquire) - laps_before;
    let handled = cpu.nmi_count.load(Ordering::Acquire) - handled_before;
    finish(panel)?;
    let answer = match (laps, handled) {
        (_, 1..) => "deliver",
        (1.., 0) => "wake-only",
        (0, 0) => "nothing",
    };
    Ok(Reply::answer(answer).with("laps", laps).with("handled", handled))
}
