//! The integer instructions against known results.

use iced_x86::code_asm::*;

use super::*;

#[test]
fn arithmetic_flags_and_widths() {
    let m = run(|a| {
        a.mov(rax, u64::MAX)?;
        a.add(rax, 1)?; // ZF, CF
        a.setc(cl)?;
        a.setz(ch)?;
        a.mov(edx, 0x8000_0000u32)?;
        a.sub(edx, 1)?; // OF
        a.seto(bl)?;
        a.mov(r8, -1i64)?;
        a.mov(r8d, 5)?; // clears the upper half
        a.mov(r9, 0x1122_3344_5566_7788u64)?;
        a.mov(r9b, 0xffu32 as i32)?;
        a.mov(r9w, 0xabcd)
    });
    let cpu = m.cpu(0);
    assert_eq!(cpu.reg(Gpr::Rax), 0);
    assert_eq!(cpu.reg(Gpr::Rcx) & 0xffff, 0x0101);
    assert_eq!(cpu.reg(Gpr::Rdx), 0x7fff_ffff);
    assert_eq!(cpu.reg(Gpr::Rbx) & 0xff, 1);
    assert_eq!(cpu.reg(Gpr::R8), 5);
    assert_eq!(cpu.reg(Gpr::R9), 0x1122_3344_5566_abcd);
}

#[test]
fn multiply_divide_shift() {
    let m = run(|a| {
        a.mov(rax, 0x1_0000_0001u64)?;
        a.mov(rbx, 0x1_0000_0003u64)?;
        a.mul(rbx)?; // 0x1_0000_0004_0000_0003
        a.mov(r8, rdx)?;
        a.mov(r9, rax)?;
        a.div(rbx)?;
        a.mov(r10, rax)?;
        a.mov(r11, -7i64)?;
        a.sar(r11, 1)?;
        a.mov(rax, -100i64)?;
        a.cqo()?;
        a.mov(rcx, 7u64)?;
        a.idiv(rcx)?; // -14 rem -2
        a.mov(r12, rdx)?;
        a.imul_3(r13, rax, 3)?;
        a.mov(r14d, 0x8000_0001u32)?;
        a.rol(r14d, 1)?;
        a.mov(r15, 0xf0u64)?;
        a.bsf(rsi, r15)?;
        a.bsr(rdi, r15)
    });
    let cpu = m.cpu(0);
    assert_eq!((cpu.reg(Gpr::R8), cpu.reg(Gpr::R9)), (1, 0x0000_0004_0000_0003));
    assert_eq!(cpu.reg(Gpr::R10), 0x1_0000_0001);
    assert_eq!(cpu.reg(Gpr::R11) as i64, -4);
    assert_eq!(cpu.reg(Gpr::R12) as i64, -2);
    assert_eq!(cpu.reg(Gpr::R13) as i64, -42);
    assert_eq!(cpu.reg(Gpr::R14), 3);
    assert_eq!((cpu.reg(Gpr::Rsi), cpu.reg(Gpr::Rdi)), (4, 7));
}

#[test]
fn stack_calls_and_loops() {
    let m = run(|a| {
        let mut function = a.create_label();
        let mut top = a.create_label();
        let mut done = a.create_label();
        a.mov(ecx, 5)?;
        a.xor(eax, eax)?;
        a.set_label(&mut top)?;
        a.call(function)?;
        a.dec(ecx)?;
        a.jnz(top)?;
        a.push(rax)?;
        a.pushfq()?;
        a.pop(rbx)?;
        a.pop(rdx)?;
        a.jmp(done)?;
        a.set_label(&mut function)?;
        a.add(eax, ecx)?;
        a.ret()?;
        a.set_label(&mut done)?;
        a.nop()
    });
    let cpu = m.cpu(0);
    assert_eq!((cpu.reg(Gpr::Rax), cpu.reg(Gpr::Rdx)), (15, 15));
    assert_eq!(cpu.reg(Gpr::Rbx) & 0x40, 0x40);
    assert_eq!(cpu.reg(Gpr::Rsp), STACK);
}

#[test]
fn memory_operands_strings_and_exchanges() {
    let m = run(|a| {
        a.mov(rdi, DATA)?;
        a.mov(rcx, 4u64)?;
        a.mov(rax, 0x0101_0101_0101_0101u64)?;
        a.rep().stosq()?;
        a.mov(rsi, DATA)?;
        a.mov(rdi, DATA + 0x100)?;
        a.mov(ecx, 32)?;
        a.rep().movsb()?;
        a.mov(rbx, DATA)?;
        a.mov(rax, 0x0101_0101_0101_0101u64)?;
        a.mov(rdx, 77u64)?;
        a.lock().cmpxchg(qword_ptr(rbx + 8), rdx)?;
        a.setz(r8b)?;
        a.mov(rax, 1u64)?;
        a.lock().cmpxchg(qword_ptr(rbx + 8), rdx)?;
        a.mov(r9, rax)?;
        a.mov(r10, 3u64)?;
        a.lock().xadd(qword_ptr(rbx + 8), r10)?;
        a.mov(r11, 5u64)?;
        a.xchg(qword_ptr(rbx), r11)?;
        a.lock().bts(qword_ptr(rbx), 63)?;
        a.setc(r12b)
    });
    let cpu = m.cpu(0);
    assert_eq!(cpu.reg(Gpr::R8) & 0xff, 1);
    assert_eq!(cpu.reg(Gpr::R9), 77);
    assert_eq!(cpu.reg(Gpr::R10), 77);
    assert_eq!(cpu.reg(Gpr::R11), 0x0101_0101_0101_0101);
    assert_eq!(cpu.reg(Gpr::R12) & 0xff, 0);
    assert_eq!(m.read_phys_u64(DATA), 5 | (1 << 63));
    assert_eq!(m.read_phys_u64(DATA + 8), 80);
    assert_eq!(m.read_phys_u64(DATA + 0x118), 0x0101_0101_0101_0101);
}

#[test]
fn rip_relative_code_is_the_same_through_an_alias() {
    let mut m = intel();
    // Map 4 MiB + CODE's 2 MiB page a second time at 8 MiB.
    m.write_phys(PML4 + 0x2000 + 8 * 4, &(CODE | 0x83).to_le_bytes());
    load(&mut m, |a| {
        let mut here = a.create_label();
        a.set_label(&mut here)?;
        a.lea(rax, qword_ptr(here))?;
        a.hlt()
    });
    run_to_wait(&mut m, 0);
    let direct = m.cpu(0).reg(Gpr::Rax);
    let cpu = m.cpu_mut(0);
    cpu.rip = 0x80_0000;
    cpu.activity = Activity::Running;
    m.evict_tlb(0, Evict::All);
    run_to_wait(&mut m, 0);
    assert_eq!(m.cpu(0).reg(Gpr::Rax) - 0x80_0000, direct - CODE);
}

#[test]
fn changed_code_is_decoded_anew() {
    let mut m = intel();
    load(&mut m, |a| {
        let mut target = a.create_label();
        a.call(target)?;
        a.mov(byte_ptr(target), 0xc3u32 as i32)?; // ret over inc
        a.call(target)?;
        a.hlt()?;
        a.set_label(&mut target)?;
        a.inc(eax)?;
        a.ret()
    });
    run_to_wait(&mut m, 0);
    assert_eq!(m.cpu(0).reg(Gpr::Rax), 1);
}

#[test]
fn instruction_across_a_page_boundary() {
    let mut m = intel();
    let at = CODE + 0x1000 - 3;
    load_at(&mut m, at, |a| {
        a.mov(rax, 0x1122_3344_5566_7788u64)?;
        a.hlt()
    });
    m.cpu_mut(0).rip = at;
    run_to_wait(&mut m, 0);
    assert_eq!(m.cpu(0).reg(Gpr::Rax), 0x1122_3344_5566_7788);
}

#[test]
fn what_is_not_modelled_stops_with_its_bytes() {
    let mut m = intel();
    m.write_phys(CODE, &[0x0f, 0x58, 0xc1]); // addps xmm0, xmm1
    assert_eq!(m.step(0), Outcome::Stopped);
    let Some(Stop::Unsupported { cpu: 0, rip: CODE, bytes, text }) = m.stopped() else { panic!("{:?}", m.stopped()) };
    assert_eq!(bytes[..3], [0x0f, 0x58, 0xc1]);
    assert!(text.contains("addps"), "{text}");
}

#[test]
fn unknown_msr_stops_but_a_missing_one_faults() {
    let mut m = intel();
    load(&mut m, |a| {
        a.mov(ecx, 0x1234_5678)?;
        a.rdmsr()
    });
    assert!(matches!(m.run(0, 10).0, Outcome::Stopped));
    let mut m = intel();
    load(&mut m, |a| {
        a.mov(ecx, 0xc001_0114u32)?;
        a.rdmsr()
    });
    run_to_wait(&mut m, 0);
    assert!(in_handler(&m, 0, 13));
}

#[test]
fn corner_cases_of_real_processors() {
    // Found by running the same instructions on a processor: a CMPXCHG that fails leaves a register whole, and so does BSF of 0.
    let m = run(|a| {
        a.mov(r8, 0x1122_3344_5566_7788u64)?;
        a.mov(r9, 0x1122_3344_5566_7788u64)?;
        a.xor(eax, eax)?;
        a.cmpxchg(r8d, ecx)?;
        a.xor(ebx, ebx)?;
        a.bsf(r9d, ebx)?;
        a.setz(dl)
    });
    let cpu = m.cpu(0);
    assert_eq!(cpu.reg(Gpr::R8), 0x1122_3344_5566_7788);
    assert_eq!(cpu.reg(Gpr::Rax), 0x5566_7788);
    assert_eq!(cpu.reg(Gpr::R9), 0x1122_3344_5566_7788);
    assert_eq!(cpu.reg(Gpr::Rdx) & 0xff, 1);
}
