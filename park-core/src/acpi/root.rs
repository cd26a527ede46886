//! From the RSDP to all tables (ACPI 6.6, sections 5.2.5 to 5.2.8), and the same anew, with tables of our own.

use super::table::{self, HEADER_BYTES, TableWriter};
use super::{AcpiError, Signature, number, sum};
use crate::PhysAddr;

/// What an RSDP begins with.
const RSDP_SIGNATURE: [u8; 8] = *b"RSD PTR ";
/// Bytes of an RSDP of revision 0, which its first checksum covers.
const RSDP_BYTES_OLD: usize = 20;
/// Bytes of an RSDP of revision 2.
pub const RSDP_BYTES: usize = 36;
/// An RSDP begins at a multiple of this, where it has to be searched for (section 5.2.5.1).
const RSDP_ALIGN_BYTES: usize = 16;
/// Offsets in an RSDP.
const CHECKSUM: usize = 8;
const OEM_ID: usize = 9;
const REVISION: usize = 15;
const RSDT: usize = 16;
const LENGTH: usize = 20;
const XSDT: usize = 24;
const EXTENDED_CHECKSUM: usize = 32;
/// The revision that has an XSDT.
const REVISION_WITH_XSDT: u8 = 2;
/// Revision of the XSDTs that this library writes.
const XSDT_REVISION: u8 = 1;

/// The list of all tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Root<'a> {
    pointers: &'a [u8],
    pointer_bytes: usize,
}

/// Opens the list of tables that an RSDP leads to: the XSDT, else the RSDT.
///
/// # Errors
/// [`AcpiError`] if the RSDP or the list is damaged or out of reach.
pub fn open<'a, R>(rsdp: PhysAddr, reader: &R) -> Result<Root<'a>, AcpiError>
where
    R: Fn(PhysAddr, usize) -> Option<&'a [u8]>,
{
    let first = reader(rsdp, RSDP_BYTES_OLD).ok_or(AcpiError::Unreadable { at: rsdp })?;
    if !is_rsdp(first) {
        return Err(AcpiError::NoRsdp);
    }
    // Revision 2 has the XSDT, which is to be preferred (section 5.2.5.3).
    let (at, wanted, pointer_bytes) = if first.get(REVISION).is_some_and(|&revision| revision >= REVISION_WITH_XSDT) {
        let whole = reader(rsdp, RSDP_BYTES).ok_or(AcpiError::Unreadable { at: rsdp })?;
        if sum(whole) != 0 {
            return Err(AcpiError::NoRsdp);
        }
        (number(whole, XSDT, 8), Signature::XSDT, 8)
    } else {
        (number(first, RSDT, 4), Signature::RSDT, 4)
    };
    let at = PhysAddr(at.ok_or(AcpiError::NoRsdp)?);
    let list = table::read(at, reader)?;
    let pointers = list.strip_prefix(&wanted.0).and_then(|rest| rest.get(HEADER_BYTES - wanted.0.len()..));
    Ok(Root { pointers: pointers.ok_or(AcpiError::Damaged { at })?, pointer_bytes })
}

/// True if an RSDP begins here, of any revision.
fn is_rsdp(bytes: &[u8]) -> bool {
    bytes.get(..RSDP_BYTES_OLD).is_some_and(|first| first.starts_with(&RSDP_SIGNATURE) && sum(first) == 0)
}

/// The offset of an RSDP in an area of firmware: what to do where no loader says where it is (section 5.2.5.1). The area
/// begins at a multiple of 16.
#[must_use]
pub fn search(area: &[u8]) -> Option<usize> {
    (0..area.len()).step_by(RSDP_ALIGN_BYTES).find(|&offset| area.get(offset..).is_some_and(is_rsdp))
}

impl<'a> Root<'a> {
    /// The addresses of all tables, in their order.
    pub fn tables(&self) -> impl Iterator<Item = PhysAddr> + Clone + 'a {
        let pointer_bytes = self.pointer_bytes;
        let pointers = self.pointers.chunks_exact(pointer_bytes);
        pointers.filter_map(move |pointer| number(pointer, 0, pointer_bytes)).map(PhysAddr)
    }

    /// The address of the first table with this name. What is said of a table that can't be read is [`find`](Self::find)'s
    /// to say.
    pub fn position<R>(&self, wanted: Signature, reader: &R) -> Option<PhysAddr>
    where
        R: Fn(PhysAddr, usize) -> Option<&'a [u8]>,
    {
        self.tables().find(|&at| reader(at, HEADER_BYTES).is_some_and(|header| header.starts_with(&wanted.0)))
    }

    /// The first table with this name, its checksum checked.
    ///
    /// # Errors
    /// [`AcpiError::NoTable`]; [`AcpiError::Unreadable`] for a table before it that can't be read;
    /// [`AcpiError::Damaged`] if it is.
    pub fn find<R>(&self, wanted: Signature, reader: &R) -> Result<&'a [u8], AcpiError>
    where
        R: Fn(PhysAddr, usize) -> Option<&'a [u8]>,
    {
        for at in self.tables() {
            let header = reader(at, HEADER_BYTES).ok_or(AcpiError::Unreadable { at })?;
            if header.starts_with(&wanted.0) {
                return table::read(at, reader);
            }
        }
        Err(AcpiError::NoTable { wanted })
    }
}

/// Writes an XSDT of these tables.
///
/// # Errors
/// [`AcpiError::NoRoom`].
pub fn write_xsdt(buffer: &mut [u8], tables: impl Iterator<Item = PhysAddr>) -> Result<&[u8], AcpiError> {
    let mut writer = TableWriter::new(buffer, Signature::XSDT, XSDT_REVISION)?;
    for at in tables {
        writer.put(&at.0.to_le_bytes())?;
    }
    writer.finish()
}

/// An RSDP of revision 2 that leads to this XSDT; it has no RSDT.
#[must_use]
pub fn rsdp(xsdt: PhysAddr) -> [u8; RSDP_BYTES] {
    let mut bytes = [0; RSDP_BYTES];
    bytes[..RSDP_SIGNATURE.len()].copy_from_slice(&RSDP_SIGNATURE);
    bytes[OEM_ID..REVISION].copy_from_slice(b"PARK  ");
    bytes[REVISION] = REVISION_WITH_XSDT;
    bytes[LENGTH..XSDT].copy_from_slice(&(RSDP_BYTES as u32).to_le_bytes());
    bytes[XSDT..EXTENDED_CHECKSUM].copy_from_slice(&xsdt.0.to_le_bytes());
    bytes[CHECKSUM] = 0_u8.wrapping_sub(sum(&bytes[..RSDP_BYTES_OLD]));
    bytes[EXTENDED_CHECKSUM] = 0_u8.wrapping_sub(sum(&bytes));
    bytes
}
