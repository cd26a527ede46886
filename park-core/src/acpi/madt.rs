//! The MADT (ACPI 6.6, section 5.2.12): which CPUs there are, and the mailbox through which an operating system asks
//! for them.

use super::table::{HEADER_BYTES, TableWriter};
use super::{AcpiError, Signature, number, number32, table};
use crate::{ApicId, PhysAddr};

/// The entries begin behind the header, the local APIC address and the flags.
const ENTRIES: usize = HEADER_BYTES + 8;
/// Offset of the table's revision.
const REVISION: usize = 8;
/// Types of entries: "Processor Local APIC" (5.2.12.2), "Processor Local x2APIC" (5.2.12.12), "Multiprocessor Wakeup"
/// (5.2.12.19).
const LOCAL_APIC: u8 = 0;
const LOCAL_X2APIC: u8 = 9;
const WAKEUP: u8 = 0x10;
/// Flag of the first two: the CPU can be used.
const ENABLED: u32 = 1;
/// Bytes of a wakeup entry without a reset vector, and with one.
const WAKEUP_BYTES: usize = 16;
const WAKEUP_RESET_BYTES: usize = 24;
/// The first mailbox version that has a reset vector, and the command Test.
const VERSION_WITH_RESET: u16 = 1;

/// One entry, as far as park knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Entry {
    /// A CPU, by a local APIC or local x2APIC entry.
    Cpu {
        /// Its APIC id.
        apic_id: ApicId,
        /// Whether it can be used.
        presence: Presence,
    },
    /// The mailbox.
    Wakeup(Wakeup),
    /// Anything else.
    Other {
        /// Its type.
        kind: u8,
    },
}

/// What a MADT says of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Presence {
    /// It can be used.
    Enabled,
    /// It can't, now or ever.
    Disabled,
}

/// The multiprocessor wakeup entry: where the mailbox is (section 5.2.12.19).
///
/// # The mailbox
/// A page in memory of type ACPI NVS: command (16 bits) at offset 0, APIC id (32 bits) at 4, wakeup vector (64 bits) at
/// 8. The operating system writes id and vector, then the command; the CPU with this id copies the vector, clears the
/// command, which acknowledges it, and jumps to the vector in 64-bit mode, interrupts off, on tables that map memory at
/// identity. Commands: 0 Noop, 1 Wakeup, 2 Test (version 1: the CPU only clears it).
///
/// The specification has no error channel. With park's bays a command that they don't know, a vector of 4 GiB or more
/// (outside the departure map), and an id that no bay holds leave everybody parked, the command stays, and the
/// operating system waits: how long is its own business, and Linux has no limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Wakeup {
    /// The mailbox page's address.
    pub mailbox: PhysAddr,
    /// Where a CPU that the operating system gives back jumps to. With it the mailbox has version 1, else 0.
    pub reset_vector: Option<PhysAddr>,
}

impl Wakeup {
    /// Appends the entry to a MADT.
    fn put(&self, madt: &mut TableWriter<'_>) -> Result<(), AcpiError> {
        let (version, len) = match self.reset_vector {
            Some(_) => (VERSION_WITH_RESET, WAKEUP_RESET_BYTES),
            None => (0, WAKEUP_BYTES),
        };
        madt.put(&[WAKEUP, len as u8])?;
        madt.put(&version.to_le_bytes())?;
        madt.put(&[0; 4])?;
        madt.put(&self.mailbox.0.to_le_bytes())?;
        self.reset_vector.map_or(Ok(()), |vector| madt.put(&vector.0.to_le_bytes()))
    }

    fn parse(entry: &[u8]) -> Option<Self> {
        let version = number(entry, 2, 2)?;
        let mailbox = PhysAddr(number(entry, 8, 8)?);
        // A version that claims a reset vector and has no room for one is damaged, not older.
        let reset_vector =
            if version >= VERSION_WITH_RESET.into() { Some(PhysAddr(number(entry, 16, 8)?)) } else { None };
        Some(Self { mailbox, reset_vector })
    }
}

/// The entries of a MADT, in their order. After an entry of a wrong length nothing behind it can be trusted: the list
/// ends there with [`AcpiError::BadEntry`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    madt: &'a [u8],
    offset: usize,
}

impl<'a> Entries<'a> {
    /// The entries of a MADT whose checksum was checked.
    #[must_use]
    pub const fn new(madt: &'a [u8]) -> Self {
        Self { madt, offset: ENTRIES }
    }

    /// The bytes of the next entry, and steps over them.
    fn bytes(&mut self) -> Option<Result<(&'a [u8], Entry), AcpiError>> {
        let rest = self.madt.get(self.offset..).filter(|rest| !rest.is_empty())?;
        let bad = AcpiError::BadEntry { offset: self.offset };
        let len_bytes = rest.get(1).map_or(0, |&len| usize::from(len));
        let entry = rest.get(..len_bytes).filter(|entry| entry.len() >= 2);
        let parsed = entry.and_then(|bytes| Some((bytes, parse(bytes)?))).ok_or(bad);
        self.offset = if parsed.is_ok() { self.offset + len_bytes } else { self.madt.len() };
        Some(parsed)
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, AcpiError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.bytes()?.map(|(_, entry)| entry))
    }
}

/// An entry of at least two bytes; `None` if it is too short for its type.
fn parse(entry: &[u8]) -> Option<Entry> {
    let cpu = |id: u64, flags: u32| {
        let presence = if flags & ENABLED == 0 { Presence::Disabled } else { Presence::Enabled };
        Some(Entry::Cpu { apic_id: ApicId(u32::try_from(id).ok()?), presence })
    };
    match *entry.first()? {
        LOCAL_APIC => cpu(number(entry, 3, 1)?, number32(entry, 4)?),
        LOCAL_X2APIC => cpu(number(entry, 4, 4)?, number32(entry, 8)?),
        WAKEUP => Wakeup::parse(entry).map(Entry::Wakeup),
        kind => Some(Entry::Other { kind }),
    }
}

/// The APIC ids of the CPUs that can be used, in the order of the table; the first is usually the boot CPU's.
pub fn enabled_cpus(madt: &[u8]) -> impl Iterator<Item = Result<ApicId, AcpiError>> + Clone + '_ {
    Entries::new(madt).filter_map(|entry| match entry {
        Ok(Entry::Cpu { apic_id, presence: Presence::Enabled }) => Some(Ok(apic_id)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// The mailbox of a MADT, if it has one.
///
/// # Errors
/// [`AcpiError::BadEntry`] for an entry before it.
pub fn wakeup(madt: &[u8]) -> Result<Option<Wakeup>, AcpiError> {
    for entry in Entries::new(madt) {
        if let Entry::Wakeup(wakeup) = entry? {
            return Ok(Some(wakeup));
        }
    }
    Ok(None)
}

/// Writes a MADT that says of the machine what `firmware`'s says, but for two things: of the CPUs only those that `keep`
/// lets pass are in it, and the mailbox is `wakeup`.
///
/// # Errors
/// [`AcpiError::NotATable`] or [`AcpiError::BadEntry`] if firmware's is damaged; [`AcpiError::NoRoom`].
pub fn write<'b>(
    buffer: &'b mut [u8],
    firmware: &[u8],
    wakeup: &Wakeup,
    mut keep: impl FnMut(ApicId) -> bool,
) -> Result<&'b [u8], AcpiError> {
    let damaged = AcpiError::NotATable { wanted: Signature::MADT };
    let firmware = table::check(firmware, Signature::MADT)?;
    let revision = *firmware.get(REVISION).ok_or(damaged)?;
    let mut writer = TableWriter::new(buffer, Signature::MADT, revision)?;
    writer.put(firmware.get(HEADER_BYTES..ENTRIES).ok_or(damaged)?)?;
    let mut entries = Entries::new(firmware);
    while let Some(entry) = entries.bytes() {
        let (bytes, entry) = entry?;
        match entry {
            Entry::Cpu { apic_id, .. } if !keep(apic_id) => {}
            Entry::Wakeup(_) => {}
            _ => writer.put(bytes)?,
        }
    }
    wakeup.put(&mut writer)?;
    writer.finish()
}
