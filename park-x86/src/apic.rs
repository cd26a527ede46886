//! The local APIC of the CPU that sends: NMI, INIT and STARTUP to others, in xAPIC and x2APIC mode.
//!
//! The driver goes through [`Cpu`], so that the simulator runs it too. It touches the interrupt command register and
//! nothing else.

use crate::registers::apic::{
    ICR_ASSERT, ICR_HIGH, ICR_INIT, ICR_LOW, ICR_NMI, ICR_PENDING, ICR_STARTUP, ICR_X2APIC_DESTINATION_SHIFT,
    ICR_XAPIC_DESTINATION_SHIFT, x2apic_msr,
};
use crate::registers::msr;
use park_core::lot::ApicMode;
use park_core::{Action, ApicId, Cpu, IpiSender, PlatformError, Register};

/// Reads of the delivery status before [`PlatformError::ApicBusy`]: 10 ms at the 100 ns that an uncached read takes.
///
/// Linux gives it 100 ms (safe_apic_wait_icr_idle()); a message takes well under 20 µs on an idle bus (SDM vol. 3,
/// "MP Initialization Example").
pub const POLL_LIMIT: u32 = 100_000;

/// The largest id that an x2APIC destination can name; `FFFF_FFFFh` is the broadcast (SDM vol. 3, "Interrupt Command
/// Register (ICR)", x2APIC).
pub const X2APIC_MAX: ApicId = ApicId(u32::MAX - 1);

/// A driver for the executing CPU's local APIC.
///
/// In xAPIC mode a message takes two writes: call it with interrupts and NMI senders off, or an interrupt handler that
/// sends IPIs of its own may redirect this one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LocalApic<C> {
    cpu: C,
    mode: ApicMode,
    poll_limit: u32,
}

impl<C: Cpu> LocalApic<C> {
    /// A driver in the mode that IA32_APIC_BASE is in now. It does not follow later changes of mode.
    ///
    /// # Errors
    /// [`PlatformError::NoSuchRegister`] if the local APIC is disabled there; the platform's own errors.
    pub fn new(mut cpu: C) -> Result<Self, PlatformError> {
        let mode = mode(&mut cpu)?;
        Ok(Self { cpu, mode, poll_limit: POLL_LIMIT })
    }

    /// The same driver with another bound on reads of the delivery status.
    #[must_use]
    pub fn with_poll_limit(mut self, poll_limit: u32) -> Self {
        self.poll_limit = poll_limit;
        self
    }

    /// The mode.
    #[must_use]
    pub const fn mode(&self) -> ApicMode {
        self.mode
    }

    /// Gives the CPU back.
    #[must_use]
    pub fn into_cpu(self) -> C {
        self.cpu
    }

    fn send(&mut self, target: ApicId, message: u64) -> Result<(), PlatformError> {
        let id = target.0;
        match self.mode {
            ApicMode::X2Apic => {
                if target > X2APIC_MAX {
                    return Err(PlatformError::IdTooWide { apic_id: id });
                }
                // A WRMSR to the ICR may overtake earlier stores (SDM vol. 3, "MSR Access in x2APIC Mode").
                self.cpu.act(Action::Fence)?;
                let value = u64::from(id) << ICR_X2APIC_DESTINATION_SHIFT | message | ICR_ASSERT;
                self.cpu.write(Register::Msr(x2apic_msr(ICR_LOW)), value)
            }
            ApicMode::XApic => {
                if target > ApicId::XAPIC_MAX {
                    return Err(PlatformError::IdTooWide { apic_id: id });
                }
                self.wait_idle()?;
                // The page is uncached: these writes are ordered after all earlier stores (SDM vol. 3, "Memory Ordering").
                self.cpu.write(Register::Apic(ICR_HIGH), u64::from(id) << ICR_XAPIC_DESTINATION_SHIFT)?;
                self.cpu.write(Register::Apic(ICR_LOW), message | ICR_ASSERT)?;
                self.wait_idle()
            }
        }
    }

    fn wait_idle(&mut self) -> Result<(), PlatformError> {
        for _ in 0..self.poll_limit {
            if self.cpu.read(Register::Apic(ICR_LOW))? & ICR_PENDING == 0 {
                return Ok(());
            }
            core::hint::spin_loop();
        }
        Err(PlatformError::ApicBusy)
    }
}

/// The mode of the executing CPU's local APIC, for the bay's owner word.
///
/// # Errors
/// [`PlatformError::NoSuchRegister`] if it is disabled in IA32_APIC_BASE; the platform's own errors.
pub fn mode(cpu: &mut (impl Cpu + ?Sized)) -> Result<ApicMode, PlatformError> {
    let base = cpu.read(Register::Msr(msr::APIC_BASE))?;
    if base & msr::APIC_BASE_EN == 0 {
        return Err(PlatformError::NoSuchRegister);
    }
    Ok(if base & msr::APIC_BASE_EXTD != 0 { ApicMode::X2Apic } else { ApicMode::XApic })
}

/// The executing CPU's APIC id, as wide as its mode has it.
///
/// # Errors
/// As [`mode`].
pub fn id(cpu: &mut (impl Cpu + ?Sized)) -> Result<ApicId, PlatformError> {
    /// In xAPIC mode the id is in bits 31:24 (SDM vol. 3, "Local APIC ID").
    const XAPIC_ID_SHIFT: u32 = 24;
    let shift = match mode(cpu)? {
        ApicMode::XApic => XAPIC_ID_SHIFT,
        ApicMode::X2Apic => 0,
    };
    let value = cpu.read(Register::Apic(crate::registers::apic::ID))?;
    Ok(ApicId(value as u32 >> shift))
}

/// True if the executing CPU is the bootstrap processor, as IA32_APIC_BASE says.
///
/// A crash kernel that boots on an AP still finds the machine's first CPU here, and not itself.
///
/// # Errors
/// The platform's own.
pub fn is_bootstrap(cpu: &mut (impl Cpu + ?Sized)) -> Result<bool, PlatformError> {
    Ok(cpu.read(Register::Msr(msr::APIC_BASE))? & msr::APIC_BASE_BSP != 0)
}

impl<C: Cpu> IpiSender for LocalApic<C> {
    fn send_nmi(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.send(target, ICR_NMI)
    }

    fn send_init(&mut self, target: ApicId) -> Result<(), PlatformError> {
        self.send(target, ICR_INIT)
    }

    fn send_startup(&mut self, target: ApicId, vector: u8) -> Result<(), PlatformError> {
        self.send(target, ICR_STARTUP | u64::from(vector))
    }
}
