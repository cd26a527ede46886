//! A policy of one's own: a server that keeps the first cache of each package for work that must not wait.
//!
//! Idle CPUs elsewhere sleep as deep as they like; those that are a little busy only if they are back quickly; the first
//! cache of each package goes on, and whoever is parked can't be woken by an NMI that goes astray into old memory.
//!
//! `cargo run -p park-policy --example own_policy`

use park_core::op::Processor;
use park_core::{ApicId, Mechanism};
use park_policy::{
    Assessments, CpuKind, CpuView, Guarantees, Idle, Offer, Offers, Placement, Policy, Requirements, Situation,
    StoreWake, Waits, plan_by,
};

/// Busier CPUs go on.
const BUSY_PERCENT: u8 = 30;
/// CPUs busier than this must be back within [`QUICK_US`].
const IDLE_PERCENT: u8 = 5;
/// What a CPU that is a little busy may take to come back, in microseconds.
const QUICK_US: u32 = 20;

/// The policy: it knows which cache is the first of each package, and nothing else of the machine.
struct KeepFirstCache<'a> {
    first_caches: &'a [u32],
}

impl Policy for KeepFirstCache<'_> {
    fn parks(&self, _index: usize, cpu: &CpuView<'_>) -> bool {
        !self.first_caches.contains(&cpu.cache) && cpu.load_percent <= BUSY_PERCENT
    }

    fn requirements(&self, cpu: &CpuView<'_>) -> Requirements {
        // Start from what a situation asks, and change it.
        let asked = Situation::Consolidate.requirements();
        if cpu.load_percent > IDLE_PERCENT {
            asked.within(QUICK_US)
        } else {
            asked.and_require(Guarantees::SAVES_POWER)
        }
    }

    fn choose(&self, cpu: &CpuView<'_>, assessments: &Assessments) -> Option<Mechanism> {
        // Whoever is a little busy takes what wakes soonest; the others what park prefers.
        let fitting = assessments.iter().filter(|one| one.fits()).map(|one| one.mechanism);
        let latency_us = |mechanism: &Mechanism| {
            cpu.kind.offers.of(*mechanism).waits().map_or(u32::MAX, |waits| waits.wake_latency_us)
        };
        if cpu.load_percent > IDLE_PERCENT {
            fitting.min_by_key(latency_us)
        } else {
            let preferred = assessments.iter().filter(|one| one.fits());
            preferred.max_by_key(|one| one.preferred.weight()).map(|one| one.mechanism)
        }
    }
}

fn main() {
    // A kernel gets this from `cpu_park::detect(cpuid).kind(latency_us)`.
    let offers = Offers {
        hlt: Offer::Here(Waits { wake_latency_us: 10, store_wake: StoreWake::None, idle: Idle::Halts }),
        mwait: Offer::Here(Waits { wake_latency_us: 290, store_wake: StoreWake::Reliable, idle: Idle::Deep }),
        ..Offers::NONE
    };
    let kind = CpuKind::new(park_intel::CLAIMS, offers);

    // Two packages of two caches of three CPUs.
    let loads = [80, 10, 0, 20, 3, 0, 60, 1, 2, 50, 0, 9];
    let cpus = core::array::from_fn::<_, 12, _>(|index| {
        let id = index as u32;
        CpuView {
            apic_id: ApicId(id),
            package: id / 6,
            cache: id / 3,
            core: id,
            processor: if id == 0 { Processor::Bootstrap } else { Processor::Application },
            load_percent: loads[index],
            ..CpuView::new(&kind)
        }
    });

    let mut out = [Placement::EMPTY; 12];
    match plan_by(&cpus, &KeepFirstCache { first_caches: &[0, 2] }, &mut out) {
        Ok(plan) => {
            for one in plan.placements {
                println!("{}. APIC id {}: {} ({})", one.order, one.apic_id, one.mechanism, one.reason);
            }
        }
        Err(why) => println!("no plan: {why}"),
    }
}
