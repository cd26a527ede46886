//! How the steps of the vendor crates get into a scenario, which knows none of them.

use crate::world::SanitiseStep;
use park_core::lot::WaitFlags;
use park_core::{CpuidResult, Event, Mechanism};
use park_x86::sanitise::{COMMON, FIRST, REFUSALS};

/// What a CPU needs to park.
#[derive(Clone, Debug)]
pub struct ParkOrders {
    /// Details of the wait.
    pub flags: WaitFlags,
    /// EAX of MWAIT.
    pub mwait_hint: u32,
    /// The sanitising steps, in their order.
    pub steps: Vec<SanitiseStep>,
}

/// Knows how the CPUs of a machine park: a vendor crate's orders, or a test's.
pub trait Orders {
    /// Orders for a mechanism on CPUs with this CPUID.
    ///
    /// # Errors
    /// Why the mechanism is not to be had, in a sentence.
    fn orders(
        &self,
        mechanism: Mechanism,
        cpuid: &mut dyn FnMut(u32, u32) -> CpuidResult,
    ) -> Result<ParkOrders, String>;

    /// Whether the mechanism says beforehand that `event` takes the CPU or the machine down.
    fn declares(&self, mechanism: Mechanism, event: Event, cpuid: &mut dyn FnMut(u32, u32) -> CpuidResult) -> bool {
        let _ = (mechanism, event, cpuid);
        false
    }
}

/// What park-x86 knows without any vendor: enough for a CPU without VMX, SVM, counters and tracing in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GenericOrders;

impl Orders for GenericOrders {
    fn orders(
        &self,
        mechanism: Mechanism,
        _cpuid: &mut dyn FnMut(u32, u32) -> CpuidResult,
    ) -> Result<ParkOrders, String> {
        let steps = [REFUSALS, FIRST, COMMON]
            .into_iter()
            .flatten()
            .filter(|step| step.mechanisms.contains(mechanism.into()))
            .collect();
        Ok(ParkOrders { flags: WaitFlags::empty(), mwait_hint: 0, steps })
    }
}
