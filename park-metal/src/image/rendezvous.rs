//! SMIs that firmware handles: the port that raises one at every CPU, and what each CPU counts by itself.
//!
//! Who runs torture on a machine whose firmware gathers all CPUs in SMM sees these counted: before a CPU parks, and when it is
//! back.

use core::sync::atomic::{AtomicBool, Ordering};

use park_core::Mechanism;

use crate::choices::Host;
use crate::image::fleet::Fleet;
use crate::image::parking::Parked;
use crate::image::serial;
use crate::image::torture::Tally;
use crate::report::Value;

use crate::image::failure::Failure;
use crate::image::percpu::PerCpu;
use crate::image::world::World;
use crate::image::{counters, insn};

/// The port that raises an SMI on PC chipsets (ICH9 datasheet, APM_CNT), and a value that stands for nothing. Which CPUs get it is
/// firmware's choice: OVMF with SMM has QEMU's chipset raise it at all of them, and gathers them.
const APM_CONTROL: u16 = 0xb2;
const APM_NOTHING: u8 = 0;
/// How long a CPU is given to come out of SMM and count.
const SHOW_US: u64 = 100_000;

/// Raises one SMI. Returns once firmware has let the executing CPU go.
pub(crate) fn call() {
    insn::out_u8(APM_CONTROL, APM_NOTHING);
    // The write may be posted: reading the port waits for it.
    let _ = insn::in_u8(APM_CONTROL);
}

/// SMIs that a CPU has counted since reset; `None` if it does not count.
///
/// # Errors
/// The CPU, which must be in its job loop, does not do what it is told.
pub(crate) fn count(world: &World, cpu: &PerCpu) -> Result<Option<u64>, Failure> {
    Ok(counters::read(world, cpu)?.smi)
}

/// Whether a [`call`] reaches `cpu`, which merely runs.
///
/// # Errors
/// As above.
pub(crate) fn reaches(world: &World, cpu: &PerCpu) -> Result<bool, Failure> {
    let Some(before) = count(world, cpu)? else { return Ok(false) };
    call();
    world.clock.pass_us(SHOW_US);
    Ok(count(world, cpu)?.is_some_and(|after| after != before))
}

/// Whether torture calls firmware.
static CALLED: AtomicBool = AtomicBool::new(false);
/// Calls while CPUs merely run.
const CONTROL_CALLS: u64 = 2;

/// Calls firmware while all CPUs run, if it gathers them at all; from now on torture does so too. Tried only where a host
/// answers: nobody knows what the firmware of a real machine makes of it.
pub(crate) fn control(world: &World, tally: &mut Tally) -> Result<(), Failure> {
    let Some(first) = world.others().next().filter(|_| world.options.host == Host::Answers) else { return Ok(()) };
    if !reaches(world, first)? {
        return Ok(());
    }
    CALLED.store(true, Ordering::Relaxed);
    note(world)?;
    for _ in 0..CONTROL_CALLS {
        call();
        world.clock.pass_us(SHOW_US);
    }
    for cpu in world.others() {
        cpu.smis_called.store(CONTROL_CALLS, Ordering::Relaxed);
        tally.fired += CONTROL_CALLS;
        witness(world, cpu, tally)?;
    }
    Ok(())
}

/// Whether torture calls firmware here.
pub(crate) fn is_called() -> bool {
    CALLED.load(Ordering::Relaxed)
}

/// Notes what each CPU has counted by now. All are in their job loops.
pub(crate) fn note(world: &World) -> Result<(), Failure> {
    for cpu in world.others().filter(|_| is_called()) {
        cpu.smis_before.store(count(world, cpu)?.unwrap_or(0), Ordering::Relaxed);
    }
    Ok(())
}

/// Calls firmware once while CPUs are parked, unless one waits for SIPI: TCG takes an SMI there, and that is the CPU's end.
pub(crate) fn gather(fleet: &Fleet, tally: &mut Tally) {
    let may = |parked: Parked| parked.mechanism != Mechanism::WaitForSipi;
    if is_called() && fleet.parked().all(may) {
        call();
        for parked in fleet.parked() {
            parked.cpu.smis_called.store(1, Ordering::Relaxed);
            tally.fired += 1;
        }
    }
}

/// Counts, now that a CPU is in its job loop again, the SMIs that came since it was [`note`]d: as many as firmware was called
/// for, or it says so.
pub(crate) fn witness(world: &World, cpu: &PerCpu, tally: &mut Tally) -> Result<(), Failure> {
    let called = cpu.smis_called.swap(0, Ordering::Relaxed);
    if called == 0 {
        return Ok(());
    }
    let came = count(world, cpu)?.unwrap_or(0).wrapping_sub(cpu.smis_before.load(Ordering::Relaxed));
    if came == called {
        tally.witnessed += called;
    } else {
        let (index, came) = (Value::Number(cpu.index.into()), Value::Number(came));
        serial::emit("unwitnessed", &[("cpu", index), ("what", Value::Text("smi-rendezvous")), ("came", came)]);
    }
    Ok(())
}
