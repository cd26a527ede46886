//! From a SIPI in real mode through protected mode into 64-bit code, as AP trampolines go.

use iced_x86::code_asm::*;

use super::*;

/// Page of the trampoline.
const PAGE: u64 = 0x8;
const BASE: u64 = PAGE << 12;

fn trampoline() -> Vec<u8> {
    // The table descriptors lie behind the code at +0x200; GDT at +0x210.
    let mut a = CodeAssembler::new(16).expect("16-bit");
    a.cli().expect("asm");
    a.mov(ax, cs).expect("asm");
    a.mov(ds, eax).expect("asm");
    // lgdt [0x200] with a 32-bit base: 66 0f 01 16 00 02
    a.db(&[0x66, 0x0f, 0x01, 0x16, 0x00, 0x02]).expect("asm");
    a.mov(eax, cr4).expect("asm");
    a.or(eax, 0x60).expect("asm");
    a.mov(cr4, eax).expect("asm");
    a.mov(eax, PML4 as u32).expect("asm");
    a.mov(cr3, eax).expect("asm");
    a.mov(ecx, 0xc000_0080u32).expect("asm");
    a.rdmsr().expect("asm");
    a.or(eax, 0x900).expect("asm");
    a.wrmsr().expect("asm");
    a.mov(eax, 0x8001_0031u32).expect("asm");
    a.mov(cr0, eax).expect("asm");
    // jmp far dword 0x08:BASE+0x100: 66 ea imm32 imm16
    let mut jump = vec![0x66, 0xea];
    jump.extend_from_slice(&(BASE as u32 + 0x100).to_le_bytes());
    jump.extend_from_slice(&8u16.to_le_bytes());
    a.db(&jump).expect("asm");
    let mut bytes = a.assemble(0).expect("asm");
    assert!(bytes.len() < 0x100);
    bytes.resize(0x100, 0);
    bytes.extend(assemble(BASE + 0x100, |a| {
        a.mov(rbx, DATA)?;
        a.mov(qword_ptr(rbx), 0x77)?;
        a.mfence()?;
        a.hlt()
    }));
    bytes.resize(0x200, 0);
    bytes.extend_from_slice(&23u16.to_le_bytes());
    bytes.extend_from_slice(&(BASE as u32 + 0x210).to_le_bytes());
    bytes.resize(0x210, 0);
    for entry in [0u64, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff] {
        bytes.extend_from_slice(&entry.to_le_bytes());
    }
    bytes
}

#[test]
fn sipi_to_64_bit_code() {
    let mut m = intel();
    m.write_phys(BASE, &trampoline());
    m.send_ipi(0, 1, host::icr::INIT).expect("an IPI");
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::Init));
    m.send_ipi(0, 1, host::icr::STARTUP | PAGE as u32).expect("an IPI");
    run_to_wait(&mut m, 1);
    assert_eq!(m.read_phys_u64(DATA), 0x77, "rip {:#x} {}", m.cpu(1).rip, m.disassemble(1));
    assert_eq!(m.cpu(1).efer & 0x500, 0x500);
    assert_eq!(m.cpu(1).code_bits, 64);
    assert_eq!(m.cpu(1).taken.sipi, 1);
}

#[test]
fn real_mode_interrupts_use_the_ivt() {
    let mut m = intel();
    // sti-less loop at PAGE; IVT[2] -> 0900:0010 writes and irets.
    m.write_phys(BASE, &[0xbc, 0x00, 0x70, 0x90, 0x90, 0xf4, 0xeb, 0xfd]); // mov sp, 7000h; nop; nop; hlt; jmp
    m.write_phys(2 * 4, &[0x10, 0x00, 0x00, 0x09]);
    m.write_phys(0x9010, &[0x41, 0xcf]); // inc cx; iret
    m.inject(Event::at(1, EventKind::Init));
    m.step(1);
    m.inject(Event::at(1, EventKind::Sipi(PAGE as u8)));
    m.step(1);
    m.inject(Event::at(1, EventKind::Nmi));
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::Vector(2)));
    assert!(m.cpu(1).nmi_blocked);
    run_to_wait(&mut m, 1);
    assert_eq!(m.cpu(1).reg(Gpr::Rcx), 1);
    assert!(!m.cpu(1).nmi_blocked);
    assert_eq!(m.cpu(1).reg(Gpr::Rsp) & 0xffff, 0x7000);
}

#[test]
fn protected_mode_steps_and_faults() {
    // 32-bit code after PE: push, call, ret, ud2 through a 32-bit IDT.
    let mut m = intel();
    let cpu = m.cpu_mut(1);
    cpu.cr0 = 0x11;
    cpu.cr4 = 0;
    cpu.efer = 0;
    cpu.segs[Seg::Cs as usize] = Segment { selector: 8, base: 0, limit: u32::MAX, attr: 0xc9b };
    cpu.segs[Seg::Ss as usize] = Segment { selector: 16, base: 0, limit: u32::MAX, attr: 0xc93 };
    cpu.segs[Seg::Ds as usize] = cpu.segs[Seg::Ss as usize];
    cpu.gdtr = TableRegister { base: GDT + 0x800, limit: 23 };
    cpu.idtr = TableRegister { base: IDT, limit: 0x7ff };
    cpu.rip = CODE;
    for (n, entry) in [0u64, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff].into_iter().enumerate() {
        m.write_phys(GDT + 0x800 + 8 * n as u64, &entry.to_le_bytes());
    }
    let gate = (HANDLERS & 0xffff) | (8 << 16) | (0x8e00 << 32) | ((HANDLERS >> 16) << 48);
    m.write_phys(IDT + 6 * 8, &gate.to_le_bytes());
    // push 5; pop eax; call +0; pop ebx; ud2
    m.write_phys(CODE, &[0x6a, 0x05, 0x58, 0xe8, 0, 0, 0, 0, 0x5b, 0x0f, 0x0b]);
    run_to_wait(&mut m, 1);
    assert_eq!(m.cpu(1).reg(Gpr::Rax), 5);
    assert_eq!(m.cpu(1).reg(Gpr::Rbx), CODE + 8);
    assert_eq!(m.cpu(1).rip, HANDLERS + 1);
    let top = m.cpu(1).reg(Gpr::Rsp);
    assert_eq!(m.load_sized(1, top, 4), CODE + 9);
}
