//! Registers, as a recording keeps them.

use crate::machine::{Cpu, Seg};

/// The names of [`Registers::gprs`], in order.
pub const NAMED_GPRS: [&str; 16] =
    ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"];

/// The registers of a CPU at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Registers {
    /// Instruction pointer.
    pub rip: u64,
    /// General-purpose registers, as encoded: see [`NAMED_GPRS`].
    pub gprs: [u64; 16],
    /// RFLAGS.
    pub rflags: u64,
    /// CR2, CR3 and CR4.
    pub crs: [u64; 3],
    /// Selector of the code segment.
    pub cs: u16,
    /// Selector of the task register.
    pub tr: u16,
    /// Linear bases of GDT and IDT.
    pub tables: [u64; 2],
    /// The global interrupt flag.
    pub is_gif_set: bool,
}

impl Registers {
    /// Those of a CPU now.
    #[must_use]
    pub fn of(cpu: &Cpu) -> Self {
        Self {
            rip: cpu.rip,
            gprs: cpu.gpr,
            rflags: cpu.rflags,
            crs: [cpu.cr2, cpu.cr3, cpu.cr4],
            cs: cpu.segs[Seg::Cs as usize].selector,
            tr: cpu.tr.selector,
            tables: [cpu.gdtr.base, cpu.idtr.base],
            is_gif_set: cpu.gif,
        }
    }

    /// Name and value of every register, the most telling first; 64 bits each but for the last.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let first = [("RIP", self.rip), ("RFLAGS", self.rflags)];
        let [cr2, cr3, cr4] = self.crs;
        let [gdt, idt] = self.tables;
        let system = [("CR2", cr2), ("CR3", cr3), ("CR4", cr4), ("GDT", gdt), ("IDT", idt)];
        let small = [("CS", self.cs.into()), ("TR", self.tr.into()), ("GIF", self.is_gif_set.into())];
        let gprs = NAMED_GPRS.into_iter().zip(self.gprs);
        first.into_iter().chain(gprs).chain(system).chain(small)
    }
}
