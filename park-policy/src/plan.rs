//! Planning: a mechanism, an order and a timeout for every CPU that is to be parked.

use crate::assess::{Assessment, Assessments, assess};
use crate::cpu::{CpuKind, CpuView};
use crate::lacking::{Lacking, PlanError};
use crate::order::Order;
use crate::policy::{Policy, Standard};
use crate::{Guarantees, Requirements, Which, timeout_us};
use core::fmt;
use park_core::op::Processor;
use park_core::{ApicId, Claim, Condition, Event, Mechanism, Response};

/// How one CPU is parked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Placement {
    /// The CPU.
    pub apic_id: ApicId,
    /// How it waits.
    pub mechanism: Mechanism,
    /// Why so.
    pub reason: Reason,
    /// Its place in the order, from 0.
    pub order: u32,
    /// How long to wait for it, in microseconds.
    pub timeout_us: u32,
}

impl Placement {
    /// What fills storage before a plan is made.
    pub const EMPTY: Self =
        Self { apic_id: ApicId(0), mechanism: Mechanism::Hlt, reason: Reason::OnlyOne, order: 0, timeout_us: 0 };
}

/// Why a mechanism was chosen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing else provides what is required.
    OnlyOne,
    /// Of those that provide what is required, it provides the most of what is preferred: this.
    Preferred(Guarantees),
    /// Others are as good; it comes first in park's own order.
    FirstOfEquals,
    /// A policy of the caller's own chose it.
    OwnPolicy,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlyOne => f.write_str("nothing else will do"),
            Self::Preferred(preferred) => {
                write!(f, "it provides all that is required, and of what is preferred the most: {preferred}")
            }
            Self::FirstOfEquals => {
                f.write_str("it provides all that is required; another is as good, and comes later in park's own order")
            }
            Self::OwnPolicy => f.write_str("it provides all that is required, and the caller's policy chose it"),
        }
    }
}

bitflags::bitflags! {
    /// What whoever carries a plan out should know.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Warnings: u8 {
        /// The bootstrap processor is parked: a kernel that sends it an INIT resets the machine.
        const BOOTSTRAP_INIT_RESETS = 1 << 0;
        /// All CPUs were to be parked: one was left out.
        const SPARED_LAST = 1 << 1;
    }
}

impl fmt::Display for Warnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for warning in self.iter() {
            let text = if warning == Self::BOOTSTRAP_INIT_RESETS {
                "the bootstrap processor is parked: a kernel that knows nothing of park and sends it an INIT resets the machine"
            } else {
                "all CPUs were to be parked: one goes on"
            };
            write!(f, "{between}{text}")?;
            between = "; ";
        }
        Ok(())
    }
}

/// A plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Plan<'o> {
    /// Every CPU that is parked, in order: the n-th has `order` n.
    pub placements: &'o [Placement],
    /// The CPU that was left out because no other would have gone on.
    pub spared: Option<ApicId>,
    /// What should be known.
    pub warnings: Warnings,
}

/// Plans how to park the CPUs of `which`: each by a mechanism that provides all that `requirements` require.
///
/// One pass to count, one to place; nothing is allocated. At least one CPU goes on. `out` needs a place for every CPU that
/// is parked; after an error it holds nothing of meaning.
///
/// # Errors
/// * [`PlanError::Lacking`]: a CPU for which no mechanism will do, and why.
/// * [`PlanError::OutTooSmall`], [`PlanError::NotListed`].
pub fn plan<'o, 'c>(
    cpus: &[CpuView<'c>],
    which: &Which<'_>,
    requirements: &Requirements,
    out: &'o mut [Placement],
) -> Result<Plan<'o>, PlanError<'c>> {
    if let Which::AllBut(running) = which {
        if !cpus.iter().any(|cpu| cpu.apic_id == *running) {
            return Err(PlanError::NotListed(*running));
        }
    }
    plan_by(cpus, &Standard { which: *which, requirements: *requirements }, out)
}

/// Plans by a policy of the caller's own.
///
/// # Errors
/// * [`PlanError::Lacking`], [`PlanError::OutTooSmall`].
/// * [`PlanError::BadPolicy`]: it chose a mechanism that does not fit, or changed its mind.
pub fn plan_by<'o, 'c, P: Policy + ?Sized>(
    cpus: &[CpuView<'c>],
    policy: &P,
    out: &'o mut [Placement],
) -> Result<Plan<'o>, PlanError<'c>> {
    let spared = spared(cpus, policy);
    let parks = |index: usize, cpu: &CpuView<'_>| spared != Some(index) && policy.parks(index, cpu);
    let goes_on = cpus.iter().enumerate().find(|(index, cpu)| !parks(*index, cpu));
    let mut order = Order::new(goes_on.map(|(_, cpu)| cpu.package));
    for (_, cpu) in cpus.iter().enumerate().filter(|(index, cpu)| parks(*index, cpu)) {
        order.count(cpu);
    }
    let count = order.settle();
    let Some(out) = out.get_mut(..count) else { return Err(PlanError::OutTooSmall { needed: count }) };

    let mut memo = Memo::new();
    let mut lacking: Option<Lacking<'c>> = None;
    let mut warnings = Warnings::empty();
    let mut placed = 0;
    for (_, cpu) in cpus.iter().enumerate().filter(|(index, cpu)| parks(*index, cpu)) {
        let requirements = policy.requirements(cpu);
        let assessments = memo.assess(cpu, requirements);
        let Some((mechanism, reason)) = choose(policy, cpu, &assessments)? else {
            let (apic_id, kind, processor) = (cpu.apic_id, cpu.kind, cpu.processor);
            lacking.get_or_insert(Lacking { apic_id, kind, processor, requirements, cpus: 0 }).cpus += 1;
            continue;
        };
        // Without this a policy that changes its mind would leave one place empty and fill another twice.
        let place = order.place(cpu).ok_or(PlanError::BadPolicy(cpu.apic_id))?;
        let slot = out.get_mut(place).ok_or(PlanError::BadPolicy(cpu.apic_id))?;
        let order = u32::try_from(place).unwrap_or(u32::MAX);
        *slot = Placement { apic_id: cpu.apic_id, mechanism, reason, order, timeout_us: timeout_us(mechanism, count) };
        placed += 1;
        if init_resets(cpu, mechanism) {
            warnings |= Warnings::BOOTSTRAP_INIT_RESETS;
        }
    }
    if let Some(lacking) = lacking {
        return Err(lacking.into());
    }
    if placed != count {
        return Err(PlanError::BadPolicy(cpus.first().map_or(ApicId(0), |cpu| cpu.apic_id)));
    }
    let spared = spared.and_then(|index| cpus.get(index)).map(|cpu| cpu.apic_id);
    warnings.set(Warnings::SPARED_LAST, spared.is_some());
    Ok(Plan { placements: out, spared, warnings })
}

/// Which CPU must be left out so that one goes on: the bootstrap processor, else the first.
fn spared<P: Policy + ?Sized>(cpus: &[CpuView<'_>], policy: &P) -> Option<usize> {
    if cpus.is_empty() || cpus.iter().enumerate().any(|(index, cpu)| !policy.parks(index, cpu)) {
        return None;
    }
    Some(cpus.iter().position(|cpu| cpu.processor == Processor::Bootstrap).unwrap_or(0))
}

/// The mechanism of a CPU, and why; `None` if nothing fits.
fn choose<'c, P: Policy + ?Sized>(
    policy: &P,
    cpu: &CpuView<'c>,
    assessments: &Assessments,
) -> Result<Option<(Mechanism, Reason)>, PlanError<'c>> {
    let Some(best) = crate::policy::best(assessments) else { return Ok(None) };
    let chosen = policy.choose(cpu, assessments);
    let fitting = |mechanism| assessments.iter().any(|one| one.mechanism == mechanism && one.fits());
    match chosen {
        Some(mechanism) if mechanism == best.mechanism => Ok(Some((mechanism, reason(best, assessments)))),
        Some(mechanism) if fitting(mechanism) => Ok(Some((mechanism, Reason::OwnPolicy))),
        _ => Err(PlanError::BadPolicy(cpu.apic_id)),
    }
}

fn reason(best: &Assessment, assessments: &Assessments) -> Reason {
    let mut others = assessments.iter().filter(|one| one.fits() && one.mechanism != best.mechanism).peekable();
    if others.peek().is_none() {
        Reason::OnlyOne
    } else if others.any(|other| other.preferred == best.preferred) {
        Reason::FirstOfEquals
    } else {
        Reason::Preferred(best.preferred)
    }
}

/// True if a claim says that an INIT resets the machine.
fn init_resets(cpu: &CpuView<'_>, mechanism: Mechanism) -> bool {
    let resets = |claim: &Claim| {
        claim.mechanism == mechanism
            && claim.event == Event::Init
            && claim.condition != Condition::Ap
            && claim.response == Response::Reset
    };
    cpu.processor == Processor::Bootstrap && cpu.kind.claims.iter().any(resets)
}

/// Kinds of CPU whose assessment is remembered: hybrid machines have two or three.
const MEMO_LEN: usize = 4;

/// The last assessments, so that thousands of like CPUs are assessed once.
pub(crate) struct Memo<'c> {
    entries: [Option<(&'c CpuKind<'c>, Processor, Requirements, Assessments)>; MEMO_LEN],
    next: usize,
}

impl<'c> Memo<'c> {
    pub(crate) const fn new() -> Self {
        Self { entries: [None; MEMO_LEN], next: 0 }
    }

    pub(crate) fn assess(&mut self, cpu: &CpuView<'c>, requirements: Requirements) -> Assessments {
        for (kind, processor, asked, assessments) in self.entries.iter().flatten() {
            if core::ptr::eq(*kind, cpu.kind) && *processor == cpu.processor && *asked == requirements {
                return *assessments;
            }
        }
        let assessments = assess(cpu.kind, cpu.processor, &requirements);
        if let Some(entry) = self.entries.get_mut(self.next) {
            *entry = Some((cpu.kind, cpu.processor, requirements, assessments));
        }
        self.next = (self.next + 1) % MEMO_LEN;
        assessments
    }
}
