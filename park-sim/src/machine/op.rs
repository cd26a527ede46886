//! The decoded form of an instruction: position-independent, so that one decoding serves every linear alias of a frame.

/// An operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opnd {
    None,
    /// General-purpose register by number.
    Reg(u8),
    /// AH, CH, DH, BH: bits 8-15 of register 0-3.
    High(u8),
    Mem,
    Imm,
    Seg(u8),
    Cr(u8),
    Dr(u8),
}

/// Pseudo register numbers of a memory operand.
pub(crate) const NO_REG: u8 = 0xff;
pub(crate) const RIP_BASE: u8 = 0xfe;

/// LOCK prefix.
pub(crate) const LOCK: u8 = 1;
/// REP or REPE prefix.
pub(crate) const REP: u8 = 2;
/// REPNE prefix.
pub(crate) const REPNE: u8 = 4;

/// What an instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub(crate) enum Kind {
    Add, Or, Adc, Sbb, And, Sub, Xor, Cmp, Test, Mov, Movzx, Movsx, Lea, Push, Pop, Pushf, Popf, Pusha, Popa, Xchg, Cmpxchg, Cmpxchg8b,
    Cmpxchg16b, Xadd, Inc, Dec, Not, Neg, Shl, Shr, Sar, Rol, Ror, Rcl, Rcr, Shld, Shrd, Bt, Bts, Btr, Btc, Bsf, Bsr, Tzcnt, Lzcnt, Popcnt,
    Bswap, Imul, Imul1, Mul, Div, Idiv, Movbe,
    JmpRel, JmpInd, Jcc, Jrcxz, Loop, Loope, Loopne, CallRel, CallInd, Ret, RetFar, JmpFarMem, JmpFarImm, CallFarMem, CallFarImm, Iret, Leave, Enter,
    Setcc, Cmovcc, Cld, Std, Clc, Stc, Cmc, Cli, Sti, Lahf, Sahf, Cbw, Cwd, Xlat,
    Hlt, Pause, Nop, Endbr64, Endbr32, Ud, Int3, Int1, Int, Cpuid, Rdtsc, Rdtscp, Rdmsr, Wrmsr, Wrmsrns,
    MovFromCr, MovToCr, MovFromDr, MovToDr, Clts, Lmsw, Smsw, Lgdt, Lidt, Sgdt, Sidt, Ltr, Str, Lldt, Sldt, MovToSeg, MovFromSeg,
    LoadFar, Swapgs, RdFsBase, RdGsBase, WrFsBase, WrGsBase, Verr, Verw, Lar, Lsl,
    Invlpg, Invpcid, Wbinvd, Wbnoinvd, Invd, Clflush, Clflushopt, Clwb, Mfence, Lfence, Sfence, Serialize, Prefetch,
    Monitor, Mwait, Monitorx, Mwaitx, Umonitor, Umwait, Tpause, Clgi, Stgi, Vmxon, Vmxoff, Rsm,
    In, Out, Xgetbv, Xsetbv, Tilerelease, Movs, Stos, Lods, Scas, Cmps, Rdssp, Incssp, Setssbsy, Clac, Stac, Fninit, Fnop,
    /// Decodes, but is not modelled.
    Unsupported,
}

/// Whether a read-modify-write is one locked operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    Plain,
    Locked,
}

/// One decoded instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Op {
    pub(crate) kind: Kind,
    /// Operand size in bytes.
    pub(crate) size: u8,
    /// Source size in bytes, where it differs (MOVZX, MOVSX).
    pub(crate) src_size: u8,
    pub(crate) len: u8,
    pub(crate) prefixes: u8,
    /// Condition code of Jcc, SETcc, CMOVcc.
    pub(crate) cond: u8,
    pub(crate) dst: Opnd,
    pub(crate) src: Opnd,
    /// Segment of the memory operand, as encoded.
    pub(crate) seg: u8,
    pub(crate) base: u8,
    pub(crate) index: u8,
    pub(crate) scale: u8,
    /// Address size in bytes.
    pub(crate) addr_size: u8,
    /// The third operand is CL (SHLD, SHRD) rather than `imm`.
    pub(crate) by_cl: bool,
    /// There are three operands.
    pub(crate) three: bool,
    pub(crate) disp: u64,
    pub(crate) imm: u64,
}

impl Op {
    /// An instruction without operands.
    pub(crate) const fn plain(kind: Kind) -> Self {
        Self {
            kind,
            size: 8,
            src_size: 8,
            len: 0,
            prefixes: 0,
            cond: 0,
            dst: Opnd::None,
            src: Opnd::None,
            seg: 3,
            base: NO_REG,
            index: NO_REG,
            scale: 1,
            addr_size: 8,
            by_cl: false,
            three: false,
            disp: 0,
            imm: 0,
        }
    }

    #[inline]
    pub(crate) const fn lock(&self) -> Lock {
        if self.prefixes & LOCK != 0 { Lock::Locked } else { Lock::Plain }
    }
}
