//! The test `sweep`: an NMI after every instruction of arriving and of leaving.
//!
//! Each step parks a CPU and wakes it, with one NMI on its way in or on its way out, a little later from step to step. On
//! a machine that executes one instruction of each CPU in turn, and whose TSC counts those turns (Bochs with
//! `quantum=1`), a step is one instruction: then no boundary between two instructions is left out, and who reads the
//! lines `met` can see that none was. On others it is a sample. None of the NMIs may be lost, and nothing else.

mod lockstep;
mod met;

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use park_core::lot::bay;
use park_core::op::{AwaitArrival, Reserve};
use park_core::{LotMemory, Mechanism, PlatformError};
use park_x86::{arrive, code, frame};

use crate::image::area::{Area, Frame, STACK_TOP_GAP, SweepStack};
use crate::image::failure::Failure;
use crate::image::insn;
use crate::image::lot;
use crate::image::parking::{self, Parked, detect_here};
use crate::image::percpu::{self, PerCpu};
use crate::image::serial;
use crate::image::smp::{check_works, expect, run_job};
use crate::image::world::World;
use crate::memory::CPU_AREA_BYTES;
use crate::platform::Owner;
use crate::report::Value;

use self::lockstep::{ReadyNmi, until};
use self::met::{Met, Place, Way};

/// From the CPU's sign that it is about to arrive to its first instruction of arriving: its waker needs some hundred
/// instructions to get ready, and under an emulator that gives each CPU a thread, some microseconds.
const LEAD_TICKS: u64 = 4_000;
const LEAD_US: u64 = 20;
/// An NMI that a CPU has not taken after so long is held, where it may be.
const HELD_US: u64 = 5_000;
/// From the first instruction of arriving to the ring: the waker has much to prepare.
const RING_TICKS: u64 = 60_000;

/// When a CPU was about to arrive, by the TSC; 0 before.
static AT_THE_DOOR: AtomicU64 = AtomicU64::new(0);
/// [`LEAD_TICKS`] and [`LEAD_US`] in ticks.
static LEAD: AtomicU64 = AtomicU64::new(0);

global_asm!(
    include_str!("woken.s"),
    AREA_BYTES = const CPU_AREA_BYTES,
    STACK_TOP_GAP = const STACK_TOP_GAP,
    woken = sym parking::woken,
    options(att_syntax)
);

unsafe extern "C" {
    fn metal_woken_elsewhere();
}

/// Where a woken CPU enters that left through [`SweepStack`]s: on to [`parking::woken`], on its own stack.
fn woken_elsewhere() -> u64 {
    metal_woken_elsewhere as *const () as u64
}

/// The job of a CPU that is to park in the bay with this index, at a moment that its waker knows. Comes back only in failure.
extern "C" fn enter(bay_index: u64) {
    match parking::prepare(bay_index) {
        Ok(ready) => {
            let now = insn::read_tsc();
            AT_THE_DOOR.store(now, Ordering::Release);
            until(now + LEAD.load(Ordering::Relaxed));
            let stack = Area::current().sweep_stack_top(SweepStack::Arrival);
            let owner_arrive = arrive::owner_text_address() + u64::from(code::owner_labels().arrive);
            // SAFETY: as `parking::enter` calls `arrive::arrive`, whose conditions these are, but for the stack: it has 1 KiB
            // and is the area's own. What is on the job's own stack is abandoned there, too.
            unsafe {
                core::arch::asm!(
                    "mov rsp, {stack}",
                    "jmp {owner_arrive}",
                    stack = in(reg) stack,
                    owner_arrive = in(reg) owner_arrive,
                    in("rdi") ready.frame,
                    options(noreturn)
                );
            }
        }
        Err(error) => serial::emit_failure(format_args!("CPU {} can't park: {error}", percpu::current().index)),
    }
}

/// Runs the test: `steps` arrivals and as many departures by every mechanism that the second CPU has.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    let cpu = world.others().next().ok_or(Failure::Machine("two CPUs are needed; use -smp 2"))?;
    let owner = Owner { platform: world.platform(), lease: lot::build(world)? };
    // SAFETY: every other CPU is in its job loop.
    unsafe { owner.set() };
    insn::bochs_break();
    LEAD.store(LEAD_TICKS + world.clock.ticks_of_us(LEAD_US), Ordering::Relaxed);
    let detected = detect_here();
    for mechanism in [Mechanism::Hlt, Mechanism::Mwait, Mechanism::Clgi] {
        if detected.orders(mechanism, 0).is_err() {
            continue;
        }
        for way in [Way::In, Way::Out] {
            let mut met = Met::new(mechanism, way);
            let mut tally = Tally::default();
            for step in 0..world.options.steps {
                let delay = u64::from(step) * u64::from(world.options.stride);
                let bay = owner.platform.drive(Reserve::any(&owner.lease, parking::reservation(cpu, mechanism, 0)?))?;
                let place = one(world, &owner, &Parked { cpu, mechanism, bay }, way, delay, &mut tally)?;
                met.add(place);
            }
            met.end();
            let fields = [
                ("mechanism", Value::Text(mechanism.name())),
                ("way", Value::Text(way.name())),
                ("steps", Value::Number(world.options.steps.into())),
                ("fired", Value::Number(tally.fired)),
                ("witnessed", Value::Number(tally.witnessed)),
                ("merged", Value::Number(tally.merged)),
                ("uncounted", Value::Number(tally.uncounted)),
                ("in_image", Value::Number(met.in_image)),
                ("in_owner_text", Value::Number(met.in_owner_text)),
                ("in_bay_code", Value::Number(met.in_bay_code)),
            ];
            serial::emit("sweep", &fields);
        }
    }
    check_works(world, cpu)
}

/// NMIs of all steps of one way.
#[derive(Default)]
struct Tally {
    fired: u64,
    /// By the image's handler, by park's handlers in the image's text, or by the lot's.
    witnessed: u64,
    /// They met a CPU between its own GDT and its own IDT, where the lot's handler has nowhere to count. Their frames are
    /// the witnesses.
    uncounted: u64,
    /// They merged with one before them, which the CPU had not taken yet.
    merged: u64,
}

/// What a CPU had counted before a step.
struct Before {
    by_image: u64,
    by_bay: u64,
    entries: u64,
}

/// One arrival and one departure, with an NMI `delay` ticks after the beginning of one of them. Returns what the CPU was
/// about to execute when it took that NMI.
fn one(
    world: &World,
    owner: &Owner,
    parked: &Parked,
    way: Way,
    delay: u64,
    tally: &mut Tally,
) -> Result<Place, Failure> {
    let cpu = parked.cpu;
    let count = || cpu.nmi_count.load(Ordering::Acquire);
    let entries = cpu.entries.load(Ordering::Acquire);
    let before = Before { by_image: count(), by_bay: bay_nmis(owner, parked)?, entries };
    // SAFETY: the CPU is in its job loop, and has taken every NMI of the step before: `nothing` saw to that.
    unsafe { met::forget(owner, parked) }?;
    let nmi = ReadyNmi::new(cpu.apic_id)?;
    AT_THE_DOOR.store(0, Ordering::Release);
    cpu.give(enter, parked.bay.index().into())?;
    let (start, lead) = (at_the_door(), LEAD.load(Ordering::Relaxed));
    if way == Way::In {
        until(start + lead + delay);
        nmi.send();
    }
    owner.platform.drive(AwaitArrival::new(parked.bay, world.deadline()))?;
    let arriving = frame_nmis(cpu, Frame::Arrival);
    let came = || count() != before.by_image || bay_nmis(owner, parked) != Ok(before.by_bay);
    let mut place = Place::Held;
    if way == Way::In {
        let patience_us = if parked.mechanism == Mechanism::Clgi { HELD_US } else { world.timeout_us() };
        match world.clock.wait(patience_us, "the NMI that was sent to an arriving CPU", came) {
            Ok(()) => place = met::place(owner, parked)?,
            Err(_) if parked.mechanism == Mechanism::Clgi => {}
            Err(error) => return Err(error.into()),
        }
    }
    if place != Place::Held {
        // SAFETY: the CPU is in its bay, and the only NMI has come.
        unsafe { met::forget(owner, parked) }?;
    }
    let sent = lockstep::wake(world, owner, parked, start + lead + RING_TICKS, (way == Way::Out).then_some(delay))?;
    // Whatever was sent to the CPU is pending there by now, and it takes that before a job ends.
    run_job(world, cpu, nothing, 0)?;
    expect(cpu, "the count of its entries in this step", cpu.entries.load(Ordering::Acquire) - before.entries, 1)?;
    // The lot's code takes over what was counted on the way in.
    let by_bay = (bay_nmis(owner, parked)? - before.by_bay).saturating_sub(arriving);
    let between = arriving + frame_nmis(cpu, Frame::Departure);
    let witnessed = count() - before.by_image + between + by_bay;
    let fired = u64::from(way == Way::In) + sent.in_all();
    let lost = Failure::Wrong { index: cpu.index, what: "its NMIs", found: witnessed, wanted: fired };
    let missing = fired.checked_sub(witnessed).ok_or(lost)?;
    let (mut uncounted, mut merged) = (0, missing);
    match way {
        // NMIs of a wake may merge with one another.
        Way::In if place != Place::Held && missing < sent.in_all().max(1) => {}
        Way::In if missing == 0 => {}
        Way::Out if sent.kicks != 0 && witnessed != 0 => place = Place::Unclear,
        Way::Out => {
            place = met::place(owner, parked)?;
            match (place, missing) {
                (_, 0) => {}
                (Place::OwnerText(_), 1) => (uncounted, merged) = (1, 0),
                // What the bay's stack holds is the frame of the first of two.
                (Place::BayCode(_), 1) if parked.mechanism != Mechanism::Clgi => place = Place::Merged,
                _ => return Err(lost),
            }
        }
        Way::In => return Err(lost),
    }
    tally.fired += fired;
    tally.witnessed += witnessed;
    tally.uncounted += uncounted;
    tally.merged += merged;
    Ok(place)
}

/// Waits for a CPU's sign that it is about to arrive.
fn at_the_door() -> u64 {
    // Not `World::wait`, whose laps are long. A CPU that can't park never comes here, and the lab's deadline ends this.
    loop {
        match AT_THE_DOOR.load(Ordering::Acquire) {
            0 => {}
            start => return start,
        }
    }
}

/// A job during which a CPU looks for events, also under an emulator that does so at the ends of its blocks alone.
extern "C" fn nothing(_argument: u64) {
    core::hint::spin_loop();
}

/// NMIs that park's handlers counted in a frame of the CPU's.
fn frame_nmis(cpu: &'static PerCpu, frame: Frame) -> u64 {
    frame::events(&Area::of(cpu).read_frame(frame)).nmi_count.into()
}

/// NMIs that the lot's handlers counted in the bay: the low half of the events word.
fn bay_nmis(owner: &Owner, parked: &Parked) -> Result<u64, PlatformError> {
    Ok(owner.platform.memory().load(parked.bay.offset() + bay::EVENTS)? & u64::from(u32::MAX))
}
