//! A bzImage: a real-mode part that nobody runs any more, with the header in it, and the kernel.

use park_core::PhysAddr;

use super::{LinuxError, u32_at};
use crate::memory::Region;

/// Where the header's fields lie in the file, and in boot parameters (boot.rst, "The Real-Mode Kernel Header").
pub(super) const SETUP_SECTORS: usize = 0x1f1;
const PARAGRAPHS: usize = 0x1f4;
const JUMP_DISTANCE: usize = 0x201;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const INITRD_MAX: usize = 0x22c;
const LOAD_FLAGS_64: usize = 0x236;
const COMMAND_LINE_MAX: usize = 0x238;
const PREFERRED: usize = 0x258;
const INIT_BYTES: usize = 0x260;
/// The shortest header with all of these.
const HEADER_END_MIN: usize = 0x264;
/// The header ends in front of what boot parameters have next, the EDD buffer (bootparam.h, `struct boot_params`).
const HEADER_END_MAX: usize = 0x290;
/// `HdrS`.
const MAGIC_HDRS: u32 = u32::from_le_bytes(*b"HdrS");
/// The first version with a 64-bit entry (boot.rst, protocol 2.12).
const VERSION_MIN: u16 = 0x20c;
/// XLF_KERNEL_64: the kernel has an entry at [`ENTRY64`].
const HAS_ENTRY64: u8 = 1;
/// The 64-bit entry, from the kernel's first byte (boot.rst, "64-bit Boot Protocol").
pub const ENTRY64: u64 = 0x200;
const SECTOR_BYTES: u64 = 512;
/// A header that says 0 sectors means this many.
const SECTORS_DEFAULT: u8 = 4;
const PARAGRAPH_BYTES: u64 = 16;

/// A kernel whose header and length were checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BzImage<'a> {
    /// The header, from its field `setup_sects` (1F1h in the file) on.
    pub header: &'a [u8],
    /// What goes to memory.
    pub kernel: &'a [u8],
    /// Version of the boot protocol.
    pub version: u16,
    /// Where the kernel wants to lie.
    pub preferred: PhysAddr,
    /// Bytes from there that it needs to unpack itself.
    pub init_bytes: u64,
    /// The last address that the initrd may have.
    pub initrd_max: PhysAddr,
    /// Bytes that its command line may have, without the zero.
    pub command_line_max: usize,
}

impl<'a> BzImage<'a> {
    /// Parses a file.
    ///
    /// # Errors
    /// [`LinuxError`] says what is wrong with it.
    pub fn parse(file: &'a [u8]) -> Result<Self, LinuxError> {
        let len_bytes = file.len() as u64;
        let no_header = LinuxError::NoHeader { len_bytes };
        let word = |offset| u32_at(file, offset).ok_or(no_header);
        let byte = |offset: usize| file.get(offset).copied().ok_or(no_header);
        let found = word(MAGIC)?;
        if found != MAGIC_HDRS {
            return Err(LinuxError::NotBzImage { found });
        }
        let version = word(VERSION)? as u16;
        if version < VERSION_MIN {
            return Err(LinuxError::OldProtocol { version });
        }
        if byte(LOAD_FLAGS_64)? & HAS_ENTRY64 == 0 {
            return Err(LinuxError::No64BitEntry);
        }
        // The jump over the header says where it ends; never trusted beyond what boot parameters have room for.
        let header_end = (MAGIC + usize::from(byte(JUMP_DISTANCE)?)).clamp(HEADER_END_MIN, HEADER_END_MAX);
        let header = file.get(SETUP_SECTORS..header_end).ok_or(no_header)?;
        let sectors = match byte(SETUP_SECTORS)? {
            0 => SECTORS_DEFAULT,
            sectors => sectors,
        };
        // The boot sector comes before those that are counted.
        let setup_bytes = (u64::from(sectors) + 1) * SECTOR_BYTES;
        let kernel_bytes = u64::from(word(PARAGRAPHS)?) * PARAGRAPH_BYTES;
        let wanted_bytes = setup_bytes + kernel_bytes;
        let init_bytes = u64::from(word(INIT_BYTES)?);
        // What is behind the kernel, as a signature, is of no interest.
        let range = usize::try_from(setup_bytes).ok().zip(usize::try_from(wanted_bytes).ok());
        let kernel = range.and_then(|(start, end)| file.get(start..end));
        let kernel = kernel.ok_or(LinuxError::Truncated { len_bytes, wanted_bytes })?;
        if init_bytes < kernel_bytes || kernel_bytes <= ENTRY64 {
            return Err(LinuxError::BadInitSize { init_bytes, kernel_bytes });
        }
        Ok(Self {
            header,
            kernel,
            version,
            preferred: PhysAddr(u64::from(word(PREFERRED)?) | u64::from(word(PREFERRED + 4)?) << 32),
            init_bytes,
            initrd_max: PhysAddr(word(INITRD_MAX)?.into()),
            command_line_max: word(COMMAND_LINE_MAX)? as usize,
        })
    }

    /// What the kernel needs, where it wants to lie; `None` if that is beyond the end of memory.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        let len_bytes = self.init_bytes.checked_next_multiple_of(crate::memory::PAGE_BYTES)?;
        self.preferred.checked_add(len_bytes)?;
        Some(Region { name: "kernel", start: self.preferred, len_bytes })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::vec::Vec;

    /// A bzImage with one setup sector and `paragraphs` of kernel, each byte of which is 0x90.
    pub(crate) fn file(paragraphs: u32) -> Vec<u8> {
        let mut file = std::vec![0; 1024];
        file.resize(1024 + paragraphs as usize * 16, 0x90);
        let mut put = |offset: usize, bytes: &[u8]| file[offset..offset + bytes.len()].copy_from_slice(bytes);
        put(SETUP_SECTORS, &[1]);
        put(PARAGRAPHS, &paragraphs.to_le_bytes());
        put(JUMP_DISTANCE, &[0x6a]);
        put(MAGIC, b"HdrS");
        put(VERSION, &0x20f_u16.to_le_bytes());
        put(INITRD_MAX, &0x7fff_ffff_u32.to_le_bytes());
        put(LOAD_FLAGS_64, &[0x3f]);
        put(COMMAND_LINE_MAX, &2047_u32.to_le_bytes());
        put(PREFERRED, &0x100_0000_u64.to_le_bytes());
        put(INIT_BYTES, &0x40_0000_u32.to_le_bytes());
        file
    }

    fn changed(offset: usize, bytes: &[u8]) -> Result<(), LinuxError> {
        let mut file = file(64);
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        BzImage::parse(&file).map(|_| ())
    }

    #[test]
    fn the_header_says_where_the_kernel_goes() {
        let file = file(64);
        let kernel = BzImage::parse(&file).unwrap();
        assert_eq!((kernel.version, kernel.preferred, kernel.init_bytes), (0x20f, PhysAddr(0x100_0000), 0x40_0000));
        assert_eq!((kernel.initrd_max, kernel.command_line_max), (PhysAddr(0x7fff_ffff), 2047));
        assert_eq!((kernel.kernel.len(), kernel.kernel[0]), (1024, 0x90));
        // To 0x202 + 0x6a.
        assert_eq!(kernel.header.len(), 0x26c - 0x1f1);
        // A signature behind the kernel, and the sectors that 0 stands for.
        let mut signed = file.clone();
        signed.extend_from_slice(&[1; 100]);
        assert_eq!(BzImage::parse(&signed).unwrap().kernel, kernel.kernel);
        let mut old = file;
        old[SETUP_SECTORS] = 0;
        assert_eq!(BzImage::parse(&old), Err(LinuxError::Truncated { len_bytes: 2048, wanted_bytes: 2560 + 1024 }));
    }

    #[test]
    fn what_is_no_kernel_or_not_a_whole_one_is_refused_by_its_cause() {
        assert_eq!(changed(MAGIC, b"hdrs"), Err(LinuxError::NotBzImage { found: u32::from_le_bytes(*b"hdrs") }));
        assert_eq!(changed(VERSION, &[0x0b, 2]), Err(LinuxError::OldProtocol { version: 0x20b }));
        assert_eq!(changed(LOAD_FLAGS_64, &[0x3e]), Err(LinuxError::No64BitEntry));
        let too_small = LinuxError::BadInitSize { init_bytes: 1023, kernel_bytes: 1024 };
        assert_eq!(changed(INIT_BYTES, &1023_u32.to_le_bytes()), Err(too_small));
        assert!(matches!(changed(PARAGRAPHS, &[0xff; 4]), Err(LinuxError::Truncated { .. })));
        assert!(matches!(changed(PARAGRAPHS, &[0; 4]), Err(LinuxError::BadInitSize { .. })));
        // Cut off anywhere: in front of the header's end there is no header, behind it the kernel is not whole.
        let whole = file(64);
        for len in 0..whole.len() {
            let error = BzImage::parse(&whole[..len]).unwrap_err();
            let expected = if len < 0x26c { "header" } else { "truncated" };
            assert!(error.to_string().contains(expected), "{len}: {error}");
        }
    }

    #[test]
    fn no_header_byte_makes_it_panic() {
        for offset in 0x1e0..0x290 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut file = file(64);
                file[offset] = value;
                if let Ok(kernel) = BzImage::parse(&file) {
                    let _ = kernel.region();
                    assert!(kernel.header.len() <= HEADER_END_MAX - SETUP_SECTORS);
                }
            }
        }
        let mut file = file(64);
        file[PREFERRED..PREFERRED + 8].fill(0xff);
        assert_eq!(BzImage::parse(&file).unwrap().region(), None);
    }
}
