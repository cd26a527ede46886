//! Claims, kinds and machines made up for tests: no vendor's.

#![allow(dead_code, reason = "each test uses its part")]

use park_core::op::Processor;
use park_core::{ApicId, Claim, Condition, Event, Mechanism, Response};
use park_policy::{Absence, CpuKind, CpuView, Idle, Offer, Offers, StoreWake, Waits};

pub(crate) const CONDITIONS: [Condition; 5] =
    [Condition::Always, Condition::Bsp, Condition::Ap, Condition::ImplementationKind, Condition::ImplementationUnkind];

/// A claim without a source.
pub(crate) const fn claim(mechanism: Mechanism, event: Event, condition: Condition, response: Response) -> Claim {
    Claim { mechanism, event, condition, response, source: "made up" }
}

/// Every mechanism takes every event with this response.
pub(crate) fn all_claims(response: Response) -> Vec<Claim> {
    let of = |mechanism| Event::ALL.into_iter().map(move |event| claim(mechanism, event, Condition::Always, response));
    Mechanism::ALL.into_iter().flat_map(of).collect()
}

/// A quick, dependable wait.
pub(crate) const WAITS: Waits = Waits { wake_latency_us: 1, store_wake: StoreWake::Reliable, idle: Idle::Deep };

/// Every mechanism is offered.
pub(crate) const ALL_OFFERS: Offers = Offers {
    hlt: Offer::Here(WAITS),
    mwait: Offer::Here(WAITS),
    clgi: Offer::Here(WAITS),
    wait_for_sipi: Offer::Here(WAITS),
};

/// An offer that is none.
pub(crate) const ABSENT: Offer = Offer::Absent(Absence::Lacks("it"));

/// A machine: packages × cores × threads, ids one after another, CPU 0 the bootstrap processor.
pub(crate) fn machine<'a>(kind: &'a CpuKind<'a>, packages: u32, cores: u32, threads: u32) -> Vec<CpuView<'a>> {
    (0..packages * cores * threads)
        .map(|index| CpuView {
            apic_id: ApicId(index),
            package: index / (cores * threads),
            cache: index / (cores * threads),
            core: index / threads,
            thread: index % threads,
            processor: if index == 0 { Processor::Bootstrap } else { Processor::Application },
            ..CpuView::new(kind)
        })
        .collect()
}
