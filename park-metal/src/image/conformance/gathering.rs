//! Counting SMIs at a CPU where firmware handles them.
//!
//! While the CPU is parked the host's log says how often it entered SMM; the CPU's own count, which nobody else can read, says
//! so once it is awake. Where the two differ, some came only when it was asked or woken.

use crate::image::conformance::host;
use crate::image::failure::Failure;
use crate::image::percpu::PerCpu;
use crate::image::rendezvous;
use crate::image::world::World;

/// Digits that the host counts by.
const DIGITS: u8 = 10;

/// The counts in one case.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Gathering {
    /// The CPU's own count before it was parked.
    before: u64,
    /// The host's last answer; `None` until it was asked.
    digit: Option<u8>,
    smis: u32,
}

impl Gathering {
    /// Notes the count of `target`, which is about to be parked.
    pub(super) fn begin(&mut self, world: &World, target: &PerCpu) -> Result<(), Failure> {
        self.before = rendezvous::count(world, target)?.unwrap_or(0);
        Ok(())
    }

    /// Asks the host how many came to the parked CPU.
    pub(super) fn ask_host(&mut self, world: &World) -> Result<(), Failure> {
        let digit = host::smm_entries(world, &world.plan.lot)?;
        let more = digit + DIGITS - self.digit.unwrap_or(digit);
        self.smis += u32::from(more % DIGITS);
        self.digit = Some(digit);
        Ok(())
    }

    /// Asks the CPU itself, which is awake.
    pub(super) fn ask_cpu(&mut self, world: &World, target: &PerCpu) -> Result<(), Failure> {
        let now = rendezvous::count(world, target)?.unwrap_or(0);
        self.smis = now.wrapping_sub(self.before) as u32;
        Ok(())
    }

    /// SMIs since the CPU was parked.
    pub(super) const fn smis(&self) -> u32 {
        self.smis
    }
}
