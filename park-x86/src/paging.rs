//! Page tables in caller-given memory: the lot's own roots, its departure map, and transit roots.
//!
//! Accessed and dirty bits are set beforehand, so that a CPU never writes to a table: the lot's tables stay as their
//! CRC says. Everything is write-back (PAT entry 0) and supervisor-only. Intel SDM vol. 3, "Paging"; AMD APM vol. 2,
//! "Page Translation and Protection".

use park_core::lot::PAGE_SIZE;
use park_core::{Error, ErrorKind, LotMemory, PhysAddr};

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
/// Bits 51:12 of an entry: a physical address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Bytes that an entry of a page directory covers.
pub const LARGE_PAGE_SIZE: u64 = 2 << 20;
/// Linear-address bits below the index into a PML4.
const PML4_SHIFT: u32 = 39;
/// Linear-address bits below the index into a PML5.
const PML5_SHIFT: u32 = 48;

/// What code may do with a page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Permission {
    /// Read only, no execution.
    Read,
    /// Read and execute.
    ReadExecute,
    /// Read and write.
    ReadWrite,
    /// Everything: for an owner that maps its kernel so.
    ReadWriteExecute,
}

impl Permission {
    const fn bits(self) -> u64 {
        match self {
            Self::Read => NO_EXECUTE,
            Self::ReadExecute => 0,
            Self::ReadWrite => WRITABLE | DIRTY | NO_EXECUTE,
            Self::ReadWriteExecute => WRITABLE | DIRTY,
        }
    }
}

/// Linear addresses that map to physical ones, with one permission.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mapping {
    /// First linear address, a multiple of the page size.
    pub linear: u64,
    /// First physical address, a multiple of the page size.
    pub phys: PhysAddr,
    /// Bytes, a multiple of the page size.
    pub len: u64,
    /// What is allowed.
    pub permission: Permission,
}

impl Mapping {
    /// Maps `len` bytes at `phys` at their own address.
    #[must_use]
    pub const fn identity(phys: PhysAddr, len: u64, permission: Permission) -> Self {
        Self { linear: phys.0, phys, len, permission }
    }
}

/// A table, by its offset in the memory that holds the tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Table(u64);

/// Page tables under construction in a region of zeroed pages.
#[derive(Debug)]
pub struct PageTables<'m, M: ?Sized> {
    memory: &'m mut M,
    offset: u64,
    phys: PhysAddr,
    pages: u64,
    used: u64,
    encryption_mask: u64,
}

impl<'m, M: LotMemory + ?Sized> PageTables<'m, M> {
    /// Builds tables in the `pages` pages at `offset` of `memory`, which lie at physical address `phys`; zeroes them.
    ///
    /// # Errors
    /// [`ErrorKind::Platform`] if the memory is smaller.
    pub fn new(
        memory: &'m mut M,
        offset: u64,
        phys: PhysAddr,
        pages: u64,
        encryption_mask: u64,
    ) -> Result<Self, Error> {
        for word in (offset..offset + pages * PAGE_SIZE).step_by(8) {
            memory.store(word, 0)?;
        }
        Ok(Self { memory, offset, phys, pages, used: 0, encryption_mask })
    }

    /// Takes an empty table.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidAddress`] if the region is used up.
    pub fn table(&mut self) -> Result<Table, Error> {
        if self.used == self.pages {
            return Err(
                Error::new(ErrorKind::InvalidAddress, "the region for page tables is too small").found(self.pages)
            );
        }
        self.used += 1;
        Ok(Table(self.offset + (self.used - 1) * PAGE_SIZE))
    }

    /// The value of CR3 for a root table.
    #[must_use]
    pub const fn cr3(&self, root: Table) -> u64 {
        (self.phys.0 + root.0 - self.offset) | self.encryption_mask
    }

    /// Makes `pml4` the 256 TiB around `linear` of the five-level root `pml5`.
    ///
    /// # Errors
    /// [`ErrorKind::Platform`].
    pub fn hang(&mut self, pml5: Table, pml4: Table, linear: u64) -> Result<(), Error> {
        let entry = self.link(pml4);
        Ok(self.memory.store(slot(pml5, linear, PML5_SHIFT), entry)?)
    }

    /// Adds a mapping of 4 KiB pages below `pml4`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidAddress`] for an unaligned mapping, one over a large page, or too few table pages.
    pub fn map(&mut self, pml4: Table, mapping: &Mapping) -> Result<(), Error> {
        check(mapping, PAGE_SIZE)?;
        for done in (0..mapping.len).step_by(PAGE_SIZE as usize) {
            let linear = mapping.linear + done;
            let table = self.walk(pml4, linear, 3)?;
            let entry = (mapping.phys.0 + done) | self.encryption_mask | PRESENT | ACCESSED | mapping.permission.bits();
            self.memory.store(slot(table, linear, 12), entry)?;
        }
        Ok(())
    }

    /// Adds a mapping of 2 MiB pages below `pml4`.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn map_large(&mut self, pml4: Table, mapping: &Mapping) -> Result<(), Error> {
        check(mapping, LARGE_PAGE_SIZE)?;
        for done in (0..mapping.len).step_by(LARGE_PAGE_SIZE as usize) {
            let linear = mapping.linear + done;
            let table = self.walk(pml4, linear, 2)?;
            let entry =
                (mapping.phys.0 + done) | self.encryption_mask | PRESENT | ACCESSED | LARGE | mapping.permission.bits();
            self.memory.store(slot(table, linear, 21), entry)?;
        }
        Ok(())
    }

    /// The table `depth` links below `pml4` (3: page table, 2: page directory), with the links made where missing.
    fn walk(&mut self, pml4: Table, linear: u64, depth: u32) -> Result<Table, Error> {
        let mut table = pml4;
        for step in 0..depth {
            let slot = slot(table, linear, PML4_SHIFT - 9 * step);
            let entry = self.memory.load(slot)?;
            table = if entry & PRESENT == 0 {
                let below = self.table()?;
                let link = self.link(below);
                self.memory.store(slot, link)?;
                below
            } else if entry & LARGE != 0 {
                return Err(Error::new(ErrorKind::InvalidAddress, "a large page is mapped there already").found(linear));
            } else {
                Table((entry & ADDRESS & !self.encryption_mask) - self.phys.0 + self.offset)
            };
        }
        Ok(table)
    }

    const fn link(&self, table: Table) -> u64 {
        self.cr3(table) | PRESENT | WRITABLE | ACCESSED
    }
}

const fn slot(table: Table, linear: u64, shift: u32) -> u64 {
    table.0 + (linear >> shift & 511) * 8
}

fn check(mapping: &Mapping, page: u64) -> Result<(), Error> {
    if (mapping.linear | mapping.phys.0 | mapping.len) % page != 0 {
        return Err(
            Error::new(ErrorKind::InvalidAddress, "a mapping is not a multiple of its page size").found(mapping.linear)
        );
    }
    if mapping.linear.checked_add(mapping.len).is_none() && mapping.linear.wrapping_add(mapping.len) != 0 {
        return Err(Error::new(ErrorKind::InvalidAddress, "a mapping wraps").found(mapping.linear));
    }
    Ok(())
}
