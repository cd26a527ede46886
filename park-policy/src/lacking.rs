//! Why there is no plan.

use crate::Requirements;
use crate::assess::{Assessments, assess};
use crate::cpu::CpuKind;
use core::fmt;
use park_core::ApicId;
use park_core::op::Processor;

/// No mechanism will do for a CPU. [`assessments`](Self::assessments) says what each of them lacks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Lacking<'c> {
    /// The first CPU, in the order of the list, for which nothing will do.
    pub apic_id: ApicId,
    /// Its kind.
    pub kind: &'c CpuKind<'c>,
    /// Whether it is the bootstrap processor.
    pub processor: Processor,
    /// What was asked.
    pub requirements: Requirements,
    /// How many CPUs there are for which nothing will do.
    pub cpus: u32,
}

impl Lacking<'_> {
    /// What speaks against each mechanism on that CPU; `missing` is exactly what is required and not provided.
    #[must_use]
    pub fn assessments(&self) -> Assessments {
        assess(self.kind, self.processor, &self.requirements)
    }
}

impl fmt::Display for Lacking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no mechanism will do for the CPU with APIC id {}", self.apic_id)?;
        let mut between = ": ";
        for assessment in &self.assessments() {
            write!(f, "{between}{} ", assessment.mechanism)?;
            match &assessment.obstacle {
                Some(obstacle) => write!(f, "({obstacle})")?,
                None => write!(f, "lacks {}", assessment.missing)?,
            }
            between = "; ";
        }
        Ok(())
    }
}

impl core::error::Error for Lacking<'_> {}

/// Why there is no plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PlanError<'c> {
    /// No mechanism will do.
    Lacking(Lacking<'c>),
    /// The caller's storage is too small.
    OutTooSmall {
        /// How many placements there would be.
        needed: usize,
    },
    /// The CPU that is to go on is not in the list.
    NotListed(ApicId),
    /// The policy gave different answers to the same question, or chose a mechanism that does not fit, on this CPU.
    BadPolicy(ApicId),
}

impl fmt::Display for PlanError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lacking(lacking) => lacking.fmt(f),
            Self::OutTooSmall { needed } => write!(f, "the storage is too small: there are {needed} placements"),
            Self::NotListed(apic_id) => write!(f, "the CPU with APIC id {apic_id}, which is to go on, is not listed"),
            Self::BadPolicy(apic_id) => {
                write!(f, "the policy changed its mind, or chose what does not fit, on the CPU with APIC id {apic_id}")
            }
        }
    }
}

impl core::error::Error for PlanError<'_> {}

impl<'c> From<Lacking<'c>> for PlanError<'c> {
    fn from(lacking: Lacking<'c>) -> Self {
        Self::Lacking(lacking)
    }
}
