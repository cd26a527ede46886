//! What host-modelled kernel code does on a CPU: accesses, registers and instructions, with the same rules as decoded code.

/// An exception that an access or instruction raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exception {
    /// Vector.
    pub vector: u8,
    /// Error code, where the vector has one.
    pub error: Option<u32>,
}

/// Instructions that host-modelled code can execute by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Special {
    /// VMXON (state only).
    Vmxon,
    /// VMXOFF.
    Vmxoff,
    /// CLGI.
    Clgi,
    /// STGI.
    Stgi,
    /// TILERELEASE.
    TileRelease,
    /// WBINVD.
    Wbinvd,
    /// WBNOINVD.
    Wbnoinvd,
    /// INVD.
    Invd,
    /// MFENCE.
    Mfence,
    /// LFENCE.
    Lfence,
    /// SFENCE.
    Sfence,
    /// SERIALIZE.
    Serialize,
    /// CLI.
    Cli,
    /// STI.
    Sti,
    /// CLD.
    Cld,
    /// HLT: the CPU waits; `rip` stays where it is.
    Hlt,
    /// PAUSE.
    Pause,
    /// SWAPGS.
    Swapgs,
}

/// Registers reachable through [`super::Machine::read_reg`] and [`super::Machine::write_reg`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostReg {
    /// CR0.
    Cr0,
    /// CR2.
    Cr2,
    /// CR3; writing flushes as MOV does.
    Cr3,
    /// CR4.
    Cr4,
    /// CR8.
    Cr8,
    /// XCR0, as XSETBV.
    Xcr0,
    /// A debug register by number.
    Dr(u8),
    /// An MSR by number.
    Msr(u32),
}
