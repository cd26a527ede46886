//! What a bzImage says of itself, before anything is made of it.
//!
//! Source: Documentation/arch/x86/boot.rst of Linux, "The Real-Mode Kernel Header"; offsets are into the file.

use core::fmt;

/// `boot_flag`, and what it must be.
const BOOT_FLAG: usize = 0x1fe;
const BOOT_FLAG_VALUE: u16 = 0xaa55;
/// `header`, and what it must be.
const HEADER: usize = 0x202;
const HEADER_VALUE: [u8; 4] = *b"HdrS";
/// `setup_sects`: sectors of the real-mode part behind the first; 0 means 4.
const SETUP_SECTS: usize = 0x1f1;
const SETUP_SECTS_OLD: u64 = 4;
const SECTOR_BYTES: u64 = 512;
/// `syssize`: the protected-mode part, in paragraphs.
const SYSSIZE: usize = 0x1f4;
const PARAGRAPH_BYTES: u64 = 16;
/// `version` of the protocol; 2.12 is the first with `xloadflags`.
const VERSION: usize = 0x206;
const VERSION_OLDEST: u16 = 0x020c;
/// `kernel_version`: where the release is told, counted from [`SECTOR_BYTES`].
const KERNEL_VERSION: usize = 0x20e;
/// `xloadflags`, with the bit for the 64-bit entry at 200h.
const XLOADFLAGS: usize = 0x236;
const XLF_KERNEL_64: u16 = 1;
/// The header ends here at the earliest.
const HEADER_END: usize = 0x264;
/// A release is shorter than this (`__NEW_UTS_LEN` of Linux, with its zero).
const RELEASE_BYTES_MAX: usize = 65;

/// What a bzImage says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BzImage {
    /// The release, as `uname -r` will tell it; empty if the file does not say.
    pub release: String,
    /// The boot protocol's version, as 0x020f.
    pub protocol: u16,
}

/// Why a file is no kernel that the lab can start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BzImageError {
    /// It is no bzImage at all.
    NoHeader,
    /// It ends before the kernel does.
    Truncated {
        /// Bytes that the header promises.
        wanted: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// Its boot protocol is older than 2.12.
    OldProtocol {
        /// The version, as 0x020b.
        version: u16,
    },
    /// It has no 64-bit entry: a kernel for 32-bit CPUs.
    No64BitEntry,
}

impl fmt::Display for BzImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader => {
                f.write_str("it is no bzImage (no `HdrS` at 0x202); name a vmlinuz, not a vmlinux or a package")
            }
            Self::Truncated { wanted, found } => {
                write!(f, "it is cut off: its header promises {wanted} bytes, and it has {found}; copy it again")
            }
            Self::OldProtocol { version } => {
                write!(f, "its boot protocol is {}.{}, and 2.12 (Linux 3.8) is needed", version >> 8, version & 0xff)
            }
            Self::No64BitEntry => f.write_str("it has no 64-bit entry; name a kernel for x86_64"),
        }
    }
}

impl core::error::Error for BzImageError {}

impl BzImage {
    /// Reads the header of the bzImage that is `bytes`.
    ///
    /// # Errors
    /// [`BzImageError`] names what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, BzImageError> {
        let is_one = u16_at(bytes, BOOT_FLAG) == Some(BOOT_FLAG_VALUE)
            && bytes.get(HEADER..HEADER + HEADER_VALUE.len()) == Some(&HEADER_VALUE);
        if !is_one || bytes.len() < HEADER_END {
            return Err(BzImageError::NoHeader);
        }
        let missing = BzImageError::NoHeader;
        let version = u16_at(bytes, VERSION).ok_or(missing)?;
        if version < VERSION_OLDEST {
            return Err(BzImageError::OldProtocol { version });
        }
        let sectors = match bytes.get(SETUP_SECTS) {
            Some(0) | None => SETUP_SECTS_OLD,
            Some(&count) => count.into(),
        };
        let paragraphs = u64::from(u16_at(bytes, SYSSIZE).ok_or(missing)?)
            | u64::from(u16_at(bytes, SYSSIZE + 2).ok_or(missing)?) << 16;
        let wanted = (sectors + 1) * SECTOR_BYTES + paragraphs * PARAGRAPH_BYTES;
        let found = bytes.len() as u64;
        if found < wanted {
            return Err(BzImageError::Truncated { wanted, found });
        }
        if u16_at(bytes, XLOADFLAGS).is_none_or(|flags| flags & XLF_KERNEL_64 == 0) {
            return Err(BzImageError::No64BitEntry);
        }
        Ok(Self { release: release(bytes).unwrap_or_default(), protocol: version })
    }
}

/// The release: the first word of the text that `kernel_version` leads to.
fn release(bytes: &[u8]) -> Option<String> {
    let at = usize::from(u16_at(bytes, KERNEL_VERSION)?).checked_add(SECTOR_BYTES as usize)?;
    let text = bytes.get(at..)?;
    let text = text.get(..RELEASE_BYTES_MAX.min(text.len()))?;
    let word = text.split(|byte| matches!(byte, 0 | b' ')).next()?;
    let is_plain = |byte: &u8| byte.is_ascii_graphic();
    (at != SECTOR_BYTES as usize && word.iter().all(is_plain))
        .then(|| word.iter().map(|&byte| char::from(byte)).collect())
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A bzImage of 2 setup sectors and `paragraphs` paragraphs.
    fn image(paragraphs: u16) -> Vec<u8> {
        let mut bytes = vec![0; 3 * SECTOR_BYTES as usize + usize::from(paragraphs) * PARAGRAPH_BYTES as usize];
        let put = |bytes: &mut Vec<u8>, at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        put(&mut bytes, SETUP_SECTS, &[2]);
        put(&mut bytes, SYSSIZE, &u32::from(paragraphs).to_le_bytes());
        put(&mut bytes, BOOT_FLAG, &BOOT_FLAG_VALUE.to_le_bytes());
        put(&mut bytes, HEADER, &HEADER_VALUE);
        put(&mut bytes, VERSION, &0x020f_u16.to_le_bytes());
        put(&mut bytes, KERNEL_VERSION, &0x200_u16.to_le_bytes());
        put(&mut bytes, 0x400, b"6.1.0-56-amd64 (debian-kernel@lists.debian.org) #1\0");
        put(&mut bytes, XLOADFLAGS, &0x3f_u16.to_le_bytes());
        bytes
    }

    #[test]
    fn a_whole_one_says_its_release() {
        let found = BzImage::parse(&image(100)).unwrap();
        assert_eq!(found, BzImage { release: "6.1.0-56-amd64".to_owned(), protocol: 0x020f });
    }

    #[test]
    fn what_is_wrong_is_named() {
        let whole = image(100);
        let found = whole.len() as u64 - 1;
        let cut = BzImage::parse(&whole[..whole.len() - 1]);
        assert_eq!(cut, Err(BzImageError::Truncated { wanted: whole.len() as u64, found }));
        assert_eq!(BzImage::parse(b"\x7fELF"), Err(BzImageError::NoHeader));
        assert_eq!(BzImage::parse(&whole[..HEADER_END - 1]), Err(BzImageError::NoHeader));
        let mut old = whole.clone();
        old[VERSION] = 0x0b;
        assert_eq!(BzImage::parse(&old), Err(BzImageError::OldProtocol { version: 0x020b }));
        let mut narrow = whole;
        narrow[XLOADFLAGS] = 0x3e;
        assert_eq!(BzImage::parse(&narrow), Err(BzImageError::No64BitEntry));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(cut in 0..2048_usize, edits in prop::collection::vec((0..2048_usize, any::<u8>()), 0..8)) {
            let mut bytes = image(100);
            bytes.truncate(cut.max(HEADER_END));
            let len = bytes.len();
            edits.iter().for_each(|&(at, value)| bytes[at % len] = value);
            let _ = BzImage::parse(&bytes);
        }
    }
}
