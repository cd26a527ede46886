//! What a run looks like: lanes of states, marks of events, memory that is overwritten, and where CPUs die.
//!
//! [`World::record`](crate::world::World::record) starts a recording. It changes nothing of a run, and costs nothing per
//! step while there is none. Time is counted in *ticks*: one for each step of the machine, and some more where the
//! simulator does at once what takes a machine long (sanitising, overwriting memory), so that order stays visible.

mod mark;
mod recorder;
mod registers;
mod state;
mod touched;

pub use mark::{Mark, MarkKind};
pub(crate) use recorder::{Place, Recorder, Stepped};
pub use registers::{NAMED_GPRS, Registers};
pub use state::State;

use crate::machine::{AccessKind, PhysRange};

/// The most intervals that a lane keeps; what comes after them is one more.
pub const INTERVALS_MAX: usize = 8192;
/// The most marks that a recording keeps.
pub const MARKS_MAX: usize = 16_384;

/// What a run looked like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recording {
    /// One lane for each CPU, by its index.
    pub lanes: Vec<Lane>,
    /// Events and other points in time, in order.
    pub marks: Vec<Mark>,
    /// Memory that was overwritten, in order.
    pub fronts: Vec<Front>,
    /// The kernels that ran, in order.
    pub kernels: Vec<KernelSpan>,
    /// What was done, in order: steps of a scenario.
    pub acts: Vec<Act>,
    /// The lot's memory, if there is one.
    pub lot: Option<PhysRange>,
    /// The last tick.
    pub end_tick: u64,
    /// Whether more happened than is kept: see [`INTERVALS_MAX`] and [`MARKS_MAX`].
    pub is_truncated: bool,
}

/// One CPU's way through a run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lane {
    /// Its states, in order and without gaps.
    pub intervals: Vec<Interval>,
    /// Where it died, if it did.
    pub death: Option<Death>,
}

/// A stretch of time in one state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interval {
    /// Its first tick.
    pub start_tick: u64,
    /// The first tick after it.
    pub end_tick: u64,
    /// The state.
    pub state: State,
    /// The registers when it began.
    pub registers: Registers,
}

/// Where a CPU used memory that is not its own for the first time, or shut down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Death {
    /// When.
    pub tick: u64,
    /// What it did, in words.
    pub what: String,
    /// The instruction, if it could fetch one, in Intel's syntax.
    pub instruction: Option<String>,
    /// The event that came last, if one did.
    pub event: Option<MarkKind>,
    /// The access, if memory is the matter: kind and physical address.
    pub access: Option<(AccessKind, u64)>,
    /// The registers before.
    pub registers: Registers,
    /// When and why it shut down, if it did.
    pub shutdown: Option<(u64, &'static str)>,
}

/// Memory that is overwritten, from its lowest address to its highest, at an even pace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Front {
    /// When it begins.
    pub start_tick: u64,
    /// When it is done.
    pub end_tick: u64,
    /// The memory.
    pub range: PhysRange,
    /// The CPU whose stores they are.
    pub by: usize,
}

/// A kernel, from when on it is the current one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelSpan {
    /// From when on.
    pub tick: u64,
    /// Counted from 1.
    pub number: usize,
    /// Its memory.
    pub range: PhysRange,
}

/// Something that was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Act {
    /// When it began.
    pub tick: u64,
    /// What, in words.
    pub what: String,
    /// The line of the scenario file; 0 if there is none.
    pub line: usize,
}
