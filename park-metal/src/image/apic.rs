//! The local APIC in xAPIC mode: on, and sending IPIs.

use core::fmt;

use park_core::{ApicId, IpiSender, PlatformError};

use crate::image::clock::TscClock;
use crate::image::insn;
use crate::image::traps::SPURIOUS_VECTOR;

/// Where the local APIC's registers lie after reset (SDM vol. 3, 10.4.1).
pub(crate) const APIC_BASE: u64 = 0xfee0_0000;
/// EOI register (SDM vol. 3, table 10-1, as all offsets here).
pub(crate) const EOI_OFFSET: u64 = 0xb0;
const ID_OFFSET: u64 = 0x20;
const SPURIOUS_OFFSET: u64 = 0xf0;
const ICR_LOW_OFFSET: u64 = 0x300;
const ICR_HIGH_OFFSET: u64 = 0x310;
/// IA32_APIC_BASE (SDM vol. 3, figure 10-5).
const IA32_APIC_BASE: u32 = 0x1b;
const APIC_GLOBAL_ENABLE: u64 = 1 << 11;
const X2APIC_ENABLE: u64 = 1 << 10;
/// Spurious vector register: software enable (SDM vol. 3, figure 10-23).
const SOFTWARE_ENABLE: u32 = 1 << 8;
/// ICR: delivery pending (SDM vol. 3, figure 10-12).
const DELIVERY_PENDING: u32 = 1 << 12;
/// ICR: level assert, wanted for everything but INIT de-assert.
const ASSERT: u32 = 1 << 14;
/// How long a message may be pending: an idle bus takes some µs, a busy host of a virtual machine much longer.
const DELIVERY_TIMEOUT_US: u64 = 1_000_000;

/// What an IPI does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ipi {
    /// A fixed interrupt with this vector.
    Fixed(u8),
    /// An NMI.
    Nmi,
    /// INIT.
    Init,
    /// STARTUP at this page number.
    Startup(u8),
}

impl Ipi {
    /// Vector and delivery mode in the ICR (SDM vol. 3, figure 10-12).
    const fn icr(self) -> u32 {
        match self {
            Self::Fixed(vector) => vector as u32 | ASSERT,
            Self::Nmi => 4 << 8 | ASSERT,
            Self::Init => 5 << 8 | ASSERT,
            Self::Startup(page) => page as u32 | 6 << 8 | ASSERT,
        }
    }
}

/// Why the local APIC can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ApicError {
    /// IA32_APIC_BASE says off, x2APIC mode, or another address.
    Unusable {
        /// The MSR.
        apic_base: u64,
    },
    /// An id that an xAPIC destination can't name.
    IdTooWide {
        /// The id.
        apic_id: ApicId,
    },
    /// The last message did not leave in time.
    Busy,
}

impl fmt::Display for ApicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable { apic_base } => {
                write!(f, "IA32_APIC_BASE is {apic_base:#x}; the image needs xAPIC mode at {APIC_BASE:#x}")
            }
            Self::IdTooWide { apic_id } => write!(f, "{apic_id:?} needs x2APIC mode"),
            Self::Busy => f.write_str("the local APIC did not send its last message in time"),
        }
    }
}

impl core::error::Error for ApicError {}

/// Enables the executing CPU's local APIC and returns its id.
pub(crate) fn enable() -> Result<ApicId, ApicError> {
    let apic_base = insn::read_msr(IA32_APIC_BASE);
    let address = apic_base & 0xf_ffff_ffff_f000;
    if apic_base & (APIC_GLOBAL_ENABLE | X2APIC_ENABLE) != APIC_GLOBAL_ENABLE || address != APIC_BASE {
        return Err(ApicError::Unusable { apic_base });
    }
    write(SPURIOUS_OFFSET, SOFTWARE_ENABLE | u32::from(SPURIOUS_VECTOR));
    Ok(ApicId(read(ID_OFFSET) >> 24))
}

/// Sends an IPI. `Ok` means that it has left the local APIC, not that the target took it.
pub(crate) fn send(clock: TscClock, target: ApicId, ipi: Ipi) -> Result<(), ApicError> {
    if target > ApicId::XAPIC_MAX {
        return Err(ApicError::IdTooWide { apic_id: target });
    }
    let idle = || read(ICR_LOW_OFFSET) & DELIVERY_PENDING == 0;
    let wait = || clock.wait(DELIVERY_TIMEOUT_US, "the ICR", idle).map_err(|_| ApicError::Busy);
    wait()?;
    // The destination first: the write of the low half sends.
    write(ICR_HIGH_OFFSET, target.0 << 24);
    write(ICR_LOW_OFFSET, ipi.icr());
    wait()
}

fn read(offset: u64) -> u32 {
    let register: *const u32 = core::ptr::with_exposed_provenance((APIC_BASE + offset) as usize);
    // SAFETY: the identity map has the local APIC's page, uncached, and the offsets of this module are registers.
    unsafe { register.read_volatile() }
}

fn write(offset: u64, value: u32) {
    let register: *mut u32 = core::ptr::with_exposed_provenance_mut((APIC_BASE + offset) as usize);
    // SAFETY: as in `read`; the values of this module touch no memory of the program.
    unsafe { register.write_volatile(value) };
}

/// The executing CPU's local APIC, as park's operations use it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender(pub(crate) TscClock);

impl IpiSender for Sender {
    fn send_nmi(&mut self, target: ApicId) -> Result<(), PlatformError> {
        Ok(send(self.0, target, Ipi::Nmi)?)
    }

    fn send_init(&mut self, target: ApicId) -> Result<(), PlatformError> {
        Ok(send(self.0, target, Ipi::Init)?)
    }

    fn send_startup(&mut self, target: ApicId, vector: u8) -> Result<(), PlatformError> {
        Ok(send(self.0, target, Ipi::Startup(vector))?)
    }
}

impl From<ApicError> for PlatformError {
    fn from(error: ApicError) -> Self {
        match error {
            ApicError::Unusable { .. } => Self::NoSuchRegister,
            ApicError::IdTooWide { apic_id } => Self::IdTooWide { apic_id: apic_id.0 },
            ApicError::Busy => Self::ApicBusy,
        }
    }
}
