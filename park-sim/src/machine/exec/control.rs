//! Jumps, calls and returns, near and far, and IRET.

use super::super::Machine;
use super::super::bits::{cr0, flags};
use super::super::breach::AccessKind;
use super::super::cpu::{Gpr, Seg, Segment};
use super::super::descriptor::NullStack;
use super::super::fault::{Exec, GP0, Missing, Trap};
use super::super::op::{Kind as K, Op, Opnd};
use super::super::rules::Rule;
use super::mask;

/// What IRET loads into RFLAGS at CPL 0 (S:IRET vol 2A).
const IRET_FLAGS: u64 = flags::STATUS
    | flags::TF
    | flags::IF
    | flags::DF
    | flags::IOPL
    | flags::NT
    | flags::RF
    | flags::AC
    | flags::ID
    | flags::VIF
    | flags::VIP;

impl Machine {
    /// Checks a near target: canonical, or inside CS.
    #[inline]
    fn near_target(&self, c: usize, target: u64, size: u8) -> Exec<u64> {
        let cpu = &self.cpus[c];
        if cpu.code_bits == 64 {
            return if self.canonical(c, target) { Ok(target) } else { Err(GP0) };
        }
        let target = target & mask(size.min(4));
        if target > u64::from(cpu.seg(Seg::Cs).limit) { Err(GP0) } else { Ok(target) }
    }

    #[inline]
    pub(crate) fn jump_relative(&mut self, c: usize, op: &Op) -> Exec<()> {
        let target = self.cpus[c].next_rip.wrapping_add(op.imm);
        self.cpus[c].next_rip = self.near_target(c, target, op.size)?;
        Ok(())
    }

    pub(crate) fn near(&mut self, c: usize, op: &Op) -> Exec<()> {
        let size = op.size;
        match op.kind {
            K::JmpInd => {
                let target = self.get(c, op, op.dst, size)?;
                self.cpus[c].next_rip = self.near_target(c, target, size)?;
                self.track_indirect(c);
            }
            K::CallRel | K::CallInd => {
                let next = self.cpus[c].next_rip;
                let target =
                    if op.kind == K::CallRel { next.wrapping_add(op.imm) } else { self.get(c, op, op.dst, size)? };
                let target = self.near_target(c, target, size)?;
                self.push(c, size, next, AccessKind::Write)?;
                // A call to the next instruction pushes nothing on the shadow stack (CET, CALL).
                if op.kind == K::CallInd || op.imm != 0 {
                    self.shadow_push(c, next)?;
                }
                self.cpus[c].next_rip = target;
                if op.kind == K::CallInd {
                    self.track_indirect(c);
                }
            }
            K::Ret => {
                let target = self.peek(c, 0, size, AccessKind::Read)?;
                let target = self.near_target(c, target, size)?;
                self.shadow_pop(c, target)?;
                let extra = if op.dst == Opnd::Imm { op.imm & 0xffff } else { 0 };
                self.drop_stack(c, u64::from(size) + extra);
                self.cpus[c].next_rip = target;
            }
            K::Jrcxz => {
                if self.cpus[c].reg(Gpr::Rcx) & mask(op.addr_size) == 0 {
                    self.jump_relative(c, op)?;
                }
            }
            kind => {
                let count = self.cpus[c].reg(Gpr::Rcx).wrapping_sub(1) & mask(op.addr_size);
                let zero = self.cpus[c].flag(flags::ZF);
                let taken = count != 0
                    && match kind {
                        K::Loope => zero,
                        K::Loopne => !zero,
                        _ => true,
                    };
                if taken {
                    self.jump_relative(c, op)?;
                }
                self.set_gpr(c, Gpr::Rcx as u8, op.addr_size, count);
            }
        }
        Ok(())
    }

    /// Moves to `selector:target` after all checks passed.
    fn enter_code(&mut self, c: usize, code: Segment, target: u64) {
        let cpu = &mut self.cpus[c];
        cpu.segs[Seg::Cs as usize] = code;
        cpu.next_rip = target;
        cpu.refresh_mode();
        self.disarm_by_transfer(c);
    }

    /// The CS that a far transfer to `selector` would load, and the target as that code sees it.
    fn far_target(&mut self, c: usize, selector: u16, target: u64, size: u8) -> Exec<(Segment, u64)> {
        let code = self.code_segment(c, selector)?;
        let target = target & mask(size);
        if code.attr & Segment::LONG != 0 && self.cpus[c].long_mode() {
            if !self.canonical(c, target) {
                return Err(GP0);
            }
        } else if target > u64::from(code.limit) {
            return Err(GP0);
        }
        Ok((code, target))
    }

    pub(crate) fn far(&mut self, c: usize, op: &Op) -> Exec<()> {
        let size = op.size;
        let (selector, target) = match op.kind {
            K::RetFar => {
                let target = self.peek(c, 0, size, AccessKind::Push)?;
                let selector = self.peek(c, u64::from(size), size, AccessKind::Push)? as u16;
                if selector & 3 != 0 && self.cpus[c].cr0 & cr0::PE != 0 {
                    return Err(Trap::missing(Missing::PrivilegeChange));
                }
                let (code, target) = self.far_target(c, selector, target, size)?;
                self.shadow_far_return(c, selector, target)?;
                let extra = if op.dst == Opnd::Imm { op.imm & 0xffff } else { 0 };
                self.drop_stack(c, 2 * u64::from(size) + extra);
                self.enter_code(c, code, target);
                return Ok(());
            }
            K::JmpFarImm | K::CallFarImm => (op.disp as u16, op.imm),
            _ => {
                let linear = self.operand_linear(c, op, size + 2)?;
                let target = self.read_linear(c, linear, size, AccessKind::Read)?;
                let selector = self.read_linear(c, linear.wrapping_add(u64::from(size)), 2, AccessKind::Read)? as u16;
                (selector, target)
            }
        };
        let (code, target) = self.far_target(c, selector, target, size)?;
        if matches!(op.kind, K::CallFarImm | K::CallFarMem) {
            let (cs, next) = (self.cpus[c].seg(Seg::Cs).selector, self.cpus[c].next_rip);
            let rsp = self.cpus[c].reg(Gpr::Rsp);
            self.push(c, size, u64::from(cs), AccessKind::Push)?;
            self.push(c, size, next, AccessKind::Push).inspect_err(|_| self.cpus[c].set_reg(Gpr::Rsp, rsp))?;
            self.shadow_far_call(c, cs, next)?;
        }
        self.enter_code(c, code, target);
        if matches!(op.kind, K::JmpFarMem | K::CallFarMem) {
            self.track_indirect(c);
        }
        Ok(())
    }

    pub(crate) fn iret(&mut self, c: usize, op: &Op) -> Exec<()> {
        // NMIs unblock even if the IRET faults (S:6.7.1).
        if self.rules.on(Rule::IretUnblocksNmi) {
            self.cpus[c].nmi_blocked = false;
            self.cpus[c].attention = true;
        }
        self.serialise(c);
        let size = op.size;
        let step = u64::from(size);
        let protected = self.cpus[c].cr0 & cr0::PE != 0;
        let long = self.cpus[c].long_mode();
        if protected && self.cpus[c].flag(flags::NT) {
            if long {
                if self.rules.on(Rule::NtFaultsIret) {
                    return Err(GP0);
                }
            } else {
                return Err(Trap::missing(Missing::TaskReturn));
            }
        }
        let target = self.peek(c, 0, size, AccessKind::Push)?;
        let selector = self.peek(c, step, size, AccessKind::Push)? as u16;
        let image = self.peek(c, 2 * step, size, AccessKind::Push)?;
        if !protected {
            let code = Segment { selector, base: u64::from(selector) << 4, ..*self.cpus[c].seg(Seg::Cs) };
            let target = target & mask(size);
            if target > u64::from(code.limit) {
                return Err(GP0);
            }
            self.drop_stack(c, 3 * step);
            self.set_iret_flags(c, image, size);
            self.enter_code(c, code, target);
            return Ok(());
        }
        if selector & 3 != 0 || image & flags::VM != 0 {
            return Err(Trap::missing(Missing::PrivilegeChange));
        }
        let (code, target) = self.far_target(c, selector, target, size)?;
        if self.cpus[c].code_bits == 64 {
            // SS:RSP are always popped (S:6.14.3).
            let rsp = self.peek(c, 3 * step, size, AccessKind::Push)?;
            let ss = self.peek(c, 4 * step, size, AccessKind::Push)? as u16;
            let null = if code.attr & Segment::LONG != 0 { NullStack::Allowed } else { NullStack::Refused };
            let stack = self.stack_segment(c, ss, null)?;
            self.shadow_far_return(c, selector, target)?;
            self.cpus[c].segs[Seg::Ss as usize] = stack;
            self.cpus[c].set_reg(Gpr::Rsp, rsp & mask(size));
        } else {
            self.shadow_far_return(c, selector, target)?;
            self.drop_stack(c, 3 * step);
        }
        self.set_iret_flags(c, image, size);
        self.enter_code(c, code, target);
        Ok(())
    }

    fn set_iret_flags(&mut self, c: usize, image: u64, size: u8) {
        let which = IRET_FLAGS & mask(size);
        let cpu = &mut self.cpus[c];
        cpu.rflags = (cpu.rflags & !which) | (image & which) | flags::FIXED;
        cpu.attention = true;
    }
}
