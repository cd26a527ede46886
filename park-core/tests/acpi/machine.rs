//! A machine's memory with ACPI tables in it.

use park_core::acpi::madt;
use park_core::acpi::{AcpiError, Signature, root};
use park_core::{ApicId, PhysAddr};

pub(crate) const RSDP: usize = 0x100;
pub(crate) const RSDP_OLD_BYTES: usize = 20;
pub(crate) const ROOT: usize = 0x200;
pub(crate) const FACP: usize = 0x300;
pub(crate) const MADT: usize = 0x400;
pub(crate) const HEADER_BYTES: usize = 36;

/// Two CPUs that can be used, an I/O APIC, and one CPU that can't be.
pub(crate) const ENTRIES: [u8; 44] = [
    0, 8, 0, 0, 1, 0, 0, 0, // CPU 0
    1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // an I/O APIC
    0, 8, 1, 7, 0, 0, 0, 0, // id 7, not enabled
    9, 16, 0, 0, 0x34, 0x12, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, // id 0x1234
];

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
}

/// Makes the sum of `len` bytes 0 by the byte at `checksum`.
pub(crate) fn seal(memory: &mut [u8], at: usize, len: usize, checksum: usize) {
    memory[at + checksum] = 0;
    memory[at + checksum] = 0_u8.wrapping_sub(sum(&memory[at..at + len]));
}

/// A table with this body.
pub(crate) fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..4].copy_from_slice(signature);
    bytes[4..8].copy_from_slice(&((HEADER_BYTES + body.len()) as u32).to_le_bytes());
    bytes[8] = 3;
    bytes.extend_from_slice(body);
    let len = bytes.len();
    seal(&mut bytes, 0, len, 9);
    bytes
}

pub(crate) fn put(memory: &mut [u8], at: usize, bytes: &[u8]) {
    memory[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A MADT with these entries.
pub(crate) fn madt_of(entries: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, 0xe0, 0xfe, 1, 0, 0, 0];
    body.extend_from_slice(entries);
    table(b"APIC", &body)
}

/// A machine with an RSDP of `revision` whose root table points to a FACP and a MADT with `entries`.
pub(crate) fn machine(revision: u8, entries: &[u8]) -> Vec<u8> {
    let mut memory = vec![0; 0x1000];
    put(&mut memory, RSDP, b"RSD PTR ");
    memory[RSDP + 15] = revision;
    put(&mut memory, RSDP + 16, &(ROOT as u32).to_le_bytes());
    seal(&mut memory, RSDP, RSDP_OLD_BYTES, 8);
    put(&mut memory, RSDP + 20, &36_u32.to_le_bytes());
    put(&mut memory, RSDP + 24, &(ROOT as u64).to_le_bytes());
    seal(&mut memory, RSDP, 36, 32);
    let mut pointers = vec![];
    for pointer in [FACP as u64, MADT as u64] {
        pointers.extend_from_slice(&pointer.to_le_bytes()[..if revision >= 2 { 8 } else { 4 }]);
    }
    put(&mut memory, ROOT, &table(if revision >= 2 { b"XSDT" } else { b"RSDT" }, &pointers));
    put(&mut memory, FACP, &table(b"FACP", &[1, 2, 3]));
    put(&mut memory, MADT, &madt_of(entries));
    memory
}

/// Turns addresses into bytes of `memory`.
pub(crate) fn reader<'a>(memory: &'a [u8]) -> impl Fn(PhysAddr, usize) -> Option<&'a [u8]> {
    move |at, len| {
        let start = usize::try_from(at.0).ok()?;
        memory.get(start..start.checked_add(len)?)
    }
}

/// The CPUs of a machine.
pub(crate) fn cpus(memory: &[u8]) -> Result<Vec<Result<ApicId, AcpiError>>, AcpiError> {
    let read = reader(memory);
    let found = root::open(PhysAddr(RSDP as u64), &read)?.find(Signature::MADT, &read)?;
    Ok(madt::enabled_cpus(found).collect())
}
