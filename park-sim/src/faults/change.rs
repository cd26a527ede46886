//! Changes that make a fault, as data: what differs from what park is, and what the owner left.

use super::listing::Edit;
use super::wrong::Wrong;
use crate::machine::apic::Lvt;
use core::fmt;
use park_core::lot::header;
use park_x86::frame::Arrival;

/// One of a lot's three interrupt descriptor tables, in their order in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idt {
    /// While parked.
    Parked = 0,
    /// On the way in.
    Arriving = 1,
    /// On the way out.
    Leaving = 2,
}

/// A page of the lot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    /// The header.
    Header,
    /// The bay code.
    Code,
    /// The first page of tables: the IDTs.
    Tables,
    /// The first page of bays.
    Bays,
}

impl Page {
    /// Its offset in a lot.
    pub(super) const fn offset(self, header: &header::Header) -> u64 {
        match self {
            Self::Header => 0,
            Self::Code => header::CODE_OFFSET,
            Self::Tables => header.tables_offset as u64,
            Self::Bays => header.bay_offset,
        }
    }
}

/// One change.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// Of machine code.
    Code(Edit),
    /// The IST index of a gate.
    GateStack {
        /// In this table.
        table: Idt,
        /// Of this vector.
        vector: u8,
        /// The new index.
        ist: u8,
    },
    /// A gate is not present.
    GateAbsent {
        /// In this table.
        table: Idt,
        /// Of this vector.
        vector: u8,
    },
    /// A gate leads where another one of its table does.
    GateAs {
        /// In this table.
        table: Idt,
        /// Of this vector.
        vector: u8,
        /// The other vector.
        other: u8,
    },
    /// Bits of the last-level entry by which the lot's own root maps a page.
    PageEntry {
        /// Which page.
        page: Page,
        /// Bits to clear.
        clear: u64,
        /// Bits to set.
        set: u64,
    },
    /// Bits of the entries of all levels by which the lot's own root maps a page.
    PagePath {
        /// Which page.
        page: Page,
        /// Bits to set.
        set: u64,
    },
    /// A word of the header has another one's value.
    HeaderWord {
        /// Offset of the word.
        offset: u64,
        /// Offset of the word whose value it gets.
        from: u64,
    },
    /// Bits of a word of each bay.
    BayWord {
        /// Offset in the bay.
        offset: u64,
        /// Bits to clear.
        clear: u64,
        /// Bits to set.
        set: u64,
    },
    /// What the owner's half of arriving loads.
    Arrival(fn(&mut Arrival)),
    /// Bits set in the CR4 that the owner's half of leaving loads.
    DepartureCr4(u64),
    /// A publisher stores the entry after it has rung.
    EntryAfterDoorbell,
    /// A sanitising step is left out.
    Without(&'static str),
}

/// A register of the owner's, as it stands when the CPU begins to park.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// Bits set in CR4.
    Cr4(u64),
    /// Bits set in RFLAGS.
    Rflags(u64),
    /// Value of an MSR.
    Msr(u32, u64),
    /// An instruction breakpoint at a label of the bay code, where the lot maps it.
    Breakpoint(&'static str),
    /// A local vector table entry of the local APIC.
    Lvt(Lvt, u32),
    /// An interrupt that the local APIC has accepted, and that RFLAGS.IF = 0 keeps out.
    Requested(u8),
    /// A monitor on a line of the owner's, armed by its idle loop.
    Monitor,
    /// The last entry of the kernel's root leads to the root itself, as kernels have it that look at their tables that
    /// way: read with a level more, the tables mean the same in the upper half.
    RecursiveRoot,
    /// A global translation of the lot's code pages to a page of the owner's, from a mapping that is gone.
    GlobalOverLot,
}

/// Why a change can't be made: the code is not what the list of faults says.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PlantError {
    /// No such label.
    NoSuchLabel {
        /// Its name.
        label: String,
    },
    /// No instruction like this behind the label.
    NotFound {
        /// The label.
        from: &'static str,
        /// The text.
        find: &'static str,
    },
    /// The replacement has another length.
    Length {
        /// The text.
        find: &'static str,
        /// Bytes that it must have.
        len: usize,
    },
    /// The replacement is what it replaces.
    NoChange {
        /// The text.
        find: &'static str,
    },
    /// Instructions can't be encoded in another order.
    Encode(String),
    /// No such sanitising step.
    NoSuchStep {
        /// Its id.
        id: &'static str,
    },
    /// A page of the lot is not mapped.
    NotMapped,
}

impl fmt::Display for PlantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchLabel { label } => write!(f, "the code has no label `{label}`"),
            Self::NotFound { from, find } => write!(f, "no instruction `{find}` behind `{from}`"),
            Self::Length { find, len } => write!(f, "what replaces `{find}` must have {len} bytes"),
            Self::NoChange { find } => write!(f, "what replaces `{find}` is the same"),
            Self::Encode(what) => write!(f, "instructions can't be encoded in another order: {what}"),
            Self::NoSuchStep { id } => write!(f, "no sanitising step is called `{id}`"),
            Self::NotMapped => f.write_str("the lot's tables do not map that page"),
        }
    }
}

impl core::error::Error for PlantError {}

impl From<PlantError> for Wrong {
    fn from(error: PlantError) -> Self {
        Self::Operation { what: format!("the fault can't be planted: {error}") }
    }
}
