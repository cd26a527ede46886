//! Which instructions of the bay code, and which values of which knobs, explorations have seen.

use super::liveness::decode;
use super::scene::Scene;
use super::table::CodePart;
use crate::machine::{Knob, Knobs};
use iced_x86::{Code, FlowControl, Instruction, Mnemonic, Register};
use park_core::lot::header;
use park_x86::code::{EXCEPTION_STUB_LEN, bay_labels};
use std::collections::{BTreeMap, BTreeSet};

/// What explorations have executed and chosen. Coverages of several explorations add up.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    base: u64,
    /// Where the header holds the mailbox's address: the first to read it is the first of its wait.
    mailbox: u64,
    instructions: BTreeMap<u64, Instruction>,
    marks: Vec<u8>,
    knob_values: BTreeSet<(Knob, u8)>,
}

/// Properties of the instruction at an offset.
const STARTS: u8 = 1;
const EXECUTED: u8 = 2;
const FLUSHES: u8 = 4;
const JUMPS: u8 = 8;

impl Coverage {
    pub(crate) fn of(scene: &Scene) -> Self {
        let mailbox = scene.code_phys - header::CODE_OFFSET + header::MAILBOX;
        let marks = vec![0; scene.code.len()];
        let mut coverage = Self { base: scene.code_phys, mailbox, marks, ..Self::default() };
        for instruction in decode(&scene.code, scene.code_phys) {
            let offset = instruction.ip() - coverage.base;
            // Behind the last instruction there are zero bytes: ADD [RAX], AL, and half of one.
            let is_padding = instruction.code() == Code::INVALID
                || instruction.code() == Code::Add_rm8_r8 && instruction.memory_base() == Register::RAX;
            let mut mark = if is_padding { 0 } else { STARTS };
            if instruction.mnemonic() == Mnemonic::Wbinvd {
                mark |= FLUSHES;
            }
            if instruction.flow_control() == FlowControl::IndirectBranch {
                mark |= JUMPS;
            }
            if let Some(at) = coverage.marks.get_mut(offset as usize) {
                *at = mark;
            }
            coverage.instructions.insert(offset, instruction);
        }
        coverage
    }

    fn mark(&self, rip: u64) -> u8 {
        self.marks.get(rip.wrapping_sub(self.base) as usize).copied().unwrap_or(0)
    }

    /// Notes that the instruction at `rip` was executed; whether it was WBINVD.
    pub(crate) fn executed(&mut self, rip: u64) -> bool {
        match self.marks.get_mut(rip.wrapping_sub(self.base) as usize) {
            Some(mark) => {
                *mark |= EXECUTED;
                *mark & FLUSHES != 0
            }
            None => false,
        }
    }

    /// Whether an instruction of the bay code begins at `rip`.
    pub(crate) fn has(&self, rip: u64) -> bool {
        self.mark(rip) & STARTS != 0
    }

    /// Whether the instruction at `rip` is the bay code's jump to an entry.
    pub(crate) fn jumps(&self, rip: u64) -> bool {
        self.mark(rip) & JUMPS != 0
    }

    pub(crate) fn chose(&mut self, knob: Knob, knobs: &Knobs) {
        self.knob_values.insert((knob, knobs.index(knob)));
    }

    /// Adds what another exploration of the same code has seen.
    pub fn add(&mut self, other: &Self) {
        if self.marks.is_empty() {
            *self = other.clone();
            return;
        }
        for (mark, more) in self.marks.iter_mut().zip(&other.marks) {
            *mark |= more;
        }
        self.knob_values.extend(&other.knob_values);
    }

    /// Instructions that were never executed: offset from the bay code's first byte, and text.
    #[must_use]
    pub fn missed(&self) -> Vec<(u64, String)> {
        let missed =
            |offset: &u64| self.marks.get(*offset as usize).is_some_and(|mark| mark & (STARTS | EXECUTED) == STARTS);
        self.instructions
            .iter()
            .filter(|(offset, _)| missed(offset))
            .map(|(offset, text)| (*offset, text.to_string()))
            .collect()
    }

    /// The part of the bay code that an offset lies in, if it is one that explorations may miss.
    #[must_use]
    pub fn part(&self, offset: u64) -> Option<CodePart> {
        let labels = bay_labels();
        let stubs = u64::from(labels.exceptions);
        let mailbox = self.instructions.iter().find(|(_, text)| text.ip_rel_memory_address() == self.mailbox);
        let in_mailbox = mailbox.is_some_and(|(first, _)| (*first..u64::from(labels.repark)).contains(&offset));
        if in_mailbox {
            Some(CodePart::Mailbox)
        } else if (u64::from(labels.repark)..u64::from(labels.nmi_parked)).contains(&offset) {
            Some(CodePart::Repark)
        } else if (stubs..stubs + 32 * u64::from(EXCEPTION_STUB_LEN)).contains(&offset) {
            Some(CodePart::ExceptionStubs)
        } else if (u64::from(labels.nmi_nested)..u64::from(labels.nmi_first)).contains(&offset) {
            Some(CodePart::NestedNmi)
        } else {
            None
        }
    }

    /// How many instructions there are, and how many were executed.
    #[must_use]
    pub fn instructions(&self) -> (usize, usize) {
        let count = |bits: u8| self.marks.iter().filter(|mark| **mark & bits == bits).count();
        (count(STARTS), count(STARTS | EXECUTED))
    }

    /// The knobs that were consulted, with the values that were tried.
    #[must_use]
    pub fn knobs(&self) -> BTreeMap<Knob, Vec<u8>> {
        let mut tried: BTreeMap<Knob, Vec<u8>> = BTreeMap::new();
        for (knob, value) in &self.knob_values {
            tried.entry(*knob).or_default().push(*value);
        }
        tried
    }
}
