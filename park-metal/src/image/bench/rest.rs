//! What CPUs do that a bench does not need: sleep, so that they take no turn from the two that it times.

use core::sync::atomic::{AtomicBool, Ordering};

use park_core::IpiSender;

use crate::image::failure::Failure;
use crate::image::insn;
use crate::image::percpu::PerCpu;
use crate::image::world::World;
use crate::platform::apic::local_apic;

static RESTING: AtomicBool = AtomicBool::new(false);

extern "C" fn rest(_argument: u64) {
    while RESTING.load(Ordering::Acquire) {
        insn::cli_hlt();
    }
}

/// Sends a CPU to sleep that is in its job loop.
pub(super) fn begin(_world: &World, cpu: &PerCpu) -> Result<(), Failure> {
    RESTING.store(true, Ordering::Release);
    Ok(cpu.give(rest, 0)?)
}

/// Wakes it, and waits until it is in its job loop. All that rest are woken in turn.
pub(super) fn end(world: &World, cpu: &PerCpu) -> Result<(), Failure> {
    RESTING.store(false, Ordering::Release);
    let mut apic = local_apic()?;
    // An NMI between its look and its HLT does not wake it: again, until one does.
    let woken = || cpu.is_idle() || (apic.send_nmi(cpu.apic_id).is_err() || cpu.is_idle());
    Ok(world.wait(woken, "a CPU that rested")?)
}
