//! Arithmetic, logic, shifts and flags (S: vol 1 chapter 7).

use super::super::Machine;
use super::super::bits::flags;
use super::super::fault::Exec;
use super::super::op::{Kind as K, Lock, Op, Opnd};
use super::mask;

#[inline]
fn sign_bit(size: u8) -> u64 {
    1 << (8 * u32::from(size) - 1)
}

#[inline]
fn szp(result: u64, size: u8) -> u64 {
    let mut out = 0;
    if result == 0 {
        out |= flags::ZF;
    }
    if result & sign_bit(size) != 0 {
        out |= flags::SF;
    }
    if (result as u8).count_ones().is_multiple_of(2) {
        out |= flags::PF;
    }
    out
}

impl Machine {
    #[inline]
    fn replace_flags(&mut self, c: usize, which: u64, value: u64) {
        let cpu = &mut self.cpus[c];
        cpu.rflags = (cpu.rflags & !which) | (value & which);
    }

    #[inline]
    pub(crate) fn flags_add(&mut self, c: usize, a: u64, b: u64, carry: u64, size: u8) -> u64 {
        let wide = u128::from(a) + u128::from(b) + u128::from(carry);
        let result = (wide as u64) & mask(size);
        let mut out = szp(result, size);
        if wide > u128::from(mask(size)) {
            out |= flags::CF;
        }
        out |= (a ^ b ^ result) & flags::AF;
        if (a ^ result) & (b ^ result) & sign_bit(size) != 0 {
            out |= flags::OF;
        }
        self.replace_flags(c, flags::STATUS, out);
        result
    }

    #[inline]
    pub(crate) fn flags_sub(&mut self, c: usize, a: u64, b: u64, borrow: u64, size: u8) -> u64 {
        let result = a.wrapping_sub(b).wrapping_sub(borrow) & mask(size);
        let mut out = szp(result, size);
        if u128::from(a) < u128::from(b) + u128::from(borrow) {
            out |= flags::CF;
        }
        out |= (a ^ b ^ result) & flags::AF;
        if (a ^ b) & (a ^ result) & sign_bit(size) != 0 {
            out |= flags::OF;
        }
        self.replace_flags(c, flags::STATUS, out);
        result
    }

    #[inline]
    pub(crate) fn flags_logic(&mut self, c: usize, result: u64, size: u8) {
        self.replace_flags(c, flags::STATUS, szp(result & mask(size), size));
    }

    #[inline]
    pub(crate) fn binary(&mut self, c: usize, op: &Op) -> Exec<()> {
        let size = op.size;
        let b = self.get(c, op, op.src, size)?;
        if op.dst != Opnd::Mem {
            let a = self.get(c, op, op.dst, size)?;
            let result = self.combine(c, op.kind, a, b, size);
            self.set_register(c, op.dst, size, result);
            return Ok(());
        }
        let (location, a) = self.open(c, op, op.dst, size, op.lock())?;
        let before = self.cpus[c].rflags;
        let result = self.combine(c, op.kind, a, b, size);
        self.close_or_restore(c, op, location, result, before)
    }

    /// The result of a two-operand operation, flags set.
    #[inline]
    fn combine(&mut self, c: usize, kind: K, a: u64, b: u64, size: u8) -> u64 {
        let carry = u64::from(self.cpus[c].flag(flags::CF));
        match kind {
            K::Add => self.flags_add(c, a, b, 0, size),
            K::Adc => self.flags_add(c, a, b, carry, size),
            K::Sub => self.flags_sub(c, a, b, 0, size),
            K::Sbb => self.flags_sub(c, a, b, carry, size),
            kind => {
                let result = match kind {
                    K::And => a & b,
                    K::Or => a | b,
                    _ => a ^ b,
                };
                self.flags_logic(c, result, size);
                result
            }
        }
    }

    fn close_or_restore(&mut self, c: usize, op: &Op, location: super::Location, result: u64, before: u64) -> Exec<()> {
        let done = self.close(c, location, op.size, result, op.lock());
        if done.is_err() {
            self.cpus[c].rflags = before;
        }
        done
    }

    pub(crate) fn unary(&mut self, c: usize, op: &Op) -> Exec<()> {
        let size = op.size;
        let (location, a) = self.open(c, op, op.dst, size, op.lock())?;
        let before = self.cpus[c].rflags;
        let carry = before & flags::CF;
        let result = match op.kind {
            K::Inc => {
                let result = self.flags_add(c, a, 1, 0, size);
                self.replace_flags(c, flags::CF, carry);
                result
            }
            K::Dec => {
                let result = self.flags_sub(c, a, 1, 0, size);
                self.replace_flags(c, flags::CF, carry);
                result
            }
            K::Neg => self.flags_sub(c, 0, a, 0, size),
            _ => !a & mask(size),
        };
        self.close_or_restore(c, op, location, result, before)
    }

    pub(crate) fn shift(&mut self, c: usize, op: &Op) -> Exec<()> {
        let size = op.size;
        let bits = 8 * u32::from(size);
        let count = (self.get(c, op, op.src, 1)? as u32) & if size == 8 { 63 } else { 31 };
        let (location, a) = self.open(c, op, op.dst, size, Lock::Plain)?;
        let before = self.cpus[c].rflags;
        if count == 0 {
            return self.close(c, location, size, a, Lock::Plain);
        }
        let carry_in = u128::from(before & flags::CF != 0);
        let top = |value: u64| value & sign_bit(size) != 0;
        let (result, carry, overflow, logic) = match op.kind {
            K::Shl => {
                let wide = u128::from(a) << count.min(100);
                let result = wide as u64 & mask(size);
                let carry = count <= bits && (wide >> bits) & 1 != 0;
                (result, carry, top(result) != carry, true)
            }
            K::Shr => {
                let result = if count >= bits { 0 } else { a >> count };
                let carry = count <= bits && (a >> (count - 1)) & 1 != 0;
                (result, carry, top(a), true)
            }
            K::Sar => {
                let signed = super::sign_extend(a, size) as i64;
                let result = (signed >> count.min(63)) as u64 & mask(size);
                (result, (signed >> (count - 1).min(63)) & 1 != 0, false, true)
            }
            K::Rol => {
                let n = count % bits;
                let result = if n == 0 { a } else { ((a << n) | (a >> (bits - n))) & mask(size) };
                let carry = result & 1 != 0;
                (result, carry, top(result) != carry, false)
            }
            K::Ror => {
                let n = count % bits;
                let result = if n == 0 { a } else { ((a >> n) | (a << (bits - n))) & mask(size) };
                (result, top(result), top(result) != (result & (sign_bit(size) >> 1) != 0), false)
            }
            kind => {
                // RCL and RCR rotate through CF: one bit more.
                let width = bits + 1;
                let n = count % width;
                let value = u128::from(a) | (carry_in << bits);
                let all = (1u128 << width) - 1;
                let left = if kind == K::Rcl { n } else { (width - n) % width };
                let rotated = if left == 0 { value } else { ((value << left) | (value >> (width - left))) & all };
                let result = rotated as u64 & mask(size);
                let carry = (rotated >> bits) & 1 != 0;
                let overflow = if kind == K::Rcl {
                    top(result) != carry
                } else {
                    top(result) != (result & (sign_bit(size) >> 1) != 0)
                };
                (result, carry, overflow, false)
            }
        };
        let mut out = if carry { flags::CF } else { 0 } | if overflow { flags::OF } else { 0 };
        let mut which = flags::CF | flags::OF;
        if logic {
            out |= szp(result, size);
            which |= flags::SF | flags::ZF | flags::PF;
        }
        self.replace_flags(c, which, out);
        self.close_or_restore(c, op, location, result, before)
    }

    pub(crate) fn double_shift(&mut self, c: usize, op: &Op) -> Exec<()> {
        let size = op.size;
        let bits = 8 * u32::from(size);
        let count = if op.by_cl { self.cpus[c].gpr[1] } else { op.imm } as u32 & if size == 8 { 63 } else { 31 };
        let fill = self.get(c, op, op.src, size)?;
        let (location, a) = self.open(c, op, op.dst, size, Lock::Plain)?;
        let before = self.cpus[c].rflags;
        if count == 0 || count > bits {
            return self.close(c, location, size, a, Lock::Plain);
        }
        let (result, carry) = if op.kind == K::Shld {
            let wide = (u128::from(a) << bits) | u128::from(fill);
            (((wide << count) >> bits) as u64 & mask(size), (a >> (bits - count)) & 1 != 0)
        } else {
            let wide = (u128::from(fill) << bits) | u128::from(a);
            ((wide >> count) as u64 & mask(size), (a >> (count - 1)) & 1 != 0)
        };
        let overflow = (a ^ result) & sign_bit(size) != 0;
        let out = szp(result, size) | if carry { flags::CF } else { 0 } | if overflow { flags::OF } else { 0 };
        self.replace_flags(c, flags::STATUS & !flags::AF, out);
        self.close_or_restore(c, op, location, result, before)
    }

    /// A condition code as encoded (S: vol 1 appendix B).
    #[inline]
    pub(crate) fn condition(&self, c: usize, cond: u8) -> bool {
        let f = self.cpus[c].rflags;
        let on = |bit: u64| f & bit != 0;
        let holds = match cond >> 1 {
            0 => on(flags::OF),
            1 => on(flags::CF),
            2 => on(flags::ZF),
            3 => on(flags::CF) || on(flags::ZF),
            4 => on(flags::SF),
            5 => on(flags::PF),
            6 => on(flags::SF) != on(flags::OF),
            _ => on(flags::ZF) || on(flags::SF) != on(flags::OF),
        };
        holds != (cond & 1 != 0)
    }

    pub(crate) fn flag_op(&mut self, c: usize, op: &Op) -> Exec<()> {
        let smap = self.features.smap;
        let cpu = &mut self.cpus[c];
        match op.kind {
            K::Cld => cpu.set_flag(flags::DF, false),
            K::Std => cpu.set_flag(flags::DF, true),
            K::Clc => cpu.set_flag(flags::CF, false),
            K::Stc => cpu.set_flag(flags::CF, true),
            K::Cmc => cpu.rflags ^= flags::CF,
            K::Clac | K::Stac if !smap => return Err(super::UD),
            K::Clac => cpu.set_flag(flags::AC, false),
            K::Stac => cpu.set_flag(flags::AC, true),
            K::Lahf => {
                let ah = (cpu.rflags & 0xd5) | flags::FIXED;
                cpu.gpr[0] = (cpu.gpr[0] & !0xff00) | (ah << 8);
            }
            _ => {
                let ah = (cpu.gpr[0] >> 8) & 0xd5;
                cpu.rflags = (cpu.rflags & !0xd5) | ah;
            }
        }
        Ok(())
    }
}
