//! The instructions of bay code and owner text, found by label and text rather than by number.

use super::PlantError;
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Decoder, DecoderOptions, Formatter, Instruction, InstructionBlock,
    IntelFormatter,
};
use park_x86::code::{bay_code, bay_labels, owner_labels, owner_text};

/// One of park's two pieces of machine code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Code {
    /// What a parked CPU executes.
    Bay,
    /// The owner's half of both ways.
    Owner,
}

impl Code {
    /// Its bytes as assembled.
    #[must_use]
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Bay => bay_code(),
            Self::Owner => owner_text(),
        }
    }

    /// The offset of a label, by its name in [`BayLabels`](park_x86::code::BayLabels) or
    /// [`OwnerLabels`](park_x86::code::OwnerLabels).
    #[must_use]
    pub fn label(self, name: &str) -> Option<u32> {
        let (bay, owner) = (bay_labels(), owner_labels());
        Some(match (self, name) {
            (Self::Bay, "enter") => bay.enter,
            (Self::Bay, "repark") => bay.repark,
            (Self::Bay, "exceptions") => bay.exceptions,
            (Self::Bay, "nmi_parked") => bay.nmi_parked,
            (Self::Bay, "mc_parked") => bay.mc_parked,
            (Self::Bay, "nmi_arriving") => bay.nmi_arriving,
            (Self::Bay, "mc_arriving") => bay.mc_arriving,
            (Self::Bay, "nmi_leaving") => bay.nmi_leaving,
            (Self::Bay, "mc_leaving") => bay.mc_leaving,
            (Self::Bay, "home") => bay.home,
            (Self::Bay, "wait") => bay.wait,
            (Self::Bay, "leave") => bay.leave,
            (Self::Bay, "stopped") => bay.stopped,
            (Self::Owner, "arrive") => owner.arrive,
            (Self::Owner, "depart") => owner.depart,
            (Self::Owner, "exceptions") => owner.exceptions,
            (Self::Owner, "nmi") => owner.nmi,
            (Self::Owner, "mc") => owner.mc,
            _ => return None,
        })
    }

    /// All instructions from a label on.
    fn from(self, label: &str) -> Result<Vec<Instruction>, PlantError> {
        let start = self.label(label).ok_or_else(|| PlantError::NoSuchLabel { label: label.to_owned() })?;
        let bytes = self.bytes().get(start as usize..).unwrap_or(&[]);
        Ok(Decoder::with_ip(64, bytes, u64::from(start), DecoderOptions::NONE).into_iter().collect())
    }
}

/// The text of an instruction, in Intel's syntax; addresses as offsets in the code.
#[must_use]
pub fn text(instruction: &Instruction) -> String {
    let mut text = String::new();
    IntelFormatter::new().format(instruction, &mut text);
    text
}

/// What takes the place of an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum With {
    /// One-byte NOPs.
    Nops,
    /// Other bytes, as many.
    Bytes(&'static [u8]),
    /// The same bytes, but for one.
    Byte {
        /// Index of the byte.
        index: usize,
        /// Its new value.
        value: u8,
    },
    /// This instruction and those behind it, in another order: each number is the place that one had.
    Order(&'static [usize]),
}

/// A change of one instruction, or of the order of some.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edit {
    /// In which code.
    pub code: Code,
    /// The label from which to search.
    pub from: &'static str,
    /// A part of the instruction's text.
    pub find: &'static str,
    /// How many that match to skip.
    pub skip: usize,
    /// What stands there instead.
    pub with: With,
}

impl Edit {
    /// The place of the change, and the bytes for it: as many as they replace.
    ///
    /// # Errors
    /// [`PlantError`] if the code has no such label or instruction, or the bytes don't fit.
    pub fn bytes(&self) -> Result<(u32, Vec<u8>), PlantError> {
        let instructions = self.code.from(self.from)?;
        let not_found = || PlantError::NotFound { from: self.from, find: self.find };
        let matches = |(_, instruction): &(usize, &Instruction)| text(instruction).contains(self.find);
        let (index, found) = instructions.iter().enumerate().filter(matches).nth(self.skip).ok_or_else(not_found)?;
        let (start, len) = (found.ip() as usize, found.len());
        let old = self.code.bytes().get(start..start + len).ok_or_else(not_found)?;
        let new = match self.with {
            With::Nops => vec![0x90; len],
            With::Bytes(bytes) if bytes.len() == len => bytes.to_vec(),
            With::Bytes(_) => return Err(PlantError::Length { find: self.find, len }),
            With::Byte { index, value } => {
                let mut new = old.to_vec();
                *new.get_mut(index).ok_or(PlantError::Length { find: self.find, len })? = value;
                new
            }
            With::Order(order) => self.reordered(instructions.get(index..).unwrap_or(&[]), order)?,
        };
        if new == old {
            return Err(PlantError::NoChange { find: self.find });
        }
        Ok((found.ip() as u32, new))
    }

    fn reordered(&self, instructions: &[Instruction], order: &[usize]) -> Result<Vec<u8>, PlantError> {
        let not_found = PlantError::NotFound { from: self.from, find: self.find };
        let group = instructions.get(..order.len()).ok_or(not_found.clone())?;
        let start = group.first().ok_or(not_found.clone())?.ip();
        let len: usize = group.iter().map(Instruction::len).sum();
        let mut moved = Vec::new();
        for place in order {
            moved.push(*group.get(*place).ok_or(not_found.clone())?);
        }
        let block = InstructionBlock::new(&moved, start);
        let options = BlockEncoderOptions::DONT_FIX_BRANCHES;
        let encoded =
            BlockEncoder::encode(64, block, options).map_err(|error| PlantError::Encode(error.to_string()))?;
        if encoded.code_buffer.len() == len {
            Ok(encoded.code_buffer)
        } else {
            Err(PlantError::Length { find: self.find, len })
        }
    }
}
