//! Executing one decoded instruction.

mod alu;
mod atomic;
mod bits_ops;
mod control;
mod registers;
mod stack;
mod string;
mod system;
mod wide;

use super::Machine;
use super::breach::AccessKind;
use super::cpu::{Gpr, Seg};
use super::fault::{Exec, Missing, Trap, UD};
use super::op::{Kind as K, Lock, NO_REG, Op, Opnd, RIP_BASE};
use super::paging::{Dir, Place};

/// The value bits of an operand of `size` bytes.
#[inline]
pub(crate) const fn mask(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * (size as u32))
}

/// Sign-extends the low `size` bytes.
#[inline]
pub(crate) const fn sign_extend(value: u64, size: u8) -> u64 {
    let shift = 64 - 8 * (size as u32);
    (((value << shift) as i64) >> shift) as u64
}

/// Where a read-modify-write goes back to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Location {
    Register(Opnd),
    Place(Place),
    /// Crosses a page.
    Split(u64),
}

impl Machine {
    /// The effective address of the memory operand.
    #[inline]
    pub(crate) fn effective_address(&self, c: usize, op: &Op) -> u64 {
        let cpu = &self.cpus[c];
        let mut address = op.disp;
        if op.base < 16 {
            address = address.wrapping_add(cpu.gpr[usize::from(op.base)]);
        } else if op.base == RIP_BASE {
            address = address.wrapping_add(cpu.next_rip);
        }
        if op.index != NO_REG {
            address = address.wrapping_add(cpu.gpr[usize::from(op.index & 15)].wrapping_mul(u64::from(op.scale)));
        }
        address & mask(op.addr_size)
    }

    /// The linear address of the memory operand in 64-bit code without FS or GS, unchecked: a shortcut exists for checked pages only.
    #[inline]
    fn quick_operand(&self, c: usize, op: &Op) -> Option<u64> {
        (self.cpus[c].code_bits == 64 && op.seg < Seg::Fs as u8).then(|| self.effective_address(c, op))
    }

    /// The linear address of the memory operand, checked for `size` bytes.
    #[inline]
    pub(crate) fn operand_linear(&self, c: usize, op: &Op, size: u8) -> Exec<u64> {
        self.linear(c, op.seg, self.effective_address(c, op), size)
    }

    /// The value of an operand, zero-extended.
    #[inline(always)]
    pub(crate) fn get(&mut self, c: usize, op: &Op, operand: Opnd, size: u8) -> Exec<u64> {
        match operand {
            Opnd::Reg(n) => Ok(self.cpus[c].gpr[usize::from(n & 15)] & mask(size)),
            Opnd::Imm => Ok(op.imm & mask(size)),
            other => self.get_elsewhere(c, op, other, size),
        }
    }

    fn get_elsewhere(&mut self, c: usize, op: &Op, operand: Opnd, size: u8) -> Exec<u64> {
        match operand {
            Opnd::Reg(n) => Ok(self.cpus[c].gpr[usize::from(n & 15)] & mask(size)),
            Opnd::High(n) => Ok((self.cpus[c].gpr[usize::from(n & 15)] >> 8) & 0xff),
            Opnd::Imm => Ok(op.imm & mask(size)),
            Opnd::Mem => {
                if let Some(value) = self.quick_operand(c, op).and_then(|linear| self.quick_read(c, linear, size)) {
                    return Ok(value);
                }
                let linear = self.operand_linear(c, op, size)?;
                self.read_linear(c, linear, size, AccessKind::Read)
            }
            Opnd::Seg(n) => Ok(u64::from(self.cpus[c].segs[usize::from(n.min(5))].selector)),
            Opnd::None | Opnd::Cr(_) | Opnd::Dr(_) => Err(Trap::missing(Missing::Operand)),
        }
    }

    /// Writes a register as its size demands: 32-bit writes clear the upper half.
    #[inline]
    pub(crate) fn set_gpr(&mut self, c: usize, n: u8, size: u8, value: u64) {
        let reg = &mut self.cpus[c].gpr[usize::from(n & 15)];
        *reg = match size {
            8 => value,
            4 => value & 0xffff_ffff,
            2 => (*reg & !0xffff) | (value & 0xffff),
            _ => (*reg & !0xff) | (value & 0xff),
        };
    }

    #[inline]
    pub(super) fn set_register(&mut self, c: usize, operand: Opnd, size: u8, value: u64) {
        match operand {
            Opnd::Reg(n) => self.set_gpr(c, n, size, value),
            Opnd::High(n) => {
                let reg = &mut self.cpus[c].gpr[usize::from(n & 3)];
                *reg = (*reg & !0xff00) | ((value & 0xff) << 8);
            }
            _ => {}
        }
    }

    /// Writes an operand.
    #[inline]
    pub(crate) fn put(&mut self, c: usize, op: &Op, operand: Opnd, size: u8, value: u64) -> Exec<()> {
        if operand == Opnd::Mem {
            if let Some(linear) = self.quick_operand(c, op)
                && self.quick_write(c, linear, size, value & mask(size))
            {
                return Ok(());
            }
            let linear = self.operand_linear(c, op, size)?;
            return self.write_linear(c, linear, size, value & mask(size), AccessKind::Write);
        }
        self.set_register(c, operand, size, value);
        Ok(())
    }

    /// Reads an operand that will be written back, with the right to write; a locked one after earlier stores are visible.
    #[inline]
    pub(crate) fn open(&mut self, c: usize, op: &Op, operand: Opnd, size: u8, lock: Lock) -> Exec<(Location, u64)> {
        if operand != Opnd::Mem {
            return Ok((Location::Register(operand), self.get(c, op, operand, size)?));
        }
        if lock == Lock::Locked {
            self.lock_drain(c);
        }
        let known =
            self.quick_operand(c, op).and_then(|linear| Some((linear, self.quick(c, linear, size, Dir::Write)?)));
        if let Some((linear, known)) = known {
            let phys = known.phys | (linear & 0xfff);
            let value = self.memory.read_slot(known.slot, (linear & 0xfff) as usize, size);
            let stores = &self.cpus[c].stores;
            let value = if stores.is_empty() { value } else { stores.forward(phys, size, value) };
            let place = Place { phys, frame: known.frame, uncached: false, write_back: known.write_back };
            return Ok((Location::Place(place), value));
        }
        let linear = self.operand_linear(c, op, size)?;
        if (linear & 0xfff) + u64::from(size) > 0x1000 {
            self.lass(c, linear, Dir::Write, AccessKind::Write)?;
            self.translate(c, linear, Dir::Write, AccessKind::Write)?;
            self.translate(c, linear.wrapping_add(u64::from(size) - 1), Dir::Write, AccessKind::Write)?;
            let value = self.read_linear(c, linear, size, AccessKind::Read)?;
            return Ok((Location::Split(linear), value));
        }
        self.lass(c, linear, Dir::Write, AccessKind::Write)?;
        let place = self.translate(c, linear, Dir::Write, AccessKind::Write)?;
        self.watch_write(c, linear, size);
        let value = self.read_place(c, &place, size, AccessKind::Write)?;
        Ok((Location::Place(place), value))
    }

    /// Writes back what [`Machine::open`] read.
    #[inline]
    pub(crate) fn close(&mut self, c: usize, location: Location, size: u8, value: u64, lock: Lock) -> Exec<()> {
        match location {
            Location::Register(operand) => {
                self.set_register(c, operand, size, value);
                Ok(())
            }
            Location::Place(place) if lock == Lock::Locked && self.locks_drain() => {
                self.write_locked(c, &place, size, value & mask(size))
            }
            Location::Place(place) => self.write_place(c, &place, size, value & mask(size), AccessKind::Write),
            Location::Split(linear) => {
                self.write_linear(c, linear, size, value & mask(size), AccessKind::Write)?;
                if lock == Lock::Locked {
                    self.lock_drain(c);
                }
                Ok(())
            }
        }
    }

    /// Executes `op`; RIP moves to `next_rip` on success. What a step reports other than "executed" goes to `self.outcome`: a wide return value
    /// costs as much as the instruction.
    #[inline(always)]
    pub(crate) fn execute(&mut self, c: usize, op: &Op) -> Exec<()> {
        let size = op.size;
        match op.kind {
            K::Mov => {
                let value = self.get(c, op, op.src, size)?;
                self.put(c, op, op.dst, size, value)?;
            }
            K::Add | K::Or | K::Adc | K::Sbb | K::And | K::Sub | K::Xor => self.binary(c, op)?,
            K::Cmp => {
                let a = self.get(c, op, op.dst, size)?;
                let b = self.get(c, op, op.src, size)?;
                self.flags_sub(c, a, b, 0, size);
            }
            K::Test => {
                let a = self.get(c, op, op.dst, size)?;
                let b = self.get(c, op, op.src, size)?;
                self.flags_logic(c, a & b, size);
            }
            K::Lea => {
                let address = self.effective_address(c, op);
                self.set_register(c, op.dst, size, address);
            }
            K::Jcc => {
                if self.condition(c, op.cond) {
                    self.jump_relative(c, op)?;
                }
            }
            K::JmpRel => self.jump_relative(c, op)?,
            K::Movzx => {
                let value = self.get(c, op, op.src, op.src_size)?;
                self.set_register(c, op.dst, size, value);
            }
            K::Movsx => {
                let value = self.get(c, op, op.src, op.src_size)?;
                self.set_register(c, op.dst, size, sign_extend(value, op.src_size));
            }
            K::Nop | K::Pause | K::Endbr64 | K::Endbr32 | K::Prefetch | K::Fnop | K::Fninit => {}
            K::Inc | K::Dec | K::Not | K::Neg => self.unary(c, op)?,
            K::Shl | K::Shr | K::Sar | K::Rol | K::Ror | K::Rcl | K::Rcr => self.shift(c, op)?,
            K::Shld | K::Shrd => self.double_shift(c, op)?,
            K::Push | K::Pop | K::Pushf | K::Popf | K::Pusha | K::Popa | K::Leave | K::Enter => self.stack_op(c, op)?,
            K::CallRel | K::CallInd | K::JmpInd | K::Ret | K::Jrcxz | K::Loop | K::Loope | K::Loopne => {
                self.near(c, op)?
            }
            K::RetFar | K::JmpFarMem | K::JmpFarImm | K::CallFarMem | K::CallFarImm => self.far(c, op)?,
            K::Iret => self.iret(c, op)?,
            K::Xchg | K::Cmpxchg | K::Cmpxchg8b | K::Cmpxchg16b | K::Xadd => self.exchange(c, op)?,
            K::Bt
            | K::Bts
            | K::Btr
            | K::Btc
            | K::Bsf
            | K::Bsr
            | K::Tzcnt
            | K::Lzcnt
            | K::Popcnt
            | K::Bswap
            | K::Movbe => self.bit_op(c, op)?,
            K::Imul | K::Imul1 | K::Mul | K::Div | K::Idiv | K::Cbw | K::Cwd => self.wide_op(c, op)?,
            K::Setcc => {
                let value = u64::from(self.condition(c, op.cond));
                self.put(c, op, op.dst, 1, value)?;
            }
            K::Cmovcc => {
                let value = self.get(c, op, op.src, size)?;
                let value = if self.condition(c, op.cond) { value } else { self.get(c, op, op.dst, size)? };
                self.set_register(c, op.dst, size, value);
            }
            K::Cld | K::Std | K::Clc | K::Stc | K::Cmc | K::Lahf | K::Sahf | K::Clac | K::Stac => {
                self.flag_op(c, op)?
            }
            K::Xlat => {
                let index = self.cpus[c].gpr[0] & 0xff;
                let at = self.cpus[c].reg(Gpr::Rbx).wrapping_add(index) & mask(op.addr_size);
                let linear = self.linear(c, op.seg, at, 1)?;
                let value = self.read_linear(c, linear, 1, AccessKind::Read)?;
                self.set_gpr(c, 0, 1, value);
            }
            K::Movs | K::Stos | K::Lods | K::Scas | K::Cmps => return self.string(c, op),
            K::Ud => return Err(UD),
            K::Unsupported => return Err(Trap::missing(Missing::Instruction)),
            _ => return self.system(c, op),
        }
        let cpu = &mut self.cpus[c];
        cpu.rip = cpu.next_rip;
        Ok(())
    }
}
