//! The test `strangers`: another kernel has parked CPUs and left; its memory is overwritten and events are fired at them.
//!
//! What a kernel that knows nothing of parked CPUs does to them. Nobody starts them: an INIT would save them. Whoever is
//! left is seen from outside, by the host, which notes all registers at each `sync`.

use core::sync::atomic::Ordering;

use park_core::{Event, IpiSender};

use crate::image::conformance::host;
use crate::image::failure::Failure;
use crate::image::percpu::PerCpu;
use crate::image::serial;
use crate::image::sled;
use crate::image::smi::SMRAM;
use crate::image::world::World;
use crate::platform::apic::local_apic;
use crate::report::Value;
use crate::strangers::{Fire, Strangers};

/// How long whoever wakes may take until it has come to harm: a busy host runs each CPU some ms later.
const HARM_US: u64 = 500_000;
/// The events are one after the other, and each comes so often.
const NMIS: u32 = 3;

/// Runs the test.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    let strangers = world.options.strangers.ok_or(Failure::Machine("t=strangers needs strangers=EVENT:MASK"))?;
    disturb(world, strangers)
}

/// Overwrites memory, fires the event, and lets the host look at all CPUs before, between and after.
pub(crate) fn disturb(world: &World, strangers: Strangers) -> Result<(), Failure> {
    let boot_cpu = world.cpus().next().ok_or(Failure::TooManyCpus)?;
    for apic_id in strangers.apic_ids() {
        if apic_id == boot_cpu.apic_id {
            return Err(Failure::Machine("the boot CPU is no stranger"));
        }
    }
    host::note_registers(world, "before")?;
    overwrite(world);
    world.clock.pass_us(HARM_US);
    host::note_registers(world, "overwritten")?;
    let fields =
        [("what", Value::Text(strangers.fire.name())), ("cpus", Value::Number(strangers.apic_ids().count() as u64))];
    serial::emit("fire", &fields);
    fire(world, boot_cpu, strangers)?;
    world.clock.pass_us(HARM_US);
    host::note_registers(world, "after")?;
    let landed = sled::report_landings();
    serial::emit("strangers", &[("landed", Value::Number(landed))]);
    Ok(())
}

fn overwrite(world: &World) {
    // SAFETY: the boot CPU alone is the image's; all others may be lost.
    let bytes = unsafe { sled::overwrite(world, &[SMRAM]) };
    serial::emit("overwritten", &[("bytes", Value::Number(bytes))]);
}

fn fire(world: &World, boot_cpu: &PerCpu, strangers: Strangers) -> Result<(), Failure> {
    match strangers.fire {
        Fire::Nothing => {}
        Fire::Nmi => {
            for _ in 0..NMIS {
                for apic_id in strangers.apic_ids() {
                    local_apic()?.send_nmi(apic_id)?;
                }
                world.clock.pass_us(HARM_US / u64::from(NMIS));
            }
        }
        // Every line that they could watch is in memory of the kernel that is gone.
        Fire::Store => overwrite(world),
        Fire::McBroadcast => {
            let before = boot_cpu.mc_count.load(Ordering::Acquire);
            host::ask(world, Event::McBroadcast, boot_cpu)?;
            let came = || boot_cpu.mc_count.load(Ordering::Acquire) != before;
            world.wait(came, "the machine check at the boot CPU")?;
        }
    }
    Ok(())
}
