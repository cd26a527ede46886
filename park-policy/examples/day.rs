//! A day of load on a machine of two packages, and which CPUs sleep: `cargo run --example day -p park-policy`.

use park_core::op::Processor;
use park_core::{ApicId, Claim};
use park_policy::{
    Consolidator, CpuKind, CpuView, Idle, Keep, Offer, Offers, Requirements, StoreWake, Track, Tuning, Waits,
};

/// CPUs: two packages of eight cores of two threads.
const CPUS: u32 = 32;
/// Looks at the load: ten a second would do; here a hundred in an hour tell the same story.
const LOOKS_PER_HOUR: u64 = 100;
const US_PER_HOUR: u64 = 3_600_000_000;
/// Demand of each hour, in percent of all CPUs: night, morning, lunch, afternoon, evening.
const DAY_PERCENT: [u64; 24] =
    [8, 6, 4, 3, 3, 4, 8, 18, 35, 55, 70, 74, 58, 62, 72, 70, 60, 48, 40, 44, 36, 24, 16, 10];

fn main() -> Result<(), Box<dyn core::error::Error>> {
    // Nothing is asked of the mechanism here, so nothing need be claimed.
    const NO_CLAIMS: &[Claim] = &[];
    let mwait = Waits { wake_latency_us: 170, store_wake: StoreWake::Reliable, idle: Idle::Deep };
    let kind = CpuKind::new(NO_CLAIMS, Offers { mwait: Offer::Here(mwait), ..Offers::NONE });
    let mut cpus: Vec<_> = (0..CPUS)
        .map(|id| CpuView {
            apic_id: ApicId(id),
            package: id / 16,
            cache: id / 8,
            core: id / 2,
            thread: id % 2,
            processor: if id == 0 { Processor::Bootstrap } else { Processor::Application },
            ..CpuView::new(&kind)
        })
        .collect();
    let mut tracks = [Track::EMPTY; CPUS as usize];
    let keep = Keep::EveryPackage;
    let mut consolidator = Consolidator::new(&cpus, &Requirements::NONE, keep, Tuning::BALANCED, &mut tracks)?;

    println!("hour  load  awake  caches: 0        1        2        3         changes");
    let mut seed = 1u64;
    let mut total = 0;
    for (hour, base) in (0u64..).zip(DAY_PERCENT) {
        let next = DAY_PERCENT.get(hour as usize + 1).copied().unwrap_or(base);
        let (mut changes, mut demand) = (0, 0);
        for look in 0..LOOKS_PER_HOUR {
            // From hour to hour in a line, with a tenth of noise.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mean = base * (LOOKS_PER_HOUR - look) + next * look;
            let noisy = mean * (95 + (seed >> 33) % 11) / 100;
            demand = noisy * u64::from(CPUS) / LOOKS_PER_HOUR;
            let share = demand.div_ceil(consolidator.awake() as u64).min(100) as u8;
            for cpu in &mut cpus {
                cpu.load_percent = share;
            }
            let decision = consolidator.decide(&cpus, hour * US_PER_HOUR + (look + 1) * US_PER_HOUR / LOOKS_PER_HOUR);
            changes += decision.parks + decision.wakes;
        }
        total += changes;
        let chart: String = (0..CPUS as usize)
            .map(|index| {
                let lane = if consolidator.sleeps(index) { "." } else { "#" };
                if index % 8 == 7 { format!("{lane} ") } else { lane.to_owned() }
            })
            .collect();
        let load = demand / u64::from(CPUS);
        println!("{hour:>4}  {load:>3} %  {:>5}          {chart}   {changes:>3}", consolidator.awake());
    }
    println!("{total} changes in {} looks; # awake, . asleep, one column a CPU", 24 * LOOKS_PER_HOUR);
    Ok(())
}
