//! Questions about the local APIC that sends.

use core::sync::atomic::{AtomicU64, Ordering};

use park_core::lot::ApicMode;
use park_core::{Clock, Cpu, Register};
use park_x86::registers::apic::{ICR_ASSERT, ICR_LOW, ICR_NMI, ICR_PENDING, ICR_X2APIC_DESTINATION_SHIFT, x2apic_msr};

use super::panel::{Panel, QUIET_US, Reply};
use crate::image::failure::Failure;
use crate::image::probe;
use crate::image::smp;
use crate::image::traps::FIXED_VECTOR;
use crate::platform::apic::{local_apic, send_fixed, this_cpu};

/// Messages of [`icr_busy`].
const MESSAGES: u64 = 256;
/// Polls after which the ICR is stuck.
const POLLS_MAX: u64 = 100_000;
/// Stores of [`icr_reorder`], if there is time.
const STORES: u64 = 20_000;
const STORES_US: u64 = 3_000_000;

/// A store and an NMI that follows it, in lines of their own.
#[repr(align(256))]
struct Apart(AtomicU64);

static STORED: Apart = Apart(AtomicU64::new(0));
static LOADED: Apart = Apart(AtomicU64::new(0));
static ARRIVED: Apart = Apart(AtomicU64::new(0));

pub(super) fn icr_busy(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    if local_apic()?.mode() == ApicMode::X2Apic {
        return Ok(Reply::none("in x2APIC mode there is no delivery status"));
    }
    let cpu = panel.asked()?;
    let mut most = 0;
    for _ in 0..MESSAGES {
        // Pends in the IRR, and merges with the one before.
        send_fixed(cpu.apic_id, FIXED_VECTOR)?;
        let mut polls = 0;
        while polls < POLLS_MAX && this_cpu().read(Register::Apic(ICR_LOW))? & ICR_PENDING != 0 {
            polls += 1;
        }
        most = most.max(polls);
    }
    panel.run(smp::take_pending_interrupts, 0)?;
    panel.recover()?;
    let answer = match most {
        0 => "idle",
        POLLS_MAX => "stuck",
        _ => "a-while",
    };
    Ok(Reply::answer(answer).with("messages", MESSAGES).with("polls_most", most))
}

/// Loads what was stored before the NMI was sent.
extern "C" fn load(_rip: u64) {
    LOADED.0.store(STORED.0.load(Ordering::Relaxed), Ordering::Relaxed);
    ARRIVED.0.fetch_add(1, Ordering::AcqRel);
}

pub(super) fn icr_reorder(panel: &mut Panel<'_>) -> Result<Reply, Failure> {
    if local_apic()?.mode() == ApicMode::XApic {
        return Ok(Reply::none("an xAPIC is written by stores, which stay in order; ask with apic=x2"));
    }
    let cpu = panel.asked()?;
    let message = u64::from(cpu.apic_id.0) << ICR_X2APIC_DESTINATION_SHIFT | ICR_NMI | ICR_ASSERT;
    ARRIVED.0.store(0, Ordering::Release);
    cpu.on_nmi(Some(load));
    let mut clock = panel.world.clock;
    let end = clock.now().saturating_add(clock.ticks_of_us(STORES_US));
    let (mut sent, mut overtaken) = (0, 0);
    while sent < STORES && clock.now() < end {
        sent += 1;
        STORED.0.store(sent, Ordering::Relaxed);
        // No fence between: that is the question. SAFETY: an NMI to a CPU that handles it.
        let _ = unsafe { probe::wrmsr(x2apic_msr(ICR_LOW), message) };
        if !panel.within(QUIET_US, || ARRIVED.0.load(Ordering::Acquire) == sent) {
            break;
        }
        overtaken += u64::from(LOADED.0.load(Ordering::Relaxed) != sent);
    }
    cpu.on_nmi(None);
    panel.recover()?;
    let answer = if overtaken > 0 { "seen" } else { "not-seen" };
    Ok(Reply::answer(answer).with("stores", sent).with("overtaken", overtaken))
}
