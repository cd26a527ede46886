//! Why not another mechanism.

use cpu_park::core::{ApicId, Mechanism};
use cpu_park::policy::{Assessment, CpuKind, CpuView, Obstacle, Plan, Requirements, StoreWake, assess};
use serde::Serialize;
use std::collections::BTreeMap;

/// A mechanism that was not chosen, on so many CPUs, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PassedOver {
    /// The mechanism.
    pub mechanism: &'static str,
    /// Why, in a sentence without a full stop.
    pub why: String,
    /// On how many CPUs it was passed over for this reason.
    pub cpus: u32,
}

/// All mechanisms that were not chosen, reason by reason, in the order of the placements.
pub(super) fn passed_over(plan: &Plan<'_>, cpus: &[CpuView<'_>], requirements: &Requirements) -> Vec<PassedOver> {
    let by_id: BTreeMap<ApicId, &CpuView<'_>> = cpus.iter().map(|cpu| (cpu.apic_id, cpu)).collect();
    let mut found: Vec<PassedOver> = Vec::new();
    for placement in plan.placements {
        let Some(cpu) = by_id.get(&placement.apic_id) else { continue };
        let assessments = assess(cpu.kind, cpu.processor, requirements);
        let Some(chosen) = assessments.iter().find(|one| one.mechanism == placement.mechanism) else { continue };
        for other in assessments.iter().filter(|one| one.mechanism != placement.mechanism) {
            let (mechanism, why) = (other.mechanism.name(), why_not(other, chosen, cpu.kind));
            match found.iter_mut().find(|known| known.mechanism == mechanism && known.why == why) {
                Some(known) => known.cpus += 1,
                None => found.push(PassedOver { mechanism, why, cpus: 1 }),
            }
        }
    }
    found
}

fn why_not(other: &Assessment, chosen: &Assessment, kind: &CpuKind<'_>) -> String {
    if let Some(obstacle) = &other.obstacle {
        return in_the_way(other.mechanism, obstacle);
    }
    if !other.missing.is_empty() {
        return format!("lacks what is required: {}", other.missing);
    }
    let less = chosen.preferred.difference(other.preferred);
    if less.is_empty() {
        format!("as good, and {} comes first in park's own order", chosen.mechanism)
    } else {
        let erratum = match kind.offers.of(other.mechanism).waits().map(|waits| waits.store_wake) {
            Some(StoreWake::Unreliable(name)) => format!(" (erratum {name}: a store may not wake it)"),
            _ => String::new(),
        };
        format!("provides all that is required, but lacks what is preferred: {less}{erratum}")
    }
}

/// An obstacle, and how to get around it where there is a way.
pub(super) fn in_the_way(mechanism: Mechanism, obstacle: &Obstacle) -> String {
    match (mechanism, obstacle) {
        (Mechanism::WaitForSipi, Obstacle::Excluded) => {
            "not used unless `--allow wait-for-sipi` asks for it: nothing tells whether a CPU took the INIT".to_owned()
        }
        _ => obstacle.to_string(),
    }
}
