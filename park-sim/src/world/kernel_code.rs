//! The machine code of a simulated kernel: idle loop, landing, handlers; and the witness in which it counts.

use super::kernel::FIRST_TSS;
use iced_x86::code_asm::{CodeAssembler, ax, eax, ecx, edx, gpr64::*, qword_ptr};
use iced_x86::{BlockEncoderOptions, IcedError};

/// What a CPU's witness holds, as offsets in it.
pub(super) mod witness {
    pub(in crate::world) const ENTRIES: u64 = 0;
    pub(in crate::world) const ARGUMENT: u64 = 8;
    pub(in crate::world) const NMI: u64 = 16;
    pub(in crate::world) const MC: u64 = 24;
    pub(in crate::world) const FAULTS: u64 = 32;
}

/// Linear addresses of the kernel's own code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelCode {
    /// Waits with HLT for ever; handlers return to it.
    pub idle: u64,
    /// Where RIP stands while host-modelled code of the kernel runs.
    pub host: u64,
    /// Where a woken CPU lands with RDI = argument: counts the entry, then idles.
    pub landed: u64,
    /// First instruction of the NMI handler, after its entry is counted.
    pub nmi_body: u64,
    /// First instruction of the #MC handler that may park, with MCIP still set.
    pub mc_body: u64,
    pub(super) nmi: u64,
    pub(super) mc: u64,
    pub(super) exception: u64,
}

impl KernelCode {
    /// Whether a CPU at `rip` is where RIP stands while host-modelled code runs: idle, or in the loop for it.
    #[inline]
    pub(super) const fn is_host_modelled(&self, rip: u64) -> bool {
        rip >= self.idle && rip < self.landed
    }
}

/// The kernel's code for this linear base, and where its parts are. `witnesses`: linear address of the first CPU's witness.
pub(super) fn assemble(base: u64, witnesses: u64) -> Result<(Vec<u8>, KernelCode), IcedError> {
    let mut a = CodeAssembler::new(64)?;
    let [mut idle, mut host, mut landed, mut nmi, mut nmi_body, mut mc, mut mc_body, mut exception] =
        core::array::from_fn(|_| a.create_label());

    a.set_label(&mut idle)?;
    a.hlt()?;
    a.jmp(idle)?;

    a.set_label(&mut host)?;
    a.pause()?;
    a.jmp(host)?;

    // RDI = witness. The entry counts itself: a second entry shows.
    a.set_label(&mut landed)?;
    a.lock().inc(qword_ptr(rdi + witness::ENTRIES))?;
    a.mov(qword_ptr(rdi + witness::ARGUMENT), rdi)?;
    a.jmp(idle)?;

    // Handlers find their witness by TR, and keep every register.
    let find_witness = |a: &mut CodeAssembler| -> Result<(), IcedError> {
        a.push(rax)?;
        a.push(rcx)?;
        a.push(rdx)?;
        a.xor(eax, eax)?;
        a.str(ax)?;
        a.sub(eax, u32::from(FIRST_TSS))?;
        a.shl(eax, 2)?; // 16 bytes of GDT per CPU, 64 of witness
        a.mov(rcx, witnesses)?;
        a.add(rcx, rax)
    };
    let give_back = |a: &mut CodeAssembler| -> Result<(), IcedError> {
        a.pop(rdx)?;
        a.pop(rcx)?;
        a.pop(rax)
    };
    a.set_label(&mut nmi)?;
    find_witness(&mut a)?;
    a.lock().inc(qword_ptr(rcx + witness::NMI))?;
    a.set_label(&mut nmi_body)?;
    give_back(&mut a)?;
    a.iretq()?;

    a.set_label(&mut mc)?;
    find_witness(&mut a)?;
    a.lock().inc(qword_ptr(rcx + witness::MC))?;
    a.set_label(&mut mc_body)?;
    a.mov(ecx, park_x86::registers::msr::MCG_STATUS)?;
    a.xor(eax, eax)?;
    a.xor(edx, edx)?;
    a.wrmsr()?;
    give_back(&mut a)?;
    a.iretq()?;

    a.set_label(&mut exception)?;
    find_witness(&mut a)?;
    a.lock().inc(qword_ptr(rcx + witness::FAULTS))?;
    a.jmp(idle)?;

    let assembled = a.assemble_options(base, BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS)?;
    let code = KernelCode {
        idle: assembled.label_ip(&idle)?,
        host: assembled.label_ip(&host)?,
        landed: assembled.label_ip(&landed)?,
        nmi_body: assembled.label_ip(&nmi_body)?,
        mc_body: assembled.label_ip(&mc_body)?,
        nmi: assembled.label_ip(&nmi)?,
        mc: assembled.label_ip(&mc)?,
        exception: assembled.label_ip(&exception)?,
    };
    Ok((assembled.inner.code_buffer, code))
}
