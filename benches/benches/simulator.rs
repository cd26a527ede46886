//! Simulated instructions per second: `lot-hlt` with two CPUs, park → wake → entry → park again, with store buffers,
//! TLB and all checks on. The target is 20 million per second on one core.

use core::time::Duration;
use criterion::{BatchSize, Criterion, Throughput};
use park_benches::TwoCpus;
use std::time::Instant;

/// Turns of one measured batch.
const TURNS: u64 = 20;

fn turns(two: &mut TwoCpus, turns: u64) -> u64 {
    (0..turns).map(|_| two.turn().expect("a CPU parks and wakes")).sum()
}

fn simulator(criterion: &mut Criterion) {
    let start = TwoCpus::parked(1).expect("a world of two CPUs");
    let steps = turns(&mut start.clone(), TURNS);
    assert!(TwoCpus::is_whole_turn(steps / TURNS), "{steps} steps for {TURNS} turns");
    let mut group = criterion.benchmark_group("simulator");
    group.throughput(Throughput::Elements(steps));
    group.bench_function("lot-hlt, 2 CPUs, park and wake", |bench| {
        bench.iter_batched_ref(|| start.clone(), |two| turns(two, TURNS), BatchSize::LargeInput);
    });
    group.finish();
}

/// The number itself, for those who look for one: by the time that this thread had a core, where the system tells it.
fn print_rate() {
    let mut two = TwoCpus::parked(1).expect("a world of two CPUs");
    let (begin, begin_on_core) = (Instant::now(), time_on_core());
    let mut steps = 0;
    while begin.elapsed() < Duration::from_secs(1) {
        steps += turns(&mut two, TURNS);
    }
    let (wall, on_core) = (begin.elapsed(), time_on_core());
    let took = on_core.zip(begin_on_core).and_then(|(end, begin)| end.checked_sub(begin)).unwrap_or(wall);
    let rate = steps as f64 / took.as_secs_f64() / 1e6;
    println!("simulated instructions per second on one core: {rate:.1} million (target: 20 million)");
}

/// How long this thread has been on a core: the first number of schedstat (Linux Documentation/scheduler/sched-stats.rst).
fn time_on_core() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    simulator(&mut criterion);
    criterion.final_summary();
    // `cargo test` and `cargo bench -- --test` only want to know that it runs.
    if std::env::args().any(|argument| argument == "--bench") {
        print_rate();
    }
}
