//! Bit tests, scans, counts and byte swaps.

use super::super::Machine;
use super::super::bits::flags;
use super::super::fault::Exec;
use super::super::op::{Kind as K, Op, Opnd};
use super::{mask, sign_extend};

impl Machine {
    pub(crate) fn bit_op(&mut self, c: usize, op: &Op) -> Exec<()> {
        let size = op.size;
        let bits = 8 * u64::from(size);
        match op.kind {
            K::Bt | K::Bts | K::Btr | K::Btc => return self.bit_test(c, op),
            K::Movbe => {
                let value = self.get(c, op, op.src, size)?.swap_bytes() >> (64 - bits);
                self.put(c, op, op.dst, size, value)?;
            }
            K::Bswap => {
                let value = self.get(c, op, op.dst, size)?.swap_bytes() >> (64 - bits);
                self.put(c, op, op.dst, size, value)?;
            }
            kind => {
                let value = self.get(c, op, op.src, size)?;
                let zero = value == 0;
                let leading = u64::from(value.leading_zeros()) - (64 - bits);
                let result = match kind {
                    K::Popcnt => u64::from(value.count_ones()),
                    K::Tzcnt => u64::from(value.trailing_zeros()).min(bits),
                    K::Lzcnt => leading,
                    K::Bsf if !zero => u64::from(value.trailing_zeros()),
                    K::Bsr if !zero => bits - 1 - leading,
                    // BSF and BSR of 0 leave the destination (A: vol 3; S: undefined).
                    _ => {
                        self.cpus[c].set_flag(flags::ZF, true);
                        return Ok(());
                    }
                };
                self.put(c, op, op.dst, size, result)?;
                let cpu = &mut self.cpus[c];
                match kind {
                    K::Popcnt => {
                        cpu.rflags &= !flags::STATUS;
                        cpu.set_flag(flags::ZF, zero);
                    }
                    K::Tzcnt | K::Lzcnt => {
                        cpu.set_flag(flags::CF, zero);
                        cpu.set_flag(flags::ZF, result == 0);
                    }
                    _ => cpu.set_flag(flags::ZF, zero),
                }
            }
        }
        Ok(())
    }

    fn bit_test(&mut self, c: usize, op: &Op) -> Exec<()> {
        let size = op.size;
        let bits = 8 * u64::from(size);
        let index = self.get(c, op, op.src, if op.src == Opnd::Imm { 1 } else { size })?;
        let mut op = *op;
        if op.dst == Opnd::Mem && op.src != Opnd::Imm {
            // A register index reaches beyond the operand (S:BT vol 2A).
            let words = (sign_extend(index, size) as i64).div_euclid(bits as i64);
            op.disp = op.disp.wrapping_add((words * i64::from(size)) as u64) & mask(op.addr_size.max(8));
        }
        let bit = 1u64 << (index % bits);
        if op.kind == K::Bt {
            let value = self.get(c, &op, op.dst, size)?;
            self.cpus[c].set_flag(flags::CF, value & bit != 0);
            return Ok(());
        }
        let (location, value) = self.open(c, &op, op.dst, size, op.lock())?;
        let result = match op.kind {
            K::Bts => value | bit,
            K::Btr => value & !bit,
            _ => value ^ bit,
        };
        self.close(c, location, size, result, op.lock())?;
        self.cpus[c].set_flag(flags::CF, value & bit != 0);
        Ok(())
    }
}
