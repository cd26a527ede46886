//! The test `bench`: parking and waking one CPU, by every mechanism and every rival that this machine has, in turn.
//!
//! One waker, one target; all other CPUs sleep. In each round every row parks the target, lets it idle, and wakes it. Ticks are
//! those of the TSC: time on a machine, and instructions under an emulator that counts them.

mod group;
mod losses;
mod parked;
mod rest;
mod rivals;
mod samples;
mod sipi;
mod slot;
mod stopwatch;

use park_core::lot::{Layout, bay};
use park_core::op::Lease;
use park_core::{LotMemory, Mechanism};
use park_x86::builder::{self, LotParameters};
use park_x86::features::FeatureSet;

use self::parked::ParkTimes;
use self::stopwatch::{Slice, Times};
use crate::bench::{Chance, Row, Stamp};
use crate::image::counters;
use crate::image::failure::Failure;
use crate::image::lot::LOT_ID;
use crate::image::parking::detect_here;
use crate::image::percpu::PerCpu;
use crate::image::world::World;
use crate::image::{insn, serial, uefi};
use crate::memory::{PAGE_BYTES, Region};
use crate::platform::Owner;
use crate::report::Value;

/// Pairs of readings of the TSC with nothing in between: what each stamp costs.
const EMPTY_PAIRS: usize = 32;

/// What is counted of a row beside its samples.
#[derive(Clone, Copy, Default, Debug)]
struct Count {
    samples: u32,
    /// Kicks, or STARTUPs, beyond the first.
    kicked_again: u64,
    /// Laps of the bay's wait loop beyond the two that a wake needs: returns of MWAIT or HLT for nothing.
    spurious: u64,
}

/// Runs the test.
pub(crate) fn run(world: &World) -> Result<(), Failure> {
    let options = world.options.bench;
    let target = world.cpus().skip(1).find(|cpu| cpu.index == options.target);
    let target = target.ok_or(Failure::Machine("target names no CPU but the first; use -smp 2"))?;
    serial::leave_out_routine();
    let owner = Owner { platform: world.platform(), lease: build(world)? };
    // SAFETY: every other CPU is in its job loop.
    unsafe { owner.set() };
    let mut empty = [0; EMPTY_PAIRS];
    empty.fill_with(|| {
        let before = insn::read_tsc();
        insn::read_tsc() - before
    });
    let fields = [
        ("samples", Value::Number(options.samples.into())),
        ("seed", Value::Number(options.seed.into())),
        ("idle_us", Value::Number(options.idle_us.into())),
        ("target", Value::Number(target.index.into())),
        ("target_apic_id", Value::Number(target.apic_id.0.into())),
        ("empty", Value::Numbers(&empty)),
    ];
    serial::emit("bench", &fields);
    let before = counters::read(world, target)?;
    let resting = || world.others().filter(|cpu| cpu.index != target.index);
    for cpu in resting() {
        rest::begin(world, cpu)?;
    }
    let mut counts = [Count::default(); Row::ALL.len()];
    firmware(&mut counts);
    rounds(world, &owner, target, &mut counts)?;
    if options.losses != 0 {
        losses::run(world, &owner, target)?;
    }
    for cpu in resting() {
        rest::end(world, cpu)?;
    }
    samples::flush();
    report(&counts);
    let now = counters::read(world, target)?;
    let or_absent = |value: Option<u64>| value.map_or(Value::Text("absent"), Value::Number);
    let fields = [
        ("smis", or_absent(now.smis_since(&before))),
        ("c0_permille", or_absent(now.c0_permille_since(&before))),
        ("speed_permille", or_absent(now.speed_permille_since(&before))),
        ("deep_permille", or_absent(now.deep_permille_since(&before))),
    ];
    serial::emit("counters", &fields);
    group::run(world, &owner)
}

/// What was timed while UEFI's boot services ran. The first start is cold, as everywhere.
fn firmware(counts: &mut [Count; Row::ALL.len()]) {
    let row = Row::Firmware;
    for (index, start) in uefi::starts().enumerate() {
        for (stamp, ticks) in [(Stamp::Entry, start.entry_ticks), (Stamp::Back, start.back_ticks)] {
            if index == 0 { samples::cold(row, stamp, ticks) } else { samples::take(row, stamp, ticks) }
        }
        if let Some(count) = counts.get_mut(row as usize) {
            count.samples += 1;
        }
    }
}

/// All rounds. The first one is cold, and is reported apart.
fn rounds(
    world: &World,
    owner: &Owner,
    target: &'static PerCpu,
    counts: &mut [Count; Row::ALL.len()],
) -> Result<(), Failure> {
    let options = world.options.bench;
    let mut chance = Chance::new(options.seed.into());
    for round in 0..=options.samples {
        let mut order = Row::ALL;
        chance.shuffle(&mut order);
        for row in order.into_iter().filter(|&row| is_there(row) && round <= row.samples(options.samples)) {
            let idle_us = chance.idle_us(options.idle_us);
            let slice = Slice::of_round(round, options.slices);
            let times = turn(world, owner, Turn { target, row, idle_us, slice }, counts)?;
            for (stamp, ticks) in times {
                match (ticks, round) {
                    (Some(ticks), 0) => samples::cold(row, stamp, ticks),
                    (Some(ticks), _) => samples::take(row, stamp, ticks),
                    (None, _) => {}
                }
            }
        }
    }
    Ok(())
}

/// What one row does once.
#[derive(Clone, Copy)]
struct Turn {
    target: &'static PerCpu,
    row: Row,
    idle_us: u64,
    slice: Slice,
}

/// Park, idle, wake.
fn turn(
    world: &World,
    owner: &Owner,
    turn: Turn,
    counts: &mut [Count; Row::ALL.len()],
) -> Result<[(Stamp, Option<u64>); Stamp::ALL.len()], Failure> {
    let Turn { target, row, idle_us, slice } = turn;
    let mut spurious = 0;
    let (parking, waking) = match row {
        // Takes no turns: boot services have ended.
        Row::Firmware => return Ok(Stamp::ALL.map(|stamp| (stamp, None))),
        Row::InitSipi | Row::MpsInitSipi => {
            world.clock.pass_us(idle_us);
            (None, sipi::wake(world, target, row)?)
        }
        Row::HandHlt | Row::HandMwait | Row::HandPause | Row::HandClgi | Row::HandPark => {
            let times = rivals::wait(world, target, row, slice)?;
            world.clock.pass_us(idle_us);
            let parking = (row == Row::HandPark).then_some(times);
            (parking, rivals::wake(world, target, row, slice)?)
        }
        Row::Hlt | Row::Mwait | Row::MwaitDeep | Row::Clgi | Row::Pause => {
            let (parked, times) = parked::park(world, owner, target, row, slice)?;
            world.clock.pass_us(idle_us);
            let waking = parked::wake(world, owner, &parked, row, slice)?;
            let laps = owner.platform.memory().load(parked.bay.offset() + bay::LAPS)? & u64::from(u32::MAX);
            spurious = laps.saturating_sub(LAPS_OF_A_WAKE);
            (Some(times), waking)
        }
    };
    if let Some(count) = counts.get_mut(row as usize) {
        count.samples += 1;
        count.kicked_again += waking.kicked_again;
        count.spurious += spurious;
    }
    Ok(stamps(row, parking, waking))
}

/// One lap into the wait, one to see the ring.
const LAPS_OF_A_WAKE: u64 = 2;

fn stamps(row: Row, parking: Option<ParkTimes>, waking: Times) -> [(Stamp, Option<u64>); Stamp::ALL.len()] {
    // A hand-written arrival is nothing but the switch.
    let whole = parking.filter(|_| row != Row::HandPark);
    [
        (Stamp::Seen, Some(waking.seen)),
        (Stamp::Entry, Some(waking.entry)),
        (Stamp::Back, Some(waking.back)),
        (Stamp::Sanitised, whole.map(|times| times.sanitised)),
        (Stamp::Framed, whole.map(|times| times.framed)),
        (Stamp::Arrived, whole.and_then(|times| times.arrived)),
        (Stamp::Acknowledged, whole.map(|times| times.acknowledged)),
        (Stamp::Switch, parking.map(|times| times.switch)),
    ]
}

/// Whether this machine has what a row needs.
fn is_there(row: Row) -> bool {
    let detected = detect_here();
    let has = |mechanism| detected.orders(mechanism, 0);
    match row {
        Row::MwaitDeep => match (has(Mechanism::Mwait), detected.orders(Mechanism::Mwait, u32::MAX)) {
            (Ok(shallow), Ok(deep)) => shallow.mwait_hint != deep.mwait_hint,
            _ => false,
        },
        Row::HandMwait => has(Mechanism::Mwait).is_ok(),
        Row::HandClgi => has(Mechanism::Clgi).is_ok(),
        Row::HandPark => detected.features().has(FeatureSet::MCA),
        // Boot services have ended.
        Row::Firmware => false,
        row => parked::mechanism(row).is_none_or(|mechanism| has(mechanism).is_ok()),
    }
}

fn report(counts: &[Count; Row::ALL.len()]) {
    for (row, count) in Row::ALL.into_iter().zip(counts) {
        let fields = [
            ("row", Value::Text(row.name())),
            ("wakes", Value::Number(count.samples.into())),
            ("kicked_again", Value::Number(count.kicked_again)),
            ("spurious", Value::Number(count.spurious)),
        ];
        serial::emit("row", &fields);
    }
}

/// Builds a lot whose bays can watch a mailbox: the landing page, which nobody writes.
fn build(world: &World) -> Result<Lease, Failure> {
    let mailbox = world.plan.landing;
    clear(mailbox);
    let layout = Layout::new(world.online(), detect_here().features().monitor.largest_line.into())?;
    let phys = world.plan.lot.start;
    let parameters = LotParameters { phys, layout, lot_id: LOT_ID, encryption_mask: 0, mailbox: Some(mailbox.start) };
    Ok(Lease::first(builder::build(&mut world.platform().memory(), &parameters)?))
}

fn clear(page: Region) {
    let target: *mut [u64; PAGE_BYTES as usize / 8] = core::ptr::with_exposed_provenance_mut(page.start.0 as usize);
    // SAFETY: a region of `memory::plan` that this test alone uses, and no CPU watches yet.
    unsafe { target.write_volatile([0; PAGE_BYTES as usize / 8]) };
}
