//! The local APIC for host-modelled kernel code, by xAPIC offset, in whatever mode it is.

use super::apic::ApicMode;
use super::fault::{Exec, GP0};
use super::host::Exception;
use super::msr::num;
use super::{Activity, Machine};

/// The register that an xAPIC offset names is that many bits further right in x2APIC mode (SDM vol. 3, Table 10-6).
const OFFSET_SHIFT: u16 = 4;

impl Machine {
    /// Reads a local APIC register on `cpu`, by MMIO or RDMSR as its mode demands.
    ///
    /// # Errors
    /// The exception that the access would raise; #GP where the APIC is disabled.
    pub fn read_apic(&mut self, cpu: usize, offset: u16) -> Result<u64, Exception> {
        let cpu = cpu.min(self.cpus.len() - 1);
        let result = match self.cpus[cpu].apic.mode() {
            ApicMode::X2apic => self.x2apic_read(cpu, num::X2APIC_FIRST + u32::from(offset >> OFFSET_SHIFT)),
            ApicMode::Xapic => self.apic_mmio_read(cpu, u64::from(offset), 4),
            ApicMode::Disabled => Err(GP0),
        };
        self.host(cpu, result)
    }

    /// Writes a local APIC register on `cpu`, by MMIO or WRMSR as its mode demands.
    ///
    /// # Errors
    /// As [`Machine::read_apic`].
    pub fn write_apic(&mut self, cpu: usize, offset: u16, value: u64) -> Result<(), Exception> {
        let cpu = cpu.min(self.cpus.len() - 1);
        let result: Exec<()> = match (self.cpus[cpu].apic.mode(), u32::try_from(value)) {
            (ApicMode::X2apic, _) => {
                self.x2apic_write(cpu, num::X2APIC_FIRST + u32::from(offset >> OFFSET_SHIFT), value)
            }
            (ApicMode::Xapic, Ok(value)) => {
                // The page is uncached: earlier stores are visible before it.
                self.drain_all(cpu);
                self.apic_mmio_write(cpu, u64::from(offset), 4, value)
            }
            (ApicMode::Xapic, Err(_)) | (ApicMode::Disabled, _) => Err(GP0),
        };
        self.host(cpu, result)
    }

    /// Whether the next step of `cpu` would take an event instead of executing an instruction.
    #[must_use]
    #[inline]
    pub fn event_pending(&self, cpu: usize) -> bool {
        self.cpus.get(cpu).is_some_and(|state| !state.is_undisturbed() && self.event_pending_at(cpu))
    }

    fn event_pending_at(&self, cpu: usize) -> bool {
        if self.over {
            return false;
        }
        let state = &self.cpus[cpu];
        // Without attention a step does not look at its boundary either.
        state.smm.inside || (state.attention && state.activity != Activity::ResetVector && self.boundary_pending(cpu))
    }
}
