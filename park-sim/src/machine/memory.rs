//! Physical memory: frames with an owner tag, and the decoded code that lives in them.

use super::config::PhysRange;
use super::decode::CodeCache;

/// Bytes of a frame.
pub const FRAME_BYTES: u64 = 4096;
/// Stands for "no RAM here".
pub(crate) const NO_FRAME: u32 = u32::MAX;

/// The region owner of a frame; 0 = nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tag(pub u8);

/// Highest tag: CPUs hold a 64-bit mask of tags.
pub const MAX_TAG: u8 = 63;

#[derive(Debug, Clone, Copy)]
struct Region {
    base_frame: u64,
    frames: u64,
    first: u32,
}

type Page = [u8; 4096];

/// All RAM of a machine. Untouched frames cost four bytes.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    regions: Vec<Region>,
    /// Frame → index in `pages`; 0 is the shared zero page.
    slots: Vec<u32>,
    pages: Vec<Box<Page>>,
    tags: Vec<u8>,
    pub(crate) code: CodeCache,
    /// Moves with every write: who saw this number need not look again.
    pub(crate) writes: u64,
}

#[inline]
fn take<const N: usize>(page: &Page, offset: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(bytes) = page.get(offset..offset + N) {
        out.copy_from_slice(bytes);
    }
    out
}

#[inline]
fn put<const N: usize>(page: &mut Page, offset: usize, bytes: [u8; N]) {
    if let Some(to) = page.get_mut(offset..offset + N) {
        to.copy_from_slice(&bytes);
    }
}

impl Memory {
    pub(crate) fn new(ram: &[PhysRange]) -> Self {
        let mut regions = Vec::with_capacity(ram.len());
        let mut first = 0u32;
        for range in ram {
            let frames = range.len / FRAME_BYTES;
            regions.push(Region { base_frame: range.start / FRAME_BYTES, frames, first });
            first = first.saturating_add(u32::try_from(frames).unwrap_or(0));
        }
        let total = usize::try_from(first).unwrap_or(0);
        Self {
            regions,
            slots: vec![0; total],
            pages: vec![Box::new([0; 4096])],
            tags: vec![0; total],
            code: CodeCache::new(total),
            writes: 0,
        }
    }

    /// The frame index of `phys`, [`NO_FRAME`] where there is no RAM.
    #[inline]
    pub(crate) fn frame_of(&self, phys: u64) -> u32 {
        let frame = phys / FRAME_BYTES;
        for region in &self.regions {
            let offset = frame.wrapping_sub(region.base_frame);
            if offset < region.frames {
                return region.first + offset as u32;
            }
        }
        NO_FRAME
    }

    #[inline]
    pub(crate) fn tag(&self, frame: u32) -> u8 {
        self.tags.get(frame as usize).copied().unwrap_or(0)
    }

    #[inline]
    fn page(&self, frame: u32) -> &Page {
        let slot = self.slots.get(frame as usize).copied().unwrap_or(0);
        &self.pages[slot as usize]
    }

    /// Where a frame's bytes are; 0 = never written.
    #[inline]
    pub(crate) fn slot(&self, frame: u32) -> u32 {
        self.slots.get(frame as usize).copied().unwrap_or(0)
    }

    /// As [`Memory::read`], of a slot.
    #[inline]
    pub(crate) fn read_slot(&self, slot: u32, offset: usize, size: u8) -> u64 {
        Self::read_page(&self.pages[slot as usize], offset, size)
    }

    #[cold]
    fn materialise(&mut self, frame: usize) -> usize {
        let slot = self.pages.len();
        self.pages.push(Box::new([0; 4096]));
        if let Some(entry) = self.slots.get_mut(frame) {
            *entry = slot as u32;
        }
        slot
    }

    #[inline]
    fn page_mut(&mut self, frame: u32) -> &mut Page {
        let mut slot = self.slots.get(frame as usize).copied().unwrap_or(0) as usize;
        if slot == 0 {
            slot = self.materialise(frame as usize);
        }
        &mut self.pages[slot]
    }

    /// Reads `size` (1, 2, 4, 8) bytes that lie inside the frame.
    #[inline]
    pub(crate) fn read(&self, frame: u32, offset: usize, size: u8) -> u64 {
        if frame == NO_FRAME {
            return u64::MAX >> (64 - 8 * u32::from(size));
        }
        Self::read_page(self.page(frame), offset, size)
    }

    #[inline]
    fn read_page(page: &Page, offset: usize, size: u8) -> u64 {
        match size {
            8 => u64::from_le_bytes(take(page, offset)),
            4 => u64::from(u32::from_le_bytes(take(page, offset))),
            2 => u64::from(u16::from_le_bytes(take(page, offset))),
            _ => u64::from(page.get(offset).copied().unwrap_or(0)),
        }
    }

    /// Reads the eight bytes at `phys`; where there is no RAM: FFh.
    #[inline]
    pub(crate) fn read_word(&self, phys: u64) -> u64 {
        let offset = (phys % FRAME_BYTES) as usize;
        if offset > FRAME_BYTES as usize - 8 {
            let mut bytes = [0; 8];
            self.read_bytes(phys, &mut bytes);
            return u64::from_le_bytes(bytes);
        }
        self.read(self.frame_of(phys), offset, 8)
    }

    /// Writes `size` (1, 2, 4, 8) bytes that lie inside the frame.
    #[inline]
    pub(crate) fn write(&mut self, frame: u32, offset: usize, size: u8, value: u64) {
        if frame == NO_FRAME {
            return;
        }
        self.writes += 1;
        if self.code.holds(frame) {
            self.code.invalidate(frame, offset, usize::from(size));
        }
        let page = self.page_mut(frame);
        match size {
            8 => put(page, offset, value.to_le_bytes()),
            4 => put(page, offset, (value as u32).to_le_bytes()),
            2 => put(page, offset, (value as u16).to_le_bytes()),
            _ => put(page, offset, [value as u8]),
        }
    }

    /// The 4 KiB of a frame.
    pub(crate) fn frame_bytes(&self, frame: u32) -> &Page {
        self.page(frame)
    }

    pub(crate) fn read_bytes(&self, phys: u64, out: &mut [u8]) {
        let mut at = phys;
        let mut rest = out;
        while !rest.is_empty() {
            let offset = (at % FRAME_BYTES) as usize;
            let n = rest.len().min(4096 - offset);
            let (now, later) = rest.split_at_mut(n);
            let frame = self.frame_of(at);
            if frame == NO_FRAME {
                now.fill(0xff);
            } else if let Some(from) = self.page(frame).get(offset..offset + n) {
                now.copy_from_slice(from);
            }
            at = at.wrapping_add(n as u64);
            rest = later;
        }
    }

    /// Writes without checks; skips frames whose bytes are already equal, so that decoded code survives.
    pub(crate) fn write_bytes(&mut self, phys: u64, bytes: &[u8]) {
        self.writes += 1;
        let mut at = phys;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (at % FRAME_BYTES) as usize;
            let n = rest.len().min(4096 - offset);
            let (now, later) = rest.split_at(n);
            let frame = self.frame_of(at);
            if frame != NO_FRAME && self.page(frame).get(offset..offset + n) != Some(now) {
                if self.code.holds(frame) {
                    self.code.invalidate(frame, offset, n);
                }
                if let Some(to) = self.page_mut(frame).get_mut(offset..offset + n) {
                    to.copy_from_slice(now);
                }
            }
            at = at.wrapping_add(n as u64);
            rest = later;
        }
    }

    pub(crate) fn set_tag(&mut self, range: PhysRange, tag: Tag) {
        let first = range.start / FRAME_BYTES;
        let last = range.end().div_ceil(FRAME_BYTES);
        for region in &self.regions {
            let start = first.max(region.base_frame);
            let end = last.min(region.base_frame + region.frames);
            if start < end {
                let at = region.first as usize + (start - region.base_frame) as usize;
                let n = (end - start) as usize;
                if let Some(tags) = self.tags.get_mut(at..at + n) {
                    tags.fill(tag.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_across_frames_and_regions() {
        let mut memory = Memory::new(&[PhysRange::new(0, 0x3000), PhysRange::new(0x8000_0000, 0x2000)]);
        memory.write_bytes(0x1ffe, &[1, 2, 3, 4]);
        let mut out = [0; 6];
        memory.read_bytes(0x1ffd, &mut out);
        assert_eq!(out, [0, 1, 2, 3, 4, 0]);
        memory.write_bytes(0x8000_0ffc, &[9; 8]);
        assert_eq!(memory.read(memory.frame_of(0x8000_1000), 0, 4), 0x0909_0909);
        assert_eq!(memory.frame_of(0x3000), NO_FRAME);
        assert_eq!(memory.read(NO_FRAME, 0, 4), 0xffff_ffff);
    }

    #[test]
    fn tags_cover_partial_frames() {
        let mut memory = Memory::new(&[PhysRange::new(0x1000, 0x4000)]);
        memory.set_tag(PhysRange::new(0x2800, 0x1000), Tag(3));
        let tags: Vec<u8> = (1..5).map(|page| memory.tag(memory.frame_of(page * 0x1000))).collect();
        assert_eq!(tags, [0, 3, 3, 0]);
    }
}
