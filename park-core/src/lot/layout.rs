//! Where everything lies in a lot of a given number of bays, and how large it is.

use super::{bay, header};
use crate::{Error, ErrorKind};

/// Bytes of a page.
pub const PAGE_SIZE: u64 = 4096;
/// Bytes that a page-directory entry covers.
const LARGE_PAGE: u64 = 2 << 20;
/// Bytes of the region for bay code.
pub const CODE_LEN: u64 = PAGE_SIZE;
/// Offset of the lot's five-level root: behind the header, the bay code and the IDTs. Bay code that a CPU enters through the
/// reset vector has no other way to know it: the header is not mapped there yet.
pub const ROOT5_OFFSET: u64 = header::CODE_OFFSET + CODE_LEN + PAGE_SIZE;
/// Offset of its four-level root.
pub const ROOT4_OFFSET: u64 = ROOT5_OFFSET + PAGE_SIZE;
/// The most bays that a lot may have.
pub const BAYS_MAX: u32 = 8192;

/// The shape of a lot.
///
/// header page, bay code, tables (IDTs, the lot's page tables, the departure map), bays.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Layout {
    /// Number of bays.
    pub bay_count: u32,
    /// Distance between bays: 512 bytes, or the widest monitor line if that is more.
    pub bay_stride: u64,
    /// Page tables of the last level that the lot needs, wherever it lies.
    pub leaf_tables: u64,
}

impl Layout {
    /// Lays out a lot of `bay_count` bays for monitor lines of at most `monitor_line_len` bytes (CPUID.5 EBX).
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] for 0 or more than 8192 bays, or a monitor line over 4096 bytes.
    pub const fn new(bay_count: u32, monitor_line_len: u64) -> Result<Self, Error> {
        if bay_count == 0 || bay_count > BAYS_MAX {
            return Err(Error::new(ErrorKind::NotSupported, "a lot has 1 to 8192 bays").found(bay_count as u64));
        }
        if monitor_line_len > PAGE_SIZE {
            return Err(
                Error::new(ErrorKind::NotSupported, "the monitor line is wider than a page").found(monitor_line_len)
            );
        }
        let wide = monitor_line_len.next_power_of_two();
        let bay_stride = if wide > bay::LEN { wide } else { bay::LEN };
        // The number of leaf tables decides the size, and the size the number: two rounds settle it.
        let mut layout = Self { bay_count, bay_stride, leaf_tables: 2 };
        let mut round = 0;
        while round < 2 {
            // A region of n bytes touches at most ceil(n / 2 MiB) + 1 naturally aligned 2 MiB pages.
            layout.leaf_tables = layout.total_len().div_ceil(LARGE_PAGE) + 1;
            round += 1;
        }
        Ok(layout)
    }

    /// Offset of the tables.
    #[must_use]
    pub const fn tables_offset(&self) -> u64 {
        header::CODE_OFFSET + CODE_LEN
    }

    /// Pages of the tables: IDTs 1; lot PML5, PML4, PDPT, 3 page directories (the lot may straddle a GiB boundary,
    /// the mailbox may lie in a third), its leaf tables and one for the mailbox; departure map PML5, PML4, PDPT,
    /// 4 page directories, and leaf tables where the lot lies.
    #[must_use]
    pub const fn tables_pages(&self) -> u64 {
        1 + 6 + self.leaf_tables + 1 + 7 + self.leaf_tables
    }

    /// Offset of the first bay, a multiple of the stride.
    #[must_use]
    pub const fn bay_offset(&self) -> u64 {
        self.tables_offset() + self.tables_pages() * PAGE_SIZE
    }

    /// Bytes of the lot, a multiple of the page size.
    #[must_use]
    pub const fn total_len(&self) -> u64 {
        let len = self.bay_offset() + self.bay_count as u64 * self.bay_stride;
        len.next_multiple_of(PAGE_SIZE)
    }
}

const _: () = {
    // At most 96 KiB beside the bays at 1024 bays.
    let Ok(layout) = Layout::new(1024, 64) else { panic!() };
    assert!(layout.bay_stride == 512);
    assert!(layout.total_len() - 1024 * 512 <= 96 << 10);
};
