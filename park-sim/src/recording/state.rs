//! The states of a lane.

/// What a CPU is doing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum State {
    /// It runs or idles in the current kernel.
    Kernel,
    /// It puts itself in order and enters its bay.
    Arriving,
    /// It runs the bay code, between two waits.
    BayCode,
    /// It waits by HLT in the lot.
    LotHlt,
    /// It waits by MWAIT in the lot.
    LotMwait,
    /// It waits in the lot with the global interrupt flag clear.
    LotClgi,
    /// It stopped in its bay and left a fault record.
    BayFaulted,
    /// It leaves its bay for the kernel that woke it.
    Leaving,
    /// It runs code that is not park's, in memory of the kernel or firmware that left it there.
    ForeignCode,
    /// It waits by HLT in memory of the kernel or firmware that left it there.
    ForeignHlt,
    /// It waits by MWAIT in such memory.
    ForeignMwait,
    /// After INIT: only a STARTUP reaches it.
    WaitForSipi,
    /// It handles an interrupt or exception.
    Handler(u8),
    /// It is in system management mode.
    Smm,
    /// It has used memory that is not its own, and goes on.
    Astray,
    /// It is shut down.
    Shutdown,
    /// The machine was reset.
    Reset,
}

impl State {
    /// All states; [`State::Handler`] with vector 0.
    pub const ALL: [Self; 17] = [
        Self::Kernel,
        Self::Arriving,
        Self::BayCode,
        Self::LotHlt,
        Self::LotMwait,
        Self::LotClgi,
        Self::BayFaulted,
        Self::Leaving,
        Self::ForeignCode,
        Self::ForeignHlt,
        Self::ForeignMwait,
        Self::WaitForSipi,
        Self::Handler(0),
        Self::Smm,
        Self::Astray,
        Self::Shutdown,
        Self::Reset,
    ];

    /// A stable name, the same for all vectors of a handler.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Arriving => "arriving",
            Self::BayCode => "bay-code",
            Self::LotHlt => "lot-hlt",
            Self::LotMwait => "lot-mwait",
            Self::LotClgi => "lot-clgi",
            Self::BayFaulted => "bay-faulted",
            Self::Leaving => "leaving",
            Self::ForeignCode => "foreign-code",
            Self::ForeignHlt => "foreign-hlt",
            Self::ForeignMwait => "foreign-mwait",
            Self::WaitForSipi => "wait-for-sipi",
            Self::Handler(_) => "handler",
            Self::Smm => "smm",
            Self::Astray => "astray",
            Self::Shutdown => "shutdown",
            Self::Reset => "reset",
        }
    }
}
