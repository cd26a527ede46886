//! What can happen to a parked CPU.

use core::fmt;

/// Something that happens to a parked CPU from outside. Names are those of Intel SDM vol. 3 and AMD APM vol. 2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A maskable interrupt arrives at the local APIC.
    Intr,
    /// A non-maskable interrupt.
    Nmi,
    /// A system-management interrupt whose handler leaves the auto-HALT restart flag as it found it.
    Smi,
    /// A system-management interrupt whose handler clears the auto-HALT restart flag.
    SmiNoRestart,
    /// An SMI on all CPUs whose handler waits until every CPU has come.
    SmiRendezvous,
    /// An INIT IPI.
    Init,
    /// A STARTUP IPI with no INIT before it.
    Sipi,
    /// INIT, STARTUP, STARTUP: what a kernel sends that knows nothing of park.
    InitSipiSipi,
    /// A machine check that only this CPU gets.
    McLocal,
    /// A machine check that every CPU gets (Intel, family 6 model 0Eh and later).
    McBroadcast,
    /// A store by another CPU to the doorbell line, without a ring.
    StoreDoorbell,
    /// Everything outside the lot and the current kernel is overwritten.
    Overwrite,
}

impl Event {
    /// All events.
    pub const ALL: [Self; 12] = [
        Self::Intr,
        Self::Nmi,
        Self::Smi,
        Self::SmiNoRestart,
        Self::SmiRendezvous,
        Self::Init,
        Self::Sipi,
        Self::InitSipiSipi,
        Self::McLocal,
        Self::McBroadcast,
        Self::StoreDoorbell,
        Self::Overwrite,
    ];

    /// The name in docs, command lines, scenario files and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intr => "intr",
            Self::Nmi => "nmi",
            Self::Smi => "smi",
            Self::SmiNoRestart => "smi-no-restart",
            Self::SmiRendezvous => "smi-rendezvous",
            Self::Init => "init",
            Self::Sipi => "sipi",
            Self::InitSipiSipi => "init-sipi-sipi",
            Self::McLocal => "mc-local",
            Self::McBroadcast => "mc-broadcast",
            Self::StoreDoorbell => "store-doorbell",
            Self::Overwrite => "overwrite",
        }
    }

    /// The event with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
