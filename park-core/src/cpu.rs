//! The target's own half of the platform: reading and writing registers of the CPU that runs this code.

use crate::PlatformError;

/// The four registers that CPUID returns: EAX, EBX, ECX, EDX.
pub type CpuidResult = [u32; 4];

/// A local APIC register, by its xAPIC offset in bytes (Intel SDM vol. 3, "Local APIC Register Address Map").
///
/// In x2APIC mode the MSR is `0x800 + offset / 16`; the implementer picks the form from IA32_APIC_BASE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ApicRegister(pub u16);

/// A register of the executing CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Register {
    /// Control register 0.
    Cr0,
    /// Control register 3.
    Cr3,
    /// Control register 4.
    Cr4,
    /// Debug register 7.
    Dr7,
    /// RFLAGS. A write changes all bits but VM, RF and reserved ones.
    Rflags,
    /// The CS selector; read only.
    Cs,
    /// The TR selector; read only.
    Tr,
    /// GDTR base; read only.
    GdtrBase,
    /// IDTR base; read only.
    IdtrBase,
    /// RSP; read only.
    Rsp,
    /// Extended control register 0, through XGETBV; read only. Only where CPUID.1:ECX.OSXSAVE is set.
    Xcr0,
    /// XINUSE, through XGETBV with ECX = 1; read only. Only where CPUID.(Dh,1):EAX bit 2 is set.
    XInUse,
    /// A model-specific register, by number.
    Msr(u32),
    /// A local APIC register.
    Apic(ApicRegister),
}

/// An instruction with an effect that is not a register write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Action {
    /// VMXOFF: leaves VMX operation.
    Vmxoff,
    /// STGI: sets the global interrupt flag.
    Stgi,
    /// TILERELEASE: returns the AMX tiles to their INIT state.
    TileRelease,
    /// WBINVD: writes back and invalidates all caches.
    Wbinvd,
    /// CLI: clears RFLAGS.IF.
    Cli,
    /// MFENCE; LFENCE: earlier stores are globally visible before a following WRMSR takes effect.
    Fence,
}

/// The CPU that executes this code: CPUID, registers and a few instructions.
///
/// # For implementers
/// Every method acts on the *executing* CPU; a caller that can migrate must not be able to call it. A write
/// that faults is an error of kind [`Platform`](crate::ErrorKind::Platform), never a panic: park uses it to
/// refuse a CPU by name.
///
/// # For callers
/// `Ok` from a write means that the instruction retired, not that the register reads back the same value.
pub trait Cpu {
    /// Executes CPUID with EAX = `leaf` and ECX = `subleaf`.
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidResult;

    /// Reads a register.
    ///
    /// # Errors
    /// [`PlatformError`] if the read faults (#GP, #UD) or the register cannot be reached.
    fn read(&mut self, register: Register) -> Result<u64, PlatformError>;

    /// Writes a register.
    ///
    /// # Errors
    /// [`PlatformError`] if the write faults, or the register is read only.
    fn write(&mut self, register: Register, value: u64) -> Result<(), PlatformError>;

    /// Executes an instruction.
    ///
    /// # Errors
    /// [`PlatformError`] if the instruction faults.
    fn act(&mut self, action: Action) -> Result<(), PlatformError>;
}

impl<T: Cpu + ?Sized> Cpu for &mut T {
    #[inline]
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidResult {
        T::cpuid(self, leaf, subleaf)
    }
    #[inline]
    fn read(&mut self, register: Register) -> Result<u64, PlatformError> {
        T::read(self, register)
    }
    #[inline]
    fn write(&mut self, register: Register, value: u64) -> Result<(), PlatformError> {
        T::write(self, register, value)
    }
    #[inline]
    fn act(&mut self, action: Action) -> Result<(), PlatformError> {
        T::act(self, action)
    }
}
