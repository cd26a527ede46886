//! Multiplication, division and sign extension into a wider register.

use super::super::Machine;
use super::super::bits::{flags, vector};
use super::super::fault::{Exec, fault};
use super::super::op::{Kind as K, Op};
use super::{mask, sign_extend};

impl Machine {
    /// The double-width accumulator: AX, DX:AX, EDX:EAX, RDX:RAX.
    fn accumulator(&self, c: usize, size: u8) -> u128 {
        let cpu = &self.cpus[c];
        if size == 1 {
            return u128::from(cpu.gpr[0] & 0xffff);
        }
        (u128::from(cpu.gpr[2] & mask(size)) << (8 * u32::from(size))) | u128::from(cpu.gpr[0] & mask(size))
    }

    fn set_accumulator(&mut self, c: usize, size: u8, low: u64, high: u64) {
        if size == 1 {
            self.set_gpr(c, 0, 2, (low & 0xff) | ((high & 0xff) << 8));
        } else {
            self.set_gpr(c, 0, size, low);
            self.set_gpr(c, 2, size, high);
        }
    }

    #[expect(clippy::fn_params_excessive_bools, reason = "the bool is the value of the flags")]
    fn set_carry_overflow(&mut self, c: usize, on: bool) {
        self.cpus[c].set_flag(flags::CF | flags::OF, on);
    }

    pub(crate) fn wide_op(&mut self, c: usize, op: &Op) -> Exec<()> {
        let size = op.size;
        let bits = 8 * u32::from(size);
        match op.kind {
            K::Cbw => {
                let value = sign_extend(self.cpus[c].gpr[0], size / 2);
                self.set_gpr(c, 0, size, value);
            }
            K::Cwd => {
                let value = if sign_extend(self.cpus[c].gpr[0], size) >> 63 != 0 { u64::MAX } else { 0 };
                self.set_gpr(c, 2, size, value);
            }
            K::Imul => {
                // Two operands: dst * src; three: src * imm.
                let a = if op.three { op.imm } else { self.get(c, op, op.dst, size)? };
                let b = self.get(c, op, op.src, size)?;
                let product = i128::from(sign_extend(a, size) as i64) * i128::from(sign_extend(b, size) as i64);
                let result = product as u64 & mask(size);
                self.put(c, op, op.dst, size, result)?;
                self.set_carry_overflow(c, i128::from(sign_extend(result, size) as i64) != product);
            }
            K::Mul => {
                let product = u128::from(self.cpus[c].gpr[0] & mask(size)) * u128::from(self.get(c, op, op.dst, size)?);
                let high = (product >> bits) as u64 & mask(size);
                self.set_accumulator(c, size, product as u64 & mask(size), high);
                self.set_carry_overflow(c, high != 0);
            }
            K::Imul1 => {
                let a = sign_extend(self.cpus[c].gpr[0], size) as i64;
                let b = sign_extend(self.get(c, op, op.dst, size)?, size) as i64;
                let product = i128::from(a) * i128::from(b);
                let low = product as u64 & mask(size);
                self.set_accumulator(c, size, low, (product >> bits) as u64 & mask(size));
                self.set_carry_overflow(c, i128::from(sign_extend(low, size) as i64) != product);
            }
            K::Div => {
                let divisor = u128::from(self.get(c, op, op.dst, size)?);
                let dividend = self.accumulator(c, size);
                let Some(quotient) =
                    dividend.checked_div(divisor).filter(|quotient| *quotient <= u128::from(mask(size)))
                else {
                    return Err(fault(vector::DE));
                };
                self.set_accumulator(c, size, quotient as u64, (dividend % divisor) as u64);
            }
            _ => {
                let divisor = i128::from(sign_extend(self.get(c, op, op.dst, size)?, size) as i64);
                let width = 2 * bits;
                let dividend = (self.accumulator(c, size) << (128 - width)) as i128 >> (128 - width);
                let limit = 1i128 << (bits - 1);
                let Some(quotient) =
                    dividend.checked_div(divisor).filter(|quotient| (-limit..limit).contains(quotient))
                else {
                    return Err(fault(vector::DE));
                };
                self.set_accumulator(c, size, quotient as u64 & mask(size), (dividend % divisor) as u64 & mask(size));
            }
        }
        Ok(())
    }
}
