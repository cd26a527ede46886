//! Reading a lot that may be damaged, for people who look at one: every damage is told, and what can be read is read.

use super::verify::{check_shape, checksum, decode, halves, header_checksum};
use super::{BayView, Doorbell, Header, Incompat, LeaseWord, PAGE_SIZE, bay, header, layout};
use crate::{Error, ErrorKind, LotMemory, PhysAddr};

/// What could be read of a lot. Nothing of it has to be true: it is to be shown, not used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Inspected {
    /// The header as it stands there.
    pub header: Header,
    /// The lease, if its word is whole.
    pub lease: Option<LeaseWord>,
    /// How many bays, from the first one on, lie within the memory; 0 if the header says impossible things of them.
    pub bays: u32,
}

impl Inspected {
    /// Offset of a bay, if it lies within the memory that was inspected.
    #[must_use]
    pub const fn bay(&self, index: u32) -> Option<u64> {
        if index < self.bays { Some(self.header.bay_offset + index as u64 * self.header.bay_stride) } else { None }
    }
}

/// Reads a lot at physical address `at` as far as it can be read, and tells `damage` what is wrong, in the order in which
/// [`verify`](super::verify()) would find it: where `verify` succeeds, nothing is told.
///
/// `None` if there is no header page or no magic number; nothing else can be said then.
pub fn inspect<M: LotMemory + ?Sized>(
    memory: &mut M,
    at: PhysAddr,
    mut damage: impl FnMut(Error),
) -> Option<Inspected> {
    match read(memory, at, &mut damage) {
        Ok(inspected) => inspected,
        Err(error) => {
            damage(error);
            None
        }
    }
}

fn bad(what: &'static str, offset: u64, value: u64) -> Error {
    Error::new(ErrorKind::AbiMismatch, what).at(offset).found(value)
}

fn read<M: LotMemory + ?Sized>(
    memory: &mut M,
    at: PhysAddr,
    damage: &mut impl FnMut(Error),
) -> Result<Option<Inspected>, Error> {
    if memory.len() < PAGE_SIZE {
        damage(bad("the lot is truncated: not even its header page is there", 0, memory.len()));
        return Ok(None);
    }
    let magic = memory.load(header::MAGIC_OFFSET)?;
    if magic != header::MAGIC {
        damage(bad("there is no lot here: wrong magic number", header::MAGIC_OFFSET, magic));
        return Ok(None);
    }
    let (header_len, header_crc) = halves(memory.load(header::LEN_CRC)?);
    if !(header::HEADER_LEN..=header::LEASE as u32).contains(&header_len) {
        damage(bad("the header's length is impossible", header::LEN_CRC, header_len.into()));
    }
    if header_checksum(memory)? != header_crc {
        damage(bad("the header is damaged: wrong CRC", header::LEN_CRC + 4, header_crc.into()));
    }
    let (incompat, bay_count) = halves(memory.load(header::INCOMPAT_BAYS)?);
    let unknown = incompat & !Incompat::all().bits();
    if unknown != 0 {
        damage(bad("the lot has features that this version must not touch", header::INCOMPAT_BAYS, unknown.into()));
    }
    let header = decode(memory, bay_count)?;
    if header.self_phys != at {
        let error = Error::new(ErrorKind::InvalidAddress, "the lot was built for another physical address");
        damage(error.at(header::SELF_PHYS).found(header.self_phys.0));
    }
    if let Err(error) = check_shape(&header, memory.len()) {
        damage(error);
    }
    let (code_crc, tables_crc) = halves(memory.load(header::CRCS)?);
    let code = (header.code_offset, header.code_len, code_crc, "the bay code is damaged: wrong CRC");
    let tables = (header.tables_offset, header.tables_len, tables_crc, "the lot's tables are damaged: wrong CRC");
    for (offset, len, crc, what) in [code, tables] {
        // Where they lie outside, the shape is impossible, or the lot truncated: that is told.
        let (offset, len) = (u64::from(offset), u64::from(len));
        let inside = offset % 8 == 0 && len % 8 == 0 && offset + len <= memory.len();
        if inside {
            let found = checksum(memory, offset, len)?;
            if found != crc {
                damage(bad(what, offset, found.into()));
            }
        }
    }
    let raw = memory.load(header::LEASE)?;
    let lease = LeaseWord::from_raw(raw);
    if lease.is_none() {
        damage(bad("the lease word is damaged", header::LEASE, raw));
    }
    let inspected = Inspected { header, lease, bays: bays_within(&header, memory.len()) };
    for index in 0..inspected.bays {
        let Some(base) = inspected.bay(index) else { break };
        let view = view(memory, base)?;
        if view.state().is_none() {
            damage(bad("a bay's words are damaged", base + bay::OWNER, view.owner));
        }
    }
    Ok(Some(inspected))
}

/// How many bays lie within `len` bytes.
fn bays_within(header: &Header, len: u64) -> u32 {
    let stride = header.bay_stride;
    let possible = stride.is_power_of_two() && (bay::LEN..=PAGE_SIZE).contains(&stride);
    let possible = possible && header.bay_offset % stride == 0 && header.bay_count <= layout::BAYS_MAX;
    match len.checked_sub(header.bay_offset) {
        Some(room) if possible => header.bay_count.min(u32::try_from(room / stride).unwrap_or(u32::MAX)),
        _ => 0,
    }
}

fn view<M: LotMemory + ?Sized>(memory: &mut M, base: u64) -> Result<BayView, Error> {
    Ok(BayView {
        owner: memory.load(base + bay::OWNER)?,
        identity: memory.load(base + bay::IDENTITY)?,
        stage: memory.load(base + bay::STAGE)?,
        doorbell: Doorbell(memory.load(base + bay::DOORBELL)?),
    })
}
