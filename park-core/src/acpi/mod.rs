//! The ACPI tables that park reads and writes (ACPI 6.6, chapter 5): the way from the RSDP to a table, the MADT with
//! its [multiprocessor wakeup mailbox](madt::Wakeup), and the [PARK table](park), by which a next kernel finds the lot.
//!
//! Everything works on bytes and trusts none of them: every length is checked, every wrong one is an [`AcpiError`] that
//! names the place. Reading memory is the caller's: functions that follow addresses take a reader, which turns an
//! address and a length into bytes, or `None`.

pub mod madt;
pub mod park;
pub mod root;
pub mod table;

use crate::PhysAddr;
use core::fmt;

/// Four letters that name a table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 4]);

impl Signature {
    /// The MADT.
    pub const MADT: Self = Self(*b"APIC");
    /// The table that says where the lot is.
    pub const PARK: Self = Self(*b"PARK");
    /// The list of all tables, with addresses of 64 bits.
    pub const XSDT: Self = Self(*b"XSDT");
    /// The list of all tables, with addresses of 32 bits.
    pub const RSDT: Self = Self(*b"RSDT");
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", byte.escape_ascii()))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What is wrong with ACPI's tables, or with what is to be written into them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum AcpiError {
    /// An address that can't be read.
    Unreadable {
        /// The address.
        at: PhysAddr,
    },
    /// No RSDP, or one whose signature or checksum is wrong.
    NoRsdp,
    /// A table whose signature, length or checksum is wrong.
    Damaged {
        /// Where it is.
        at: PhysAddr,
    },
    /// Bytes that should be a table and are not: wrong signature, length or checksum.
    NotATable {
        /// The table that was expected.
        wanted: Signature,
    },
    /// The system has no such table.
    NoTable {
        /// Its name.
        wanted: Signature,
    },
    /// A MADT entry that is too short or runs out of the table.
    BadEntry {
        /// Its offset in the MADT, in bytes.
        offset: usize,
    },
    /// A PARK table that names a lot where none can be.
    BadLot {
        /// The lot's address.
        at: PhysAddr,
        /// Its length in bytes.
        len_bytes: u64,
    },
    /// What is written does not fit into the buffer.
    NoRoom {
        /// Bytes that the buffer has.
        capacity_bytes: usize,
    },
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { at } => write!(f, "ACPI points to {at}, which can't be read"),
            Self::NoRsdp => f.write_str("there is no RSDP, or its signature or checksum is wrong"),
            Self::Damaged { at } => write!(f, "the ACPI table at {at} has a wrong signature, length or checksum"),
            Self::NotATable { wanted } => write!(f, "this is no {wanted} table: wrong signature, length or checksum"),
            Self::NoTable { wanted } => write!(f, "ACPI has no {wanted} table"),
            Self::BadEntry { offset } => write!(f, "the MADT's entry at byte {offset} has a wrong length"),
            Self::BadLot { at, len_bytes } => {
                write!(f, "the PARK table names a lot of {len_bytes:#x} bytes at {at}, where none can be")
            }
            Self::NoRoom { capacity_bytes } => write!(f, "the table does not fit into {capacity_bytes} bytes"),
        }
    }
}

impl core::error::Error for AcpiError {}

/// The little-endian number of `len` bytes at `offset`, at most 8; `None` if it runs out of `bytes`.
fn number(bytes: &[u8], offset: usize, len: usize) -> Option<u64> {
    let field = bytes.get(offset..offset.checked_add(len)?)?;
    Some(field.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// The same number, of 4 bytes.
fn number32(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The sum of all bytes, modulo 256: 0 for a table with a right checksum (section 5.2.6).
fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
}
