//! Orders for simulated CPUs, from cpu-park's backends: what a kernel would get.

use core::cell::RefCell;
use cpu_park::core::{CpuidResult, Event, Mechanism, Response};
use cpu_park::{Detected, detect};
use park_sim::machine::MachineConfig;
use park_sim::scenario::{Orders, ParkOrders};

/// The latency budget of simulated CPUs, in microseconds: any depth of MWAIT will do.
pub const LATENCY_US: u32 = u32::MAX;

/// Asks [`detect`].
#[derive(Clone, Copy, Debug, Default)]
pub struct DetectedOrders;

fn detected(cpuid: &mut dyn FnMut(u32, u32) -> CpuidResult) -> Detected {
    let cpuid = RefCell::new(cpuid);
    detect(|leaf, subleaf| (cpuid.borrow_mut())(leaf, subleaf))
}

impl Orders for DetectedOrders {
    fn orders(
        &self,
        mechanism: Mechanism,
        cpuid: &mut dyn FnMut(u32, u32) -> CpuidResult,
    ) -> Result<ParkOrders, String> {
        let orders = detected(cpuid).orders(mechanism, LATENCY_US).map_err(|why| why.to_string())?;
        Ok(ParkOrders { flags: orders.wait_flags, mwait_hint: orders.mwait_hint, steps: orders.steps().collect() })
    }

    fn declares(&self, mechanism: Mechanism, event: Event, cpuid: &mut dyn FnMut(u32, u32) -> CpuidResult) -> bool {
        let claims = detected(cpuid).claims();
        let mut of_this = claims.iter().filter(|claim| claim.mechanism == mechanism && claim.event == event);
        of_this.any(|claim| takes_down(claim.response))
    }
}

/// Whether a claim says that the CPU, or the machine, goes down.
const fn takes_down(response: Response) -> bool {
    matches!(response, Response::Shutdown | Response::Reset | Response::Hangs)
}

/// The CPUs of a simulated machine, as cpu-park sees them.
#[must_use]
pub fn simulated(config: &MachineConfig) -> Detected {
    detect(|leaf, subleaf| {
        let regs = config.cpuid.get(leaf, subleaf);
        [regs.eax, regs.ebx, regs.ecx, regs.edx]
    })
}
