//! Reading a lot that somebody else built: every bit of header, code and tables is checked, nothing is written.

use super::{BayView, Crc32, Doorbell, Header, LeaseWord, PAGE_SIZE, bay, header, layout};
use crate::{Error, ErrorKind, LotMemory, PhysAddr};

/// A lot that was verified, or that this kernel built.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Lot {
    header: Header,
}

impl Lot {
    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Offset of the bay with this index.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCpu`] if the lot has no such bay.
    pub const fn bay(&self, index: u32) -> Result<u64, Error> {
        match self.header.bay(index) {
            Some(offset) => Ok(offset),
            None => Err(Error::new(ErrorKind::InvalidCpu, "the lot has no bay of this index").found(index as u64)),
        }
    }

    /// Reads the words of a bay that say its state. Wakes nobody; may be stale at once.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidCpu`] for an index out of range; [`ErrorKind::Platform`].
    pub fn view<M: LotMemory + ?Sized>(&self, memory: &mut M, index: u32) -> Result<BayView, Error> {
        let base = self.bay(index)?;
        Ok(BayView {
            owner: memory.load(base + bay::OWNER)?,
            identity: memory.load(base + bay::IDENTITY)?,
            stage: memory.load(base + bay::STAGE)?,
            doorbell: Doorbell(memory.load(base + bay::DOORBELL)?),
        })
    }

    /// Reads the lease word.
    ///
    /// # Errors
    /// [`ErrorKind::AbiMismatch`] if it is damaged; [`ErrorKind::Platform`].
    pub fn lease<M: LotMemory + ?Sized>(&self, memory: &mut M) -> Result<LeaseWord, Error> {
        let raw = memory.load(header::LEASE)?;
        LeaseWord::from_raw(raw)
            .ok_or(Error::new(ErrorKind::AbiMismatch, "the lease word is damaged").at(header::LEASE).found(raw))
    }
}

/// Checks a lot at physical address `at` through `memory`: header, code, tables, lease word and every bay's words.
///
/// Success does not say that a CPU is in any bay: confirm each one.
///
/// # Errors
/// [`ErrorKind::AbiMismatch`] for a damaged lot or one of an unknown version, with the offset and what was found;
/// [`ErrorKind::InvalidAddress`] if it was built for another address; [`ErrorKind::Platform`].
pub fn verify<M: LotMemory + ?Sized>(memory: &mut M, at: PhysAddr) -> Result<Lot, Error> {
    let bad = |what, offset: u64, value: u64| Error::new(ErrorKind::AbiMismatch, what).at(offset).found(value);
    if memory.len() < PAGE_SIZE {
        return Err(bad("the lot is truncated: not even its header page is there", 0, memory.len()));
    }
    let magic = memory.load(header::MAGIC_OFFSET)?;
    if magic != header::MAGIC {
        return Err(bad("there is no lot here: wrong magic number", header::MAGIC_OFFSET, magic));
    }
    let (header_len, header_crc) = halves(memory.load(header::LEN_CRC)?);
    if !(header::HEADER_LEN..=header::LEASE as u32).contains(&header_len) {
        return Err(bad("the header's length is impossible", header::LEN_CRC, header_len.into()));
    }
    let crc = header_checksum(memory)?;
    if crc != header_crc {
        return Err(bad("the header is damaged: wrong CRC", header::LEN_CRC + 4, header_crc.into()));
    }
    let (incompat, bay_count) = halves(memory.load(header::INCOMPAT_BAYS)?);
    let unknown = incompat & !super::Incompat::all().bits();
    if unknown != 0 {
        return Err(bad(
            "the lot has features that this version must not touch",
            header::INCOMPAT_BAYS,
            unknown.into(),
        ));
    }
    let header = decode(memory, bay_count)?;
    if header.self_phys != at {
        return Err(Error::new(ErrorKind::InvalidAddress, "the lot was built for another physical address")
            .at(header::SELF_PHYS)
            .found(header.self_phys.0));
    }
    check_shape(&header, memory.len())?;
    let (code_crc, tables_crc) = halves(memory.load(header::CRCS)?);
    let crc = checksum(memory, header.code_offset.into(), header.code_len.into())?;
    if crc != code_crc {
        return Err(bad("the bay code is damaged: wrong CRC", header.code_offset.into(), crc.into()));
    }
    let crc = checksum(memory, header.tables_offset.into(), header.tables_len.into())?;
    if crc != tables_crc {
        return Err(bad("the lot's tables are damaged: wrong CRC", header.tables_offset.into(), crc.into()));
    }
    let lot = Lot { header };
    lot.lease(memory)?;
    for index in 0..bay_count {
        let view = lot.view(memory, index)?;
        if view.state().is_none() {
            let offset = lot.bay(index)? + bay::OWNER;
            return Err(bad("a bay's words are damaged", offset, view.owner));
        }
    }
    Ok(lot)
}

/// The CRC of `len` bytes at `offset`, both multiples of 8.
///
/// # Errors
/// [`ErrorKind::Platform`] if the range is out of bounds.
pub fn checksum<M: LotMemory + ?Sized>(memory: &mut M, offset: u64, len: u64) -> Result<u32, Error> {
    let mut crc = Crc32::new();
    for word in (offset..offset + len).step_by(8) {
        crc = crc.word(memory.load(word)?);
    }
    Ok(crc.finish())
}

/// The CRC of the header page with its own field and the lease word taken as 0.
///
/// # Errors
/// [`ErrorKind::Platform`].
pub fn header_checksum<M: LotMemory + ?Sized>(memory: &mut M) -> Result<u32, Error> {
    let mut crc = Crc32::new();
    for offset in (0..PAGE_SIZE).step_by(8) {
        let word = memory.load(offset)?;
        crc = crc.word(match offset {
            header::LEN_CRC => word & u64::from(u32::MAX),
            header::LEASE => 0,
            _ => word,
        });
    }
    Ok(crc.finish())
}

pub(super) const fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

pub(super) fn decode<M: LotMemory + ?Sized>(memory: &mut M, bay_count: u32) -> Result<Header, Error> {
    let (compat, ro_compat) = halves(memory.load(header::FEATURES)?);
    let (code_offset, code_len) = halves(memory.load(header::CODE)?);
    let (tables_offset, tables_len) = halves(memory.load(header::TABLES)?);
    let (enter_offset, repark_offset) = halves(memory.load(header::ENTRY_POINTS)?);
    let mailbox = memory.load(header::MAILBOX)?;
    Ok(Header {
        compat,
        ro_compat,
        total_len: memory.load(header::TOTAL_LEN)?,
        self_phys: PhysAddr(memory.load(header::SELF_PHYS)?),
        bay_offset: memory.load(header::BAY_OFFSET)?,
        bay_stride: memory.load(header::BAY_STRIDE)?,
        bay_count,
        encryption_mask: memory.load(header::ENCRYPTION_MASK)?,
        lot_id: [memory.load(header::LOT_ID)?, memory.load(header::LOT_ID + 8)?],
        code_offset,
        code_len,
        tables_offset,
        tables_len,
        enter_offset,
        repark_offset,
        mailbox: (mailbox != 0).then_some(PhysAddr(mailbox)),
        reset_offset: memory.load(header::RESET)? as u32,
    })
}

/// Parts in bounds, in order, not overlapping; bays aligned to their stride.
pub(super) fn check_shape(header: &Header, mapped_len: u64) -> Result<(), Error> {
    let bad = |what, offset: u64, value: u64| Err(Error::new(ErrorKind::AbiMismatch, what).at(offset).found(value));
    if header.total_len > mapped_len || header.total_len % PAGE_SIZE != 0 {
        return bad("the lot is truncated, or its length is impossible", header::TOTAL_LEN, header.total_len);
    }
    if !header.self_phys.is_aligned(PAGE_SIZE) || header.self_phys.checked_add(header.total_len).is_none() {
        return bad("the lot's address is impossible", header::SELF_PHYS, header.self_phys.0);
    }
    let code_end = u64::from(header.code_offset) + u64::from(header.code_len);
    let tables_end = u64::from(header.tables_offset) + u64::from(header.tables_len);
    if u64::from(header.code_offset) != header::CODE_OFFSET || code_end > u64::from(header.tables_offset) {
        return bad("the bay code overlaps something", header::CODE, header.code_offset.into());
    }
    if tables_end > header.bay_offset
        || header.code_len % 8 != 0
        || header.tables_len % 8 != 0
        || header.tables_offset % 8 != 0
    {
        return bad("the tables overlap something", header::TABLES, header.tables_offset.into());
    }
    if !header.bay_stride.is_power_of_two() || header.bay_stride < bay::LEN || header.bay_stride > PAGE_SIZE {
        return bad("the bays overlap, or their distance is impossible", header::BAY_STRIDE, header.bay_stride);
    }
    let bays_len = u64::from(header.bay_count) * header.bay_stride;
    if header.bay_count == 0
        || header.bay_count > layout::BAYS_MAX
        || header.bay_offset % header.bay_stride != 0
        || header.bay_offset.checked_add(bays_len).is_none_or(|end| end > header.total_len)
    {
        return bad("the bays don't fit into the lot", header::BAY_OFFSET, header.bay_offset);
    }
    let in_code = |offset: u32| (header.code_offset..code_end as u32).contains(&offset);
    if !in_code(header.enter_offset) || !in_code(header.repark_offset) {
        return bad("an entry point lies outside the bay code", header::ENTRY_POINTS, header.enter_offset.into());
    }
    if header.reset_offset != 0 && !in_code(header.reset_offset) {
        return bad("the reset vector lies outside the bay code", header::RESET, header.reset_offset.into());
    }
    Ok(())
}
