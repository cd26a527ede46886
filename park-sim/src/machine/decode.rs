//! From bytes to [`Op`]s, once per physical address.

use iced_x86::{Decoder, DecoderOptions};

use super::op::{Kind, Op};

/// Longest instruction (S:2.3.11 vol 2).
pub(crate) const MAX_INSTRUCTION: usize = 15;
/// Ops of one frame before the frame starts over (self-modifying code would otherwise grow it for ever).
const OPS_PER_FRAME: usize = 8192;

#[derive(Debug, Clone)]
struct CodePage {
    bits: u8,
    /// Where in `ops` the instruction at each offset is, from 1; 0 = not decoded. Not boxed: a step waits for every pointer on the way.
    slots: [u16; 4096],
    ops: Vec<Op>,
}

/// Decoded instructions by frame and offset.
#[derive(Debug, Clone)]
pub(crate) struct CodeCache {
    by_frame: Vec<u32>,
    pages: Vec<CodePage>,
    uncached: Op,
}

/// Where a decoded instruction lies: the code page above bit 16, the slot below; 0 = the one that no frame holds whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpRef(u64);

impl OpRef {
    const UNCACHED: Self = Self(0);

    #[inline]
    const fn new(page: u32, slot: u16) -> Self {
        Self(((page as u64) << 16) | slot as u64)
    }
}

impl CodeCache {
    pub(crate) fn new(frames: usize) -> Self {
        Self { by_frame: vec![0; frames], pages: Vec::new(), uncached: Op::plain(Kind::Nop) }
    }

    #[inline]
    pub(crate) fn holds(&self, frame: u32) -> bool {
        self.by_frame.get(frame as usize).copied().unwrap_or(0) != 0
    }

    /// The code page of a frame, 0 while there is none; never changes once it is not 0.
    pub(crate) fn page_of(&self, frame: u32) -> u32 {
        self.by_frame.get(frame as usize).copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn find(&self, number: u32, bits: u8, offset: usize) -> Option<OpRef> {
        let page = self.pages.get((number as usize).wrapping_sub(1))?;
        let slot = page.slots[offset & 0xfff];
        (page.bits == bits && slot != 0).then_some(OpRef::new(number, slot))
    }

    #[inline]
    pub(crate) fn op(&self, at: OpRef) -> &Op {
        let page = self.pages.get(((at.0 >> 16) as usize).wrapping_sub(1));
        page.and_then(|page| page.ops.get((at.0 as usize & 0xffff).wrapping_sub(1))).unwrap_or(&self.uncached)
    }

    /// Keeps an op that no frame holds whole.
    pub(crate) fn keep_uncached(&mut self, op: Op) -> OpRef {
        self.uncached = op;
        OpRef::UNCACHED
    }

    pub(crate) fn insert(&mut self, frame: u32, bits: u8, offset: usize, op: Op) -> OpRef {
        let Some(entry) = self.by_frame.get_mut(frame as usize) else { return self.keep_uncached(op) };
        if *entry == 0 {
            self.pages.push(CodePage { bits, slots: [0; 4096], ops: Vec::new() });
            *entry = self.pages.len() as u32;
        }
        let number = *entry;
        let Some(page) = self.pages.get_mut(number as usize - 1) else { return self.keep_uncached(op) };
        if page.bits != bits || page.ops.len() >= OPS_PER_FRAME {
            page.bits = bits;
            page.slots.fill(0);
            page.ops.clear();
        }
        page.ops.push(op);
        let slot = page.ops.len() as u16;
        page.slots[offset & 0xfff] = slot;
        OpRef::new(number, slot)
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

/// Why bytes are not an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The bytes end inside the instruction.
    NeedMore,
    /// No instruction: #UD.
    Invalid,
}

/// Decodes one instruction for code of `bits` (16, 32, 64).
pub(crate) fn decode(bytes: &[u8], bits: u8) -> Result<Op, DecodeError> {
    let mut decoder = Decoder::with_ip(u32::from(bits), bytes, 0, DecoderOptions::NONE);
    let instruction = decoder.decode();
    if instruction.is_invalid() {
        let short = decoder.last_error() == iced_x86::DecoderError::NoMoreBytes && bytes.len() < MAX_INSTRUCTION;
        return Err(if short { DecodeError::NeedMore } else { DecodeError::Invalid });
    }
    Ok(super::lower::lower(&instruction, bits))
}

/// The instruction in `bytes` as text, with the address it has at `rip`.
pub(crate) fn disassemble(bytes: &[u8], bits: u8, rip: u64) -> String {
    use iced_x86::Formatter as _;
    let instruction = Decoder::with_ip(u32::from(bits), bytes, rip, DecoderOptions::NONE).decode();
    let mut text = String::new();
    iced_x86::IntelFormatter::new().format(&instruction, &mut text);
    text
}
