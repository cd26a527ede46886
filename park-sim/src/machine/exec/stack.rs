//! Pushes and pops, including flags and frames.

use super::super::Machine;
use super::super::bits::{flags, vector};
use super::super::breach::AccessKind;
use super::super::cpu::{Gpr, Seg, Segment, Shadow};
use super::super::fault::{Exec, GP0, Missing, Trap, fault_with};
use super::super::op::{Kind as K, Op, Opnd};
use super::mask;

impl Machine {
    /// Bytes of the stack pointer: 8 in 64-bit code, else by SS.D (S:6.2.3 vol 1).
    #[inline]
    pub(crate) fn stack_width(&self, c: usize) -> u8 {
        let cpu = &self.cpus[c];
        if cpu.code_bits == 64 {
            8
        } else if cpu.seg(Seg::Ss).attr & Segment::DEFAULT_32 != 0 {
            4
        } else {
            2
        }
    }

    fn stack_linear(&self, c: usize, offset: u64, size: u8) -> Exec<u64> {
        self.linear(c, Seg::Ss as u8, offset, size)
            .map_err(|trap| if trap == GP0 { fault_with(vector::SS, 0) } else { trap })
    }

    /// Pushes `size` bytes; RSP moves only if the write did not fault.
    #[inline]
    pub(crate) fn push(&mut self, c: usize, size: u8, value: u64, kind: AccessKind) -> Exec<()> {
        let width = self.stack_width(c);
        let rsp = self.cpus[c].reg(Gpr::Rsp).wrapping_sub(u64::from(size));
        // A shortcut exists for checked pages only.
        if width == 8 && self.cpus[c].code_bits == 64 && self.quick_write(c, rsp, size, value & mask(size)) {
            self.cpus[c].set_reg(Gpr::Rsp, rsp);
            return Ok(());
        }
        let linear = self.stack_linear(c, rsp & mask(width), size)?;
        self.write_linear(c, linear, size, value & mask(size), kind)?;
        self.set_gpr(c, Gpr::Rsp as u8, width, rsp);
        Ok(())
    }

    /// Reads the stack `offset` bytes above RSP without moving it.
    #[inline]
    pub(crate) fn peek(&mut self, c: usize, offset: u64, size: u8, kind: AccessKind) -> Exec<u64> {
        let width = self.stack_width(c);
        let rsp = self.cpus[c].reg(Gpr::Rsp).wrapping_add(offset);
        if width == 8
            && self.cpus[c].code_bits == 64
            && let Some(value) = self.quick_read(c, rsp, size)
        {
            return Ok(value);
        }
        let linear = self.stack_linear(c, rsp & mask(width), size)?;
        self.read_linear(c, linear, size, kind)
    }

    /// Moves RSP up.
    #[inline]
    pub(crate) fn drop_stack(&mut self, c: usize, bytes: u64) {
        let width = self.stack_width(c);
        let rsp = self.cpus[c].reg(Gpr::Rsp).wrapping_add(bytes);
        self.set_gpr(c, Gpr::Rsp as u8, width, rsp);
    }

    pub(crate) fn stack_op(&mut self, c: usize, op: &Op) -> Exec<()> {
        let size = op.size;
        match op.kind {
            K::Push => {
                let value = match op.dst {
                    Opnd::Imm => op.imm,
                    operand => self.get(c, op, operand, size)?,
                };
                self.push(c, size, value, AccessKind::Write)
            }
            K::Pop => {
                let value = self.peek(c, 0, size, AccessKind::Read)?;
                if let Opnd::Seg(n) = op.dst {
                    self.load_segment(c, n, value as u16)?;
                    self.drop_stack(c, u64::from(size));
                    if n == Seg::Ss as u8 {
                        self.cpus[c].shadow = Shadow::MovSs;
                        self.cpus[c].attention = true;
                    }
                    return Ok(());
                }
                let rsp = self.cpus[c].reg(Gpr::Rsp);
                self.drop_stack(c, u64::from(size));
                // A memory operand based on RSP sees the moved RSP (S:POP vol 2B).
                self.put(c, op, op.dst, size, value).inspect_err(|_| self.cpus[c].set_reg(Gpr::Rsp, rsp))
            }
            K::Pushf => {
                let image = self.cpus[c].rflags & !(flags::RF | flags::VM);
                self.push(c, size, image, AccessKind::Write)
            }
            K::Popf => {
                let value = self.peek(c, 0, size, AccessKind::Read)?;
                self.drop_stack(c, u64::from(size));
                let which = flags::POPF & mask(size);
                let cpu = &mut self.cpus[c];
                cpu.rflags = (cpu.rflags & !(which | flags::RF)) | (value & which) | flags::FIXED;
                if size > 2 {
                    cpu.rflags &= !(flags::VIF | flags::VIP);
                }
                cpu.attention = true;
                Ok(())
            }
            K::Pusha => {
                let rsp = self.cpus[c].reg(Gpr::Rsp);
                for n in 0..8u8 {
                    let value = if n == 4 { rsp } else { self.cpus[c].gpr[usize::from(n)] };
                    self.push(c, size, value, AccessKind::Write)
                        .inspect_err(|_| self.cpus[c].set_reg(Gpr::Rsp, rsp))?;
                }
                Ok(())
            }
            K::Popa => {
                let mut values = [0; 8];
                for (n, value) in values.iter_mut().enumerate() {
                    *value = self.peek(c, n as u64 * u64::from(size), size, AccessKind::Read)?;
                }
                self.drop_stack(c, 8 * u64::from(size));
                for (n, value) in values.into_iter().enumerate() {
                    let reg = 7 - n as u8;
                    if reg != 4 {
                        self.set_gpr(c, reg, size, value);
                    }
                }
                Ok(())
            }
            K::Leave => {
                let width = self.stack_width(c);
                let rbp = self.cpus[c].reg(Gpr::Rbp) & mask(width);
                let linear = self.stack_linear(c, rbp, size)?;
                let value = self.read_linear(c, linear, size, AccessKind::Read)?;
                self.set_gpr(c, Gpr::Rsp as u8, width, rbp.wrapping_add(u64::from(size)));
                self.set_gpr(c, Gpr::Rbp as u8, size, value);
                Ok(())
            }
            _ => Err(Trap::missing(Missing::Instruction)),
        }
    }
}
