//! The code of foreign parkers.

use iced_x86::code_asm::{CodeAssembler, CodeLabel, byte_ptr, dword_ptr, eax, ecx, edx, gpr64::*, qword_ptr};
use iced_x86::{BlockEncoderOptions, IcedError};
use park_x86::registers::control::Efer;
use park_x86::registers::msr;

/// Offsets in a CPU's 128 bytes of parker's data.
pub mod data {
    /// `mwait_cpu_dead.control`, 32 bits: what the kick writes. It is on the monitored line.
    pub const CONTROL: u64 = 0;
    /// `mwait_cpu_dead.status`, 32 bits: what the CPU answers.
    pub const STATUS: u64 = 4;
    /// The word that raw-clgi looks at, 64 bits.
    pub const FLAG: u64 = 0x10;
    /// Where raw-clgi goes then.
    pub const ENTRY: u64 = 0x18;
    /// RDI at that entry.
    pub const ARGUMENT: u64 = 0x20;
}

/// `CPUDEAD_MWAIT_WAIT` of Linux.
pub const MWAIT_WAIT: u32 = 0xdead_beef;
/// `CPUDEAD_MWAIT_KEXEC_HLT` of Linux.
pub const MWAIT_KEXEC_HLT: u32 = 0x4a17_dead;

/// The parkers' code and where each begins, as linear addresses. RDI = the CPU's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// `mwait_play_dead()`.
    pub linux_mwait: u64,
    /// `hlt_play_dead()`.
    pub linux_hlt: u64,
    /// CLGI and HLT.
    pub raw_clgi: u64,
}

/// Assembles the parkers for a linear address.
///
/// # Errors
/// [`IcedError`]: a bug of this function.
pub fn assemble(base: u64) -> Result<Text, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    let [mut mwait, mut hlt, mut clgi] = core::array::from_fn(|_| a.create_label());
    linux_mwait(&mut a, &mut mwait)?;
    a.set_label(&mut hlt)?;
    a.wbinvd()?;
    linux_hlt(&mut a)?;
    raw_clgi(&mut a, &mut clgi)?;
    let assembled = a.assemble_options(base, BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS)?;
    Ok(Text {
        linux_mwait: assembled.label_ip(&mwait)?,
        linux_hlt: assembled.label_ip(&hlt)?,
        raw_clgi: assembled.label_ip(&clgi)?,
        bytes: assembled.inner.code_buffer,
    })
}

/// Linux `mwait_play_dead()`: linear code, the C compiled by hand.
fn linux_mwait(a: &mut CodeAssembler, start: &mut CodeLabel) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(start)?;
    a.mov(dword_ptr(rdi + data::STATUS), MWAIT_WAIT)?;
    a.mov(dword_ptr(rdi + data::CONTROL), MWAIT_WAIT)?;
    a.wbinvd()?;
    a.set_label(&mut again)?;
    a.mfence()?;
    a.clflush(byte_ptr(rdi))?; // erratum AAI65
    a.mfence()?;
    a.mov(rax, rdi)?;
    a.xor(ecx, ecx)?;
    a.xor(edx, edx)?;
    a.monitor()?;
    a.mfence()?;
    a.xor(eax, eax)?;
    a.xor(ecx, ecx)?;
    a.mwait()?;
    a.cmp(dword_ptr(rdi + data::CONTROL), MWAIT_KEXEC_HLT as i32)?;
    a.jne(again)?;
    a.mov(dword_ptr(rdi + data::STATUS), MWAIT_KEXEC_HLT)?;
    linux_hlt(a)
}

/// `while (1) native_halt();`
fn linux_hlt(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.hlt()?;
    a.jmp(again)
}

fn raw_clgi(a: &mut CodeAssembler, start: &mut CodeLabel) -> Result<(), IcedError> {
    let mut again = a.create_label();
    let svme = Efer::SVME.bits() as u32;
    a.set_label(start)?;
    a.mov(ecx, msr::EFER)?;
    a.rdmsr()?;
    a.or(eax, svme)?;
    a.wrmsr()?;
    a.clgi()?;
    a.sti()?; // GIF holds interrupts from here, and ends no HLT that IF would keep from ending
    a.set_label(&mut again)?;
    a.hlt()?;
    a.cmp(qword_ptr(rdi + data::FLAG), 0)?;
    a.je(again)?;
    a.cli()?;
    a.stgi()?;
    a.mov(ecx, msr::EFER)?;
    a.rdmsr()?;
    a.and(eax, !svme)?;
    a.wrmsr()?;
    a.mov(rax, qword_ptr(rdi + data::ENTRY))?;
    a.mov(rdi, qword_ptr(rdi + data::ARGUMENT))?;
    a.jmp(rax)
}
