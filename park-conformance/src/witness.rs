//! What was seen at the target.

use core::fmt;
use park_core::{Event, Response};

/// Counters of the target, absolute, at one moment. They wrap; only differences mean anything.
///
/// A counter that a rig does not have stays at 0; it then must not offer the events that only this counter witnesses, or
/// attest them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Witness {
    /// NMIs that the CPU took: those that bay code counted, and those that came to its owner's handler after the wake.
    pub nmi: u32,
    /// Machine checks that the CPU took, counted in the same way.
    pub mc: u32,
    /// Laps of the wait loop.
    pub laps: u32,
    /// SMIs that the CPU took, counted in its SMI handler, or by IA32_SMI_COUNT.
    pub smi: u32,
    /// INITs that the CPU took, from the host's log where the CPU itself can't count.
    pub init: u32,
    /// Fixed interrupts that the CPU took.
    pub intr: u32,
    /// Bits that are set in the IRR of its local APIC: interrupts that it has not taken yet. A rig that can read it only once
    /// the CPU is awake reports 0 before.
    pub pending_irr: u32,
    /// How often start-up code ran that a STARTUP of the event's sender points to.
    pub started: u32,
    /// Stores of the event that were read back from the doorbell line.
    pub stores: u32,
    /// How often memory outside the lot read back as overwritten.
    pub overwrites: u32,
    /// Events of the fired kind that the rig saw arrive where the CPU's own counters can't show it: messages at its local
    /// APIC or in the host's log, machine checks of an event that arose on another CPU.
    pub attested: u32,
}

impl Witness {
    /// Nothing was ever counted.
    pub const ZERO: Self = Self {
        nmi: 0,
        mc: 0,
        laps: 0,
        smi: 0,
        init: 0,
        intr: 0,
        pending_irr: 0,
        started: 0,
        stores: 0,
        overwrites: 0,
        attested: 0,
    };

    /// How far these are beyond `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            nmi: self.nmi.wrapping_sub(earlier.nmi),
            mc: self.mc.wrapping_sub(earlier.mc),
            laps: self.laps.wrapping_sub(earlier.laps),
            smi: self.smi.wrapping_sub(earlier.smi),
            init: self.init.wrapping_sub(earlier.init),
            intr: self.intr.wrapping_sub(earlier.intr),
            pending_irr: self.pending_irr.wrapping_sub(earlier.pending_irr),
            started: self.started.wrapping_sub(earlier.started),
            stores: self.stores.wrapping_sub(earlier.stores),
            overwrites: self.overwrites.wrapping_sub(earlier.overwrites),
            attested: self.attested.wrapping_sub(earlier.attested),
        }
    }

    /// The counter in which `event` shows at its target.
    #[must_use]
    pub const fn of(self, event: Event) -> u32 {
        match event {
            // One that is taken leaves the IRR.
            Event::Intr => self.intr.wrapping_add(self.pending_irr),
            Event::Nmi => self.nmi,
            Event::Smi | Event::SmiNoRestart | Event::SmiRendezvous => self.smi,
            Event::Init => self.init,
            Event::Sipi | Event::InitSipiSipi => self.started,
            Event::McLocal | Event::McBroadcast => self.mc,
            Event::StoreDoorbell => self.stores,
            Event::Overwrite => self.overwrites,
            // A newer event that no counter is for: only the rig can attest it.
            _ => 0,
        }
    }

    /// True if the CPU itself took something.
    pub(crate) const fn took(self) -> bool {
        self.nmi != 0 || self.mc != 0 || self.smi != 0 || self.init != 0 || self.intr != 0 || self.started != 0
    }
}

/// What the CPU does while nothing happens to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Waiting {
    /// It waits: a lap means that something ended its wait.
    Still,
    /// It laps by itself: whether an event ended a wait can't be told from a lap alone.
    Lapping,
}

impl Waiting {
    /// The name in docs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Still => "still",
            Self::Lapping => "lapping",
        }
    }

    /// The one of this [`name`](Self::name); `None` if there is none.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Still, Self::Lapping].into_iter().find(|waiting| waiting.name() == name)
    }
}

/// Why fewer events were witnessed than fired.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Coalescing {
    /// While one NMI is handled, one more is held, and no third (SDM vol. 3, "Handling Multiple NMIs"; APM vol. 2, "NMI").
    NmiLatch,
    /// While the CPU is in SMM, one SMI is held (SDM vol. 3, "System Management Interrupt (SMI)").
    SmiLatch,
    /// One bit per vector in the IRR (SDM vol. 3, "Interrupt Acceptance for Fixed Interrupts").
    IrrBit,
    /// One INIT is held; in wait-for-SIPI a repeated one changes nothing (APM vol. 2, table 15-10; SDM vol. 3, "MP
    /// Initialization Protocol Algorithm").
    InitLatch,
    /// A machine check that the CPU has not taken yet is one, however many there were: it is a pending condition and no
    /// message (APM vol. 2, table 15-10, while GIF is 0; elsewhere undocumented).
    McLatch,
    /// The first took the CPU or the machine away: the others found nobody.
    Ended,
}

impl Coalescing {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::NmiLatch, Self::SmiLatch, Self::IrrBit, Self::InitLatch, Self::McLatch, Self::Ended];

    /// The name in docs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NmiLatch => "nmi-latch",
            Self::SmiLatch => "smi-latch",
            Self::IrrBit => "irr-bit",
            Self::InitLatch => "init-latch",
            Self::McLatch => "mc-latch",
            Self::Ended => "ended",
        }
    }

    /// The coalescing of this [`name`](Self::name); `None` if there is none.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|coalescing| coalescing.name() == name)
    }

    /// What may have swallowed some of several events that led to `response`; `None` if nothing may.
    #[must_use]
    pub(crate) fn of(event: Event, response: Response) -> Option<Self> {
        if !response.stays_parked() {
            return Some(Self::Ended);
        }
        match event {
            Event::Nmi => Some(Self::NmiLatch),
            Event::Smi | Event::SmiNoRestart | Event::SmiRendezvous => Some(Self::SmiLatch),
            Event::Intr => Some(Self::IrrBit),
            Event::Init | Event::InitSipiSipi => Some(Self::InitLatch),
            Event::McLocal | Event::McBroadcast => Some(Self::McLatch),
            _ => None,
        }
    }
}

impl fmt::Display for Coalescing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
