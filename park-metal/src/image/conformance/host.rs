//! Events that only the host can make happen: a `sync` line asks for one, the byte `g` says that it did.

use park_core::Event;

use crate::image::failure::Failure;
use crate::image::percpu::PerCpu;
use crate::image::serial;
use crate::image::world::World;
use crate::memory::Region;
use crate::report::Value;

/// The longest wait for the host, whose own limits are half of it.
const ANSWER_US: u64 = 60_000_000;
/// What the host answers with.
const DONE: u8 = b'g';

/// Asks for one event at `target`, and waits until the host says that it happened.
pub(crate) fn ask(world: &World, event: Event, target: &PerCpu) -> Result<(), Failure> {
    let fields = [
        ("want", Value::Text(event.name())),
        ("cpu_index", Value::Number(target.index.into())),
        ("apic_id", Value::Number(target.apic_id.0.into())),
        ("n", Value::Number(1)),
    ];
    serial::emit("sync", &fields);
    answer(world)
}

/// Asks how often CPUs that execute in `region` have entered SMM, by the host's log: the last digit of the count since this was
/// asked first.
pub(crate) fn smm_entries(world: &World, region: &Region) -> Result<u8, Failure> {
    let (from, to) = (Value::Hex(region.start.0), Value::Hex(region.end().0));
    serial::emit("sync", &[("want", Value::Text("smm-entries")), ("from", from), ("to", to)]);
    let mut digit = None;
    world.wait(
        || {
            digit = serial::receive().map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10);
            digit.is_some()
        },
        "the host",
    )?;
    digit.ok_or(Failure::Machine("the host gives no count"))
}

/// Asks for a note of the registers of all CPUs under the name `tag`, and waits until the host says that it is made.
pub(crate) fn note_registers(world: &World, tag: &str) -> Result<(), Failure> {
    serial::emit("sync", &[("want", Value::Text("registers")), ("tag", Value::Text(tag))]);
    answer(world)
}

fn answer(world: &World) -> Result<(), Failure> {
    Ok(world.clock.wait(ANSWER_US, "the host", || serial::receive() == Some(DONE))?)
}
