//! The test `smp`: every CPU runs a job of its own, and counts the NMI and the fixed interrupts that it is sent.

use core::sync::atomic::{AtomicU64, Ordering};

use park_core::IpiSender;

use crate::image::failure::Failure;
use crate::image::insn;
use crate::image::percpu::{self, PerCpu};
use crate::image::serial;
use crate::image::traps::FIXED_VECTOR;
use crate::image::world::World;
use crate::memory::MAX_CPUS;
use crate::platform::apic::{local_apic, send_fixed};
use crate::report::Value;

/// What the jobs of each CPU added up to.
static SUMS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Runs the test.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    serial::emit("smp", &[("online", Value::Number(world.online().into()))]);
    for cpu in world.others() {
        check_works(world, cpu)?;
    }
    // Last, when everything had time to go astray.
    for cpu in world.cpus() {
        let is_other = u64::from(cpu.index != 0);
        expect(cpu, "its count of NMIs", cpu.nmi_count.load(Ordering::Acquire), is_other)?;
        expect(cpu, "its count of fixed interrupts", cpu.fixed_count.load(Ordering::Acquire), 2 * is_other)?;
        expect(cpu, "its count of machine checks", cpu.mc_count.load(Ordering::Acquire), 0)?;
        expect(cpu, "its arrivals in the job loop", cpu.arrivals.load(Ordering::Acquire), is_other)?;
    }
    Ok(())
}

/// Checks that another CPU runs jobs on its own stack, and takes an NMI and two fixed interrupts.
pub(crate) fn check_works(world: &World, cpu: &PerCpu) -> Result<(), Failure> {
    // Distinct arguments: a job that ran on the wrong CPU shows.
    let argument = 100 + u64::from(cpu.index);
    let sum_before = sum(cpu);
    run_job(world, cpu, add_argument, argument)?;
    expect(cpu, "the sum of its jobs' arguments", sum(cpu), sum_before + argument)?;

    let nmis_before = cpu.nmi_count.load(Ordering::Acquire);
    local_apic()?.send_nmi(cpu.apic_id)?;
    world.wait(|| cpu.nmi_count.load(Ordering::Acquire) > nmis_before, "an NMI to be counted")?;

    // Twice: the second arrives only if the first got its EOI.
    for _ in 0..2 {
        let fixed_before = cpu.fixed_count.load(Ordering::Acquire);
        send_fixed(cpu.apic_id, FIXED_VECTOR)?;
        // TCG needs a moment for an interrupt that has been sent, and IF may be 0 again by then.
        let came = || cpu.fixed_count.load(Ordering::Acquire) > fixed_before;
        let taken = || run_job(world, cpu, take_pending_interrupts, 0).is_ok() && came();
        world.wait(taken, "a fixed interrupt to be counted")?;
        expect(cpu, "its count of fixed interrupts", cpu.fixed_count.load(Ordering::Acquire), fixed_before + 1)?;
    }
    Ok(())
}

fn sum(cpu: &PerCpu) -> u64 {
    SUMS.get(cpu.index as usize).map_or(0, |sum| sum.load(Ordering::Acquire))
}

extern "C" fn add_argument(argument: u64) {
    if let Some(sum) = SUMS.get(percpu::current().index as usize) {
        sum.fetch_add(argument, Ordering::Release);
    }
}

pub(crate) extern "C" fn take_pending_interrupts(_argument: u64) {
    insn::take_pending_interrupts();
}

/// Runs a job on another CPU, and waits for its end.
pub(crate) fn run_job(world: &World, cpu: &PerCpu, job: percpu::Job, argument: u64) -> Result<(), Failure> {
    cpu.give(job, argument)?;
    Ok(world.wait(|| cpu.is_idle(), "a job to end")?)
}

/// Fails if `found` is not what is `wanted` of a CPU.
pub(crate) fn expect(cpu: &PerCpu, what: &'static str, found: u64, wanted: u64) -> Result<(), Failure> {
    if found == wanted { Ok(()) } else { Err(Failure::Wrong { index: cpu.index, what, found, wanted }) }
}
