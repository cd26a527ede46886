//! Parking and waking in the freestanding image: `machine` from a serial log, or `timed` and `counted` under QEMU, where a nanosecond is an
//! instruction. Ratios are `park bench`'s matter: Criterion's own estimates are means, which tell of the host's scheduler.

use core::time::Duration;

use criterion::{Criterion, SamplingMode};
use park_benches::guest::guests;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    // `cargo test --benches` only asks whether they start.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return criterion.final_summary();
    }
    for guest in guests(&mut |line| println!("left out: {line}")) {
        let mut group = criterion.benchmark_group(guest.name);
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        // The samples are there: each further call of a warm-up would only double the iterations, beyond what a number holds.
        group.warm_up_time(Duration::from_nanos(1)).measurement_time(Duration::from_millis(20));
        for series in guest.log.samples.keys() {
            group.bench_function(series.to_string(), |bench| {
                bench.iter_custom(|iterations| guest.time(series, iterations));
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
