//! Which CPUs to park, and by which mechanism: the half of park that decides.
//!
//! A *guarantee* is what claims amount to ([`Guarantees`]); a *situation* asks for some ([`Situation`]), as
//! [`Requirements`]; [`plan`] gives every CPU that is to be parked a mechanism that provides them, an order and a
//! timeout, or says for each mechanism what it lacks ([`Lacking`]). A [`Consolidator`] says which CPUs the load leaves idle
//! for long enough. All of it is pure: time is an argument, memory the caller's, and there is no machine. A policy of one's
//! own implements [`Policy`]. [`carry`] carries plans out, over park-core's platform traits.
//!
//! ```
//! use park_core::op::Processor;
//! use park_core::ApicId;
//! use park_policy::{CpuKind, CpuView, Placement, Situation, plan};
//!
//! # fn demo(kind: &CpuKind<'_>) -> Option<()> {
//! let cpu = |id| CpuView { apic_id: ApicId(id), core: id, ..CpuView::new(kind) };
//! let cpus = [CpuView { processor: Processor::Bootstrap, ..cpu(0) }, cpu(1), cpu(2), cpu(3)];
//! let mut out = [Placement::EMPTY; 4];
//! let which = Situation::Kexec.which(ApicId(0))?;
//! let plan = plan(&cpus, &which, &Situation::Kexec.requirements(), &mut out).ok()?;
//! assert_eq!(plan.placements.len(), 3);
//! # Some(())
//! # }
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod assess;
pub mod carry;
mod consolidate;
mod consolidate_order;
mod consolidate_tuning;
mod cpu;
mod guarantee;
mod lacking;
mod order;
mod plan;
mod policy;
mod requirements;
mod situation;
mod timeout;
mod which;

pub use assess::{Assessment, Assessments, Obstacle, assess};
pub use consolidate::{CONSOLIDATE_CPUS_MAX, Change, ConsolidateError, Consolidator, Decision, Track};
pub use consolidate_tuning::{Keep, Tuning, TuningError};
pub use cpu::{Absence, CpuKind, CpuView, Idle, Offer, Offers, StoreWake, Waits};
pub use guarantee::{Accepts, Basis, Guarantees, PROMISES, Promise};
pub use lacking::{Lacking, PlanError};
pub use plan::{Placement, Plan, Reason, Warnings, plan, plan_by};
pub use policy::{Policy, Standard};
pub use requirements::Requirements;
pub use situation::Situation;
pub use timeout::{ARRIVAL_SHARE_US, ARRIVAL_US, SINK_US, timeout_us};
pub use which::Which;
