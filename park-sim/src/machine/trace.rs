//! A bounded record of what happened, for counterexamples.

use super::activity::Outcome;
use super::event::EventKind;
use crate::recording::Recorder;

/// What a trace record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TraceWhat {
    /// A step and its outcome.
    Step(Outcome),
    /// An instruction was executed.
    Instruction {
        /// Its bytes, and what follows them up to the end of the page or of the array.
        bytes: [u8; 15],
        /// Bits of the code: 16, 32, 64.
        bits: u8,
    },
    /// An event arrived.
    Injected(EventKind),
    /// A store reached memory.
    Store {
        /// Physical address.
        phys: u64,
        /// Value, zero-extended.
        value: u64,
    },
    /// A machine check, fault or double fault shut the CPU down; the text says why.
    Shutdown(&'static str),
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceRecord {
    /// Machine step.
    pub step: u64,
    /// CPU.
    pub cpu: usize,
    /// RIP before.
    pub rip: u64,
    /// What happened.
    pub what: TraceWhat,
}

impl TraceRecord {
    /// What happened, in words: an instruction as it is written in Intel's syntax.
    #[must_use]
    pub fn text(&self) -> String {
        match self.what {
            TraceWhat::Store { phys, value } => format!("store of {value:#x} reaches memory at {phys:#x}"),
            TraceWhat::Injected(kind) => format!("event: {kind:?}"),
            TraceWhat::Shutdown(why) => format!("shutdown: {why}"),
            TraceWhat::Instruction { bytes, bits } => super::decode::disassemble(&bytes, bits, self.rip),
            TraceWhat::Step(Outcome::Delivered(delivered)) => format!("takes {delivered:?}"),
            TraceWhat::Step(outcome) => format!("{outcome:?}"),
        }
    }
}

/// The last records of a run; capacity 0 keeps none and costs one branch.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    records: Vec<TraceRecord>,
    capacity: usize,
    next: usize,
    is_on: bool,
    pub(crate) recorder: Option<Box<Recorder>>,
}

impl Trace {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { records: Vec::with_capacity(capacity), capacity, next: 0, is_on: capacity != 0, recorder: None }
    }

    /// Whether records are kept, or a recorder follows the run.
    #[must_use]
    #[inline]
    pub const fn is_on(&self) -> bool {
        self.is_on
    }

    /// From now on a recorder follows the run.
    pub(crate) fn record(&mut self, recorder: Recorder) {
        self.recorder = Some(Box::new(recorder));
        self.is_on = true;
    }

    /// The recorder follows no longer.
    pub(crate) fn take_recorder(&mut self) -> Option<Box<Recorder>> {
        self.is_on = self.capacity != 0;
        self.recorder.take()
    }

    pub(crate) fn push(&mut self, record: TraceRecord) {
        if self.capacity == 0 {
            return;
        }
        if self.records.len() < self.capacity {
            self.records.push(record);
        } else if let Some(slot) = self.records.get_mut(self.next) {
            *slot = record;
            self.next = (self.next + 1) % self.capacity;
        }
    }

    /// The records kept, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &TraceRecord> {
        let (newer, older) = self.records.split_at(self.next.min(self.records.len()));
        older.iter().chain(newer.iter())
    }
}

/// Something that wants to see every step as it happens.
pub trait TraceSink {
    /// Called after each step.
    fn record(&mut self, record: &TraceRecord);
}
