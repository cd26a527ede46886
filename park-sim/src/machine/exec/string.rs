//! String instructions, one element per step, so that events can come between elements (S: vol 1 7.3.9.3).

use super::super::Machine;
use super::super::bits::flags;
use super::super::breach::AccessKind;
use super::super::cpu::{Gpr, Seg};
use super::super::fault::Exec;
use super::super::op::{Kind as K, Op, REP, REPNE};
use super::mask;

impl Machine {
    pub(crate) fn string(&mut self, c: usize, op: &Op) -> Exec<()> {
        let repeated = op.prefixes & (REP | REPNE) != 0;
        let width = op.addr_size;
        if repeated && self.cpus[c].reg(Gpr::Rcx) & mask(width) == 0 {
            let cpu = &mut self.cpus[c];
            cpu.rip = cpu.next_rip;
            return Ok(());
        }
        let size = op.size;
        let (rsi, rdi) = (self.cpus[c].reg(Gpr::Rsi) & mask(width), self.cpus[c].reg(Gpr::Rdi) & mask(width));
        let reads_source = matches!(op.kind, K::Movs | K::Lods | K::Cmps);
        let uses_destination = op.kind != K::Lods;
        let source = if reads_source {
            let at = self.linear(c, op.seg, rsi, size)?;
            self.read_linear(c, at, size, AccessKind::Read)?
        } else {
            self.cpus[c].gpr[0] & mask(size)
        };
        match op.kind {
            K::Movs | K::Stos => {
                let at = self.linear(c, Seg::Es as u8, rdi, size)?;
                self.write_linear(c, at, size, source, AccessKind::Write)?;
            }
            K::Lods => self.set_gpr(c, 0, size, source),
            _ => {
                let at = self.linear(c, Seg::Es as u8, rdi, size)?;
                let other = self.read_linear(c, at, size, AccessKind::Read)?;
                self.flags_sub(c, source, other, 0, size);
            }
        }
        let delta = if self.cpus[c].flag(flags::DF) { u64::from(size).wrapping_neg() } else { u64::from(size) };
        if reads_source {
            self.set_gpr(c, Gpr::Rsi as u8, width, rsi.wrapping_add(delta));
        }
        if uses_destination {
            self.set_gpr(c, Gpr::Rdi as u8, width, rdi.wrapping_add(delta));
        }
        let mut again = false;
        if repeated {
            let left = self.cpus[c].reg(Gpr::Rcx).wrapping_sub(1) & mask(width);
            self.set_gpr(c, Gpr::Rcx as u8, width, left);
            let zero = self.cpus[c].flag(flags::ZF);
            let compares = matches!(op.kind, K::Scas | K::Cmps);
            again = left != 0 && (!compares || zero == (op.prefixes & REP != 0));
        }
        if !again {
            let cpu = &mut self.cpus[c];
            cpu.rip = cpu.next_rip;
        }
        Ok(())
    }
}
