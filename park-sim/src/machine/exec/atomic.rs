//! Exchanges: XCHG (always locked with memory), CMPXCHG, CMPXCHG8B/16B, XADD.

use super::super::Machine;
use super::super::bits::flags;
use super::super::breach::AccessKind;
use super::super::fault::{Exec, GP0};
use super::super::op::{Kind as K, Lock, Op, Opnd};
use super::super::paging::Dir;
use super::super::rules::Rule;
use super::mask;

impl Machine {
    /// Whether locked operations drain the store buffer in this run.
    #[inline]
    pub(crate) fn locks_drain(&self) -> bool {
        self.rules.on(Rule::LockDrains)
    }

    #[inline]
    pub(crate) fn lock_drain(&mut self, c: usize) {
        if self.locks_drain() {
            self.drain_all(c);
        }
    }

    pub(crate) fn exchange(&mut self, c: usize, op: &Op) -> Exec<()> {
        let size = op.size;
        match op.kind {
            K::Xchg => {
                let (memory, register) = if op.src == Opnd::Mem { (op.src, op.dst) } else { (op.dst, op.src) };
                let lock = if memory == Opnd::Mem { Lock::Locked } else { Lock::Plain };
                let (location, old) = self.open(c, op, memory, size, lock)?;
                let new = self.get(c, op, register, size)?;
                self.close(c, location, size, new, lock)?;
                self.put(c, op, register, size, old)?;
            }
            K::Cmpxchg => {
                let expected = self.cpus[c].gpr[0] & mask(size);
                let new = self.get(c, op, op.src, size)?;
                let (location, old) = self.open(c, op, op.dst, size, op.lock())?;
                // A memory destination is written either way (S:CMPXCHG vol 2A); a register that differs is left whole.
                if old == expected {
                    self.close(c, location, size, new, op.lock())?;
                } else {
                    if op.dst == Opnd::Mem {
                        self.close(c, location, size, old, op.lock())?;
                    }
                    self.set_gpr(c, 0, size, old);
                }
                self.flags_sub(c, expected, old, 0, size);
            }
            K::Xadd => {
                let b = self.get(c, op, op.src, size)?;
                let (location, a) = self.open(c, op, op.dst, size, op.lock())?;
                let before = self.cpus[c].rflags;
                let sum = self.flags_add(c, a, b, 0, size);
                // With one register as both operands the sum wins.
                self.put(c, op, op.src, size, a)?;
                if let Err(trap) = self.close(c, location, size, sum, op.lock()) {
                    self.cpus[c].rflags = before;
                    self.put(c, op, op.src, size, b)?;
                    return Err(trap);
                }
            }
            K::Cmpxchg8b => {
                let cpu = &self.cpus[c];
                let pair = |high: u64, low: u64| (high << 32) | (low & 0xffff_ffff);
                let expected = pair(cpu.gpr[2], cpu.gpr[0]);
                let new = pair(cpu.gpr[1], cpu.gpr[3]);
                let (location, old) = self.open(c, op, op.dst, 8, op.lock())?;
                self.close(c, location, 8, if old == expected { new } else { old }, op.lock())?;
                if old != expected {
                    self.set_gpr(c, 0, 4, old);
                    self.set_gpr(c, 2, 4, old >> 32);
                }
                self.cpus[c].set_flag(flags::ZF, old == expected);
            }
            _ => return self.cmpxchg16b(c, op),
        }
        Ok(())
    }

    fn cmpxchg16b(&mut self, c: usize, op: &Op) -> Exec<()> {
        let linear = self.operand_linear(c, op, 16)?;
        if linear % 16 != 0 {
            return Err(GP0);
        }
        if op.lock() == Lock::Locked {
            self.lock_drain(c);
        }
        self.translate(c, linear, Dir::Write, AccessKind::Write)?;
        let low = self.read_linear(c, linear, 8, AccessKind::Write)?;
        let high = self.read_linear(c, linear + 8, 8, AccessKind::Write)?;
        let cpu = &self.cpus[c];
        let equal = (low, high) == (cpu.gpr[0], cpu.gpr[2]);
        let (new_low, new_high) = if equal { (cpu.gpr[3], cpu.gpr[1]) } else { (low, high) };
        self.write_linear(c, linear, 8, new_low, AccessKind::Write)?;
        self.write_linear(c, linear + 8, 8, new_high, AccessKind::Write)?;
        if op.lock() == Lock::Locked {
            self.lock_drain(c);
        }
        if !equal {
            self.set_gpr(c, 0, 8, low);
            self.set_gpr(c, 2, 8, high);
        }
        self.cpus[c].set_flag(flags::ZF, equal);
        Ok(())
    }
}
