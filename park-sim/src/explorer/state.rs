//! What a state consists of beside the machine, and the steps from one to the next.

use crate::machine::{EventKind, KnobSet, Knobs};

/// Why the parked CPU executes nothing more, if it does not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum End {
    /// It does.
    #[default]
    None,
    /// An INIT took it: it waits for SIPI, for whoever sent that.
    Taken,
    /// It shut down where the manuals say so.
    Shutdown,
    /// The machine was reset after that, or whoever sent the INIT lost it: nothing of park's is left.
    Over,
}

/// No entry: of a ticket that is no wake, or where there is no ticket.
pub(crate) const NO_ENTRY: u8 = u8::MAX;
/// An entry that no CPU can take.
pub(crate) const BAD_ENTRY: u8 = u8::MAX - 1;

/// What the checks must remember of the path so far.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Memory {
    /// Events that may still come.
    pub(crate) budget: u8,
    /// The entry of the ticket that was published last.
    pub(crate) rung: u8,
    /// The entry that the CPU has claimed.
    pub(crate) claimed: u8,
    /// The CPU has reached its entry.
    pub(crate) landed: bool,
    /// The CPU has acknowledged.
    pub(crate) home: bool,
    /// The CPU has acknowledged in the other lot.
    pub(crate) moved: bool,
    /// The CPU has executed WBINVD on its way in.
    pub(crate) flushed: bool,
    /// The generation of the last lease holder that has taken over, 0 before: no claim of an older one may follow.
    pub(crate) sealed: u32,
    /// How often a device may still write.
    pub(crate) device_writes: u8,
    /// Whether the CPU still executes.
    pub(crate) end: End,
}

/// All of a state but the machine. Lease holders and knobs are numbers of interned values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Vars {
    pub(crate) wakers: [u32; 2],
    pub(crate) knobs: u32,
    pub(crate) memory: Memory,
}

/// The knobs of a path: their values, and which of them it has consulted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Chosen {
    pub(crate) values: Knobs,
    pub(crate) set: KnobSet,
}

/// Who moves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Action {
    /// The parked CPU takes one step of its machine.
    Cpu,
    /// The oldest store of a CPU, by index, becomes visible.
    Drain(u8),
    /// A holder makes its next access.
    Access(u8),
    /// A holder's clock moves on while it waits, and it looks again.
    Tick(u8),
    /// A holder dies.
    Die(u8),
    /// A device writes the doorbell's line as it is.
    DeviceWrite,
    /// The parked CPU's next instruction raises an exception with this vector.
    Raise(u8),
    /// The parked CPU's translations of the page at this linear address vanish.
    Evict(u64),
    /// An event arrives at the parked CPU.
    Event(EventKind),
}

/// Values of which few exist, by number.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    values: Vec<T>,
    numbers: std::collections::HashMap<u128, u32>,
}

impl<T: Copy + core::hash::Hash> Interner<T> {
    pub(crate) fn new() -> Self {
        Self { values: Vec::new(), numbers: std::collections::HashMap::new() }
    }

    pub(crate) fn number(&mut self, value: T) -> u32 {
        let next = self.values.len() as u32;
        let number = *self.numbers.entry(super::hash::of(&value)).or_insert(next);
        if number == next {
            self.values.push(value);
        }
        number
    }

    /// The value; only for numbers that this interner gave.
    pub(crate) fn value(&self, number: u32) -> T {
        self.values[number as usize]
    }
}
