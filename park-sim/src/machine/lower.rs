//! From an `iced-x86` instruction to an [`Op`].

use iced_x86::{Code, ConditionCode, Instruction, Mnemonic as M, OpKind, Register};

use super::op::{Kind as K, LOCK, NO_REG, Op, Opnd, REP, REPNE, RIP_BASE};

fn kind_of(i: &Instruction) -> K {
    let string = (0..i.op_count()).any(|n| is_string(i.op_kind(n)));
    match i.mnemonic() {
        M::Add => K::Add,
        M::Or => K::Or,
        M::Adc => K::Adc,
        M::Sbb => K::Sbb,
        M::And => K::And,
        M::Sub => K::Sub,
        M::Xor => K::Xor,
        M::Cmp => K::Cmp,
        M::Test => K::Test,
        M::Mov => mov_kind(i),
        M::Movzx => K::Movzx,
        M::Movsx | M::Movsxd => K::Movsx,
        M::Movbe => K::Movbe,
        M::Lea => K::Lea,
        M::Push => K::Push,
        M::Pop => K::Pop,
        M::Pushf | M::Pushfd | M::Pushfq => K::Pushf,
        M::Popf | M::Popfd | M::Popfq => K::Popf,
        M::Pusha | M::Pushad => K::Pusha,
        M::Popa | M::Popad => K::Popa,
        M::Xchg => K::Xchg,
        M::Cmpxchg => K::Cmpxchg,
        M::Cmpxchg8b => K::Cmpxchg8b,
        M::Cmpxchg16b => K::Cmpxchg16b,
        M::Xadd => K::Xadd,
        M::Inc => K::Inc,
        M::Dec => K::Dec,
        M::Not => K::Not,
        M::Neg => K::Neg,
        M::Shl | M::Sal => K::Shl,
        M::Shr => K::Shr,
        M::Sar => K::Sar,
        M::Rol => K::Rol,
        M::Ror => K::Ror,
        M::Rcl => K::Rcl,
        M::Rcr => K::Rcr,
        M::Shld => K::Shld,
        M::Shrd => K::Shrd,
        M::Bt => K::Bt,
        M::Bts => K::Bts,
        M::Btr => K::Btr,
        M::Btc => K::Btc,
        M::Bsf => K::Bsf,
        M::Bsr => K::Bsr,
        M::Tzcnt => K::Tzcnt,
        M::Lzcnt => K::Lzcnt,
        M::Popcnt => K::Popcnt,
        M::Bswap => K::Bswap,
        M::Imul if i.op_count() == 1 => K::Imul1,
        M::Imul => K::Imul,
        M::Mul => K::Mul,
        M::Div => K::Div,
        M::Idiv => K::Idiv,
        M::Jmp => match i.op0_kind() {
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => K::JmpRel,
            OpKind::FarBranch16 | OpKind::FarBranch32 => K::JmpFarImm,
            _ if is_far_memory(i) => K::JmpFarMem,
            _ => K::JmpInd,
        },
        M::Call => match i.op0_kind() {
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => K::CallRel,
            OpKind::FarBranch16 | OpKind::FarBranch32 => K::CallFarImm,
            _ if is_far_memory(i) => K::CallFarMem,
            _ => K::CallInd,
        },
        M::Jcxz | M::Jecxz | M::Jrcxz => K::Jrcxz,
        M::Loop => K::Loop,
        M::Loope => K::Loope,
        M::Loopne => K::Loopne,
        M::Ret => K::Ret,
        M::Retf => K::RetFar,
        M::Iret | M::Iretd | M::Iretq => K::Iret,
        M::Leave => K::Leave,
        M::Enter => K::Enter,
        M::Cld => K::Cld,
        M::Std => K::Std,
        M::Clc => K::Clc,
        M::Stc => K::Stc,
        M::Cmc => K::Cmc,
        M::Cli => K::Cli,
        M::Sti => K::Sti,
        M::Clac => K::Clac,
        M::Stac => K::Stac,
        M::Lahf => K::Lahf,
        M::Sahf => K::Sahf,
        M::Cbw | M::Cwde | M::Cdqe => K::Cbw,
        M::Cwd | M::Cdq | M::Cqo => K::Cwd,
        M::Xlatb => K::Xlat,
        M::Hlt => K::Hlt,
        M::Pause => K::Pause,
        M::Nop | M::Reservednop => K::Nop,
        M::Fnop => K::Fnop,
        M::Fninit => K::Fninit,
        M::Endbr64 => K::Endbr64,
        M::Endbr32 => K::Endbr32,
        M::Ud0 | M::Ud1 | M::Ud2 => K::Ud,
        M::Int3 => K::Int3,
        M::Int1 => K::Int1,
        M::Int => K::Int,
        M::Cpuid => K::Cpuid,
        M::Rdtsc => K::Rdtsc,
        M::Rdtscp => K::Rdtscp,
        M::Rdmsr => K::Rdmsr,
        M::Wrmsr => K::Wrmsr,
        M::Wrmsrns => K::Wrmsrns,
        M::Clts => K::Clts,
        M::Lmsw => K::Lmsw,
        M::Smsw => K::Smsw,
        M::Lgdt => K::Lgdt,
        M::Lidt => K::Lidt,
        M::Sgdt => K::Sgdt,
        M::Sidt => K::Sidt,
        M::Ltr => K::Ltr,
        M::Str => K::Str,
        M::Lldt => K::Lldt,
        M::Sldt => K::Sldt,
        M::Lds | M::Les | M::Lfs | M::Lgs | M::Lss => K::LoadFar,
        M::Swapgs => K::Swapgs,
        M::Rdfsbase => K::RdFsBase,
        M::Rdgsbase => K::RdGsBase,
        M::Wrfsbase => K::WrFsBase,
        M::Wrgsbase => K::WrGsBase,
        M::Verr => K::Verr,
        M::Verw => K::Verw,
        M::Lar => K::Lar,
        M::Lsl => K::Lsl,
        M::Invlpg => K::Invlpg,
        M::Invpcid => K::Invpcid,
        M::Wbinvd => K::Wbinvd,
        M::Wbnoinvd => K::Wbnoinvd,
        M::Invd => K::Invd,
        M::Clflush => K::Clflush,
        M::Clflushopt => K::Clflushopt,
        M::Clwb => K::Clwb,
        M::Mfence => K::Mfence,
        M::Lfence => K::Lfence,
        M::Sfence => K::Sfence,
        M::Serialize => K::Serialize,
        M::Prefetchnta | M::Prefetcht0 | M::Prefetcht1 | M::Prefetcht2 | M::Prefetchw => K::Prefetch,
        M::Monitor => K::Monitor,
        M::Mwait => K::Mwait,
        M::Monitorx => K::Monitorx,
        M::Mwaitx => K::Mwaitx,
        M::Umonitor => K::Umonitor,
        M::Umwait => K::Umwait,
        M::Tpause => K::Tpause,
        M::Clgi => K::Clgi,
        M::Stgi => K::Stgi,
        M::Vmxon => K::Vmxon,
        M::Vmxoff => K::Vmxoff,
        M::Rsm => K::Rsm,
        M::In => K::In,
        M::Out => K::Out,
        M::Xgetbv => K::Xgetbv,
        M::Xsetbv => K::Xsetbv,
        M::Tilerelease => K::Tilerelease,
        M::Movsb | M::Movsw | M::Movsd | M::Movsq if string => K::Movs,
        M::Stosb | M::Stosw | M::Stosd | M::Stosq => K::Stos,
        M::Lodsb | M::Lodsw | M::Lodsd | M::Lodsq => K::Lods,
        M::Scasb | M::Scasw | M::Scasd | M::Scasq => K::Scas,
        M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq if string => K::Cmps,
        M::Rdsspd | M::Rdsspq => K::Rdssp,
        M::Incsspd | M::Incsspq => K::Incssp,
        M::Setssbsy => K::Setssbsy,
        _ => match i.condition_code() {
            ConditionCode::None => K::Unsupported,
            _ if i.is_jcc_short_or_near() => K::Jcc,
            _ if i.op_count() == 1 => K::Setcc,
            _ if i.op_count() == 2 && i.op0_kind() == OpKind::Register && i.op0_register().is_gpr() => K::Cmovcc,
            _ => K::Unsupported,
        },
    }
}

fn is_string(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::MemorySegSI
            | OpKind::MemorySegESI
            | OpKind::MemorySegRSI
            | OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI
            | OpKind::MemoryESDI
            | OpKind::MemoryESEDI
            | OpKind::MemoryESRDI
    )
}

fn is_far_memory(i: &Instruction) -> bool {
    matches!(
        i.code(),
        Code::Jmp_m1616 | Code::Jmp_m1632 | Code::Jmp_m1664 | Code::Call_m1616 | Code::Call_m1632 | Code::Call_m1664
    )
}

fn mov_kind(i: &Instruction) -> K {
    let special = |reg: Register| reg.is_cr() || reg.is_dr() || reg.is_segment_register() || reg.is_tr();
    let (to, from) = (i.op0_register(), i.op1_register());
    match (i.op0_kind() == OpKind::Register && special(to), i.op1_kind() == OpKind::Register && special(from)) {
        (true, _) if to.is_cr() => K::MovToCr,
        (true, _) if to.is_dr() => K::MovToDr,
        (true, _) if to.is_segment_register() => K::MovToSeg,
        (_, true) if from.is_cr() => K::MovFromCr,
        (_, true) if from.is_dr() => K::MovFromDr,
        (_, true) if from.is_segment_register() => K::MovFromSeg,
        (false, false) => K::Mov,
        _ => K::Unsupported,
    }
}

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
        K::MovToCr | K::MovFromCr | K::MovToDr | K::MovFromDr => if bits == 64 { 8 } else { 4 },
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
        Code::Monitorw | Code::Monitorxw | Code::Jcxz_rel8_16 | Code::Jcxz_rel8_32 | Code::Loop_rel8_16_CX | Code::Loop_rel8_32_CX => 2,
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
