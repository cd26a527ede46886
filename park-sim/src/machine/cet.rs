//! Control-flow enforcement of the supervisor: shadow stack and indirect branch tracking (SDM vol 1 chapter 17).

use super::Machine;
use super::bits::{cr4, vector};
use super::breach::AccessKind;
use super::fault::{Exec, fault_with};
use super::op::Kind;
use super::rules::Rule;

/// IA32_S_CET bits.
const SH_STK_EN: u64 = 1 << 0;
const ENDBR_EN: u64 = 1 << 2;
/// #CP error codes.
const NEAR_RET: u32 = 1;
const FAR_RET: u32 = 2;
const ENDBRANCH: u32 = 3;

impl Machine {
    #[inline]
    fn shadow_stack_on(&self, c: usize) -> bool {
        let cpu = &self.cpus[c];
        cpu.cr4 & cr4::CET != 0 && cpu.msr.s_cet() & SH_STK_EN != 0 && self.rules.on(Rule::ShadowStackUsed)
    }

    #[inline]
    fn tracking_on(&self, c: usize) -> bool {
        let cpu = &self.cpus[c];
        cpu.cr4 & cr4::CET != 0 && cpu.msr.s_cet() & ENDBR_EN != 0 && self.rules.on(Rule::EndbranchChecked)
    }

    /// After an indirect branch or event: the next instruction must be ENDBR64.
    #[inline]
    pub(crate) fn track_indirect(&mut self, c: usize) {
        if self.tracking_on(c) {
            self.cpus[c].wait_for_endbranch = true;
            self.cpus[c].attention = true;
        }
    }

    /// Checks the tracker before an instruction runs.
    #[cold]
    pub(crate) fn check_endbranch(&mut self, c: usize, kind: Kind) -> Exec<()> {
        self.cpus[c].wait_for_endbranch = false;
        if kind == Kind::Endbr64 || !self.tracking_on(c) { Ok(()) } else { Err(fault_with(vector::CP, ENDBRANCH)) }
    }

    #[inline]
    pub(crate) fn shadow_push(&mut self, c: usize, value: u64) -> Exec<()> {
        if !self.shadow_stack_on(c) {
            return Ok(());
        }
        let ssp = self.cpus[c].ssp.wrapping_sub(8);
        self.shadow_write(c, ssp, value)?;
        self.cpus[c].ssp = ssp;
        Ok(())
    }

    /// Shadow-stack pages are read-only to other stores: the write goes by the read permission.
    fn shadow_write(&mut self, c: usize, ssp: u64, value: u64) -> Exec<()> {
        let place = self.translate(c, ssp, super::paging::Dir::Read, AccessKind::Push)?;
        self.write_place(c, &place, 8, value, AccessKind::Push)
    }

    #[inline]
    pub(crate) fn shadow_pop(&mut self, c: usize, target: u64) -> Exec<()> {
        if !self.shadow_stack_on(c) {
            return Ok(());
        }
        let ssp = self.cpus[c].ssp;
        let kept = self.read_linear(c, ssp, 8, AccessKind::Push)?;
        if kept != target {
            return Err(fault_with(vector::CP, NEAR_RET));
        }
        self.cpus[c].ssp = ssp.wrapping_add(8);
        Ok(())
    }

    /// A far call or event keeps CS, the linear return address and the old SSP.
    pub(crate) fn shadow_far_call(&mut self, c: usize, cs: u16, next: u64) -> Exec<()> {
        if !self.shadow_stack_on(c) {
            return Ok(());
        }
        let old = self.cpus[c].ssp;
        self.shadow_frame(c, old, old, cs, next)
    }

    fn shadow_frame(&mut self, c: usize, top: u64, old: u64, cs: u16, next: u64) -> Exec<()> {
        let base = top & !7;
        self.shadow_write(c, base.wrapping_sub(8), u64::from(cs))?;
        self.shadow_write(c, base.wrapping_sub(16), next)?;
        self.shadow_write(c, base.wrapping_sub(24), old)?;
        self.cpus[c].ssp = base.wrapping_sub(24);
        Ok(())
    }

    /// An event: with an IST index the shadow stack comes from the interrupt SSP table.
    pub(crate) fn shadow_event(&mut self, c: usize, ist: u8, cs: u16, next: u64) -> Exec<()> {
        if !self.shadow_stack_on(c) {
            return Ok(());
        }
        let old = self.cpus[c].ssp;
        let top = if ist == 0 {
            old
        } else {
            let table = self.cpus[c].msr.isst();
            self.read_linear(c, table.wrapping_add(8 * u64::from(ist)), 8, AccessKind::Descriptor)?
        };
        self.shadow_frame(c, top, old, cs, next)
    }

    /// A far return or IRET checks what the far call or event kept.
    pub(crate) fn shadow_far_return(&mut self, c: usize, cs: u16, target: u64) -> Exec<()> {
        if !self.shadow_stack_on(c) {
            return Ok(());
        }
        let ssp = self.cpus[c].ssp;
        if !ssp.is_multiple_of(8) {
            return Err(fault_with(vector::CP, FAR_RET));
        }
        let old = self.read_linear(c, ssp, 8, AccessKind::Push)?;
        let next = self.read_linear(c, ssp.wrapping_add(8), 8, AccessKind::Push)?;
        let kept_cs = self.read_linear(c, ssp.wrapping_add(16), 8, AccessKind::Push)?;
        if kept_cs != u64::from(cs) || next != target {
            return Err(fault_with(vector::CP, FAR_RET));
        }
        self.cpus[c].ssp = old;
        Ok(())
    }
}
