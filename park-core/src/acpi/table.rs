//! One table: header, length, checksum (ACPI 6.6, section 5.2.6).

use super::{AcpiError, Signature, number32, sum};
use crate::PhysAddr;

/// Bytes of the header that every table begins with.
pub const HEADER_BYTES: usize = 36;
/// Tables longer than this are taken for damaged.
pub const TABLE_BYTES_MAX: usize = 1 << 20;

/// Offsets in the header.
const LENGTH: usize = 4;
const CHECKSUM: usize = 9;
/// What this library calls itself in headers that it writes: OEM id, OEM table id, OEM revision, creator, its revision.
const OEM_ID: [u8; 6] = *b"PARK  ";
const OEM_TABLE_ID: [u8; 8] = *b"PARKLOT ";
const CREATOR: [u8; 4] = *b"PARK";
const REVISION: [u8; 4] = 1_u32.to_le_bytes();

/// A whole table, its length and checksum checked.
///
/// # Errors
/// [`AcpiError::NotATable`]; bytes behind the table's length are cut off.
pub fn check(bytes: &[u8], wanted: Signature) -> Result<&[u8], AcpiError> {
    let whole = length(bytes).and_then(|len| bytes.get(..len));
    whole.filter(|table| table.starts_with(&wanted.0) && sum(table) == 0).ok_or(AcpiError::NotATable { wanted })
}

/// The length that a header states, if it can be right.
fn length(header: &[u8]) -> Option<usize> {
    let len = usize::try_from(number32(header, LENGTH)?).ok()?;
    (HEADER_BYTES..=TABLE_BYTES_MAX).contains(&len).then_some(len)
}

/// The whole table at an address, whatever its name, its checksum checked.
///
/// # Errors
/// [`AcpiError::Unreadable`], [`AcpiError::Damaged`].
pub fn read<'a, R>(at: PhysAddr, reader: &R) -> Result<&'a [u8], AcpiError>
where
    R: Fn(PhysAddr, usize) -> Option<&'a [u8]>,
{
    let header = reader(at, HEADER_BYTES).ok_or(AcpiError::Unreadable { at })?;
    let len = length(header).ok_or(AcpiError::Damaged { at })?;
    let whole = reader(at, len).ok_or(AcpiError::Unreadable { at })?;
    if sum(whole) == 0 { Ok(whole) } else { Err(AcpiError::Damaged { at }) }
}

/// Writes a table into a buffer: the header first, then what is [`put`](Self::put); [`finish`](Self::finish) fills in
/// length and checksum.
#[derive(Debug)]
pub struct TableWriter<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> TableWriter<'b> {
    /// Begins a table.
    ///
    /// # Errors
    /// [`AcpiError::NoRoom`].
    pub fn new(buffer: &'b mut [u8], signature: Signature, revision: u8) -> Result<Self, AcpiError> {
        let mut writer = Self { buffer, len: 0 };
        writer.put(&signature.0)?;
        writer.put(&[0; 4])?;
        writer.put(&[revision, 0])?;
        writer.put(&OEM_ID)?;
        writer.put(&OEM_TABLE_ID)?;
        writer.put(&REVISION)?;
        writer.put(&CREATOR)?;
        writer.put(&REVISION)?;
        Ok(writer)
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`AcpiError::NoRoom`]; then nothing was appended.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), AcpiError> {
        let no_room = AcpiError::NoRoom { capacity_bytes: self.buffer.len().min(TABLE_BYTES_MAX) };
        let end = self.len.checked_add(bytes.len()).filter(|&end| end <= TABLE_BYTES_MAX).ok_or(no_room)?;
        self.buffer.get_mut(self.len..end).ok_or(no_room)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// Fills in length and checksum, and returns the table.
    ///
    /// # Errors
    /// [`AcpiError::NoRoom`]: never, after [`new`](Self::new) had room for the header.
    pub fn finish(self) -> Result<&'b [u8], AcpiError> {
        let no_room = AcpiError::NoRoom { capacity_bytes: self.buffer.len() };
        let len = u32::try_from(self.len).map_err(|_| no_room)?;
        let table = self.buffer.get_mut(..self.len).ok_or(no_room)?;
        table.get_mut(LENGTH..LENGTH + 4).ok_or(no_room)?.copy_from_slice(&len.to_le_bytes());
        let sum = sum(table);
        let checksum = table.get_mut(CHECKSUM).ok_or(no_room)?;
        *checksum = checksum.wrapping_sub(sum);
        Ok(table)
    }
}
