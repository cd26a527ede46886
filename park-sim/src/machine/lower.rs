//! From an `iced-x86` instruction to an [`Op`].

use iced_x86::{Code, Instruction, Mnemonic as M, OpKind, Register};

use super::kinds::{is_string, kind_of};
use super::op::{Kind as K, LOCK, NO_REG, Op, Opnd, REP, REPNE, RIP_BASE};

fn register(reg: Register) -> Opnd {
    match reg {
        Register::AH => Opnd::High(0),
        Register::CH => Opnd::High(1),
        Register::DH => Opnd::High(2),
        Register::BH => Opnd::High(3),
        _ if reg.is_gpr() => Opnd::Reg(reg.full_register().number() as u8),
        _ if reg.is_segment_register() => Opnd::Seg(reg.number() as u8),
        _ if reg.is_cr() => Opnd::Cr(reg.number() as u8),
        _ if reg.is_dr() => Opnd::Dr(reg.number() as u8),
        _ => Opnd::None,
    }
}

fn operand(i: &Instruction, n: u32) -> Opnd {
    match i.op_kind(n) {
        OpKind::Register => register(i.op_register(n)),
        OpKind::Memory => Opnd::Mem,
        OpKind::Immediate8
        | OpKind::Immediate8_2nd
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => Opnd::Imm,
        _ => Opnd::None,
    }
}

fn operand_size(i: &Instruction, n: u32) -> u8 {
    let bytes = match i.op_kind(n) {
        OpKind::Register => i.op_register(n).size(),
        OpKind::Memory => i.memory_size().size(),
        kind if is_string(kind) => i.memory_size().size(),
        _ => 0,
    };
    u8::try_from(bytes).unwrap_or(0)
}

/// The operand size of instructions whose operands do not show it.
fn implied_size(i: &Instruction, kind: K, bits: u8) -> Option<u8> {
    let stack = || u8::try_from(i.stack_pointer_increment().unsigned_abs()).ok();
    Some(match kind {
        K::Push | K::Pop | K::Pushf | K::Popf | K::CallRel | K::CallInd => stack()?,
        K::Pusha | K::Popa => stack()? / 8,
        K::Leave => match i.code() {
            Code::Leavew => 2,
            Code::Leaved => 4,
            _ => 8,
        },
        K::Ret => match i.code() {
            Code::Retnw | Code::Retnw_imm16 => 2,
            Code::Retnd | Code::Retnd_imm16 => 4,
            _ => 8,
        },
        K::RetFar => match i.code() {
            Code::Retfw | Code::Retfw_imm16 => 2,
            Code::Retfd | Code::Retfd_imm16 => 4,
            _ => 8,
        },
        K::Iret => match i.code() {
            Code::Iretw => 2,
            Code::Iretd => 4,
            _ => 8,
        },
        K::JmpFarMem | K::CallFarMem => match i.code() {
            Code::Jmp_m1616 | Code::Call_m1616 => 2,
            Code::Jmp_m1632 | Code::Call_m1632 => 4,
            _ => 8,
        },
        K::JmpFarImm | K::CallFarImm => match i.op0_kind() {
            OpKind::FarBranch16 => 2,
            _ => 4,
        },
        K::JmpRel | K::Jcc | K::Jrcxz | K::Loop | K::Loope | K::Loopne => match i.op0_kind() {
            OpKind::NearBranch16 => 2,
            OpKind::NearBranch32 => 4,
            _ => 8,
        },
        K::Cbw => match i.mnemonic() {
            M::Cbw => 2,
            M::Cwde => 4,
            _ => 8,
        },
        K::Cwd => match i.mnemonic() {
            M::Cwd => 2,
            M::Cdq => 4,
            _ => 8,
        },
        K::Lgdt | K::Lidt | K::Sgdt | K::Sidt => match i.code() {
            Code::Lgdt_m1632_16 | Code::Lidt_m1632_16 | Code::Sgdt_m1632_16 | Code::Sidt_m1632_16 => 2,
            _ if bits == 64 => 8,
            _ => 4,
        },
        K::In => operand_size(i, 0),
        K::Out => operand_size(i, 1),
        K::MovToCr | K::MovFromCr | K::MovToDr | K::MovFromDr => {
            if bits == 64 {
                8
            } else {
                4
            }
        }
        K::LoadFar => operand_size(i, 0),
        _ => return None,
    })
}

/// Counter or implicit address size: from the opcode for LOOP and MONITOR, from the string operand.
fn implied_addr_size(i: &Instruction, bits: u8) -> u8 {
    for n in 0..i.op_count() {
        match i.op_kind(n) {
            OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => return 2,
            OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => return 4,
            OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => return 8,
            OpKind::Memory => {
                for reg in [i.memory_base(), i.memory_index()] {
                    match reg {
                        Register::None => {}
                        Register::RIP => return 8,
                        Register::EIP => return 4,
                        _ => return u8::try_from(reg.full_register().size().min(reg.size())).unwrap_or(8),
                    }
                }
                return match i.memory_displ_size() {
                    8 => 8,
                    2 => 2,
                    _ => 4,
                };
            }
            _ => {}
        }
    }
    match i.code() {
        Code::Monitorw
        | Code::Monitorxw
        | Code::Jcxz_rel8_16
        | Code::Jcxz_rel8_32
        | Code::Loop_rel8_16_CX
        | Code::Loop_rel8_32_CX => 2,
        Code::Loope_rel8_16_CX | Code::Loope_rel8_32_CX | Code::Loopne_rel8_16_CX | Code::Loopne_rel8_32_CX => 2,
        Code::Monitord | Code::Monitorxd | Code::Jecxz_rel8_16 | Code::Jecxz_rel8_32 | Code::Jecxz_rel8_64 => 4,
        Code::Loop_rel8_16_ECX | Code::Loop_rel8_32_ECX | Code::Loop_rel8_64_ECX => 4,
        Code::Loope_rel8_16_ECX | Code::Loope_rel8_32_ECX | Code::Loope_rel8_64_ECX => 4,
        Code::Loopne_rel8_16_ECX | Code::Loopne_rel8_32_ECX | Code::Loopne_rel8_64_ECX => 4,
        Code::Umonitor_r16 => 2,
        Code::Umonitor_r32 => 4,
        _ => bits / 8,
    }
}

fn memory_register(reg: Register) -> u8 {
    match reg {
        Register::None => NO_REG,
        Register::RIP | Register::EIP => RIP_BASE,
        _ if reg.is_gpr() => reg.full_register().number() as u8,
        _ => NO_REG,
    }
}

/// Lowers a valid instruction that was decoded with IP 0.
pub(crate) fn lower(i: &Instruction, bits: u8) -> Op {
    let kind = kind_of(i);
    let mut op = Op::plain(kind);
    op.len = u8::try_from(i.len()).unwrap_or(0);
    op.prefixes = if i.has_lock_prefix() { LOCK } else { 0 }
        | if i.has_rep_prefix() { REP } else { 0 }
        | if i.has_repne_prefix() { REPNE } else { 0 };
    if i.op_count() > 0 {
        op.dst = operand(i, 0);
    }
    if i.op_count() > 1 {
        op.src = operand(i, 1);
    }
    op.size = implied_size(i, kind, bits).unwrap_or_else(|| match i.op_count() {
        0 => bits / 8,
        _ => match operand_size(i, 0) {
            0 if i.op_count() > 1 => operand_size(i, 1),
            size => size,
        },
    });
    op.three = i.op_count() > 2;
    op.src_size = if i.op_count() > 1 { operand_size(i, 1) } else { op.size };
    op.cond = (i.condition_code() as u8).saturating_sub(1);
    op.addr_size = implied_addr_size(i, bits);
    op.seg = i.memory_segment().number() as u8;
    if i.memory_segment() == Register::None {
        op.seg = match i.segment_prefix() {
            Register::None => 3,
            prefix => prefix.number() as u8,
        };
    }
    let has_memory = (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory);
    if has_memory {
        op.base = memory_register(i.memory_base());
        op.index = memory_register(i.memory_index());
        op.scale = i.memory_index_scale() as u8;
        op.disp = i.memory_displacement64();
        if op.base == RIP_BASE {
            op.disp = op.disp.wrapping_sub(i.next_ip());
        }
    }
    for n in 0..i.op_count() {
        if operand(i, n) == Opnd::Imm {
            op.imm = i.immediate(n);
            break;
        }
        if n == 2 && i.op_kind(2) == OpKind::Register {
            op.by_cl = true;
        }
    }
    match i.op0_kind() {
        OpKind::NearBranch16 => op.imm = sign(u64::from(i.near_branch16()).wrapping_sub(u64::from(op.len)), 2),
        OpKind::NearBranch32 => op.imm = sign(u64::from(i.near_branch32()).wrapping_sub(u64::from(op.len)), 4),
        OpKind::NearBranch64 => op.imm = i.near_branch64().wrapping_sub(u64::from(op.len)),
        OpKind::FarBranch16 => {
            op.imm = u64::from(i.far_branch16());
            op.disp = u64::from(i.far_branch_selector());
        }
        OpKind::FarBranch32 => {
            op.imm = u64::from(i.far_branch32());
            op.disp = u64::from(i.far_branch_selector());
        }
        _ => {}
    }
    op
}

/// Sign-extends the low `bytes` bytes.
fn sign(value: u64, bytes: u32) -> u64 {
    let shift = 64 - 8 * bytes;
    (((value << shift) as i64) >> shift) as u64
}
