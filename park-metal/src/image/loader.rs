//! What the loader left, whichever it was: PVH or multiboot2.

use park_core::PhysAddr;

use crate::choices::Screen;
use crate::cmdline::Options;
use crate::image::failure::Failure;
use crate::image::{screen, uefi};
use crate::linux::command_line::{CommandLine, split_append};
use crate::memory::{IDENTITY_MAP_END, MemoryMap};
use crate::multiboot2::{self, BOOT_MAGIC, BootInfo, FIXED_BYTES};
use crate::pvh::{MEMORY_MAP_ENTRY_BYTES, START_INFO_BYTES, StartInfo, memory_ranges};
use crate::uefi_map;

/// The longest command line that is read, in bytes.
const CMDLINE_BYTES_MAX: usize = 4096;

/// What the loader left, copied: where it lay may be used for something else from now on.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The protocol's name.
    pub(crate) via: &'static str,
    /// The command line, but for Linux's.
    pub(crate) options: Options,
    /// Linux's command line.
    pub(crate) append: CommandLine,
    /// The machine's memory.
    pub(crate) map: MemoryMap,
    /// The ACPI RSDP. Not copied: read what it leads to before the regions are used.
    pub(crate) rsdp: Option<PhysAddr>,
}

/// Reads what the loader left at `info`, with `magic` in EAX.
pub(crate) fn read(info: u64, magic: u32) -> Result<Loaded, Failure> {
    if magic == BOOT_MAGIC { read_multiboot2(PhysAddr(info)) } else { read_pvh(PhysAddr(info)) }
}

fn read_multiboot2(at: PhysAddr) -> Result<Loaded, Failure> {
    let unreachable = Failure::OutOfReach { what: "the multiboot2 information", at };
    let fixed: &[u8; FIXED_BYTES] =
        identity_bytes(at, FIXED_BYTES).and_then(|bytes| bytes.first_chunk()).ok_or(unreachable)?;
    let len = multiboot2::total_bytes(fixed).ok_or(unreachable)?;
    let info = BootInfo::parse(identity_bytes(at, len).ok_or(unreachable)?, at)?;
    // First, so that whatever is wrong from here on shows there too.
    screen::choose(info.text_screen);
    let map = match (info.uefi, uefi::memory_map()) {
        (None, _) => MemoryMap::copy(info.memory_ranges()),
        (Some(_), Some((bytes, entry_bytes))) => MemoryMap::copy(uefi_map::memory_ranges(bytes, entry_bytes)),
        (Some(_), None) => return Err(Failure::Machine("UEFI does not end its boot services")),
    };
    let map = map.ok_or(Failure::MapTooLong)?;
    let (options, append) = options(info.cmdline)?;
    if options.screen == Screen::Dark {
        screen::choose(None);
    }
    Ok(Loaded { via: "multiboot2", options, append, map, rsdp: info.rsdp })
}

fn read_pvh(at: PhysAddr) -> Result<Loaded, Failure> {
    let out_of_reach = |what| move |at| Failure::OutOfReach { what, at };
    let bytes = identity_bytes(at, START_INFO_BYTES)
        .and_then(|bytes| bytes.first_chunk())
        .ok_or(at)
        .map_err(out_of_reach("the start info"))?;
    let info = StartInfo::parse(bytes)?;
    let map_bytes = info.memory_map_entries as usize * MEMORY_MAP_ENTRY_BYTES;
    let map =
        identity_bytes(info.memory_map, map_bytes).ok_or(info.memory_map).map_err(out_of_reach("the memory map"))?;
    let map = MemoryMap::copy(memory_ranges(map)).ok_or(Failure::MapTooLong)?;
    let line = match info.cmdline {
        None => &[],
        Some(at) => identity_text(at).ok_or(at).map_err(out_of_reach("the command line"))?,
    };
    let (options, append) = options(line)?;
    Ok(Loaded { via: "pvh", options, append, map, rsdp: info.rsdp })
}

fn options(line: &'static [u8]) -> Result<(Options, CommandLine), Failure> {
    let (own, append) = split_append(line);
    Ok((Options::parse(own)?, CommandLine::copy(append)?))
}

/// `len` bytes at a physical address, if the identity map has them.
pub(crate) fn identity_bytes(at: PhysAddr, len: usize) -> Option<&'static [u8]> {
    let end = at.checked_add(len as u64)?;
    if at.0 == 0 || end > IDENTITY_MAP_END {
        return None;
    }
    // SAFETY: mapped, as just checked; what is read through this is the loader's data, before any region is used, and
    // firmware tables, which lie outside all regions and are written by nobody.
    Some(unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(at.0 as usize), len) })
}

/// The zero-terminated text at a physical address, without its zero.
fn identity_text(at: PhysAddr) -> Option<&'static [u8]> {
    let bytes = identity_bytes(at, CMDLINE_BYTES_MAX)?;
    bytes.split(|&byte| byte == 0).next()
}
