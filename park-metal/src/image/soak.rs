//! The test `soak`: `torture` without overwriting and at one address, for hours, with an eye on what the machine counts.
//!
//! Each generation parks every CPU but the boot CPU, fires events, rests, passes the lot on, confirms, wakes and checks. Before
//! each step a record is kept (`keep.rs`): a machine that dies says at its next start where.

use cpu_park::policy::carry::{Goal, Outcome};
use park_core::Clock;

use crate::image::counters::{self, Counters};
use crate::image::events::fire;
use crate::image::failure::Failure;
use crate::image::fleet::Fleet;
use crate::image::lot;
use crate::image::smp::expect;
use crate::image::torture::{Tally, confirm_all, take_over, wake_all};
use crate::image::world::World;
use crate::image::{keep, serial};
use crate::last_step::Step;
use crate::memory::MAX_CPUS;
use crate::platform::Owner;
use crate::report::Value;

/// How long CPUs are left alone, parked, in each generation: long enough for deep states.
const REST_US: u64 = 250_000;
/// A line for every generation up to this one, then one a minute.
const GENERATIONS_SHOWN: u32 = 3;
const SHOWN_EVERY_US: u64 = 60_000_000;

/// Runs the test.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    let _ = keep::recall(world);
    serial::leave_out_routine();
    let mut clock = world.clock;
    let start = clock.now();
    let end = start.saturating_add(clock.ticks_of_us(u64::from(world.options.soak_minutes) * SHOWN_EVERY_US));
    let mut shown = start;
    let mut owner = Owner { platform: world.platform(), lease: lot::build(world)? };
    let fleet = Fleet::take()?;
    let mut total = Tally::default();
    let mut first = [None; MAX_CPUS];
    let mut number = 0;
    while number < world.options.generations || clock.now() < end {
        number += 1;
        let mut before = [None; MAX_CPUS];
        for (cpu, slot) in world.others().zip(&mut before) {
            *slot = Some(counters::read(world, cpu)?);
        }
        if number == 1 {
            first = before;
        }
        let mut tally = Tally::default();
        owner = generation(world, fleet, owner, number, &mut tally)?;
        total.add(&tally);
        if let Err(failure) = tally.judge() {
            tally.report("generation", number);
            return Err(failure);
        }
        keep::note(world, Step::Check, number, None);
        let show = number <= GENERATIONS_SHOWN || clock.now().wrapping_sub(shown) > clock.ticks_of_us(SHOWN_EVERY_US);
        if show {
            shown = clock.now();
            total.report("generation", number);
        }
        for ((cpu, before), first) in world.others().zip(before).zip(first) {
            let (Some(before), Some(first)) = (before, first) else { continue };
            let now = counters::read(world, cpu)?;
            expect(cpu, "MCG_STATUS", now.mcg_status.unwrap_or(0), 0)?;
            if show {
                report(number, cpu.index, &now, &before, &first);
            }
        }
    }
    keep::note(world, Step::Done, number, None);
    let seconds = clock.now().wrapping_sub(start) / clock.ticks_per_second();
    serial::emit("soaked", &[("generations", Value::Number(number.into())), ("seconds", Value::Number(seconds))]);
    Ok(())
}

fn report(number: u32, index: u32, now: &Counters, before: &Counters, first: &Counters) {
    let or_absent = |value: Option<u64>| value.map_or(Value::Text("absent"), Value::Number);
    let fields = [
        ("generation", Value::Number(number.into())),
        ("cpu", Value::Number(index.into())),
        ("smis", or_absent(now.smis_since(before))),
        ("smis_in_all", or_absent(now.smis_since(first))),
        ("c0_permille", or_absent(now.c0_permille_since(before))),
        ("deep_permille", or_absent(now.deep_permille_since(before))),
        ("mcg_status", now.mcg_status.map_or(Value::Text("absent"), Value::Hex)),
    ];
    serial::emit("soak", &fields);
}

/// One kernel from its first parked CPU to the next kernel's last woken one. Returns the next kernel.
fn generation(
    world: &World,
    fleet: &mut Fleet,
    owner: Owner,
    number: u32,
    tally: &mut Tally,
) -> Result<Owner, Failure> {
    // SAFETY: every other CPU is in its job loop, or lost.
    unsafe { owner.set() };
    keep::note(world, Step::Park, number, None);
    fleet.plan(world, world.options.choice, number)?;
    fleet.carry(world, &owner, Goal::Park);
    tally.lost += fleet.report_unless(Outcome::Parked);
    tally.parked += fleet.parked().count() as u64;
    for parked in fleet.parked() {
        keep::note(world, Step::Events, number, Some(parked.cpu.index));
        fire(world, &owner, &parked, tally)?;
    }
    keep::note(world, Step::Rest, number, None);
    world.clock.pass_us(REST_US);
    keep::note(world, Step::Adopt, number, None);
    let next = take_over(world, &owner, 0, number)?;
    // SAFETY: every other CPU is parked.
    unsafe { next.set() };
    keep::note(world, Step::Confirm, number, None);
    confirm_all(world, &next, fleet, tally)?;
    keep::note(world, Step::Wake, number, None);
    wake_all(world, &next, fleet, tally)?;
    Ok(next)
}
