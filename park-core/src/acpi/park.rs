//! The PARK table: how a next kernel finds the lot.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 36 | the standard header: signature `PARK`, revision 1 |
//! | 36 | 8 | physical address of the lot |
//! | 44 | 8 | its length in bytes |

use super::table::{self, HEADER_BYTES, TableWriter};
use super::{AcpiError, Signature, number};
use crate::PhysAddr;
use crate::lot::PAGE_SIZE;

/// Bytes of the table.
pub const TABLE_BYTES: usize = HEADER_BYTES + 16;
/// The table's revision.
const REVISION: u8 = 1;

/// Where a lot is, as a PARK table says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ParkTable {
    /// The lot's physical address.
    pub lot: PhysAddr,
    /// Its length in bytes.
    pub len_bytes: u64,
}

impl ParkTable {
    /// Writes the table.
    ///
    /// # Errors
    /// [`AcpiError::NoRoom`], [`AcpiError::BadLot`].
    pub fn write(self, buffer: &mut [u8]) -> Result<&[u8], AcpiError> {
        self.check()?;
        let mut writer = TableWriter::new(buffer, Signature::PARK, REVISION)?;
        writer.put(&self.lot.0.to_le_bytes())?;
        writer.put(&self.len_bytes.to_le_bytes())?;
        writer.finish()
    }

    /// Parses a table. What it names is *not* a lot before [`verify`](crate::lot::verify) says so: whoever wrote the
    /// table may be gone. A later revision may have more behind these fields.
    ///
    /// # Errors
    /// [`AcpiError::NotATable`], [`AcpiError::BadLot`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AcpiError> {
        let whole = table::check(bytes, Signature::PARK)?;
        let fields = number(whole, HEADER_BYTES, 8).zip(number(whole, HEADER_BYTES + 8, 8));
        let (lot, len_bytes) = fields.ok_or(AcpiError::NotATable { wanted: Signature::PARK })?;
        Self { lot: PhysAddr(lot), len_bytes }.check()
    }

    /// A lot is whole pages, not at address 0, and ends before memory does.
    fn check(self) -> Result<Self, AcpiError> {
        let Self { lot, len_bytes } = self;
        let is_possible = lot.0 != 0
            && lot.is_aligned(PAGE_SIZE)
            && len_bytes != 0
            && len_bytes % PAGE_SIZE == 0
            && lot.checked_add(len_bytes).is_some();
        if is_possible { Ok(self) } else { Err(AcpiError::BadLot { at: lot, len_bytes }) }
    }
}
