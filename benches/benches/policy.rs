//! What planning costs: thousands of CPUs of one kind, and of a hybrid machine's two.

use core::hint::black_box;
use cpu_park::core::ApicId;
use cpu_park::core::op::Processor;
use cpu_park::detect;
use cpu_park::policy::{CpuKind, CpuView, Placement, Situation, plan};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use park_sim::machine::MachineConfig;

/// Machines of these sizes; the largest is to be planned in less than 2 ms.
const SIZES: [u32; 3] = [64, 1024, 8192];
/// CPUs of a package.
const PACKAGE: u32 = 128;
/// CPUs that a last-level cache serves.
const CACHE: u32 = 16;

fn machine<'a>(kinds: &[&'a CpuKind<'a>], cpus: u32) -> Vec<CpuView<'a>> {
    let view = |(id, kind): (u32, &&'a CpuKind<'a>)| CpuView {
        apic_id: ApicId(id),
        package: id / PACKAGE,
        cache: id / CACHE,
        core: id / 2,
        thread: id % 2,
        processor: if id == 0 { Processor::Bootstrap } else { Processor::Application },
        ..CpuView::new(kind)
    };
    (0..cpus).zip(kinds.iter().cycle()).map(view).collect()
}

fn planning(criterion: &mut Criterion) {
    let situation = Situation::Kexec;
    let requirements = situation.requirements();
    let Some(which) = situation.which(ApicId(0)) else { return };
    let kind_of = |config: MachineConfig| {
        let cpuid = |leaf, subleaf| {
            let regs = config.cpuid.get(leaf, subleaf);
            [regs.eax, regs.ebx, regs.ecx, regs.edx]
        };
        detect(cpuid).kind(requirements.latency_us)
    };
    let (first, second) = (kind_of(MachineConfig::amd(2)), kind_of(MachineConfig::intel(2)));
    let mut group = criterion.benchmark_group("plan a kexec");
    for (name, kinds) in [("one kind", &[&first][..]), ("two kinds in turn", &[&first, &second][..])] {
        for size in SIZES {
            let cpus = machine(kinds, size);
            let mut out = vec![Placement::EMPTY; cpus.len()];
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher
                    .iter(|| plan(black_box(&cpus), &which, &requirements, &mut out).map(|plan| plan.placements.len()));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, planning);
criterion_main!(benches);
