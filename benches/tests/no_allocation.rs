//! The simulator allocates nothing per step: not while CPUs run, and not while one parks and is woken.

use allocation_counter::measure;
use park_benches::TwoCpus;
use park_sim::machine::{Event, EventKind};

/// Steps of the machine that are counted.
const STEPS: u64 = 100_000;
/// Steps from one NMI to the next.
const STEPS_BETWEEN_NMIS: u64 = 64;
/// Turns that are counted.
const TURNS: u64 = 50;

#[test]
fn the_counter_counts() {
    let counted = measure(|| {
        core::hint::black_box(Vec::<u64>::with_capacity(core::hint::black_box(16)));
    });
    assert_eq!(counted.count_total, 1);
}

/// Runs both CPUs for so many steps; NMIs end every wait, so that there is always something to execute.
fn run(two: &mut TwoCpus, steps: u64) {
    let end = two.world.machine.steps() + steps;
    while two.world.machine.steps() < end {
        for cpu in 0..2 {
            two.world.machine.inject(Event::at(cpu, EventKind::Nmi));
        }
        assert!(two.world.run(STEPS_BETWEEN_NMIS).expect("the machine runs") > 0, "the machine stands still");
    }
}

#[test]
fn running_allocates_nothing() {
    let mut two = TwoCpus::parked(1).expect("a world of two CPUs");
    two.turn().expect("a warm turn");
    // Code is decoded once, when it is first met.
    run(&mut two, STEPS);
    let counted = measure(|| run(&mut two, STEPS));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn a_turn_allocates_its_list_of_sanitising_steps_and_nothing_else() {
    let mut two = TwoCpus::parked(1).expect("a world of two CPUs");
    for _ in 0..TURNS {
        two.turn().expect("a warm turn");
    }
    let mut steps = 0;
    let counted = measure(|| {
        for _ in 0..TURNS {
            steps += two.turn().expect("a turn");
        }
    });
    assert!(TwoCpus::is_whole_turn(steps / TURNS));
    assert_eq!(counted.count_total, TURNS, "{counted:?} in {steps} steps");
}
