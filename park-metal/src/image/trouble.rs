//! The test `trouble`: what can go wrong does, and each time the cause is named, what is uncertain is quarantined, and
//! the rest goes on.

use core::sync::atomic::{AtomicBool, Ordering};

use cpu_park::policy::carry::{Goal, Outcome, Tally, Task};
use park_core::acpi::madt;
use park_core::{ApicId, ErrorKind, IpiSender, PhysAddr, PlatformError};

use crate::choices::Choice;
use crate::image::failure::Failure;
use crate::image::fleet::{Fleet, report};
use crate::image::percpu::{self, PerCpu};
use crate::image::world::World;
use crate::image::{lot, serial, smp};
use crate::memory::{BadLot, IMAGE, PageBump};
use crate::platform::Owner;
use crate::platform::apic::local_apic;
use crate::report::Value;

/// A place that is reserved on every PC: the firmware's ROM below 4 GiB.
const RESERVED: PhysAddr = PhysAddr(0xfff0_0000);

/// True while CPU 1 does not come to where it was summoned.
static HELD_UP: AtomicBool = AtomicBool::new(false);
/// The CPU that is held up.
const SLOW_CPU: u32 = 1;

/// Called by CPUs on their way into a bay.
pub(crate) fn hold_up() {
    while percpu::current().index == SLOW_CPU && HELD_UP.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
}

/// A local APIC whose STARTUPs are lost.
struct NoStartup<I>(I);

impl<I: IpiSender> IpiSender for NoStartup<I> {
    fn send_nmi(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.0.send_nmi(target)
    }

    fn send_init(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.0.send_init(target)
    }

    fn send_startup(&mut self, _target: ApicId, _vector: u8) -> Result<(), PlatformError> {
        Ok(())
    }
}

/// Before any CPU is started: an entry of the processor list without a CPU, and a CPU whose STARTUPs are lost.
pub(crate) fn rehearse(world: &World, pages: &mut PageBump, madt: &[u8]) -> Result<(), Failure> {
    let listed = || madt::enabled_cpus(madt).filter_map(Result::ok);
    let phantom = (0..ApicId::XAPIC_MAX.0).rev().map(ApicId).find(|id| listed().all(|other| other != *id));
    let phantom = phantom.ok_or(Failure::Machine("every APIC id has a CPU"))?;
    if world.start(pages, phantom, &mut local_apic()?)?.is_some() {
        return Err(Failure::Machine("a CPU came that does not exist"));
    }
    let real = listed().nth(1).ok_or(Failure::Machine("two CPUs are needed"))?;
    if world.start(pages, real, &mut NoStartup(local_apic()?))?.is_some() {
        return Err(Failure::Machine("a CPU came without a STARTUP"));
    }
    Ok(())
}

/// Runs the test.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    if world.others().count() < 3 {
        return Err(Failure::Machine("four CPUs are needed; use -smp 4"));
    }
    bad_lots(world)?;
    let fleet = Fleet::take()?;
    too_few_bays(world, fleet)?;
    one_does_not_come(world, fleet)
}

/// Lots over the image, in reserved memory and at no page's beginning are refused.
fn bad_lots(world: &World) -> Result<(), Failure> {
    let at = |start| world.plan.with_lot_at(start, world.map.ranges());
    let refusals = [at(IMAGE.start), at(RESERVED), at(PhysAddr(world.plan.lot.start.0 + 1))];
    for refusal in &refusals {
        if let Err(error) = refusal {
            serial::emit("refused", &[("why", Value::Format(format_args!("{error}")))]);
        }
    }
    match refusals {
        [Err(BadLot::Over { .. }), Err(BadLot::Reserved { .. }), Err(BadLot::Unaligned { .. })] => Ok(()),
        _ => Err(Failure::Machine("a lot was not refused, or not for what is wrong with it")),
    }
}

/// Parks all CPUs in a lot with one bay too few: one is refused, the others park and come back.
fn too_few_bays(world: &World, fleet: &mut Fleet) -> Result<(), Failure> {
    let others = world.others().count();
    let bays = u32::try_from(others - 1).map_err(|_| Failure::TooManyCpus)?;
    let owner = Owner { platform: world.platform(), lease: lot::build_with(world, bays, None)? };
    // SAFETY: every other CPU is in its job loop.
    unsafe { owner.set() };
    fleet.plan(world, Choice::Turn, 0)?;
    fleet.carry(world, &owner, Goal::Park);
    let refused = only(fleet, Outcome::Refused)?;
    check_counts(fleet, &[(Outcome::Parked, others - 1), (Outcome::Refused, 1)])?;
    if refused.why().is_none_or(|why| why.kind != ErrorKind::NotSupported) {
        return Err(Failure::Machine("a CPU without a bay was refused for something else"));
    }
    fleet.carry(world, &owner, Goal::Wake);
    check_counts(fleet, &[(Outcome::Woken, others - 1), (Outcome::Refused, 1)])?;
    world.others().try_for_each(|cpu| check_home(world, cpu))
}

/// Parks all CPUs, of which one does not come in time: it is quarantined, and late when it comes after all.
fn one_does_not_come(world: &World, fleet: &mut Fleet) -> Result<(), Failure> {
    let others = world.others().count();
    let owner = Owner { platform: world.platform(), lease: lot::build(world)? };
    // SAFETY: every other CPU is in its job loop.
    unsafe { owner.set() };
    HELD_UP.store(true, Ordering::Release);
    fleet.plan(world, Choice::Turn, 0)?;
    fleet.carry(world, &owner, Goal::Park);
    let quarantined = only(fleet, Outcome::Quarantined)?;
    check_counts(fleet, &[(Outcome::Parked, others - 1), (Outcome::Quarantined, 1)])?;
    if percpu::with_apic_id(quarantined.apic_id()).is_none_or(|cpu| cpu.index != SLOW_CPU) {
        return Err(Failure::Machine("another CPU than the one that did not come is quarantined"));
    }
    // What is quarantined is not rung, and the others are not kept waiting by it.
    fleet.carry(world, &owner, Goal::Confirm);
    check_counts(fleet, &[(Outcome::Parked, others - 1), (Outcome::Quarantined, 1)])?;

    HELD_UP.store(false, Ordering::Release);
    let late = || {
        fleet.carry(world, &owner, Goal::Recover);
        fleet.tasks().iter().all(|task| task.outcome() != Outcome::Quarantined)
    };
    world.wait(late, "a CPU that comes late")?;
    only(fleet, Outcome::Late)?;
    check_counts(fleet, &[(Outcome::Parked, others - 1), (Outcome::Late, 1)])?;
    fleet.carry(world, &owner, Goal::Wake);
    check_counts(fleet, &[(Outcome::Woken, others)])?;
    world.others().try_for_each(|cpu| check_home(world, cpu))
}

/// The first CPU with this outcome, which is reported.
fn only(fleet: &Fleet, outcome: Outcome) -> Result<Task, Failure> {
    let task = fleet.tasks().iter().find(|task| task.outcome() == outcome);
    let task = task.ok_or(Failure::Machine("no CPU came to what this test is about"))?;
    report(task);
    Ok(*task)
}

/// Fails unless the outcomes are these, so many times.
fn check_counts(fleet: &Fleet, wanted: &[(Outcome, usize)]) -> Result<(), Failure> {
    let tally = Tally::of(fleet.tasks());
    serial::emit("outcomes", &[("are", Value::Format(format_args!("{tally}")))]);
    let all: usize = wanted.iter().map(|(_, count)| count).sum();
    if all == fleet.tasks().len() && wanted.iter().all(|&(outcome, count)| tally.count(outcome) == count) {
        return Ok(());
    }
    Err(Failure::Machine("the CPUs came to something else"))
}

/// Checks that a CPU is a CPU of the image.
fn check_home(world: &World, cpu: &PerCpu) -> Result<(), Failure> {
    world.wait(|| cpu.is_idle(), "a CPU in its job loop")?;
    smp::check_works(world, cpu)
}
