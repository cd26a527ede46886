//! Boot parameters, the "zero page": what the kernel is told.

use park_core::PhysAddr;

use super::LinuxError;
use super::bzimage::{BzImage, SETUP_SECTORS};
use super::map::LinuxMap;
use crate::linux::File;

/// Bytes of boot parameters (bootparam.h, `struct boot_params`).
pub const BYTES: usize = 4096;
/// Entries that the memory map in them holds (`E820_MAX_ENTRIES_ZEROPAGE`).
pub const MAP_ENTRIES_MAX: usize = 128;

/// Offsets (bootparam.h, and Documentation/arch/x86/zero-page.rst).
const ACPI_RSDP: usize = 0x70;
const MAP_ENTRIES: usize = 0x1e8;
const LOADER: usize = 0x210;
const INITRD_AT: usize = 0x218;
const INITRD_BYTES: usize = 0x21c;
const COMMAND_LINE: usize = 0x228;
const MAP: usize = 0x2d0;
/// Bytes of an entry of the map: address, length, type.
const MAP_ENTRY_BYTES: usize = 20;
/// A loader that no list knows (boot.rst, `type_of_loader`).
const LOADER_UNKNOWN: u8 = 0xff;

/// What the kernel is told, beside what its own header says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BootParams<'a> {
    /// The kernel.
    pub kernel: &'a BzImage<'a>,
    /// Where its command line lies, which ends with a zero.
    pub command_line: PhysAddr,
    /// The initrd.
    pub initrd: Option<File>,
    /// The RSDP: not firmware's.
    pub rsdp: PhysAddr,
    /// The memory map.
    pub map: &'a LinuxMap,
}

impl BootParams<'_> {
    /// The boot parameters.
    ///
    /// # Errors
    /// [`LinuxError::LongMap`]; [`LinuxError::NotInMemory`] for an address that the kernel's fields can't hold.
    pub fn encode(&self) -> Result<[u8; BYTES], LinuxError> {
        let mut page = [0; BYTES];
        let mut put = |offset: usize, bytes: &[u8]| {
            // No offset is input's: the header's length and the map's are bounded.
            if let Some(field) = page.get_mut(offset..offset + bytes.len()) {
                field.copy_from_slice(bytes);
            }
        };
        put(SETUP_SECTORS, self.kernel.header);
        put(ACPI_RSDP, &self.rsdp.0.to_le_bytes());
        put(LOADER, &[LOADER_UNKNOWN]);
        let low = |value: u64, file: Option<File>| {
            let region = file.map(|file| file.region("initrd"));
            let region = region.unwrap_or(crate::memory::Region {
                name: "command line",
                start: self.command_line,
                len_bytes: 0,
            });
            u32::try_from(value).map_err(|_| LinuxError::NotInMemory { region })
        };
        put(COMMAND_LINE, &low(self.command_line.0, None)?.to_le_bytes());
        if let Some(initrd) = self.initrd {
            put(INITRD_AT, &low(initrd.at.0, self.initrd)?.to_le_bytes());
            put(INITRD_BYTES, &low(initrd.len_bytes, self.initrd)?.to_le_bytes());
        }
        let mut count: u8 = 0;
        for range in self.map.ranges() {
            let offset = MAP + usize::from(count) * MAP_ENTRY_BYTES;
            if usize::from(count) == MAP_ENTRIES_MAX {
                return Err(LinuxError::LongMap);
            }
            put(offset, &range.start.0.to_le_bytes());
            put(offset + 8, &range.len_bytes.to_le_bytes());
            put(offset + 16, &range.kind.to_le_bytes());
            count += 1;
        }
        put(MAP_ENTRIES, &[count]);
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::bzimage::tests::file;
    use crate::pvh::MemoryRange;

    fn map(entries: usize) -> LinuxMap {
        let range = |index: u64| MemoryRange { start: PhysAddr(index << 20), len_bytes: 0x1000, kind: 2 };
        LinuxMap::new((0..entries as u64).map(range), &[]).unwrap()
    }

    #[test]
    fn the_kernel_finds_everything_where_its_header_says() {
        let (file, map) = (file(64), map(2));
        let kernel = BzImage::parse(&file).unwrap();
        let initrd = Some(File { at: PhysAddr(0xa00_0000), len_bytes: 0x1234 });
        let whole =
            BootParams { kernel: &kernel, command_line: PhysAddr(0x3000), initrd, rsdp: PhysAddr(0x77), map: &map };
        let page = whole.encode().unwrap();
        // Offsets of Documentation/arch/x86/zero-page.rst, as numbers: the code's own names could be wrong with it.
        assert_eq!(page[0x70..0x78], 0x77_u64.to_le_bytes());
        assert_eq!((page[0x1e8], page[0x210], &page[0x202..0x206]), (2, 0xff, &b"HdrS"[..]));
        assert_eq!(page[0x218..0x220], [[0, 0, 0, 0x0a], [0x34, 0x12, 0, 0]].concat());
        assert_eq!(page[0x228..0x22c], 0x3000_u32.to_le_bytes());
        assert_eq!(page[0x2d0 + 20..0x2d0 + 28], (1_u64 << 20).to_le_bytes());
        assert_eq!((page[0x2d0 + 36], &page[0x2d0 + 40..0x300]), (2, &[0; 8][..]));
        let without = BootParams { initrd: None, ..whole }.encode().unwrap();
        assert_eq!(without[0x218..0x220], [0; 8]);
    }

    #[test]
    fn a_full_map_fits_and_addresses_beyond_32_bits_do_not() {
        let (file, map) = (file(64), map(MAP_ENTRIES_MAX));
        let kernel = BzImage::parse(&file).unwrap();
        let whole =
            BootParams { kernel: &kernel, command_line: PhysAddr(1), initrd: None, rsdp: PhysAddr(1), map: &map };
        assert_eq!(whole.encode().unwrap()[0x1e8], 128);
        let far = BootParams { command_line: PhysAddr(1 << 32), ..whole };
        assert!(matches!(far.encode(), Err(LinuxError::NotInMemory { .. })));
        let initrd = Some(File { at: PhysAddr(1 << 32), len_bytes: 1 });
        let error = BootParams { initrd, ..whole }.encode().unwrap_err();
        assert!(error.to_string().contains("initrd"), "{error}");
    }
}
