//! What one exploration varies: the parked CPU, the two lease holders, the events, the time.

use crate::machine::{EventKind, Knob, TlbMode, Vendor};
use crate::world::SanitiseStep;
use park_core::Mechanism;
use park_core::lot::{PagingLevels, WaitFlags};

/// Where the parked CPU begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Start {
    /// In its wait, acknowledged.
    Wait,
    /// Sanitised, before the first instruction of the owner text: the whole way in is explored.
    Arrival,
}

/// One command of a lease holder. What it waits for has a deadline of [`DEADLINE_UNITS`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Do {
    /// Awaits the acknowledgement.
    AwaitArrival,
    /// Confirms the CPU.
    Confirm,
    /// Wakes the CPU into this one of the scene's entries.
    Wake(u8),
    /// Wakes the CPU into an entry with a page-table root that no CPU can load: the caller's mistake.
    WakeByBadRoot,
    /// Wakes the CPU into an entry with an instruction pointer that no CPU can jump to: the caller's mistake.
    WakeToBadRip,
    /// Holds the CPU.
    Hold,
    /// Releases the CPU that the last `Hold` got; nothing if it got none.
    Release,
    /// Has the CPU write back its caches.
    Flush,
    /// Rings with a command of a newer version, and takes it back.
    Unknown,
    /// Sends the CPU to another lot.
    Repark,
    /// Awaits its acknowledgement there.
    AwaitSecond,
    /// Frees the bay that it left.
    Vacate,
    /// Confirms it in the other lot.
    ConfirmSecond,
    /// As an operating system: asks the CPU through the ACPI mailbox to come, and awaits that it clears the command.
    Mailbox(Post),
    /// Hands the lot over.
    HandOver,
    /// Accepts the lot, once it was handed over.
    Accept,
    /// Seizes the lot, once the old holder is dead.
    Seize,
}

/// What an operating system puts into the ACPI mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Post {
    /// Wakeup, for this CPU.
    Wakeup,
    /// Test, for this CPU.
    Test,
    /// Wakeup, for another: this one must leave it alone.
    ToAnother,
    /// Wakeup at an address that the departure map does not have: left alone.
    TooFar,
    /// A command of a newer specification: left alone.
    Unknown,
}

/// When a waiting lease holder's clock moves on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Time {
    /// Only when the CPU can do nothing of itself: a deadline that passes is then a ring that was lost.
    Patient,
    /// At any moment: claims race with revocations.
    Hasty,
}

/// Whether the old lease holder may die.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mortality {
    /// It does not.
    Lives,
    /// Before and after each of its accesses; its stores drain before the new holder begins.
    MayDie,
    /// It may, and so may the new one, whom a third follows: [`Config::third`].
    BothMayDie,
    /// The old one does not; the new one may, and a third follows.
    NewMayDie,
}

/// What becomes of a path whose CPU an INIT took, or that shut down where the architecture says so.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Afterwards {
    /// Nothing more happens at the CPU.
    PathEnds,
    /// Events still arrive there.
    GoesOn,
}

/// Whether the search leaves out what commutes, and takes for equal what behaves alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reduction {
    /// Yes: see the module's documentation and `key.rs`.
    Full,
    /// No: every access of a holder and every drain is a move, an event comes in one move and is taken in another, and
    /// states are equal if all of the CPU is, its translations too, but for its counters. For small configurations: it shows
    /// that reductions hide nothing.
    Off,
    /// Moves as with `Off`, equality of states as with `Full`.
    OfKeys,
}

/// The lines that MONITOR watches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MonitorLine {
    /// As the vendor's CPUs have them.
    Usual,
    /// The smallest has 8 bytes, the doorbell's, so that the entry lies near it.
    Doorbell,
}

/// Whether the parked CPU's local APIC is enabled by software.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ApicState {
    /// It is.
    On,
    /// It is not: an NMI may end HLT without being handled (knob `nmi-apic-soft-off`).
    SoftOff,
}

/// When the CPU may stop in its bay with a fault record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Faults {
    /// Never.
    Never,
    /// After a machine check that it could not restart from, or one too many in a row.
    ByMachineCheck,
    /// After taking an entry that no CPU can take.
    ByBadEntry,
    /// After one of [`Config::exceptions`].
    ByException,
}

/// Units of a holder's clock between two kicks.
pub const KICK_UNITS: u64 = 1;
/// Units of a holder's clock until it revokes a ticket.
pub const DEADLINE_UNITS: u64 = 3;

/// One exploration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it is called in reports.
    pub name: &'static str,
    /// Whose rules the CPUs follow.
    pub vendor: Vendor,
    /// How the CPU waits.
    pub mechanism: Mechanism,
    /// How the CPU waits, in detail.
    pub flags: WaitFlags,
    /// EAX of MWAIT.
    pub mwait_hint: u32,
    /// Page-table depth of all roots.
    pub levels: PagingLevels,
    /// Where the CPU begins.
    pub start: Start,
    /// What the CPU did before it went; for [`Start::Wait`] too.
    pub steps: Vec<SanitiseStep>,
    /// What the old lease holder does.
    pub old: &'static [Do],
    /// What the new lease holder does.
    pub new: &'static [Do],
    /// What a third does, if the new one dies; on the same CPU.
    pub third: &'static [Do],
    /// Which holders may die.
    pub mortality: Mortality,
    /// When time passes.
    pub time: Time,
    /// Events that may come at any moment, at the parked CPU.
    pub events: &'static [EventKind],
    /// How many events may come on one path.
    pub event_budget: u8,
    /// Exceptions that any instruction in the lot may raise, as events do: a fault of the hardware, or of code that
    /// nobody has thought of.
    pub exceptions: &'static [u8],
    /// Whether a device may write the monitored line, as it is, as an event.
    pub device_writes: u8,
    /// What follows INIT and shutdown.
    pub afterwards: Afterwards,
    /// What MONITOR watches.
    pub monitor_line: MonitorLine,
    /// The local APIC of the parked CPU.
    pub apic: ApicState,
    /// Machine checks in a row that the bay has on record at the start.
    pub mc_row: u8,
    /// When a fault record is right.
    pub faults: Faults,
    /// Knobs that are not branched over here, with the index of the value that they have.
    pub pinned: &'static [(Knob, u8)],
    /// Entries of each store buffer.
    pub store_buffer_depth: u8,
    /// How long translations live.
    pub tlb: TlbMode,
    /// What the search leaves out.
    pub reduction: Reduction,
    /// Where the search gives up, in states.
    pub states_max: u32,
}

impl Config {
    /// A CPU in its wait; an old holder that wakes it, patiently; no events; all knobs open.
    #[must_use]
    pub const fn new(name: &'static str, vendor: Vendor, mechanism: Mechanism) -> Self {
        Self {
            name,
            vendor,
            mechanism,
            flags: WaitFlags::empty(),
            mwait_hint: 0,
            levels: PagingLevels::Four,
            start: Start::Wait,
            steps: Vec::new(),
            old: &[Do::Wake(0)],
            new: &[],
            third: &[],
            mortality: Mortality::Lives,
            time: Time::Patient,
            events: &[],
            event_budget: 0,
            exceptions: &[],
            device_writes: 0,
            afterwards: Afterwards::PathEnds,
            monitor_line: MonitorLine::Usual,
            apic: ApicState::On,
            mc_row: 0,
            faults: Faults::Never,
            pinned: PINNED,
            store_buffer_depth: 4,
            tlb: TlbMode::Keep,
            reduction: Reduction::Full,
            states_max: 8_000_000,
        }
    }

    /// At most `budget` of these events.
    #[must_use]
    pub fn events(mut self, budget: u8, events: &'static [EventKind]) -> Self {
        self.event_budget = budget;
        self.events = events;
        self
    }

    /// What the two holders do.
    #[must_use]
    pub fn holders(mut self, old: &'static [Do], new: &'static [Do]) -> Self {
        self.old = old;
        self.new = new;
        self
    }
}

/// Knobs that every exploration leaves at their first value, and why: see [`super::EXCLUDED_KNOBS`].
pub const PINNED: &[(Knob, u8)] = &[(Knob::SmmRendezvous, 0), (Knob::IcrBusy, 0), (Knob::McBroadcastAmd, 0)];

/// How many entries a scene has: two of the old holder's, two of the new one's.
pub(crate) const ENTRIES: usize = 4;

/// The entry that is no kernel's: the way into another lot, or the mailbox's vector.
pub(crate) const ELSEWHERE: u8 = ENTRIES as u8;

impl Config {
    /// Whether a holder has such a command.
    pub(crate) fn has(&self, wanted: impl Fn(&Do) -> bool) -> bool {
        self.old.iter().chain(self.new).chain(self.third).any(wanted)
    }

    /// Whether a second lot is there.
    pub(crate) fn reparks(&self) -> bool {
        self.has(|command| *command == Do::Repark)
    }

    /// Whether the lot has a mailbox.
    pub(crate) fn has_mailbox(&self) -> bool {
        self.flags.contains(WaitFlags::MAILBOX)
    }
}
