//! What an operation costs besides the accesses that it makes: a ring of a CPU that never answers, from publishing
//! over kicks and polls to the revocation, and reserving a bay.

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use park_benches::{CountingClock, Nobody, PlainLot, plain_lot};
use park_core::lot::{ApicMode, PagingLevels, Stage, WaitFlags, bay};
use park_core::op::{Bay, Lease, Reservation, Reserve, Timing, Wake, drive};
use park_core::{ApicId, Clock, Entry, ErrorKind, LotMemory, Mechanism, PhysAddr};

/// Readings of the clock between two kicks, and until the ring is given up.
const KICK_TICKS: u64 = 8;
const PATIENCE_TICKS: u64 = 64;

const RESERVATION: Reservation = Reservation {
    apic_id: ApicId(7),
    mechanism: Mechanism::Hlt,
    flags: WaitFlags::empty(),
    levels: PagingLevels::Four,
    apic_mode: ApicMode::XApic,
    mwait_hint: 0,
};
const ENTRY: Entry = Entry { rip: 0x1000, rsp: 0x2000, cr3: PhysAddr(0x3000), arg: 4 };

fn reserve(memory: &mut PlainLot, lease: &Lease) -> Bay {
    drive(Reserve::any(lease, RESERVATION), memory, &mut Nobody, &mut CountingClock::default()).expect("a free bay")
}

fn reserving(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reserve the first free bay");
    for bays in [4, 1024] {
        let (memory, lot) = plain_lot(bays).expect("a lot");
        let lease = Lease::first(lot);
        let reserve = |memory: &mut PlainLot| reserve(memory, &lease);
        group.bench_function(BenchmarkId::from_parameter(bays), |bench| {
            bench.iter_batched_ref(|| memory.clone(), reserve, BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn waking(criterion: &mut Criterion) {
    let (mut memory, lot) = plain_lot(4).expect("a lot");
    let bay = reserve(&mut memory, &Lease::first(lot));
    memory.store(bay.offset() + bay::STAGE, Stage::Waiting as u64).expect("a word of the bay");
    let mut clock = CountingClock::default();
    criterion.bench_function("ring, kick, poll and revoke", |bench| {
        bench.iter(|| {
            let timing = Timing { kick_interval_ticks: KICK_TICKS, deadline: clock.now() + PATIENCE_TICKS };
            let result = drive(Wake::new(bay, ENTRY, timing), &mut memory, &mut Nobody, &mut clock);
            assert_eq!(result.map(|_| ()).map_err(|error| error.kind()), Err(ErrorKind::Revoked));
        });
    });
}

criterion_group!(benches, reserving, waking);
criterion_main!(benches);
