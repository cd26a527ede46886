//! Building a lot, and reading and verifying one: what a kernel does with a lot that it finds. The target for 1024 bays is
//! 1 ms; confirming that each CPU is there is a separate operation with its own deadline.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use park_benches::{LOT_PHYS, PlainLot, parameters, plain_lot};
use park_core::lot::verify;
use park_x86::builder;

const BAYS: [u32; 3] = [4, 64, 1024];

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    for bays in BAYS {
        let parameters = parameters(bays).expect("a layout");
        let memory = PlainLot::new(parameters.layout.total_len());
        group.throughput(Throughput::Bytes(parameters.layout.total_len()));
        group.bench_with_input(BenchmarkId::from_parameter(bays), &parameters, |bench, parameters| {
            let build = |memory: &mut PlainLot| builder::build(memory, parameters).expect("a lot");
            bench.iter_batched_ref(|| memory.clone(), build, BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn adopt(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("adopt");
    for bays in BAYS {
        let (mut memory, _) = plain_lot(bays).expect("a lot");
        group.throughput(Throughput::Elements(bays.into()));
        group.bench_function(BenchmarkId::from_parameter(bays), |bench| {
            bench.iter(|| verify(&mut memory, LOT_PHYS).expect("a sound lot"));
        });
    }
    group.finish();
}

criterion_group!(benches, build, adopt);
criterion_main!(benches);
