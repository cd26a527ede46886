//! Single instructions. Each function is one instruction (or an inseparable pair) and nothing else.
//!
//! All of them need CPL 0, which the image has from its first instruction to its last.

use core::arch::asm;

/// `OUT DX, EAX`.
pub(crate) fn out_u32(port: u16, value: u32) {
    // SAFETY: port output touches no memory of this program; the image owns every device of the machine.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags)) }
}

/// `OUT DX, AL`.
pub(crate) fn out_u8(port: u16, value: u8) {
    // SAFETY: as in `out_u32`.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags)) }
}

/// `IN AL, DX`.
pub(crate) fn in_u8(port: u16) -> u8 {
    let value;
    // SAFETY: as in `out_u32`.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nostack, preserves_flags)) }
    value
}

/// `RDTSC`, ordered behind all earlier loads (SDM vol. 2, RDTSC: LFENCE first).
pub(crate) fn read_tsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: neither instruction touches memory.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags)) }
    u64::from(high) << 32 | u64::from(low)
}

/// `CLI; HLT`: stops this CPU until an NMI, SMI, #MC or INIT.
pub(crate) fn cli_hlt() {
    // SAFETY: neither instruction touches memory; handlers that run meanwhile return here.
    unsafe { asm!("cli", "hlt", options(nostack)) }
}

/// Sets bits of CR4.
///
/// # Safety
/// The bits must be supported and must not change how memory is translated.
pub(crate) unsafe fn set_cr4_bits(bits: u64) {
    // SAFETY: the caller vouches for the bits; the other bits keep their values.
    unsafe {
        asm!(
            "mov {old}, cr4",
            "or {old}, {bits}",
            "mov cr4, {old}",
            old = out(reg) _,
            bits = in(reg) bits,
            options(nostack)
        );
    }
}

/// Reads CR3.
pub(crate) fn read_cr3() -> u64 {
    let value;
    // SAFETY: reading CR3 touches no memory.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// `STI; NOP; CLI`: takes the interrupts that are pending. STI alone holds them back for one instruction.
pub(crate) fn take_pending_interrupts() {
    // SAFETY: the image's handlers return with everything as it was, and no lock is held by those that call this.
    unsafe { asm!("sti", "nop", "cli", options(nostack)) }
}

/// `XCHG BX, BX`: does nothing, but stops Bochs where its option `magic_break` is set, so that its debugger takes over.
pub(crate) fn bochs_break() {
    // SAFETY: exchanges a register with itself.
    unsafe { asm!("xchg bx, bx", options(nomem, nostack, preserves_flags)) }
}

/// `UD2`: an exception with vector 6, which ends the image with a report.
pub(crate) fn undefined() -> ! {
    // SAFETY: the handler reports and never returns.
    unsafe { asm!("ud2", options(noreturn)) }
}

/// Reads RSP, as it is in the middle of a function.
pub(crate) fn read_rsp() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// `MONITOR`: arms the monitor on the line at `address`.
pub(crate) fn monitor(address: u64) {
    // SAFETY: a load of one byte, of memory that the caller owns.
    unsafe { asm!("monitor", in("rax") address, in("ecx") 0, in("edx") 0, options(nostack, preserves_flags)) }
}

/// `MWAIT` with `ECX` = 0.
pub(crate) fn mwait(hint: u32) {
    // SAFETY: touches no memory; handlers that run meanwhile return here.
    unsafe { asm!("mwait", in("eax") hint, in("ecx") 0, options(nostack, preserves_flags)) }
}

/// `CLFLUSH`.
pub(crate) fn clflush(address: u64) {
    // SAFETY: writes a line back; its contents stay.
    unsafe { asm!("mfence", "clflush [{}]", "mfence", in(reg) address, options(nostack, preserves_flags)) }
}

/// `HLT`, whatever IF is.
pub(crate) fn hlt() {
    // SAFETY: touches no memory; handlers that run meanwhile return here.
    unsafe { asm!("hlt", options(nostack, preserves_flags)) }
}

/// `CLGI`. Needs EFER.SVME.
pub(crate) fn clgi() {
    // SAFETY: holds events back, which the image can bear.
    unsafe { asm!("clgi", options(nostack, preserves_flags)) }
}

/// `STGI`. Needs EFER.SVME.
pub(crate) fn stgi() {
    // SAFETY: the image's handlers return with everything as it was.
    unsafe { asm!("stgi", options(nostack, preserves_flags)) }
}

/// `IRETQ` to the next instruction: unblocks NMIs (SDM vol. 3, 6.7.1).
pub(crate) fn unblock_nmis() {
    // SAFETY: the frame is the executing program's own, so it goes on behind the IRETQ as it was.
    unsafe {
        asm!(
            "mov {stack}, rsp",
            "mov {scratch:e}, ss",
            "push {scratch}",
            "push {stack}",
            "pushfq",
            "mov {scratch:e}, cs",
            "push {scratch}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "iretq",
            "2:",
            stack = out(reg) _,
            scratch = out(reg) _,
        );
    }
}

/// `LIDT; UD2`: with an IDT that has no gate for it, a triple fault, which shuts the CPU down (SDM vol. 3, 6.15).
///
/// # Safety
/// `idt` outlives the CPU's stay; the caller can do without the CPU.
pub(crate) unsafe fn shut_down(limit: u16, idt: u64) -> ! {
    let operand: u128 = u128::from(limit) | u128::from(idt) << 16;
    // SAFETY: the caller's promise.
    unsafe { asm!("lidt [{}]", "2: ud2", "jmp 2b", in(reg) &raw const operand, options(noreturn)) }
}
