//! Descriptor tables and segment registers (S:3.4, S:5.8, S:7.2).

use super::Machine;
use super::bits::{cr0, vector};
use super::breach::AccessKind;
use super::cpu::{Seg, Segment};
use super::fault::{Exec, GP0, Missing, Trap, fault_with};
use super::paging::Dir;
use super::rules::Rule;

/// Access byte bits in [`Segment::attr`].
const ACCESSED: u16 = 1 << 0;
const READ_WRITE: u16 = 1 << 1;
const CONFORMING: u16 = 1 << 2;
const CODE: u16 = 1 << 3;
const CODE_OR_DATA: u16 = 1 << 4;
const GRANULAR: u16 = 1 << 11;
const TYPE: u16 = 0xf;
const DPL_SHIFT: u16 = 5;
/// System descriptor types (S:Table 3-2).
const TYPE_LDT: u16 = 2;
const TYPE_TSS_AVAILABLE: u16 = 9;
const TYPE_TSS_BUSY: u16 = 11;
/// The busy bit of a TSS descriptor, in its high byte's type field.
const BUSY: u16 = 1 << 1;

/// Whether SS may become null: in 64-bit code at CPL 0 (S:5.4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NullStack {
    Allowed,
    Refused,
}

/// Unpacks the low 8 bytes of a descriptor.
fn unpack(selector: u16, raw: u64) -> Segment {
    let attr = ((raw >> 40) & 0xff) as u16 | (((raw >> 52) & 0xf) as u16) << 8;
    let limit = ((raw & 0xffff) | ((raw >> 32) & 0xf_0000)) as u32;
    let limit = if attr & GRANULAR != 0 { (limit << 12) | 0xfff } else { limit };
    Segment { selector, base: ((raw >> 16) & 0xff_ffff) | ((raw >> 32) & 0xff00_0000), limit, attr }
}

const fn code_of(selector: u16) -> u32 {
    (selector & !3) as u32
}

impl Machine {
    /// The linear address of a descriptor of `bytes` bytes; #`vector` (selector) beyond the table.
    fn descriptor_at(&self, c: usize, selector: u16, bytes: u16, fault: u8) -> Exec<u64> {
        let cpu = &self.cpus[c];
        let (base, limit) = if selector & 4 != 0 {
            if cpu.ldtr.attr & Segment::PRESENT == 0 {
                return Err(fault_with(fault, code_of(selector)));
            }
            (cpu.ldtr.base, cpu.ldtr.limit)
        } else {
            (cpu.gdtr.base, u32::from(cpu.gdtr.limit))
        };
        let offset = u32::from(selector & !7);
        if offset + u32::from(bytes) - 1 > limit {
            return Err(fault_with(fault, code_of(selector)));
        }
        Ok(base.wrapping_add(u64::from(offset)))
    }

    /// Sets the accessed bit of a descriptor, if it is clear: a write into the table (S:3.4.5.1).
    fn mark_accessed(&mut self, c: usize, at: u64, segment: &mut Segment) -> Exec<()> {
        if segment.attr & ACCESSED == 0 {
            self.lock_drain(c);
            self.write_linear(c, at + 5, 1, u64::from((segment.attr | ACCESSED) & 0xff), AccessKind::DescriptorWrite)?;
            self.lock_drain(c);
            segment.attr |= ACCESSED;
        }
        Ok(())
    }

    /// The code segment that a far transfer or event to `selector` loads; CPL stays 0.
    pub(crate) fn code_segment(&mut self, c: usize, selector: u16) -> Exec<Segment> {
        if self.cpus[c].cr0 & cr0::PE == 0 {
            return Ok(Segment { selector, base: u64::from(selector) << 4, ..*self.cpus[c].seg(Seg::Cs) });
        }
        if selector & !3 == 0 {
            return Err(GP0);
        }
        let at = self.descriptor_at(c, selector, 8, vector::GP)?;
        let raw = self.read_descriptor_bytes(c, at, 8)?;
        let mut code = unpack(selector & !3, raw);
        let refuse = Err(fault_with(vector::GP, code_of(selector)));
        if code.attr & CODE_OR_DATA == 0 {
            let kind = code.attr & TYPE;
            // Call gates, task gates and TSSs: legal in part, not modelled.
            return if matches!(kind, 9 | 11 | 12 | 5 | 4) { Err(Trap::missing(Missing::Gate)) } else { refuse };
        }
        let dpl = (code.attr >> DPL_SHIFT) & 3;
        if code.attr & CODE == 0 || dpl != 0 || selector & 3 != 0 {
            return refuse;
        }
        let _ = CONFORMING;
        let long = self.cpus[c].long_mode();
        if long && code.attr & Segment::LONG != 0 && code.attr & Segment::DEFAULT_32 != 0 {
            return refuse;
        }
        if code.attr & Segment::PRESENT == 0 {
            return Err(fault_with(vector::NP, code_of(selector)));
        }
        self.mark_accessed(c, at, &mut code)?;
        Ok(code)
    }

    /// The stack segment that MOV SS, POP SS or IRET loads; null is allowed for 64-bit code at CPL 0.
    pub(crate) fn stack_segment(&mut self, c: usize, selector: u16, null: NullStack) -> Exec<Segment> {
        if selector & !3 == 0 {
            return if null == NullStack::Allowed && selector & 3 == 0 {
                Ok(Segment { selector, ..Segment::default() })
            } else {
                Err(GP0)
            };
        }
        let at = self.descriptor_at(c, selector, 8, vector::GP)?;
        let raw = self.read_descriptor_bytes(c, at, 8)?;
        let mut stack = unpack(selector, raw);
        let writable_data = stack.attr & CODE_OR_DATA != 0 && stack.attr & CODE == 0 && stack.attr & READ_WRITE != 0;
        if selector & 3 != 0 || (stack.attr >> DPL_SHIFT) & 3 != 0 || !writable_data {
            return Err(fault_with(vector::GP, code_of(selector)));
        }
        if stack.attr & Segment::PRESENT == 0 {
            return Err(fault_with(vector::SS, code_of(selector)));
        }
        self.mark_accessed(c, at, &mut stack)?;
        Ok(stack)
    }

    /// Loads a segment register other than CS.
    pub(crate) fn load_segment(&mut self, c: usize, n: u8, selector: u16) -> Exec<()> {
        let index = usize::from(n.min(5));
        if self.cpus[c].cr0 & cr0::PE == 0 {
            let segment = &mut self.cpus[c].segs[index];
            segment.selector = selector;
            segment.base = u64::from(selector) << 4;
            return Ok(());
        }
        if n == Seg::Ss as u8 {
            let null = if self.cpus[c].code_bits == 64 { NullStack::Allowed } else { NullStack::Refused };
            let stack = self.stack_segment(c, selector, null)?;
            self.cpus[c].segs[index] = stack;
            return Ok(());
        }
        if selector & !3 == 0 {
            self.cpus[c].segs[index] = Segment { selector, ..Segment::default() };
            return Ok(());
        }
        let at = self.descriptor_at(c, selector, 8, vector::GP)?;
        let raw = self.read_descriptor_bytes(c, at, 8)?;
        let mut segment = unpack(selector, raw);
        let readable = segment.attr & CODE_OR_DATA != 0 && (segment.attr & CODE == 0 || segment.attr & READ_WRITE != 0);
        let dpl = (segment.attr >> DPL_SHIFT) & 3;
        let conforming_code = segment.attr & CODE != 0 && segment.attr & CONFORMING != 0;
        if !readable || (!conforming_code && selector & 3 > dpl) {
            return Err(fault_with(vector::GP, code_of(selector)));
        }
        if segment.attr & Segment::PRESENT == 0 {
            return Err(fault_with(vector::NP, code_of(selector)));
        }
        self.mark_accessed(c, at, &mut segment)?;
        self.cpus[c].segs[index] = segment;
        Ok(())
    }

    /// LTR (S:LTR vol 2A): an available TSS, which becomes busy by a locked write.
    pub(crate) fn load_task_register(&mut self, c: usize, selector: u16) -> Exec<()> {
        let mut tss = self.system_segment(c, selector)?;
        let long = self.cpus[c].long_mode();
        let marks = self.rules.on(Rule::LtrMarksBusy);
        let kind = tss.attr & TYPE;
        let acceptable = kind == TYPE_TSS_AVAILABLE || (!marks && kind == TYPE_TSS_BUSY);
        if tss.attr & CODE_OR_DATA != 0 || !acceptable {
            return Err(fault_with(vector::GP, code_of(selector)));
        }
        if tss.attr & Segment::PRESENT == 0 {
            return Err(fault_with(vector::NP, code_of(selector)));
        }
        if long && !self.canonical(c, tss.base) {
            return Err(fault_with(vector::GP, code_of(selector)));
        }
        tss.attr |= BUSY;
        if marks {
            let at = self.descriptor_at(c, selector, 8, vector::GP)?;
            self.lock_drain(c);
            self.write_linear(c, at + 5, 1, u64::from(tss.attr & 0xff), AccessKind::DescriptorWrite)?;
            self.lock_drain(c);
        }
        self.cpus[c].tr = tss;
        Ok(())
    }

    /// LLDT (S:LLDT vol 2A).
    pub(crate) fn load_local_table(&mut self, c: usize, selector: u16) -> Exec<()> {
        if selector & !3 == 0 {
            self.cpus[c].ldtr = Segment { selector, ..Segment::default() };
            return Ok(());
        }
        let table = self.system_segment(c, selector)?;
        if table.attr & CODE_OR_DATA != 0 || table.attr & TYPE != TYPE_LDT {
            return Err(fault_with(vector::GP, code_of(selector)));
        }
        if table.attr & Segment::PRESENT == 0 {
            return Err(fault_with(vector::NP, code_of(selector)));
        }
        self.cpus[c].ldtr = table;
        Ok(())
    }

    /// A descriptor of the GDT that LTR or LLDT names: 16 bytes in long mode.
    fn system_segment(&mut self, c: usize, selector: u16) -> Exec<Segment> {
        if selector & !3 == 0 {
            return Err(GP0);
        }
        if selector & 4 != 0 {
            return Err(fault_with(vector::GP, code_of(selector)));
        }
        let long = self.cpus[c].long_mode();
        let at = self.descriptor_at(c, selector, if long { 16 } else { 8 }, vector::GP)?;
        let low = self.read_descriptor_bytes(c, at, 8)?;
        let mut segment = unpack(selector, low);
        if long {
            let high = self.read_descriptor_bytes(c, at + 8, 8)?;
            segment.base |= high << 32;
            // The type field of the upper half must be 0 (S:Figure 7-4).
            if (high >> 40) & 0x1f != 0 {
                return Err(fault_with(vector::GP, code_of(selector)));
            }
        }
        Ok(segment)
    }

    /// Whether VERR or VERW would succeed: a readable or writable segment at CPL 0.
    pub(crate) fn verify_segment(&mut self, c: usize, selector: u16, dir: Dir) -> Exec<bool> {
        if selector & !3 == 0 {
            return Ok(false);
        }
        let Ok(at) = self.descriptor_at(c, selector, 8, vector::GP) else { return Ok(false) };
        let attr = unpack(selector, self.read_descriptor_bytes(c, at, 8)?).attr;
        let ordinary = attr & CODE_OR_DATA != 0;
        let ok = if dir == Dir::Write {
            attr & CODE == 0 && attr & READ_WRITE != 0
        } else {
            attr & CODE == 0 || attr & READ_WRITE != 0
        };
        Ok(ordinary && ok && selector & 3 <= (attr >> DPL_SHIFT) & 3)
    }
}
