//! A lot built by hand: header, something in place of code and tables, bays.

use park_core::lot::{self, LeaseState, LeaseWord, Lot, PAGE_SIZE, bay, header};
use park_core::{Generation, LotMemory, PhysAddr, PlatformError};

/// Where the lot is.
pub(crate) const AT: PhysAddr = PhysAddr(0x10_0000);

/// A lot's memory.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Memory(pub(crate) Vec<u64>);

impl Memory {
    fn slot(&mut self, offset: u64) -> Result<&mut u64, PlatformError> {
        let error = PlatformError::OutOfBounds { offset };
        if offset % 8 != 0 {
            return Err(error);
        }
        self.0.get_mut((offset / 8) as usize).ok_or(error)
    }

    pub(crate) fn put(&mut self, offset: u64, value: u64) {
        self.store(offset, value).expect("test offset");
    }

    pub(crate) fn get(&mut self, offset: u64) -> u64 {
        self.load(offset).expect("test offset")
    }

    /// Makes the header's CRC right again.
    pub(crate) fn seal(&mut self) {
        let crc = lot::header_checksum(self).expect("header");
        let len = self.get(header::LEN_CRC) as u32;
        self.put(header::LEN_CRC, u64::from(len) | u64::from(crc) << 32);
    }

    pub(crate) fn set_lease(&mut self, state: LeaseState, generation: Generation) {
        self.put(header::LEASE, LeaseWord { state, generation }.raw());
    }

    pub(crate) fn lot(&mut self) -> Lot {
        lot::verify(self, AT).expect("the lot is sound")
    }
}

impl LotMemory for Memory {
    fn len(&self) -> u64 {
        self.0.len() as u64 * 8
    }
    fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
        self.slot(offset).copied()
    }
    fn store(&mut self, offset: u64, value: u64) -> Result<(), PlatformError> {
        *self.slot(offset)? = value;
        Ok(())
    }
    fn compare_exchange(&mut self, offset: u64, current: u64, new: u64) -> Result<u64, PlatformError> {
        let slot = self.slot(offset)?;
        let found = *slot;
        if found == current {
            *slot = new;
        }
        Ok(found)
    }
}

/// A lot of `bays` bays, as its builder leaves it: all free, generation 1 holds it.
pub(crate) fn build(bays: u32) -> Memory {
    let (code, tables) = (header::CODE_OFFSET, header::CODE_OFFSET + PAGE_SIZE);
    let bay_offset = tables + PAGE_SIZE;
    let total_len = (bay_offset + u64::from(bays) * bay::LEN).next_multiple_of(PAGE_SIZE);
    let mut memory = Memory(vec![0; (total_len / 8) as usize]);
    for (index, offset) in (code..bay_offset).step_by(8).enumerate() {
        memory.put(offset, 0x0123_4567_89ab_cdef_u64.wrapping_mul(index as u64 + 1));
    }
    let pair = |low: u64, high: u64| low | high << 32;
    memory.put(header::MAGIC_OFFSET, header::MAGIC);
    memory.put(header::LEN_CRC, header::HEADER_LEN.into());
    memory.put(header::INCOMPAT_BAYS, pair(0, bays.into()));
    memory.put(header::TOTAL_LEN, total_len);
    memory.put(header::SELF_PHYS, AT.0);
    memory.put(header::BAY_OFFSET, bay_offset);
    memory.put(header::BAY_STRIDE, bay::LEN);
    memory.put(header::BAY_MASK, !(bay::LEN - 1));
    memory.put(header::CODE, pair(code, PAGE_SIZE));
    memory.put(header::TABLES, pair(tables, PAGE_SIZE));
    memory.put(header::ENTRY_POINTS, pair(code + 0x100, code + 0x200));
    let code_crc = lot::checksum(&mut memory, code, PAGE_SIZE).expect("code");
    let tables_crc = lot::checksum(&mut memory, tables, PAGE_SIZE).expect("tables");
    memory.put(header::CRCS, pair(code_crc.into(), tables_crc.into()));
    memory.put(header::LEASE, header::first_lease().raw());
    memory.seal();
    memory
}
