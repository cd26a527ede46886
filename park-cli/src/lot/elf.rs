//! ELF cores: which physical memory lies where in the file.

use super::dump::Segment;
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, elf};
use std::fs::File;

/// The first bytes of every ELF file.
pub const MAGIC: &[u8] = b"\x7fELF";
/// The most program headers that are read: far more than any machine has pieces of memory.
const HEADERS_MAX: u32 = 1 << 20;
/// The physical address of a segment that has none, in /proc/kcore.
const NO_ADDRESS: u64 = u64::MAX;
/// `e_machine` of the machines whose memory can hold a lot.
const MACHINES: [elf::Machine; 2] = [elf::EM_X86_64, elf::EM_386];

/// The segments of an ELF core, by physical address; what is odd goes to `warnings`.
///
/// # Errors
/// A sentence that goes after the file's name.
pub fn segments(file: &File, len: u64, warnings: &mut Vec<String>) -> Result<Vec<Segment>, String> {
    // Keeps what it has read: headers alone, since nothing else is asked of it.
    let cache = ReadCache::new(file);
    let class = cache.read_bytes_at(MAGIC.len() as u64, 1).ok().and_then(|bytes| bytes.first().copied());
    let class = class.map(elf::FileClass);
    match class {
        Some(elf::ELFCLASS64) => of_class::<elf::FileHeader64<Endianness>>(&cache, len, warnings),
        Some(elf::ELFCLASS32) => of_class::<elf::FileHeader32<Endianness>>(&cache, len, warnings),
        _ => Err("is a broken ELF file: it is neither of 32 nor of 64 bits".to_owned()),
    }
}

fn of_class<H>(cache: &ReadCache<&File>, len: u64, warnings: &mut Vec<String>) -> Result<Vec<Segment>, String>
where
    H: FileHeader<Endian = Endianness>,
{
    let broken = |error: object::Error| format!("is a broken ELF file: {error}");
    let header = H::parse(cache).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    if header.e_type(endian) != elf::ET_CORE {
        return Err("is an ELF file, but no core: no memory of a machine is in it".to_owned());
    }
    let machine = header.e_machine(endian);
    if !MACHINES.contains(&machine) {
        return Err(format!("is a core of another kind of machine (e_machine {}), which has no lots", machine.0));
    }
    let count = header.phnum(endian, cache).map_err(broken)?;
    let offset: u64 = header.e_phoff(endian).into();
    let bytes = u64::from(count).checked_mul(header.e_phentsize(endian).into());
    let end = bytes.and_then(|bytes| offset.checked_add(bytes));
    if count > HEADERS_MAX || end.is_none_or(|end| end > len) {
        return Err(format!("is cut off: it has {len} bytes, and its {count} program headers lie beyond"));
    }
    let mut segments = Vec::new();
    let mut cut = 0;
    for program_header in header.program_headers(endian, cache).map_err(broken)? {
        if program_header.p_type(endian) != elf::PT_LOAD {
            continue;
        }
        let phys: u64 = program_header.p_paddr(endian).into();
        let (file_offset, wanted): (u64, u64) =
            (program_header.p_offset(endian).into(), program_header.p_filesz(endian).into());
        // What is in memory and not in the file was left out.
        let there = wanted.min(len.saturating_sub(file_offset));
        cut += u64::from(there < wanted);
        if phys != NO_ADDRESS && there != 0 && phys.checked_add(there).is_some() {
            segments.push(Segment { phys, len: there, file_offset });
        }
    }
    if cut != 0 {
        warnings.push(format!("the file is cut off at {len} bytes: {cut} segments of memory are missing or not whole"));
    }
    if segments.is_empty() {
        return Err("is an ELF core without memory: none of its segments holds any".to_owned());
    }
    if segments.iter().skip(1).all(|segment| segment.phys == 0) && segments.len() > 1 {
        warnings.push("all segments claim the physical address 0: this may be the core of a process".to_owned());
    }
    segments.sort_unstable();
    Ok(segments)
}
