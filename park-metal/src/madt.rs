//! The processor list: RSDP → XSDT or RSDT → MADT (ACPI 6.5, sections 5.2.5 to 5.2.12).
//!
//! Only what starting every CPU needs: local APIC and local x2APIC entries that are enabled. Reading memory is
//! the caller's: every function takes a reader that turns an address and a length into bytes, or `None`.

use core::fmt;

use park_core::{ApicId, PhysAddr};

/// Bytes of an RSDP of revision 0, which its first checksum covers.
const RSDP_BYTES: usize = 20;
/// Bytes of the fields that revision 2 adds up to the XSDT address's end.
const RSDP_XSDT_END: usize = 32;
/// Bytes of a system description table's header.
const HEADER_BYTES: usize = 36;
/// The MADT's entries begin behind the header, the local APIC address and the flags.
const MADT_ENTRIES: usize = 44;
/// Tables longer than this are taken for damaged.
const TABLE_BYTES_MAX: u32 = 1 << 20;

/// MADT entry "Processor Local APIC" (section 5.2.12.2).
const LOCAL_APIC: u8 = 0;
/// MADT entry "Processor Local x2APIC" (section 5.2.12.12).
const LOCAL_X2APIC: u8 = 9;
/// Flag of both: the CPU can be used.
const ENABLED: u32 = 1;

/// Why there is no processor list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum AcpiError {
    /// An address that can't be read.
    Unreadable {
        /// The address.
        at: PhysAddr,
    },
    /// A table whose signature, length or checksum is wrong.
    Damaged {
        /// The table.
        table: &'static str,
        /// Where it is.
        at: PhysAddr,
    },
    /// No table of the system describes processors.
    NoMadt,
    /// A MADT entry that is too short or runs out of the table.
    BadEntry {
        /// Its offset in the MADT, in bytes.
        offset: usize,
    },
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { at } => write!(f, "ACPI points to {at}, which can't be read"),
            Self::Damaged { table, at } => write!(f, "the {table} at {at} has a wrong signature, length or checksum"),
            Self::NoMadt => f.write_str("ACPI has no MADT, so there is no processor list"),
            Self::BadEntry { offset } => write!(f, "the MADT's entry at byte {offset} has a wrong length"),
        }
    }
}

impl core::error::Error for AcpiError {}

/// Finds the MADT.
///
/// # Errors
/// [`AcpiError`] if a table on the way is damaged or out of reach, or there is no MADT.
pub fn find<'a, R>(rsdp: PhysAddr, read: &R) -> Result<&'a [u8], AcpiError>
where
    R: Fn(PhysAddr, usize) -> Option<&'a [u8]>,
{
    let damaged = AcpiError::Damaged { table: "RSDP", at: rsdp };
    let first = read(rsdp, RSDP_BYTES).ok_or(AcpiError::Unreadable { at: rsdp })?;
    if !first.starts_with(b"RSD PTR ") || sum(first) != 0 {
        return Err(damaged);
    }
    // Revision 2 has the XSDT, which is to be preferred (section 5.2.5.3).
    let (root, signature, pointer_bytes) = if first.get(15).is_some_and(|&revision| revision >= 2) {
        let whole = read(rsdp, RSDP_XSDT_END).ok_or(AcpiError::Unreadable { at: rsdp })?;
        (PhysAddr(number(whole, 24, 8).ok_or(damaged)?), *b"XSDT", 8)
    } else {
        (PhysAddr(number(first, 16, 4).ok_or(damaged)?), *b"RSDT", 4)
    };
    let pointers = table(root, read)?;
    if !pointers.starts_with(&signature) {
        return Err(AcpiError::Damaged { table: "XSDT or RSDT", at: root });
    }
    for pointer in pointers.get(HEADER_BYTES..).unwrap_or_default().chunks_exact(pointer_bytes) {
        let at = PhysAddr(number(pointer, 0, pointer_bytes).ok_or(AcpiError::NoMadt)?);
        let header = read(at, HEADER_BYTES).ok_or(AcpiError::Unreadable { at })?;
        if header.starts_with(b"APIC") {
            return table(at, read);
        }
    }
    Err(AcpiError::NoMadt)
}

/// A whole table, its checksum checked.
fn table<'a, R>(at: PhysAddr, read: &R) -> Result<&'a [u8], AcpiError>
where
    R: Fn(PhysAddr, usize) -> Option<&'a [u8]>,
{
    let damaged = AcpiError::Damaged { table: "system description table", at };
    let header = read(at, HEADER_BYTES).ok_or(AcpiError::Unreadable { at })?;
    let len = number(header, 4, 4).and_then(|len| u32::try_from(len).ok()).ok_or(damaged)?;
    let len_bytes = usize::try_from(len).map_err(|_| damaged)?;
    if len > TABLE_BYTES_MAX || len_bytes < HEADER_BYTES {
        return Err(damaged);
    }
    let whole = read(at, len_bytes).ok_or(AcpiError::Unreadable { at })?;
    if sum(whole) == 0 { Ok(whole) } else { Err(damaged) }
}

/// The APIC ids of the enabled CPUs, in the order of the table; the first entry is usually the boot CPU.
#[derive(Clone, Debug)]
pub struct EnabledCpus<'a> {
    madt: &'a [u8],
    offset: usize,
}

impl<'a> EnabledCpus<'a> {
    /// The CPUs of a MADT that [`find`] has returned.
    #[must_use]
    pub const fn new(madt: &'a [u8]) -> Self {
        Self { madt, offset: MADT_ENTRIES }
    }

    /// The entry at the current offset, and steps over it; `None` at the end.
    fn entry(&mut self) -> Option<Result<&'a [u8], AcpiError>> {
        let rest = self.madt.get(self.offset..).filter(|rest| !rest.is_empty())?;
        let bad = AcpiError::BadEntry { offset: self.offset };
        let len_bytes = rest.get(1).map_or(0, |&len| usize::from(len));
        let entry = rest.get(..len_bytes).filter(|entry| entry.len() >= 2).ok_or(bad);
        // After a bad length nothing behind it can be trusted: end there.
        self.offset = if entry.is_ok() { self.offset + len_bytes } else { self.madt.len() };
        Some(entry)
    }
}

impl Iterator for EnabledCpus<'_> {
    type Item = Result<ApicId, AcpiError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let offset = self.offset;
            let entry = match self.entry()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            let fields = match entry.first().copied() {
                Some(LOCAL_APIC) => number(entry, 3, 1).zip(number(entry, 4, 4)),
                Some(LOCAL_X2APIC) => number(entry, 4, 4).zip(number(entry, 8, 4)),
                _ => continue,
            };
            let Some((id, flags)) = fields else {
                self.offset = self.madt.len();
                return Some(Err(AcpiError::BadEntry { offset }));
            };
            let (Ok(id), Ok(flags)) = (u32::try_from(id), u32::try_from(flags)) else {
                continue; // Both fields have at most 4 bytes.
            };
            if flags & ENABLED != 0 {
                return Some(Ok(ApicId(id)));
            }
        }
    }
}

/// The little-endian number of `len` bytes at `offset`.
fn number(bytes: &[u8], offset: usize, len: usize) -> Option<u64> {
    let field = bytes.get(offset..offset.checked_add(len)?)?;
    Some(field.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// The sum of all bytes, modulo 256: 0 for a table with a right checksum.
fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSDP: usize = 0x100;
    const ROOT: usize = 0x200;
    const FACP: usize = 0x300;
    const MADT: usize = 0x400;

    fn seal(memory: &mut [u8], at: usize, len: usize, checksum: usize) {
        memory[at + checksum] = 0;
        memory[at + checksum] = 0_u8.wrapping_sub(sum(&memory[at..at + len]));
    }

    fn put_table(memory: &mut [u8], at: usize, signature: &[u8; 4], body: &[u8]) {
        let len = HEADER_BYTES + body.len();
        memory[at..at + 4].copy_from_slice(signature);
        memory[at + 4..at + 8].copy_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
        memory[at + HEADER_BYTES..at + len].copy_from_slice(body);
        seal(memory, at, len, 9);
    }

    /// A machine with an RSDP of `revision` whose root table points to a FACP and a MADT with `entries`.
    fn machine(revision: u8, entries: &[u8]) -> Vec<u8> {
        let mut memory = vec![0; 0x800];
        memory[RSDP..RSDP + 8].copy_from_slice(b"RSD PTR ");
        memory[RSDP + 15] = revision;
        memory[RSDP + 16..RSDP + 20].copy_from_slice(&0x200_u32.to_le_bytes());
        seal(&mut memory, RSDP, RSDP_BYTES, 8);
        memory[RSDP + 24..RSDP + 32].copy_from_slice(&0x200_u64.to_le_bytes());
        let mut pointers = vec![];
        for pointer in [FACP as u64, MADT as u64] {
            pointers.extend_from_slice(&pointer.to_le_bytes()[..if revision >= 2 { 8 } else { 4 }]);
        }
        put_table(&mut memory, ROOT, if revision >= 2 { b"XSDT" } else { b"RSDT" }, &pointers);
        put_table(&mut memory, FACP, b"FACP", &[1, 2, 3]);
        let mut body = vec![0, 0, 0xe0, 0xfe, 1, 0, 0, 0];
        body.extend_from_slice(entries);
        put_table(&mut memory, MADT, b"APIC", &body);
        memory
    }

    fn cpus(memory: &[u8]) -> Result<Vec<Result<ApicId, AcpiError>>, AcpiError> {
        let read = |at: PhysAddr, len: usize| {
            let start = usize::try_from(at.0).ok()?;
            memory.get(start..start.checked_add(len)?)
        };
        find(PhysAddr(RSDP as u64), &read).map(|madt| EnabledCpus::new(madt).collect())
    }

    const ENTRIES: [u8; 44] = [
        0, 8, 0, 0, 1, 0, 0, 0, // CPU 0
        1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // an I/O APIC
        0, 8, 1, 7, 0, 0, 0, 0, // id 7, not enabled
        9, 16, 0, 0, 0x34, 0x12, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, // id 0x1234
    ];

    #[test]
    fn enabled_cpus_are_listed_by_either_root_table() {
        for revision in [0, 2] {
            let listed = cpus(&machine(revision, &ENTRIES));
            assert_eq!(listed, Ok(vec![Ok(ApicId(0)), Ok(ApicId(0x1234))]), "revision {revision}");
        }
    }

    #[test]
    fn a_flipped_byte_in_a_checked_table_is_refused() {
        let whole = machine(2, &ENTRIES);
        let madt_len = HEADER_BYTES + 8 + ENTRIES.len();
        for at in (RSDP..RSDP + RSDP_BYTES).chain(ROOT..ROOT + HEADER_BYTES + 16).chain(MADT..MADT + madt_len) {
            let mut memory = whole.clone();
            memory[at] ^= 0x40;
            assert!(cpus(&memory).is_err(), "byte {at:#x}");
        }
    }

    #[test]
    fn entries_of_wrong_length_end_the_list() {
        assert_eq!(cpus(&machine(2, &[0, 0])), Ok(vec![Err(AcpiError::BadEntry { offset: 44 })]));
        assert_eq!(cpus(&machine(2, &[0])), Ok(vec![Err(AcpiError::BadEntry { offset: 44 })]));
        let long = [0, 8, 0, 0, 1, 0, 0, 0, 9, 17, 0, 0];
        assert_eq!(cpus(&machine(2, &long)), Ok(vec![Ok(ApicId(0)), Err(AcpiError::BadEntry { offset: 52 })]));
        assert_eq!(cpus(&machine(2, &[0, 4, 0, 3])), Ok(vec![Err(AcpiError::BadEntry { offset: 44 })]));
    }

    #[test]
    fn a_machine_without_madt_says_so() {
        let mut memory = machine(0, &[]);
        put_table(&mut memory, ROOT, b"RSDT", &(FACP as u32).to_le_bytes());
        assert_eq!(cpus(&memory), Err(AcpiError::NoMadt));
        put_table(&mut memory, ROOT, b"RSDT", &0xffff_fff0_u32.to_le_bytes());
        assert_eq!(cpus(&memory), Err(AcpiError::Unreadable { at: PhysAddr(0xffff_fff0) }));
    }
}
