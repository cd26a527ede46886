//! Which registers of the parked CPU can still matter, by data-flow analysis of the very bytes that it executes.
//!
//! Two states that differ only in a dead register, or in dead status flags, behave alike: after an event the CPU's
//! registers are either given back as they were, still dead, or abandoned. So the key of a state leaves them out. The
//! analysis knows only what it decodes: at other addresses, and behind returns, indirect jumps and calls, everything
//! is live. It follows one return: an IRETQ right behind the five pushes that made its frame, where the RIP that was
//! pushed is known to come from one of a few LEAs.
//!
//! An armed monitor is live where an MWAIT may follow without another MONITOR.

use core::ops::Range;
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register, RflagsBits,
};
use park_x86::code::{EXCEPTION_STUB_LEN, bay_labels};
use std::collections::HashMap;

/// A set of registers: bit n = general register n as encoded, then each status flag, then the monitor.
type Set = u32;

/// The status flags: their bits in a set, as iced-x86 names them, and in RFLAGS (Intel SDM vol. 1, "Status Flags").
const FLAGS: [(Set, u32, u64); 6] = [
    (1 << 16, RflagsBits::CF, 1 << 0),
    (1 << 17, RflagsBits::PF, 1 << 2),
    (1 << 18, RflagsBits::AF, 1 << 4),
    (1 << 19, RflagsBits::ZF, 1 << 6),
    (1 << 20, RflagsBits::SF, 1 << 7),
    (1 << 21, RflagsBits::OF, 1 << 11),
];
const MONITOR: Set = 1 << 22;
const ALL: Set = (1 << 23) - 1;

/// What an IRETQ does that returns by a frame which the CPU pushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Returns {
    /// It gives all registers back to what was interrupted.
    GiveBack,
    /// It is not reached: what was interrupted is abandoned.
    Never,
}

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
    behind: Behind,
}

/// What follows an instruction, beside `next` and `target`.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Behind {
    Nothing,
    Anything,
    /// One of these addresses.
    Formed(Vec<u64>),
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
    for (bit, flag, _) in FLAGS {
        if instruction.rflags_read() & flag != 0 {
            uses |= bit;
        }
        if instruction.rflags_modified() & flag != 0 {
            defines |= bit;
        }
    }
    match instruction.mnemonic() {
        Mnemonic::Monitor => defines |= MONITOR,
        Mnemonic::Mwait => uses |= MONITOR,
        _ => {}
    }
    let next = Some(instruction.next_ip());
    let target = Some(instruction.near_branch_target());
    let (next, target, behind) = match instruction.flow_control() {
        FlowControl::Next => (next, None, Behind::Nothing),
        FlowControl::UnconditionalBranch => (None, target, Behind::Nothing),
        FlowControl::ConditionalBranch => (next, target, Behind::Nothing),
        _ => (None, None, Behind::Anything),
    };
    Effect { at: instruction.ip(), uses, defines, next, target, behind }
}

/// The address that a RIP-relative LEA forms.
pub(crate) fn formed(instruction: &Instruction) -> Option<u64> {
    let forms = instruction.mnemonic() == Mnemonic::Lea && instruction.is_ip_rel_memory_operand();
    forms.then(|| instruction.ip_rel_memory_address())
}

/// Where the IRETQ at `at` goes, if it stands right behind the five pushes of its frame, nobody jumps between them, and
/// the RIP pushed last is one that LEAs formed.
fn own_frame(code: &[Instruction], effects: &[Effect], at: usize) -> Option<Vec<u64>> {
    let last = at.checked_sub(1)?;
    let rip = register(code.get(last)?.op0_register())?;
    let mut pushes = 0;
    for number in (0..at).rev() {
        let instruction = code.get(number)?;
        let pushed = instruction.mnemonic() == Mnemonic::Push;
        if pushed && pushes == FRAME_WORDS - 1 {
            return reaching(code, effects, last, rip);
        }
        let entered = |other: &Effect| other.target == Some(instruction.ip());
        if !(pushed || instruction.mnemonic() == Mnemonic::Lea) || effects.iter().any(entered) {
            return None;
        }
        pushes += usize::from(pushed);
    }
    None
}

/// The addresses that `register` can hold before the instruction at `at`; `None` unless all come from RIP-relative LEAs.
fn reaching(code: &[Instruction], effects: &[Effect], at: usize, register: Set) -> Option<Vec<u64>> {
    let (mut open, mut seen, mut found) = (vec![at], vec![at], Vec::new());
    while let Some(at) = open.pop() {
        let ip = effects.get(at)?.at;
        let leads = |effect: &Effect| effect.next == Some(ip) || effect.target == Some(ip);
        for (number, effect) in effects.iter().enumerate().filter(|(_, effect)| leads(effect)) {
            if effect.defines & register != 0 {
                found.push(formed(code.get(number)?)?);
            } else if !seen.contains(&number) {
                seen.push(number);
                open.push(number);
            }
        }
    }
    Some(found)
}

/// SS, RSP, RFLAGS, CS, RIP (Intel SDM vol. 3, "64-Bit Mode Stack Frame").
const FRAME_WORDS: usize = 5;

impl Liveness {
    /// Analyses `code`, which lies at linear address `base`.
    pub(crate) fn of(code: &[u8], base: u64, returns: Returns) -> Self {
        let mut factory = InstructionInfoFactory::new();
        let decoded = decode(code, base);
        let mut effects: Vec<Effect> = decoded.iter().map(|instruction| effect(instruction, &mut factory)).collect();
        for at in 0..effects.len() {
            if decoded.get(at).is_some_and(|instruction| instruction.mnemonic() == Mnemonic::Iretq) {
                let behind = match (own_frame(&decoded, &effects, at), returns) {
                    (Some(addresses), _) => Behind::Formed(addresses),
                    (None, Returns::GiveBack) => Behind::Anything,
                    (None, Returns::Never) => Behind::Nothing,
                };
                if let Some(effect) = effects.get_mut(at) {
                    effect.behind = behind;
                }
            }
        }
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
                let behind = match &effect.behind {
                    Behind::Nothing => 0,
                    Behind::Anything => ALL,
                    Behind::Formed(addresses) => addresses.iter().fold(0, |all, address| all | at(Some(*address))),
                };
                let out = behind | at(effect.next) | at(effect.target);
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

    /// Clears what is dead at `rip`; whether the monitor is live there.
    pub(crate) fn mask(&self, rip: u64, gpr: &mut [u64; 16], rflags: &mut u64) -> bool {
        let live = self.at(rip);
        for (number, value) in gpr.iter_mut().enumerate() {
            if live & (1 << number) == 0 {
                *value = 0;
            }
        }
        for (bit, _, flag) in FLAGS {
            if live & bit == 0 {
                *rflags &= !flag;
            }
        }
        live & MONITOR != 0
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
        let liveness = Liveness::of(&code, 0x1000, Returns::GiveBack);
        let (rax, rcx, rbx) = (1 << 0, 1 << 1, 1 << 3);
        assert_eq!(liveness.at(0x1000) & (rax | rbx), rbx);
        assert_eq!(liveness.at(0x1003) & (rax | rbx), rax | rbx);
        // MOV CL keeps the rest of RCX, so RCX is not dead before it.
        assert_ne!(liveness.at(0x1008) & rcx, 0);
        let [(carry, ..), _, _, (zero, ..), ..] = FLAGS;
        assert_eq!(liveness.at(0x1000) & zero, 0);
        assert_eq!(liveness.at(0x1006) & (carry | zero), zero);
        assert_eq!(liveness.at(0x0fff), ALL);
    }

    #[test]
    fn behind_a_return_everything_is_live() {
        let liveness = Liveness::of(&[0x90, 0xc3], 0, Returns::GiveBack);
        assert_eq!(liveness.at(0), ALL);
    }
}
