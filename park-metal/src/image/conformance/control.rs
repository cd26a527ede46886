//! What this machine shows of events that leave a trace on some machines alone: tried on a CPU that is not parked, so that no
//! rig is known by its name.

use core::sync::atomic::{AtomicU8, Ordering};

use park_core::{Cpu, IpiSender, Register};
use park_x86::registers::apic::{SVR, SVR_ENABLE};

use crate::image::ap_start::INIT_US;
use crate::image::failure::Failure;
use crate::image::parking::fixed_is_pending;
use crate::image::percpu::{Job, PerCpu};
use crate::image::traps::{FIXED_VECTOR, SPURIOUS_VECTOR};
use crate::image::world::{World, restart};
use crate::image::{insn, smp};
use crate::platform::apic::{local_apic, send_fixed, this_cpu};

/// How long a CPU is given to show a trace.
const SHOW_US: u64 = 100_000;

/// What the job of a control and the boot CPU tell each other.
static STEP: AtomicU8 = AtomicU8::new(0);
/// The job has begun.
const BEGUN: u8 = 1;
/// The boot CPU has sent what it sends.
const SENT: u8 = 2;
/// The job saw no trace.
const NO_TRACE: u8 = 3;
/// The job saw a trace.
const TRACE: u8 = 4;

/// Whether a local APIC that is switched off by software keeps fixed interrupts in its IRR. It should accept none (SDM vol. 3,
/// "Local APIC State After It Has Been Software Disabled"), and then nothing tells whether one came.
///
/// # Errors
/// `target`, which must be in its job loop, does not do what it is told.
pub(super) fn keeps_fixed_interrupts(world: &World, target: &PerCpu) -> Result<bool, Failure> {
    STEP.store(0, Ordering::Release);
    target.give(look_while_off, 0)?;
    world.wait(|| STEP.load(Ordering::Acquire) == BEGUN, "a control to begin")?;
    send_fixed(target.apic_id, FIXED_VECTOR)?;
    world.clock.pass_us(SHOW_US);
    STEP.store(SENT, Ordering::Release);
    finish(world, target)?;
    let kept = STEP.load(Ordering::Acquire) == TRACE;
    run(world, target, smp::take_pending_interrupts)?;
    Ok(kept)
}

extern "C" fn look_while_off(_argument: u64) {
    let switched = |svr| this_cpu().write(Register::Apic(SVR), svr);
    let off = switched(SPURIOUS_VECTOR.into());
    STEP.store(BEGUN, Ordering::Release);
    while STEP.load(Ordering::Acquire) != SENT {
        core::hint::spin_loop();
    }
    let kept = off.is_ok() && fixed_is_pending();
    let on = switched(SVR_ENABLE | u64::from(SPURIOUS_VECTOR));
    STEP.store(if kept && on.is_ok() { TRACE } else { NO_TRACE }, Ordering::Release);
}

/// The same of a CPU that waits for SIPI, which an INIT has switched its local APIC off for; and the INIT that begins its start
/// must leave the IRR alone for a trace to be seen.
///
/// # Errors
/// As above.
///
/// # Safety
/// As at [`restart`].
pub(super) unsafe fn keeps_fixed_interrupts_in_wait(world: &World, target: &'static PerCpu) -> Result<bool, Failure> {
    local_apic()?.send_init(target.apic_id)?;
    world.clock.pass_us(INIT_US);
    send_fixed(target.apic_id, FIXED_VECTOR)?;
    world.clock.pass_us(SHOW_US);
    // SAFETY: the caller's promise.
    unsafe { restart(world, target) }?;
    run(world, target, look)?;
    let kept = STEP.load(Ordering::Acquire) == TRACE;
    run(world, target, smp::take_pending_interrupts)?;
    Ok(kept)
}

extern "C" fn look(_argument: u64) {
    STEP.store(if fixed_is_pending() { TRACE } else { NO_TRACE }, Ordering::Release);
}

/// Whether a STARTUP, which a CPU drops unless it waits for one, ends a HLT all the same, which it must not.
///
/// # Errors
/// As above.
pub(super) fn startup_ends_hlt(world: &World, target: &PerCpu, vector: u8) -> Result<bool, Failure> {
    STEP.store(0, Ordering::Release);
    target.give(halt_once, 0)?;
    world.wait(|| STEP.load(Ordering::Acquire) == BEGUN, "a control to begin")?;
    world.clock.pass_us(SHOW_US);
    let stayed = !target.is_idle();
    local_apic()?.send_startup(target.apic_id, vector)?;
    world.clock.pass_us(SHOW_US);
    let ended = target.is_idle();
    // Ends it for certain.
    local_apic()?.send_nmi(target.apic_id)?;
    finish(world, target)?;
    Ok(stayed && ended)
}

extern "C" fn halt_once(_argument: u64) {
    STEP.store(BEGUN, Ordering::Release);
    insn::cli_hlt();
}

fn run(world: &World, target: &PerCpu, job: Job) -> Result<(), Failure> {
    target.give(job, 0)?;
    finish(world, target)
}

fn finish(world: &World, target: &PerCpu) -> Result<(), Failure> {
    Ok(world.wait(|| target.is_idle(), "a control to end")?)
}
