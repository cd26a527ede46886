//! Nothing outside is touched, and every acknowledged CPU is where it says: through parking, a change of kernels, and
//! waking, under any events.

use super::coverage::Coverage;
use super::draw::{self, Thrown};
use super::player::{Player, Stopped};
use core::cell::RefCell;
use park_core::ErrorKind;
use park_core::Mechanism;
use park_core::lot::Stage;
use park_core::op::{AwaitArrival, Timing, Wake};
use park_sim::world::{KICK_TICKS, OldMemory};
use proptest::collection::vec;
use proptest::prelude::*;

/// How the kernel changes between parking and waking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    None,
    /// The lot is handed over and accepted.
    Kexec,
    /// The kernel dies, and its successor seizes the lot.
    Crash,
}

/// What happens to one CPU.
#[derive(Clone, Debug)]
struct Journey {
    mechanism: Mechanism,
    arriving: Vec<(u64, Thrown)>,
    waiting: Vec<(u64, Thrown)>,
    leaving: Vec<(u64, Thrown)>,
}

fn journey() -> impl Strategy<Value = Journey> {
    (draw::mechanism(), draw::script(120, 3), draw::script(40, 3), draw::script(110, 4))
        .prop_map(|(mechanism, arriving, waiting, leaving)| Journey { mechanism, arriving, waiting, leaving })
}

/// A journey on which events come in bursts, and every mechanism is as frequent as it can be.
fn dense_journey() -> impl Strategy<Value = Journey> {
    let mechanism = prop_oneof![1 => Just(Mechanism::Hlt), 1 => Just(Mechanism::Mwait), 2 => Just(Mechanism::Clgi)];
    let script = draw::dense_script;
    (mechanism, script(120, 3), script(40, 4), script(110, 5))
        .prop_map(|(mechanism, arriving, waiting, leaving)| Journey { mechanism, arriving, waiting, leaving })
}

/// Ticks that an operation has: kicks enough for every event that swallows one.
const PATIENCE_TICKS: u64 = 64 * KICK_TICKS;

/// Cases in which every reachable cell is met, by the values that the fixed seed draws.
const COVERAGE_CASES: u32 = 48_000;

fn play(drawn: &draw::Drawn, change: Change, journeys: &[Journey], coverage: &mut Coverage) -> Result<(), Stopped> {
    let mut player = Player::boot(drawn, coverage)?;
    let boss = player.boss;
    let travellers: Vec<usize> = (0..drawn.cpus).filter(|cpu| *cpu != boss).collect();
    // Where the kernel changes, every CPU parks: what does not, dies with its kernel.
    let count = if change == Change::None { journeys.len().min(travellers.len()) } else { travellers.len() };
    let plain = Journey { mechanism: Mechanism::Hlt, arriving: vec![], waiting: vec![], leaving: vec![] };
    let plan: Vec<(usize, &Journey)> =
        travellers.iter().take(count).enumerate().map(|(n, cpu)| (*cpu, journeys.get(n).unwrap_or(&plain))).collect();
    for (cpu, journey) in &plan {
        park(&mut player, *cpu, journey)?;
    }
    for (cpu, journey) in &plan {
        player.expect(*cpu, &journey.waiting);
        player.settle()?;
        player.check_parked(*cpu)?;
    }
    if change != Change::None {
        change_kernels(&mut player, change)?;
        player.settle()?;
    }
    for (cpu, _) in &plan {
        player.check_parked(*cpu)?;
    }
    for (cpu, journey) in &plan {
        wake(&mut player, *cpu, journey)?;
    }
    player.settle()?;
    Ok(())
}

fn park(player: &mut Player<'_>, cpu: usize, journey: &Journey) -> Result<(), Stopped> {
    let bay = player.begin(cpu, journey.mechanism)?;
    player.expect(cpu, &journey.arriving);
    let deadline = player.world.machine.tsc() + PATIENCE_TICKS;
    match player.drive(AwaitArrival::new(bay, deadline))? {
        Ok(_) => Ok(()),
        // It was taken on its way in, or shut down as declared.
        Err(error) if error.kind() == ErrorKind::Uncertain && (player.known[cpu].init || player.known[cpu].doomed) => {
            Ok(())
        }
        Err(error) => Err(format!("CPU {cpu} does not arrive: {error}").into()),
    }
}

fn change_kernels(player: &mut Player<'_>, change: Change) -> Result<(), Stopped> {
    let boss = player.boss;
    player.script.clear();
    if change == Change::Kexec {
        player.with(|world| world.hand_over(boss))?;
    }
    player.leave_smm()?;
    player.with(|world| world.kexec(boss, OldMemory::Overwritten))?;
    let bays: Vec<_> = player.known.iter().enumerate().filter_map(|(cpu, known)| Some((cpu, known.bay?))).collect();
    let Some((_, first)) = bays.first() else { return Ok(()) };
    if change == Change::Kexec {
        player.with(|world| world.accept(boss, *first))?;
    } else {
        player.with(|world| world.seize(boss, *first))?;
    }
    let lease = player.world.lot().map_err(|error| error.to_string())?.lease;
    for (cpu, bay) in bays {
        player.known[cpu].bay = Some(lease.bay(bay.index()).map_err(|error| error.to_string())?);
    }
    Ok(())
}

fn wake(player: &mut Player<'_>, cpu: usize, journey: &Journey) -> Result<(), Stopped> {
    let Some(bay) = player.known[cpu].bay else { return Ok(()) };
    let gone = |player: &Player<'_>| player.known[cpu].init || player.known[cpu].doomed;
    if player.stage(cpu) != Some(Stage::Waiting) {
        return if gone(player) { Ok(()) } else { Err(format!("CPU {cpu} is not parked any more").into()) };
    }
    let entry = player.with(|world| world.entry(cpu))?;
    player.expect(cpu, &journey.leaving);
    let deadline = player.world.machine.tsc() + PATIENCE_TICKS;
    let woken = player.drive(Wake::new(bay, entry, Timing { kick_interval_ticks: KICK_TICKS, deadline }))?;
    let entries = if woken.is_ok() { player.await_landing(cpu)? } else { player.settle().map(|()| 0)? };
    match woken {
        Ok(_) if entries == 1 => {}
        // Lost: an INIT came after the claim.
        Ok(_) | Err(_) if gone(player) && entries <= 1 => return Ok(()),
        Ok(_) => return Err(format!("CPU {cpu} claimed, and landed {entries} times").into()),
        Err(error) => return Err(format!("CPU {cpu} does not wake: {error}").into()),
    }
    if gone(player) {
        return Ok(());
    }
    player.with(|world| world.leave(cpu, bay))?;
    player.known[cpu].bay = None;
    Ok(())
}

#[test]
fn nothing_outside_is_touched_and_every_cpu_is_where_it_says() {
    let change = prop_oneof![Just(Change::None), Just(Change::Kexec), Just(Change::Crash)];
    let strategy = (draw::machine(1), change, vec(journey(), 1..5));
    let coverage = RefCell::new(Coverage::default());
    let over = RefCell::new(0);
    super::check("stays", 1, &strategy, |(drawn, change, journeys)| {
        match play(drawn, *change, journeys, &mut coverage.borrow_mut()) {
            Ok(()) => Ok(()),
            Err(Stopped::Over) => {
                *over.borrow_mut() += 1;
                Ok(())
            }
            Err(Stopped::Wrong(wrong)) => Err(wrong),
        }
    });
    println!("{} plays ended in a reset, as declared", over.borrow());
}

/// As above with one CPU, so that whatever is consulted is consulted by that one or its waker.
#[test]
fn every_knob_meets_every_event_that_consults_it() {
    let change = prop_oneof![Just(Change::None), Just(Change::Crash)];
    let strategy = (draw::pair(), change, vec(dense_journey(), 1));
    let coverage = RefCell::new(Coverage::default());
    super::check_cases("coverage", 5, COVERAGE_CASES, &strategy, |(drawn, change, journeys)| {
        match play(drawn, *change, journeys, &mut coverage.borrow_mut()) {
            Ok(()) | Err(Stopped::Over) => Ok(()),
            Err(Stopped::Wrong(wrong)) => Err(wrong),
        }
    });
    let wrong = coverage.borrow().report();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
