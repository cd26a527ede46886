//! Where in a dump the lot is: at an address that somebody knows, else wherever its magic number stands.

use super::dump::{Dump, Format, PAGE_LEN, Segment};
use crate::exit::Failure;
use park_core::lot::{header, inspect};
use park_core::{LotMemory, PhysAddr};

/// Bytes that are read from a file at a time while it is searched.
const CHUNK_LEN: u64 = 1 << 20;
/// The most places that are told.
const PLACES_MAX: usize = 16;

/// Where a lot is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its physical address.
    pub phys: u64,
    /// Where it begins in the file.
    pub file_offset: u64,
}

/// Finds the one lot of a dump, or the one at `at`.
///
/// # Errors
/// [`Failure::Input`] if there is none, or more than one.
pub fn find(dump: &mut Dump, at: Option<u64>) -> Result<Place, Failure> {
    let place = match at {
        Some(at) => place_at(dump, at)?,
        None => search(dump)?,
    };
    Ok(settle(dump, place))
}

fn place_at(dump: &Dump, at: u64) -> Result<Place, Failure> {
    if !at.is_multiple_of(PAGE_LEN) {
        return Err(Failure::Input(format!("--at {at:#x}: a lot lies at a multiple of {PAGE_LEN:#x}")));
    }
    let found = dump.segment(at).map(|segment| Place { phys: at, file_offset: segment.offset_of(at) });
    if let Some(place) = found {
        match first_word(dump, at) {
            Ok(header::MAGIC) => return Ok(place),
            Ok(_) => {}
            Err(error) => return Err(dump.wrong(&format!("can't be read at physical address {at:#x}: {error}"))),
        }
    }
    // A lot alone, or a piece of memory, that begins at that address.
    if dump.format == Format::Raw
        && !dump.is_device
        && let Some(place) = places(dump)?.into_iter().find(|place| built_for(dump, *place) == Some(at))
    {
        return Ok(place);
    }
    Err(match found {
        None => dump.wrong(&format!("the dump holds no memory at physical address {at:#x}")),
        Some(_) => dump.wrong(&format!(
            "no lot is at physical address {at:#x}: the magic number is not there; without --at the file is searched"
        )),
    })
}

fn first_word(dump: &Dump, phys: u64) -> Result<u64, String> {
    let mut memory = dump.memory(phys);
    memory
        .load(header::MAGIC_OFFSET)
        .map_err(|error| memory.error.take().map_or(error.to_string(), |why| why.to_string()))
}

/// The address that a lot says it was built for.
fn built_for(dump: &Dump, place: Place) -> Option<u64> {
    dump.memory(place.phys).load(header::SELF_PHYS).ok()
}

fn search(dump: &Dump) -> Result<Place, Failure> {
    if dump.is_device {
        return Err(dump.wrong("is a device, and memory is not searched: give the lot's physical address by --at"));
    }
    let places = places(dump)?;
    match places.as_slice() {
        [] => Err(dump.wrong(match dump.format {
            Format::ElfCore => {
                "no lot is in this dump; a lot is reserved memory, which Linux leaves out of /proc/vmcore and QEMU's dump-guest-memory does not"
            }
            Format::Raw | Format::Piece => "no lot is in this file: the magic number stands at no multiple of 4096",
        })),
        [place] => Ok(*place),
        several => {
            let shown: Vec<String> = several.iter().take(PLACES_MAX).map(|place| describe(dump, *place)).collect();
            let more = if several.len() > PLACES_MAX { " and more" } else { "" };
            Err(dump.wrong(&format!("several lots: {}{more}; choose one by --at", shown.join(", "))))
        }
    }
}

/// A place among several: its address, and whether it is a sound lot.
fn describe(dump: &Dump, place: Place) -> String {
    let built_for = built_for(dump, place).unwrap_or(place.phys);
    let place = settled(dump, place).unwrap_or(place);
    let mut damages = 0;
    inspect(&mut dump.memory(place.phys), PhysAddr(place.phys), |error| {
        // A flat file may begin anywhere.
        damages += usize::from(error.offset() != Some(header::SELF_PHYS) || dump.format == Format::ElfCore);
    });
    let elsewhere = if built_for == place.phys { String::new() } else { format!(", built for {built_for:#x}") };
    let state = if damages == 0 { "" } else { ", damaged" };
    if elsewhere.is_empty() && state.is_empty() {
        format!("{:#x}", place.phys)
    } else {
        format!("{:#x} ({})", place.phys, format!("{elsewhere}{state}").trim_start_matches(", "))
    }
}

/// Every multiple of 4 KiB at which the magic number stands, one more than are told at most.
fn places(dump: &Dump) -> Result<Vec<Place>, Failure> {
    let mut found: Vec<Place> = Vec::new();
    let mut chunk = vec![0; CHUNK_LEN as usize];
    for segment in &dump.segments {
        search_segment(dump, *segment, &mut chunk, &mut found)?;
    }
    Ok(found)
}

fn search_segment(dump: &Dump, segment: Segment, chunk: &mut [u8], found: &mut Vec<Place>) -> Result<(), Failure> {
    let Some(mut phys) = segment.phys.checked_next_multiple_of(PAGE_LEN) else { return Ok(()) };
    let end = segment.phys.saturating_add(segment.len);
    while phys < end && found.len() <= PLACES_MAX {
        let len = (end - phys).min(CHUNK_LEN);
        let Some(bytes) = chunk.get_mut(..len as usize) else { return Ok(()) };
        let offset = segment.offset_of(phys);
        if let Err(error) = dump.read_file(offset, bytes) {
            return Err(dump.wrong(&format!("can't be read at offset {offset:#x}: {error}")));
        }
        let magic = header::MAGIC.to_le_bytes();
        let pages = bytes.chunks(PAGE_LEN as usize).zip((phys..).step_by(PAGE_LEN as usize));
        for (_, phys) in pages.filter(|(page, _)| page.starts_with(&magic)) {
            // The same memory may lie in two segments: a kernel's text does in /proc/vmcore.
            if !found.iter().any(|place| place.phys == phys) {
                found.push(Place { phys, file_offset: segment.offset_of(phys) });
            }
        }
        phys += len;
    }
    Ok(())
}

/// Gives a flat file that begins at another address than 0 its address, if the lot in it says which without a flaw.
fn settle(dump: &mut Dump, place: Place) -> Place {
    let Some(settled) = settled(dump, place) else { return place };
    if let Some(segment) = dump.segments.first_mut() {
        segment.phys = settled.phys - settled.file_offset;
        segment.len = segment.len.min(u64::MAX - segment.phys);
    }
    dump.format = Format::Piece;
    if settled.file_offset != 0 {
        dump.warnings.push(format!(
            "the lot at offset {:#x} was built for {:#x}: the file seems to begin at physical address {:#x}",
            settled.file_offset,
            settled.phys,
            settled.phys - settled.file_offset
        ));
    }
    settled
}

/// The lot's own address, where a flat file's offset is another one.
fn settled(dump: &Dump, place: Place) -> Option<Place> {
    let phys = built_for(dump, place)?;
    let shifted = dump.format == Format::Raw && phys != place.phys && phys % PAGE_LEN == 0;
    if !shifted || phys < place.file_offset {
        return None;
    }
    let mut memory = dump.memory(place.phys);
    let mut header_is_sound = true;
    inspect(&mut memory, PhysAddr(phys), |error| {
        header_is_sound &= error.offset().is_none_or(|offset| offset == header::LEASE || offset >= PAGE_LEN);
    })?;
    (header_is_sound || place.file_offset == 0).then_some(Place { phys, ..place })
}
