//! The interface of a policy, and the one that comes with park.

use crate::assess::{Assessment, Assessments};
use crate::cpu::CpuView;
use crate::{Requirements, Which};
use park_core::Mechanism;

/// Decides which CPUs to park, what is asked of their mechanism, and which one it is.
///
/// # For implementers
/// Answers depend on the arguments (and on `self`, unchanged) alone: a plan asks more than once. Whatever a policy says, a
/// plan leaves one CPU running, and takes nothing that does not fit.
///
/// # For callers
/// [`plan_by`](crate::plan_by) makes the plan.
pub trait Policy {
    /// True if the CPU at `index` of the list is to be parked.
    fn parks(&self, index: usize, cpu: &CpuView<'_>) -> bool;

    /// What is asked of the CPU's mechanism.
    fn requirements(&self, cpu: &CpuView<'_>) -> Requirements;

    /// Chooses among the mechanisms that [fit](Assessment::fits). `None` only if none does; else the plan is refused.
    ///
    /// Unless implemented: what provides the most of what is preferred, then what comes first of Mwait, Hlt, Clgi,
    /// wait-for-SIPI.
    fn choose(&self, cpu: &CpuView<'_>, assessments: &Assessments) -> Option<Mechanism> {
        let _ = cpu;
        best(assessments).map(|assessment| assessment.mechanism)
    }
}

impl<P: Policy + ?Sized> Policy for &P {
    fn parks(&self, index: usize, cpu: &CpuView<'_>) -> bool {
        P::parks(self, index, cpu)
    }
    fn requirements(&self, cpu: &CpuView<'_>) -> Requirements {
        P::requirements(self, cpu)
    }
    fn choose(&self, cpu: &CpuView<'_>, assessments: &Assessments) -> Option<Mechanism> {
        P::choose(self, cpu, assessments)
    }
}

/// The same requirements for all CPUs of [`Which`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Standard<'a> {
    /// Which CPUs.
    pub which: Which<'a>,
    /// What is asked.
    pub requirements: Requirements,
}

impl Policy for Standard<'_> {
    fn parks(&self, index: usize, cpu: &CpuView<'_>) -> bool {
        self.which.includes(index, cpu)
    }

    fn requirements(&self, _cpu: &CpuView<'_>) -> Requirements {
        self.requirements
    }
}

/// Among equals, the earlier: MWAIT needs no IPI, HLT works everywhere, CLGI polls, and wait-for-SIPI is a last resort.
const ORDER: [Mechanism; 4] = [Mechanism::Mwait, Mechanism::Hlt, Mechanism::Clgi, Mechanism::WaitForSipi];

/// The best of the mechanisms that fit.
pub(crate) fn best(assessments: &Assessments) -> Option<&Assessment> {
    let rank = |mechanism| ORDER.iter().rev().position(|other| *other == mechanism);
    let fitting = assessments.iter().filter(|assessment| assessment.fits());
    fitting.max_by_key(|assessment| (assessment.preferred.weight(), rank(assessment.mechanism)))
}
