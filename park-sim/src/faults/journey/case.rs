//! What a journey is made of: machine, mechanism, way in, and what happens on the way.

use crate::faults::ring::Style;
use crate::machine::MachineConfig;
use crate::world::ParkRequest;
use core::fmt;
use park_core::lot::{Command, PagingLevels};

/// The CPU that holds the lease and rings.
pub const BOSS: usize = 0;
/// The CPU that travels.
pub const TARGET: usize = 1;

/// Where the CPU is when it is told to park.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WayIn {
    /// In its kernel's idle loop.
    Idle,
    /// In its kernel's NMI handler: NMIs are blocked.
    NmiHandler,
    /// In its kernel's #MC handler: MCIP is set.
    McHandler,
}

impl WayIn {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Idle, Self::NmiHandler, Self::McHandler];

    /// The name on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::NmiHandler => "nmi-handler",
            Self::McHandler => "mc-handler",
        }
    }
}

/// A machine, a CPU of it that parks, and how.
#[derive(Clone, Debug)]
pub struct Case {
    /// The machine: at least two CPUs.
    pub machine: MachineConfig,
    /// How [`TARGET`] parks.
    pub request: ParkRequest,
    /// Levels of paging.
    pub levels: PagingLevels,
    /// Where the CPU comes from.
    pub way_in: WayIn,
    /// What happens on the way.
    pub plan: Plan,
    /// The seed of the schedule: when stores drain.
    pub seed: u64,
}

/// What happens on the way, where it is not the plain journey.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Plan {
    /// How the boss rings.
    pub style: Style,
    /// Commands that the CPU carries out in its wait before it is woken.
    pub before: &'static [Command],
    /// Journeys into the same bay before this one.
    pub rounds_before: u32,
    /// Where the entry leads.
    pub entry: EntryKind,
    /// Steps of the target between two accesses of the boss that rings, if not one.
    pub slow_boss: u64,
    /// Whether translations vanish for no reason.
    pub evictions: Evictions,
    /// When stores become visible.
    pub drains: Drains,
}

/// When stores become visible that nothing makes visible: both are legal (Intel SDM vol. 3, "Memory Ordering").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Drains {
    /// As the schedule draws.
    #[default]
    Drawn,
    /// When the store buffer is full or the CPU waits, and not before.
    Late,
}

/// Whether the schedule evicts translations: always legal, never needed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Evictions {
    /// As it draws.
    #[default]
    Drawn,
    /// Never: what is stale stays.
    Never,
}

/// Where an entry leads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum EntryKind {
    /// Through the owner text to the landing.
    #[default]
    Landing,
    /// To an address that the transit root does not map.
    Nowhere,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = self.levels as u8;
        let (vendor, mechanism) = (self.machine.vendor, self.request.mechanism);
        write!(f, "{vendor:?} {mechanism}, {levels} levels, from {}, seed {}", self.way_in.name(), self.seed)?;
        if self.plan != Plan::default() {
            write!(f, ", {:?}", self.plan)?;
        }
        Ok(())
    }
}
