//! A doorbell between two threads, each on a CPU of its own: there and back, by ways to wait that take turns.

use core::time::Duration;

use criterion::Criterion;
use park_benches::doorbell::{Pair, Wait, left_out, pin, two_cpus};

/// Rings of one turn: the ways to wait are interleaved so finely that all meet the same neighbours.
const TURN: u64 = 64;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    left_out().iter().for_each(|line| println!("left out: {line}"));
    match two_cpus().and_then(|[mine, other]| pin(mine).map(|()| other)) {
        Ok(other) => doorbell(&mut criterion, other),
        Err(why) => println!("left out: doorbell: {why}"),
    }
    criterion.final_summary();
}

fn doorbell(criterion: &mut Criterion, cpu: usize) {
    let mut group = criterion.benchmark_group("doorbell");
    for wait in Wait::ALL {
        group.bench_function(wait.name(), |bench| {
            bench.iter_custom(|iterations| timed(wait, cpu, iterations));
        });
    }
    group.finish();
}

/// Time of `iterations` rings by one way, in turns with all others, which are not counted.
fn timed(wait: Wait, cpu: usize, iterations: u64) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let turn = left.min(TURN);
        for other in Wait::ALL {
            let Ok(pair) = Pair::new(other, cpu) else { continue };
            // Starting a thread is not what is timed, and its first rings are cold.
            let _ = pair.time(TURN / 8);
            let time = pair.time(turn);
            if other == wait {
                total += time;
            }
        }
        left -= turn;
    }
    total
}
