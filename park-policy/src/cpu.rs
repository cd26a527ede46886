//! What a policy sees of a CPU.

use core::fmt;
use park_core::op::Processor;
use park_core::{ApicId, Claim, Mechanism};

/// One CPU, as a policy sees it. Small, for the caller's array of thousands: what CPUs have in common is in their
/// [`CpuKind`], of which most machines have one and hybrid ones a few.
///
/// Indices of packages, caches and cores name things machine-wide and need not be dense.
#[derive(Clone, Copy, Debug)]
pub struct CpuView<'a> {
    /// What it has in common with others.
    pub kind: &'a CpuKind<'a>,
    /// Its local APIC id.
    pub apic_id: ApicId,
    /// Its package.
    pub package: u32,
    /// Its last-level cache.
    pub cache: u32,
    /// Its core.
    pub core: u32,
    /// Its index among the threads of its core; 0 is the first.
    pub thread: u32,
    /// Whether it is the bootstrap processor.
    pub processor: Processor,
    /// How busy it is, in percent; 0 where nobody measures.
    pub load_percent: u8,
}

impl<'a> CpuView<'a> {
    /// An idle application processor with APIC id 0, in package, cache and core 0: a start for struct update.
    #[must_use]
    pub const fn new(kind: &'a CpuKind<'a>) -> Self {
        Self {
            kind,
            apic_id: ApicId(0),
            package: 0,
            cache: 0,
            core: 0,
            thread: 0,
            processor: Processor::Application,
            load_percent: 0,
        }
    }
}

/// What CPUs of one kind have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CpuKind<'a> {
    /// What the mechanisms promise on this vendor's CPUs. Nothing is guaranteed without claims.
    pub claims: &'a [Claim],
    /// Which mechanisms these CPUs offer.
    pub offers: Offers,
}

impl<'a> CpuKind<'a> {
    /// A kind with these claims and offers.
    #[must_use]
    pub const fn new(claims: &'a [Claim], offers: Offers) -> Self {
        Self { claims, offers }
    }
}

/// The offer of each mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Offers {
    /// HLT.
    pub hlt: Offer,
    /// MONITOR/MWAIT.
    pub mwait: Offer,
    /// SVME + CLGI.
    pub clgi: Offer,
    /// Wait-for-SIPI.
    pub wait_for_sipi: Offer,
}

impl Offers {
    /// Nothing is offered: a start for struct update.
    pub const NONE: Self = {
        let absent = Offer::Absent(Absence::NotOnThisVendor);
        Self { hlt: absent, mwait: absent, clgi: absent, wait_for_sipi: absent }
    };

    /// The offer of one mechanism.
    #[must_use]
    pub const fn of(&self, mechanism: Mechanism) -> &Offer {
        match mechanism {
            Mechanism::Hlt => &self.hlt,
            Mechanism::Mwait => &self.mwait,
            Mechanism::Clgi => &self.clgi,
            Mechanism::WaitForSipi => &self.wait_for_sipi,
        }
    }

    /// The same with another offer of one mechanism.
    #[must_use]
    pub const fn with(mut self, mechanism: Mechanism, offer: Offer) -> Self {
        match mechanism {
            Mechanism::Hlt => self.hlt = offer,
            Mechanism::Mwait => self.mwait = offer,
            Mechanism::Clgi => self.clgi = offer,
            Mechanism::WaitForSipi => self.wait_for_sipi = offer,
        }
        self
    }
}

/// Whether a kind of CPU has a mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Offer {
    /// It has not.
    Absent(Absence),
    /// It has, and waits like this.
    Here(Waits),
}

impl Offer {
    /// How the CPU waits, if it can.
    #[must_use]
    pub const fn waits(&self) -> Option<&Waits> {
        match self {
            Self::Absent(_) => None,
            Self::Here(waits) => Some(waits),
        }
    }
}

/// How a CPU waits by a mechanism: what no claim says, since it differs from model to model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Waits {
    /// From a ring to the CPU's first instruction outside its wait, in microseconds; an upper bound where one is known.
    pub wake_latency_us: u32,
    /// Whether a store ends the wait.
    pub store_wake: StoreWake,
    /// What the CPU saves while it waits.
    pub idle: Idle,
}

/// Whether a store to the doorbell ends a wait.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StoreWake {
    /// It does.
    Reliable,
    /// It should, but the erratum with this name may lose it: a ring sends an NMI too.
    Unreliable(&'static str),
    /// It does not: a ring sends an IPI.
    None,
}

/// What a waiting CPU saves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Idle {
    /// Nobody says.
    Unknown,
    /// Nothing: it polls.
    Polls,
    /// Its clocks stand still: C1.
    Halts,
    /// More: C3 or deeper.
    Deep,
}

/// Why a kind of CPU does not have a mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Absence {
    /// No CPU of this vendor has it.
    NotOnThisVendor,
    /// The CPU lacks something, or it is switched off: what.
    Lacks(&'static str),
    /// An erratum forbids it or makes it useless.
    Erratum {
        /// The erratum's name.
        name: &'static str,
        /// What it does, in a sentence without a full stop.
        what: &'static str,
    },
    /// Something else, in a sentence without a full stop.
    Other(&'static str),
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOnThisVendor => f.write_str("no CPU of this vendor has it"),
            Self::Lacks(what) => write!(f, "the CPU lacks {what}"),
            Self::Erratum { name, what } => write!(f, "erratum {name}: {what}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

const _: () = {
    /// Bytes of a [`CpuView`] that an array of 8192 can afford: 320 KiB.
    const SIZE_MAX: usize = 40;
    assert!(size_of::<CpuView<'_>>() <= SIZE_MAX);
};
