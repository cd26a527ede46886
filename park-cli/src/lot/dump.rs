//! Physical memory in a file: an ELF core, a flat dump, or a lot alone. Nothing is read but what is asked for.

use super::elf;
use crate::exit::Failure;
use park_core::{LotMemory, PlatformError};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

/// Bytes of a page: the unit in which lots are aligned and in which a file is read.
pub const PAGE_LEN: u64 = 4096;

/// What kind of file a dump is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// An ELF core with physical addresses.
    ElfCore,
    /// A flat file whose offsets are physical addresses.
    Raw,
    /// A flat file that begins at another physical address than 0, as that of a lot alone does.
    Piece,
}

impl Format {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ElfCore => "elf-core",
            Self::Raw => "raw",
            Self::Piece => "piece",
        }
    }
}

/// A piece of physical memory that a file holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Segment {
    /// Its physical address.
    pub phys: u64,
    /// Its bytes.
    pub len: u64,
    /// Where it is in the file.
    pub file_offset: u64,
}

impl Segment {
    const fn contains(&self, phys: u64) -> bool {
        phys >= self.phys && phys - self.phys < self.len
    }

    /// Where a physical address of it is in the file.
    #[must_use]
    pub const fn offset_of(&self, phys: u64) -> u64 {
        self.file_offset.saturating_add(phys.saturating_sub(self.phys))
    }
}

/// An open dump.
#[derive(Debug)]
pub struct Dump {
    /// The file's name, for messages.
    pub name: String,
    /// What it is.
    pub format: Format,
    /// What it holds, by physical address.
    pub segments: Vec<Segment>,
    /// What is odd about it.
    pub warnings: Vec<String>,
    /// Whether the file is a device, which has no end and is never searched.
    pub is_device: bool,
    file: File,
}

/// First bytes of files that hold memory in a way that can't be read here, what they are, and what to do.
const FOREIGN: &[(&[u8], &str)] = &[
    (
        b"KDUMP   ",
        "is a kdump-compressed dump: take an ELF one, by `makedumpfile -E` or by QEMU's dump-guest-memory without -z, -l and -s",
    ),
    (b"DISKDUMP", "is a diskdump: take an ELF dump, by `makedumpfile -E`"),
    (
        b"makedumpfile\0",
        "is in makedumpfile's flattened format, which QEMU's -z, -l and -s make too: take an ELF dump without them, or unflatten one of `makedumpfile -E` by `makedumpfile -R NEW < FILE`",
    ),
    (b"PAGEDU64", "is a Windows crash dump: take an ELF dump, by QEMU's dump-guest-memory without -w"),
    (b"EMiL", "is in LiME's own format: take one with format=raw or format=padded"),
    (b"QEVM", "is a saved QEMU machine: take an ELF dump, by QEMU's dump-guest-memory"),
    (b"\x1f\x8b", "is compressed by gzip: decompress it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd: decompress it first"),
    (b"\xfd7zXZ\0", "is compressed by xz: decompress it first"),
    (b"BZh", "is compressed by bzip2: decompress it first"),
    (b"\x04\x22\x4d\x18", "is compressed by lz4: decompress it first"),
];

/// The most bytes of [`FOREIGN`].
const MAGIC_LEN_MAX: usize = 16;

impl Dump {
    /// Opens a file and finds out what memory it holds.
    ///
    /// # Errors
    /// [`Failure::Input`] that names the file, and what to do where something can be done.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let wrong = |why: String| Failure::Input(format!("{name}: {why}"));
        // Before it is opened: opening a pipe waits for whoever writes to it.
        let kind = std::fs::metadata(path).map_err(|error| wrong(format!("can't be opened: {error}")))?.file_type();
        if kind.is_dir() {
            return Err(wrong("is a directory, not a dump of memory".to_owned()));
        }
        if kind.is_fifo() || kind.is_socket() {
            return Err(wrong("is a pipe: a dump must be a file, in which one can go back and forth".to_owned()));
        }
        let mut file = File::open(path).map_err(|error| wrong(format!("can't be opened: {error}")))?;
        let is_device = kind.is_char_device();
        let len = if is_device {
            // A device such as /dev/mem has no end that it would tell.
            u64::MAX
        } else {
            file.seek(SeekFrom::End(0)).map_err(|error| wrong(format!("can't be read: {error}")))?
        };
        if len == 0 {
            return Err(wrong("is empty".to_owned()));
        }
        let mut first = [0; MAGIC_LEN_MAX];
        let read = if is_device {
            0
        } else {
            read_up_to(&file, &mut first).map_err(|error| wrong(format!("can't be read: {error}")))?
        };
        let first = first.get(..read).unwrap_or_default();
        if let Some((_, what)) = FOREIGN.iter().find(|(magic, _)| first.starts_with(magic)) {
            return Err(wrong((*what).to_owned()));
        }
        let mut warnings = Vec::new();
        let (format, segments) = if first.starts_with(elf::MAGIC) {
            (Format::ElfCore, elf::segments(&file, len, &mut warnings).map_err(wrong)?)
        } else {
            (Format::Raw, vec![Segment { phys: 0, len, file_offset: 0 }])
        };
        Ok(Self { name, format, segments, warnings, is_device, file })
    }

    /// An error about this file.
    #[must_use]
    pub fn wrong(&self, why: &str) -> Failure {
        Failure::Input(format!("{}: {why}", self.name))
    }

    /// The segment that holds a physical address.
    #[must_use]
    pub fn segment(&self, phys: u64) -> Option<Segment> {
        self.segments.iter().find(|segment| segment.contains(phys)).copied()
    }

    /// How many bytes of memory there are from a physical address on, without a gap.
    #[must_use]
    pub fn contiguous_from(&self, phys: u64) -> u64 {
        let mut end = phys;
        while let Some(segment) = self.segment(end) {
            match segment.phys.checked_add(segment.len) {
                Some(next) => end = next,
                None => return u64::MAX - phys,
            }
        }
        end - phys
    }

    /// Reads a piece of a file.
    ///
    /// # Errors
    /// Of the system.
    pub fn read_file(&self, file_offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, file_offset)
    }

    /// The memory from a physical address on, as a lot's.
    #[must_use]
    pub fn memory(&self, phys: u64) -> DumpMemory<'_> {
        DumpMemory {
            dump: self,
            phys,
            len: self.contiguous_from(phys),
            page: None,
            bytes: [0; PAGE_LEN as usize],
            error: None,
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn read_up_to(file: &File, out: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// A lot's memory in a dump, read a page at a time. Nothing can be stored.
#[derive(Debug)]
pub struct DumpMemory<'d> {
    dump: &'d Dump,
    phys: u64,
    len: u64,
    /// Offset of the page that `bytes` holds.
    page: Option<u64>,
    bytes: [u8; PAGE_LEN as usize],
    /// Why a read failed, for a better message than a platform error's.
    pub error: Option<io::Error>,
}

impl DumpMemory<'_> {
    /// Brings the page at this offset into `bytes`, as much of it as there is.
    fn fetch(&mut self, page: u64) -> io::Result<()> {
        self.page = None;
        let mut at = page;
        let end = self.len.min(page.saturating_add(PAGE_LEN));
        while at < end {
            let phys = self.phys + at;
            let segment = self.dump.segment(phys).ok_or(io::ErrorKind::UnexpectedEof)?;
            let here = (segment.len - (phys - segment.phys)).min(end - at);
            let (from, to) = ((at - page) as usize, (at - page + here) as usize);
            let out = self.bytes.get_mut(from..to).ok_or(io::ErrorKind::InvalidInput)?;
            self.dump.read_file(segment.offset_of(phys), out)?;
            at += here;
        }
        self.page = Some(page);
        Ok(())
    }
}

impl LotMemory for DumpMemory<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn load(&mut self, offset: u64) -> Result<u64, PlatformError> {
        let out_of_bounds = PlatformError::OutOfBounds { offset };
        if !offset.is_multiple_of(8) || offset.checked_add(8).is_none_or(|end| end > self.len) {
            return Err(out_of_bounds);
        }
        let page = offset - offset % PAGE_LEN;
        if self.page != Some(page)
            && let Err(error) = self.fetch(page)
        {
            let code = error.raw_os_error().and_then(|code| u32::try_from(code).ok()).unwrap_or_default();
            self.error = Some(error);
            return Err(PlatformError::Other(code));
        }
        let at = (offset - page) as usize;
        let word = self.bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).ok_or(out_of_bounds)?;
        Ok(u64::from_le_bytes(word))
    }

    fn store(&mut self, offset: u64, _value: u64) -> Result<(), PlatformError> {
        Err(PlatformError::OutOfBounds { offset })
    }

    fn compare_exchange(&mut self, offset: u64, _current: u64, _new: u64) -> Result<u64, PlatformError> {
        Err(PlatformError::OutOfBounds { offset })
    }
}
