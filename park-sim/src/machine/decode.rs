//! From bytes to [`Op`]s, once per physical address.

use super::op::Op;

/// Longest instruction (S:2.3.11 vol 2).
pub(crate) const MAX_INSTRUCTION: usize = 15;
/// Ops of one frame before the frame starts over (self-modifying code would otherwise grow it for ever).
const OPS_PER_FRAME: usize = 8192;

#[derive(Debug, Clone)]
struct CodePage {
    bits: u8,
    slots: Box<[u16; 4096]>,
    ops: Vec<Op>,
}

/// Decoded instructions by frame and offset.
#[derive(Debug, Clone)]
pub(crate) struct CodeCache {
    by_frame: Vec<u32>,
    pages: Vec<CodePage>,
}

impl CodeCache {
    pub(crate) fn new(frames: usize) -> Self {
        Self { by_frame: vec![0; frames], pages: Vec::new() }
    }

    #[inline]
    pub(crate) fn holds(&self, frame: u32) -> bool {
        self.by_frame.get(frame as usize).copied().unwrap_or(0) != 0
    }

    #[inline]
    pub(crate) fn get(&self, frame: u32, bits: u8, offset: usize) -> Option<&Op> {
        let page = self.by_frame.get(frame as usize).copied().unwrap_or(0);
        let page = self.pages.get((page as usize).wrapping_sub(1))?;
        if page.bits != bits {
            return None;
        }
        let slot = page.slots[offset & 0xfff];
        page.ops.get(usize::from(slot).wrapping_sub(1))
    }

    pub(crate) fn insert(&mut self, frame: u32, bits: u8, offset: usize, op: Op) {
        let Some(entry) = self.by_frame.get_mut(frame as usize) else { return };
        if *entry == 0 {
            self.pages.push(CodePage { bits, slots: Box::new([0; 4096]), ops: Vec::new() });
            *entry = self.pages.len() as u32;
        }
        let Some(page) = self.pages.get_mut(*entry as usize - 1) else { return };
        if page.bits != bits || page.ops.len() >= OPS_PER_FRAME {
            page.bits = bits;
            page.slots.fill(0);
            page.ops.clear();
        }
        page.ops.push(op);
        page.slots[offset & 0xfff] = page.ops.len() as u16;
    }

    /// Forgets what overlaps `len` bytes written at `offset`.
    pub(crate) fn invalidate(&mut self, frame: u32, offset: usize, len: usize) {
        let page = self.by_frame.get(frame as usize).copied().unwrap_or(0);
        let Some(page) = self.pages.get_mut((page as usize).wrapping_sub(1)) else { return };
        let first = offset.saturating_sub(MAX_INSTRUCTION - 1);
        let last = (offset + len).min(4096);
        if let Some(slots) = page.slots.get_mut(first..last) {
            slots.fill(0);
        }
    }
}
