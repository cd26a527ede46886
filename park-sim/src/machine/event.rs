//! The events that a test can throw at the machine.

/// Who receives an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// One CPU by index.
    Cpu(usize),
    /// Every CPU.
    All,
    /// Every CPU but this one.
    AllBut(usize),
}

/// An event from outside the CPU. What it does is the CPU rules' business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// A non-maskable interrupt, as from an IPI.
    Nmi,
    /// An external SMI.
    Smi,
    /// INIT.
    Init,
    /// A STARTUP IPI with this vector: real mode at vector << 12.
    Sipi(u8),
    /// A fixed interrupt with this vector.
    Fixed(u8),
    /// A machine check whose origin is the target; the vendor's rules say who else receives it. The pages are restartable (RIPV=1).
    MachineCheck,
    /// A machine check that the hardware would signal locally if LMCE is enabled.
    MachineCheckLocal,
    /// A machine check with RIPV=0 and EIPV=1: the interrupted program cannot be restarted.
    MachineCheckFatal,
    /// RESET#: the whole machine.
    Reset,
    /// The local APIC timer or TSC deadline expires; acts only if it is armed and unmasked.
    TimerExpiry,
    /// A performance counter overflows; acts only if counters run and LVTPC is unmasked.
    PmuOverflow,
    /// Corrected machine-check interrupt; acts only if LVT CMCI is unmasked.
    Cmci,
    /// LINT1 asserts (NMI button); acts as LVT LINT1 says.
    Lint1,
    /// PEBS, BTS or processor trace flushes a record; writes memory only if enabled.
    TraceFlush,
    /// The hypervisor writes every registered paravirtual page of the target.
    ParavirtTick,
    /// MWAIT ends for no reason, which is always legal (S:8.10.4).
    FalseWake,
    /// The TSC reaches the UMWAIT/TPAUSE/MWAITX deadline of a target that waits with one.
    DeadlinePasses,
}

impl EventKind {
    /// True for what reaches a CPU as a message or a signal; false for what arises in it and becomes one at most.
    #[must_use]
    pub(crate) const fn comes_from_outside(self) -> bool {
        matches!(
            self,
            Self::Nmi
                | Self::Smi
                | Self::Init
                | Self::Sipi(_)
                | Self::Fixed(_)
                | Self::MachineCheck
                | Self::MachineCheckLocal
                | Self::MachineCheckFatal
        )
    }
}

/// An event and who receives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event {
    /// The receiver.
    pub target: Target,
    /// What happens.
    pub kind: EventKind,
}

impl Event {
    /// `kind` at the CPU with index `cpu`.
    #[must_use]
    pub const fn at(cpu: usize, kind: EventKind) -> Self {
        Self { target: Target::Cpu(cpu), kind }
    }

    /// `kind` at every CPU.
    #[must_use]
    pub const fn all(kind: EventKind) -> Self {
        Self { target: Target::All, kind }
    }
}
