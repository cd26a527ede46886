//! What holds for every machine, every set of claims, and everything that can be asked.

mod common;

use common::{ABSENT, CONDITIONS, claim};
use park_core::op::Processor;
use park_core::{ApicId, Claim, Condition, Event, Mechanism, MechanismSet, Response};
use park_policy::{
    Assessments, Basis, CpuKind, CpuView, Guarantees, Idle, Offer, Offers, PROMISES, Placement, Plan, PlanError,
    Policy, Requirements, StoreWake, Waits, Warnings, Which, assess, plan, plan_by, timeout_us,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Cases of each property; some machines have hundreds of CPUs.
const CASES: u32 = 400;

fn claims() -> impl Strategy<Value = Vec<Claim>> {
    // Mostly kind claims, so that there is often a plan; now and then a cell is worse, or missing.
    let cell = (0..20u8, 0..Response::ALL.len(), 0..CONDITIONS.len());
    prop::collection::vec(cell, Mechanism::ALL.len() * Event::ALL.len()).prop_map(|cells| {
        let pairs = Mechanism::ALL.into_iter().flat_map(|mechanism| Event::ALL.map(|event| (mechanism, event)));
        let mut claims = Vec::new();
        for ((mechanism, event), (dice, response, condition)) in pairs.zip(cells) {
            match dice {
                0 => {}
                1 | 2 => claims.push(claim(mechanism, event, CONDITIONS[condition], Response::ALL[response])),
                3 => {
                    claims.push(claim(mechanism, event, Condition::Always, Response::ALL[0]));
                    claims.push(claim(mechanism, event, CONDITIONS[condition], Response::ALL[response]));
                }
                _ => claims.push(claim(mechanism, event, Condition::Always, Response::ALL[response % 4])),
            }
        }
        claims
    })
}

fn offer() -> impl Strategy<Value = Offer> {
    let idle = prop_oneof![Just(Idle::Unknown), Just(Idle::Polls), Just(Idle::Halts), Just(Idle::Deep)];
    let store = prop_oneof![Just(StoreWake::Reliable), Just(StoreWake::None), Just(StoreWake::Unreliable("X1"))];
    let here = (0..50u32, store, idle)
        .prop_map(|(wake_latency_us, store_wake, idle)| Offer::Here(Waits { wake_latency_us, store_wake, idle }));
    prop_oneof![1 => Just(ABSENT), 3 => here]
}

fn kind() -> impl Strategy<Value = (Vec<Claim>, Offers)> {
    let offers = [offer(), offer(), offer(), offer()];
    (claims(), offers)
        .prop_map(|(claims, [hlt, mwait, clgi, wait_for_sipi])| (claims, Offers { hlt, mwait, clgi, wait_for_sipi }))
}

fn guarantees() -> impl Strategy<Value = Guarantees> {
    // Few flags, as somebody would ask for; all combinations of them.
    prop::collection::vec(0..PROMISES.len(), 0..3)
        .prop_map(|picks| picks.into_iter().fold(Guarantees::empty(), |set, pick| set | PROMISES[pick].guarantee))
}

fn requirements() -> impl Strategy<Value = Requirements> {
    let latency_us = prop_oneof![3 => Just(Requirements::ANY_LATENCY_US), 1 => 0..50u32];
    (guarantees(), guarantees(), latency_us, any::<u8>().prop_map(MechanismSet::from_bits_truncate), any::<bool>())
        .prop_map(|(require, prefer, latency_us, exclude, all)| {
            let exclude = if all { MechanismSet::empty() } else { exclude };
            Requirements { require, prefer, latency_us, exclude }
        })
}

/// What a machine of two kinds is made of.
#[derive(Clone, Debug)]
struct Parts {
    kinds: [(Vec<Claim>, Offers); 2],
    /// For each CPU: second kind, package, thread, load.
    cpus: Vec<(bool, u32, u32, u8)>,
    bootstrap: usize,
    marks: Vec<u64>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let cpu = (any::<bool>(), 0..4u32, 0..20u32, 0..=100u8);
    (kind(), kind(), prop::collection::vec(cpu, 1..80), any::<usize>(), prop::collection::vec(any::<u64>(), 0..3))
        .prop_map(|(first, second, cpus, bootstrap, marks)| {
            let bootstrap = bootstrap % (cpus.len() + 1);
            Parts { kinds: [first, second], cpus, bootstrap, marks }
        })
}

fn views<'a>(parts: &Parts, kinds: &'a [CpuKind<'a>; 2]) -> Vec<CpuView<'a>> {
    let view = |(index, &(second, package, thread, load_percent)): (usize, &(bool, u32, u32, u8))| CpuView {
        apic_id: ApicId(index as u32 * 2),
        package,
        thread,
        load_percent,
        // Beyond the last: no bootstrap processor in the list.
        processor: if index == parts.bootstrap { Processor::Bootstrap } else { Processor::Application },
        ..CpuView::new(&kinds[usize::from(second)])
    };
    parts.cpus.iter().enumerate().map(view).collect()
}

fn kinds(parts: &Parts) -> [CpuKind<'_>; 2] {
    [0, 1].map(|index| CpuKind::new(&parts.kinds[index].0, parts.kinds[index].1))
}

/// What a flag means, said once more and slowly: event by event, claim by claim.
fn provides(flag: Guarantees, mechanism: Mechanism, kind: &CpuKind<'_>, processor: Processor) -> bool {
    let Some(waits) = kind.offers.of(mechanism).waits() else { return false };
    let promise = PROMISES.iter().find(|promise| promise.guarantee == flag).expect("a flag");
    match promise.basis {
        Basis::Waits(holds) => holds(waits),
        Basis::Claims { events, accepts } => events.iter().all(|event| {
            let concerned: Vec<&Claim> = kind
                .claims
                .iter()
                .filter(|claim| claim.mechanism == mechanism && claim.event == *event)
                .filter(|claim| match claim.condition {
                    Condition::Bsp => processor == Processor::Bootstrap,
                    Condition::Ap => processor == Processor::Application,
                    _ => true,
                })
                .collect();
            concerned.iter().any(|claim| claim.condition != Condition::ImplementationKind)
                && concerned.iter().all(|claim| accepts.includes(claim.response))
        }),
    }
}

fn may_be_used(mechanism: Mechanism, cpu: &CpuView<'_>, requirements: &Requirements) -> bool {
    let bars = cpu.processor == Processor::Bootstrap && matches!(mechanism, Mechanism::Clgi | Mechanism::WaitForSipi);
    let waits = cpu.kind.offers.of(mechanism).waits();
    !bars
        && !requirements.exclude.contains(mechanism.into())
        && waits.is_some_and(|waits| waits.wake_latency_us <= requirements.latency_us)
}

fn check_placements(plan: &Plan<'_>, cpus: &[CpuView<'_>], requirements: &Requirements) -> Result<(), TestCaseError> {
    let mut seen = BTreeSet::new();
    for (place, one) in plan.placements.iter().enumerate() {
        prop_assert_eq!(one.order as usize, place);
        prop_assert!(seen.insert(one.apic_id), "parked twice");
        let cpu = cpus.iter().find(|cpu| cpu.apic_id == one.apic_id).expect("a CPU of the list");
        for flag in requirements.require.iter() {
            prop_assert!(provides(flag, one.mechanism, cpu.kind, cpu.processor), "{} lacks {}", one.mechanism, flag);
        }
        prop_assert!(may_be_used(one.mechanism, cpu, requirements), "{} must not be used", one.mechanism);
        prop_assert_eq!(one.timeout_us, timeout_us(one.mechanism, plan.placements.len()));
        if cpu.processor == Processor::Bootstrap {
            prop_assert_eq!(place, plan.placements.len() - 1, "the bootstrap processor is not last");
        }
    }
    // A thread of a higher index never comes after one of a lower index, below the index where they go together.
    let threads: Vec<u32> = plan
        .placements
        .iter()
        .filter_map(|one| cpus.iter().find(|cpu| cpu.apic_id == one.apic_id))
        .filter(|cpu| cpu.processor == Processor::Application)
        .map(|cpu| cpu.thread.min(15))
        .collect();
    prop_assert!(threads.is_sorted_by(|earlier, later| earlier >= later), "{:?}", threads);
    prop_assert!(cpus.is_empty() || plan.placements.len() < cpus.len(), "nobody goes on");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn guarantees_are_what_the_claims_say((claims, offers) in kind(), bootstrap in any::<bool>()) {
        let kind = CpuKind::new(&claims, offers);
        let processor = if bootstrap { Processor::Bootstrap } else { Processor::Application };
        for mechanism in Mechanism::ALL {
            let provided = Guarantees::of_kind(mechanism, &kind, processor);
            for promise in &PROMISES {
                let expected = provides(promise.guarantee, mechanism, &kind, processor);
                prop_assert_eq!(provided.contains(promise.guarantee), expected, "{} {}", mechanism, promise.name);
            }
        }
    }

    #[test]
    fn a_plan_holds_what_is_required_and_an_error_is_exact(parts in parts(), requirements in requirements()) {
        let kinds = kinds(&parts);
        let cpus = views(&parts, &kinds);
        let which = Which::Marked(&parts.marks);
        let mut out = vec![Placement::EMPTY; cpus.len()];
        match plan(&cpus, &which, &requirements, &mut out) {
            Ok(plan) => {
                check_placements(&plan, &cpus, &requirements)?;
                for (index, cpu) in cpus.iter().enumerate() {
                    let placed = plan.placements.iter().any(|one| one.apic_id == cpu.apic_id);
                    let asked = which.includes(index, cpu) && plan.spared != Some(cpu.apic_id);
                    prop_assert_eq!(placed, asked);
                }
                prop_assert_eq!(plan.warnings.contains(Warnings::SPARED_LAST), plan.spared.is_some());
                if plan.spared.is_some() {
                    prop_assert!(cpus.iter().enumerate().all(|(index, cpu)| which.includes(index, cpu)));
                }
            }
            Err(PlanError::Lacking(lacking)) => {
                let first = cpus.iter().find(|cpu| cpu.apic_id == lacking.apic_id).expect("a CPU of the list");
                prop_assert_eq!(first.processor, lacking.processor);
                for one in lacking.assessments() {
                    let missing = requirements.require.iter()
                        .filter(|flag| !provides(*flag, one.mechanism, first.kind, first.processor))
                        .fold(Guarantees::empty(), |set, flag| set | flag);
                    prop_assert_eq!(one.missing, missing);
                    prop_assert_eq!(one.obstacle.is_none(), may_be_used(one.mechanism, first, &requirements));
                    prop_assert!(!one.fits());
                }
                // Nothing did for it; and dropping just what a usable mechanism misses makes it do.
                for one in lacking.assessments().into_iter().filter(|one| one.obstacle.is_none()) {
                    prop_assert!(!one.missing.is_empty());
                    let modest = Requirements { require: requirements.require - one.missing, ..requirements };
                    prop_assert!(assess(first.kind, first.processor, &modest).iter().any(|again| again.mechanism == one.mechanism && again.fits()));
                    for flag in one.missing.iter() {
                        let almost = Requirements { require: requirements.require - (one.missing - flag), ..requirements };
                        prop_assert!(assess(first.kind, first.processor, &almost).iter().all(|again| again.mechanism != one.mechanism || !again.fits()));
                    }
                }
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn to_prefer_never_loses_a_plan_and_never_a_preference(
        parts in parts(), requirements in requirements(), prefer in guarantees(),
    ) {
        let kinds = kinds(&parts);
        let cpus = views(&parts, &kinds);
        let which = Which::Marked(&parts.marks);
        let (mut plain, mut preferring) = (vec![Placement::EMPTY; cpus.len()], vec![Placement::EMPTY; cpus.len()]);
        let without = plan(&cpus, &which, &Requirements { prefer: Guarantees::empty(), ..requirements }, &mut plain);
        let with = plan(&cpus, &which, &Requirements { prefer, ..requirements }, &mut preferring);
        prop_assert_eq!(without.is_ok(), with.is_ok());
        if let Ok(plan) = with {
            for one in plan.placements {
                let cpu = cpus.iter().find(|cpu| cpu.apic_id == one.apic_id).expect("a CPU of the list");
                let met = |mechanism| prefer.iter()
                    .filter(|flag| provides(*flag, mechanism, cpu.kind, cpu.processor))
                    .fold(Guarantees::empty(), |set, flag| set | flag);
                // Nothing that may be used meets a preference that outweighs what is met.
                for other in Mechanism::ALL {
                    let fits = may_be_used(other, cpu, &requirements)
                        && requirements.require.iter().all(|flag| provides(flag, other, cpu.kind, cpu.processor));
                    prop_assert!(!fits || met(other).weight() <= met(one.mechanism).weight());
                }
            }
        }
    }

    #[test]
    fn plans_are_deterministic(parts in parts(), requirements in requirements()) {
        let kinds = kinds(&parts);
        let cpus = views(&parts, &kinds);
        let which = Which::Marked(&parts.marks);
        let mut first = vec![Placement::EMPTY; cpus.len()];
        // What is in the storage before does not matter, nor that there is more of it.
        let junk = Placement { apic_id: ApicId(77), order: 99, mechanism: Mechanism::Clgi, ..Placement::EMPTY };
        let mut second = vec![junk; cpus.len() + 5];
        prop_assert_eq!(plan(&cpus, &which, &requirements, &mut first), plan(&cpus, &which, &requirements, &mut second));
    }

    /// Whatever a policy says: nothing that does not fit, somebody goes on, no panic.
    #[test]
    fn no_policy_gets_around_the_rules(parts in parts(), requirements in requirements(), seed in any::<u64>()) {
        struct Wild(core::cell::Cell<u64>, Requirements);
        impl Wild {
            fn dice(&self) -> u64 {
                // xorshift64: any noise will do.
                let mut x = self.0.get() | 1;
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                self.0.set(x);
                x
            }
        }
        impl Policy for Wild {
            fn parks(&self, _index: usize, _cpu: &CpuView<'_>) -> bool {
                !self.dice().is_multiple_of(16)
            }
            fn requirements(&self, _cpu: &CpuView<'_>) -> Requirements {
                self.1
            }
            fn choose(&self, _cpu: &CpuView<'_>, _assessments: &Assessments) -> Option<Mechanism> {
                Mechanism::from_raw((self.dice() % 5) as u8)
            }
        }
        let kinds = kinds(&parts);
        let cpus = views(&parts, &kinds);
        let mut out = vec![Placement::EMPTY; cpus.len()];
        if let Ok(plan) = plan_by(&cpus, &Wild(core::cell::Cell::new(seed), requirements), &mut out) {
            for one in plan.placements {
                let cpu = cpus.iter().find(|cpu| cpu.apic_id == one.apic_id).expect("a CPU of the list");
                prop_assert!(may_be_used(one.mechanism, cpu, &requirements));
            }
        }
    }
}
