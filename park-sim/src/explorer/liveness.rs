//! Which registers of the parked CPU can still matter, by data-flow analysis of the very bytes that it executes.
//!
//! Two states that differ only in a dead register, or in dead status flags, behave alike: after an event the CPU's
//! registers are either given back as they were, still dead, or abandoned. So the key of a state leaves them out. The
//! analysis knows only what it decodes: at other addresses, and behind returns, indirect jumps and calls, everything
//! is live.

use core::ops::Range;
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register, RflagsBits,
};
use park_x86::code::{EXCEPTION_STUB_LEN, bay_labels};
use std::collections::HashMap;

/// A set of registers: bit n = general register n as encoded, bit 16 = the status flags.
type Set = u32;

const FLAGS: Set = 1 << 16;
const ALL: Set = (1 << 17) - 1;
/// CF, PF, AF, ZF, SF, OF in RFLAGS.
pub(crate) const STATUS_FLAGS: u64 = 0x8d5;
const STATUS: u32 = RflagsBits::CF | RflagsBits::PF | RflagsBits::AF | RflagsBits::ZF | RflagsBits::SF | RflagsBits::OF;

/// The live registers before each instruction of a piece of code.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    live: HashMap<u64, Set>,
}

struct Effect {
    at: u64,
    uses: Set,
    defines: Set,
    next: Option<u64>,
    target: Option<u64>,
    unknown: bool,
}

fn register(register: Register) -> Option<Set> {
    if register.is_gpr() { Some(1 << (register.full_register().number())) } else { None }
}

fn effect(instruction: &Instruction, factory: &mut InstructionInfoFactory) -> Effect {
    let (mut uses, mut defines) = (0, 0);
    for used in factory.info(instruction).used_registers() {
        let Some(bit) = register(used.register()) else { continue };
        // A 32-bit write clears the upper half; a narrower one keeps it, so it defines nothing.
        let whole = used.register().size() >= 4;
        match used.access() {
            OpAccess::Write if whole => defines |= bit,
            OpAccess::Write | OpAccess::CondWrite | OpAccess::NoMemAccess | OpAccess::None => {}
            _ => uses |= bit,
        }
        if !whole {
            uses |= bit;
        }
    }
    if instruction.rflags_read() & STATUS != 0 {
        uses |= FLAGS;
    }
    if instruction.rflags_modified() & STATUS == STATUS {
        defines |= FLAGS;
    }
    let next = Some(instruction.next_ip());
    let target = Some(instruction.near_branch_target());
    let (next, target, unknown) = match instruction.flow_control() {
        FlowControl::Next => (next, None, false),
        FlowControl::UnconditionalBranch => (None, target, false),
        FlowControl::ConditionalBranch => (next, target, false),
        _ => (None, None, true),
    };
    Effect { at: instruction.ip(), uses, defines, next, target, unknown }
}

impl Liveness {
    /// Analyses `code`, which lies at linear address `base`.
    pub(crate) fn of(code: &[u8], base: u64) -> Self {
        let mut factory = InstructionInfoFactory::new();
        let effects: Vec<Effect> =
            decode(code, base).iter().map(|instruction| effect(instruction, &mut factory)).collect();
        let mut live: HashMap<u64, Set> = HashMap::new();
        loop {
            let mut changed = false;
            for effect in effects.iter().rev() {
                let at = |address: Option<u64>| match address {
                    Some(address) => {
                        // An address inside another instruction was not decoded: everything is live there.
                        if effects.binary_search_by_key(&address, |other| other.at).is_ok() {
                            live.get(&address).copied().unwrap_or(0)
                        } else {
                            ALL
                        }
                    }
                    None => 0,
                };
                let out = if effect.unknown { ALL } else { at(effect.next) | at(effect.target) };
                let before = effect.uses | out & !effect.defines;
                changed |= live.insert(effect.at, before) != Some(before);
            }
            if !changed {
                return Self { live };
            }
        }
    }

    /// The live registers before the instruction at `rip`.
    fn at(&self, rip: u64) -> Set {
        self.live.get(&rip).copied().unwrap_or(ALL)
    }

    /// Clears what is dead at `rip`.
    pub(crate) fn mask(&self, rip: u64, gpr: &mut [u64; 16], rflags: &mut u64) {
        let live = self.at(rip);
        if live == ALL {
            return;
        }
        for (number, value) in gpr.iter_mut().enumerate() {
            if live & (1 << number) == 0 {
                *value = 0;
            }
        }
        if live & FLAGS == 0 {
            *rflags &= !STATUS_FLAGS;
        }
    }
}

/// The instructions of bay code that lies at `base`. Behind each exception stub but the last there is padding.
pub(crate) fn decode(code: &[u8], base: u64) -> Vec<Instruction> {
    let stubs = bay_labels().exceptions as usize;
    let mut instructions = Vec::new();
    let mut part = |range: Range<usize>| {
        let ends_at_jump = range.len() == STUB_LEN;
        let bytes = code.get(range.start..range.end.min(code.len())).unwrap_or_default();
        for instruction in &mut Decoder::with_ip(64, bytes, base + range.start as u64, DecoderOptions::NONE) {
            instructions.push(instruction);
            if ends_at_jump && instruction.flow_control() == FlowControl::UnconditionalBranch {
                break;
            }
        }
    };
    part(0..stubs);
    let last = stubs + (STUBS - 1) * STUB_LEN;
    (stubs..last).step_by(STUB_LEN).for_each(|start| part(start..start + STUB_LEN));
    part(last..code.len().max(last));
    instructions
}

/// Bytes of an exception stub, and how many there are.
const STUB_LEN: usize = EXCEPTION_STUB_LEN as usize;
const STUBS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_is_dead_before_it_is_written_and_live_before_it_is_read() {
        // mov rax, [rbx]; cmp ah, 1; je +0; mov cl, 2; hlt; jmp back to the first
        let code = [0x48, 0x8b, 0x03, 0x80, 0xfc, 0x01, 0x74, 0x00, 0xb1, 0x02, 0xf4, 0xeb, 0xf3];
        let liveness = Liveness::of(&code, 0x1000);
        let (rax, rcx, rbx) = (1 << 0, 1 << 1, 1 << 3);
        assert_eq!(liveness.at(0x1000) & (rax | rbx), rbx);
        assert_eq!(liveness.at(0x1003) & (rax | rbx), rax | rbx);
        // MOV CL keeps the rest of RCX, so RCX is not dead before it.
        assert_ne!(liveness.at(0x1008) & rcx, 0);
        assert_eq!(liveness.at(0x1000) & FLAGS, 0);
        assert_ne!(liveness.at(0x1006) & FLAGS, 0);
        assert_eq!(liveness.at(0x0fff), ALL);
    }

    #[test]
    fn behind_a_return_everything_is_live() {
        let liveness = Liveness::of(&[0x90, 0xc3], 0);
        assert_eq!(liveness.at(0), ALL);
    }
}
