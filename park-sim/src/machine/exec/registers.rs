//! Moves to and from control, debug, table, segment-base and extended control registers.

use super::super::Machine;
use super::super::bits::{cr0, cr4};
use super::super::breach::AccessKind;
use super::super::cpu::{Seg, TableRegister};
use super::super::fault::{Exec, GP0, UD};
use super::super::op::{Kind as K, Op, Opnd};
use super::mask;

/// XINUSE of AMX: XTILEDATA and XTILECFG.
pub(super) const XINUSE_TILES: u64 = 0x60000;

impl Machine {
    pub(super) fn control(&mut self, c: usize, op: &Op) -> Exec<()> {
        match op.kind {
            K::MovToCr => {
                let value = self.get(c, op, op.src, op.size)?;
                match op.dst {
                    Opnd::Cr(0) => self.write_cr0(c, value),
                    Opnd::Cr(2) => {
                        self.cpus[c].cr2 = value;
                        Ok(())
                    }
                    Opnd::Cr(3) => self.write_cr3(c, value),
                    Opnd::Cr(4) => self.write_cr4(c, value),
                    Opnd::Cr(8) => self.write_cr8(c, value),
                    _ => Err(UD),
                }
            }
            K::MovFromCr => {
                let cpu = &self.cpus[c];
                let value = match op.src {
                    Opnd::Cr(0) => cpu.cr0,
                    Opnd::Cr(2) => cpu.cr2,
                    Opnd::Cr(3) => cpu.cr3,
                    Opnd::Cr(4) => cpu.cr4,
                    Opnd::Cr(8) => u64::from(cpu.apic.tpr >> 4),
                    _ => return Err(UD),
                };
                self.put(c, op, op.dst, op.size, value)
            }
            K::MovToDr => {
                let value = self.get(c, op, op.src, op.size)?;
                let Opnd::Dr(n) = op.dst else { return Err(UD) };
                self.serialise(c);
                self.write_dr(c, n, value)
            }
            K::MovFromDr => {
                let Opnd::Dr(n) = op.src else { return Err(UD) };
                let n = if n == 4 || n == 5 { n + 2 } else { n & 7 };
                let value = self.cpus[c].dr[usize::from(n)];
                self.put(c, op, op.dst, op.size, value)
            }
            K::Clts => {
                let value = self.cpus[c].cr0 & !cr0::TS;
                self.write_cr0(c, value)
            }
            K::Lmsw => {
                let value = self.get(c, op, op.dst, 2)?;
                let old = self.cpus[c].cr0;
                let low = cr0::PE | cr0::MP | cr0::EM | cr0::TS;
                // LMSW sets PE but cannot clear it (S:LMSW vol 2A).
                self.write_cr0(c, (old & !low) | (value & low) | (old & cr0::PE))
            }
            K::Smsw => {
                let value = self.cpus[c].cr0;
                let size = if op.dst == Opnd::Mem { 2 } else { op.size };
                self.put(c, op, op.dst, size, value)
            }
            K::Xsetbv => {
                let cpu = &self.cpus[c];
                let value = (cpu.gpr[2] << 32) | (cpu.gpr[0] & 0xffff_ffff);
                if cpu.gpr[1] as u32 != 0 {
                    return Err(GP0);
                }
                self.write_xcr0(c, value)
            }
            _ => {
                let cpu = &self.cpus[c];
                if !self.features.xsave || cpu.cr4 & cr4::OSXSAVE == 0 {
                    return Err(UD);
                }
                let value = match cpu.gpr[1] as u32 {
                    0 => cpu.xcr0,
                    // XINUSE: x87 and what is live.
                    1 => cpu.xcr0 & (1 | if cpu.tiles_live { XINUSE_TILES } else { 0 }),
                    _ => return Err(GP0),
                };
                self.set_pair(c, value);
                Ok(())
            }
        }
    }

    pub(super) fn table_register(&mut self, c: usize, op: &Op) -> Exec<()> {
        let base_size = if op.size == 8 { 8 } else { 4 };
        let linear = self.operand_linear(c, op, 2 + base_size)?;
        if matches!(op.kind, K::Sgdt | K::Sidt) {
            let table = if op.kind == K::Sgdt { self.cpus[c].gdtr } else { self.cpus[c].idtr };
            self.write_linear(c, linear, 2, u64::from(table.limit), AccessKind::Write)?;
            return self.write_linear(
                c,
                linear.wrapping_add(2),
                base_size,
                table.base & mask(base_size),
                AccessKind::Write,
            );
        }
        let limit = self.read_linear(c, linear, 2, AccessKind::Read)? as u16;
        let mut base = self.read_linear(c, linear.wrapping_add(2), base_size, AccessKind::Read)?;
        if op.size == 2 {
            base &= 0x00ff_ffff;
        }
        if self.cpus[c].code_bits == 64 && !self.canonical(c, base) {
            return Err(GP0);
        }
        self.serialise(c);
        let table = TableRegister { base, limit };
        if op.kind == K::Lgdt {
            self.cpus[c].gdtr = table;
        } else {
            self.cpus[c].idtr = table;
        }
        Ok(())
    }

    pub(super) fn segment_base(&mut self, c: usize, op: &Op) -> Exec<()> {
        if self.cpus[c].code_bits != 64 || self.cpus[c].cr4 & cr4::FSGSBASE == 0 {
            return Err(UD);
        }
        let index = if matches!(op.kind, K::RdFsBase | K::WrFsBase) { Seg::Fs } else { Seg::Gs } as usize;
        if matches!(op.kind, K::RdFsBase | K::RdGsBase) {
            let base = self.cpus[c].segs[index].base;
            return self.put(c, op, op.dst, op.size, base);
        }
        let base = self.get(c, op, op.dst, op.size)?;
        if !self.canonical(c, base) {
            return Err(GP0);
        }
        self.cpus[c].segs[index].base = base;
        Ok(())
    }
}
