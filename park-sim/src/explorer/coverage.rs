//! Which instructions of the bay code, and which values of which knobs, explorations have seen.

use super::liveness::decode;
use super::scene::Scene;
use crate::machine::{Knob, Knobs};
use iced_x86::{Code, FlowControl, Instruction, Mnemonic, Register};
use park_x86::code::{EXCEPTION_STUB_LEN, bay_labels};
use std::collections::{BTreeMap, BTreeSet};

/// What explorations have executed and chosen. Coverages of several explorations add up.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    base: u64,
    /// Where another lot has the same code.
    second: Option<u64>,
    instructions: BTreeMap<u64, Instruction>,
    marks: Vec<u8>,
    knob_values: BTreeSet<(Knob, u8)>,
}

/// How many exception stubs there are.
const STUBS: u8 = 32;

/// Properties of the instruction at an offset.
const STARTS: u8 = 1;
const EXECUTED: u8 = 2;
const FLUSHES: u8 = 4;
const JUMPS: u8 = 8;

impl Coverage {
    pub(crate) fn of(scene: &Scene) -> Self {
        let marks = vec![0; scene.code.len()];
        let second = scene.second.as_ref().map(|second| second.code_phys);
        let mut coverage = Self { base: scene.code_phys, second, marks, ..Self::default() };
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
        self.marks.get(self.offset(rip)).copied().unwrap_or(0)
    }

    /// Where `rip` is in the bay code of its lot; far beyond it if it is in none.
    fn offset(&self, rip: u64) -> usize {
        let len = self.marks.len() as u64;
        let bases = [Some(self.base), self.second];
        let offset = bases.iter().flatten().map(|base| rip.wrapping_sub(*base)).find(|offset| *offset < len);
        offset.map_or(usize::MAX, |offset| offset as usize)
    }

    /// Notes that the instruction at `rip` was executed; whether it was WBINVD.
    pub(crate) fn executed(&mut self, rip: u64) -> bool {
        let offset = self.offset(rip);
        match self.marks.get_mut(offset) {
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

    /// The vector in whose exception stub an offset lies.
    #[must_use]
    pub fn stub(&self, offset: u64) -> Option<u8> {
        let from = offset.checked_sub(bay_labels().exceptions.into())?;
        u8::try_from(from / u64::from(EXCEPTION_STUB_LEN)).ok().filter(|vector| *vector < STUBS)
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
