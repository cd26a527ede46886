//! Exceptions, IST, IRET, descriptor tables, control registers, CET, FRED.

use iced_x86::code_asm::*;

use super::super::msr::num;
use super::*;

fn gate(m: &mut Machine, vector: u64, ist: u64) {
    let at = IDT + 16 * vector;
    let low = m.read_phys_u64(at) & !(7 << 32);
    m.write_phys(at, &(low | (ist << 32)).to_le_bytes());
}

fn raises(program: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>, vector: u64) -> Machine {
    let m = run(program);
    assert!(in_handler(&m, 0, vector), "rip {:#x}", m.cpu(0).rip);
    m
}

#[test]
fn frame_of_a_fault_is_aligned_and_complete() {
    let mut m = intel();
    load(&mut m, |a| {
        a.push(rax)?;
        a.ud2()
    });
    run_to_wait(&mut m, 0);
    assert!(in_handler(&m, 0, 6));
    let top = m.cpu(0).reg(Gpr::Rsp);
    assert_eq!(top, ((STACK - 8) & !15) - 40);
    let frame: Vec<u64> = (0..5).map(|n| m.load(0, top + 8 * n)).collect();
    assert_eq!(frame[0], CODE + 1);
    assert_eq!(frame[1], u64::from(CODE_SELECTOR));
    assert_eq!(frame[2] & (1 << 16), 1 << 16, "RF is set in a fault's image");
    assert_eq!(frame[3], STACK - 8);
    assert_eq!(frame[4], 0);
}

#[test]
fn ist_switches_stacks_and_its_absence_shows() {
    let mut m = intel();
    gate(&mut m, 6, 1);
    load(&mut m, |a| a.ud2());
    run_to_wait(&mut m, 0);
    assert_eq!(m.cpu(0).reg(Gpr::Rsp), IST1 - 40);
    let mut config = MachineConfig::intel(1);
    config.rules = config.rules.without(Rule::IstSwitchesStack);
    let mut m = machine_of(&config);
    gate(&mut m, 6, 1);
    load(&mut m, |a| a.ud2());
    run_to_wait(&mut m, 0);
    assert_eq!(m.cpu(0).reg(Gpr::Rsp), STACK - 40);
}

#[test]
fn iretq_returns_and_restores_everything() {
    let mut m = intel();
    gate(&mut m, 3, 1);
    load_at(&mut m, HANDLERS + 3 * 64, |a| {
        a.mov(r14, rsp)?;
        a.iretq()
    });
    load(&mut m, |a| {
        a.stc()?;
        a.int3()?;
        a.setc(r15b)?;
        a.hlt()
    });
    run_to_wait(&mut m, 0);
    assert_eq!(m.cpu(0).reg(Gpr::R15), 1);
    assert_eq!(m.cpu(0).reg(Gpr::Rsp), STACK);
    assert_eq!(m.cpu(0).reg(Gpr::R14), IST1 - 40);
}

#[test]
fn iretq_with_nt_is_gp_and_unblocks_nmi_even_so() {
    let mut m = intel();
    load(&mut m, |a| {
        a.pushfq()?;
        a.or(qword_ptr(rsp), 0x4000)?;
        a.popfq()?;
        a.iretq()
    });
    m.cpu_mut(0).nmi_blocked = true;
    run_to_wait(&mut m, 0);
    assert!(in_handler(&m, 0, 13));
    assert!(!m.cpu(0).nmi_blocked);
    assert_eq!(m.cpu(0).rflags & 0x4000, 0, "delivery clears NT");
}

#[test]
fn faults_while_delivering_become_double_and_triple_faults() {
    // Gate 14 not present: #PF -> #NP -> #DF.
    let mut m = intel();
    let at = IDT + 16 * 14;
    let low = m.read_phys_u64(at) & !(1 << 47);
    m.write_phys(at, &low.to_le_bytes());
    load(&mut m, |a| {
        a.mov(rax, 0x4000_0000u64)?;
        a.mov(rax, qword_ptr(rax))
    });
    run_to_wait(&mut m, 0);
    assert!(in_handler(&m, 0, 8));
    assert_eq!(m.cpu(0).cr2, 0x4000_0000);
    // And without gate 8: shutdown.
    let at = IDT + 16 * 8;
    m.write_phys(at, &0u64.to_le_bytes());
    m.cpu_mut(0).rip = CODE;
    m.cpu_mut(0).activity = Activity::Running;
    m.run(0, 10);
    assert_eq!(m.cpu(0).activity, Activity::Shutdown);
    // A benign event first: handled serially, no double fault.
    let mut m = intel();
    let at = IDT + 16 * 2;
    m.write_phys(at, &0u64.to_le_bytes());
    m.inject(Event::at(0, EventKind::Nmi));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Vector(13)));
    // Its error code names the gate and says "external".
    assert_eq!(m.load(0, m.cpu(0).reg(Gpr::Rsp)), 2 * 8 + 2 + 1);
}

#[test]
fn page_fault_pushes_its_code_and_sets_cr2() {
    let mut m = raises(
        |a| {
            a.mov(rax, 0x4000_1234u64)?;
            a.mov(byte_ptr(rax), 1)
        },
        14,
    );
    assert_eq!(m.cpu(0).cr2, 0x4000_1234);
    assert_eq!(m.load(0, m.cpu(0).reg(Gpr::Rsp)), 2);
}

#[test]
fn general_faults() {
    raises(
        |a| {
            a.mov(rax, 0x8000_0000_0000_0000u64)?;
            a.mov(rax, qword_ptr(rax))
        },
        13,
    );
    raises(
        |a| {
            a.mov(rsp, 0x8000_0000_0000_0000u64)?;
            a.mov(rbx, STACK)?;
            a.xchg(rsp, rbx)?;
            a.mov(rbp, rbx)?;
            a.mov(rax, qword_ptr(rbp))
        },
        12,
    );
    raises(
        |a| {
            a.xor(ecx, ecx)?;
            a.div(ecx)
        },
        0,
    );
    raises(
        |a| {
            a.mov(rax, 0x8000_0000_0000_0000u64)?;
            a.jmp(rax)
        },
        13,
    );
}

#[test]
fn ltr_marks_busy_and_refuses_busy() {
    let mut m = intel();
    load(&mut m, |a| {
        a.mov(ax, u32::from(TSS_SELECTOR) as i32)?;
        a.ltr(ax)?;
        a.ltr(ax)
    });
    run_to_wait(&mut m, 0);
    assert!(in_handler(&m, 0, 13));
    assert_eq!((m.read_phys_u64(GDT + 24) >> 40) & 0xff, 0x8b);
    // A read-only GDT cannot take the busy bit.
    let mut m = intel();
    let pd = PML4 + 0x2000;
    let entry = m.read_phys_u64(pd);
    // Split the first 2 MiB: GDT page read-only.
    let pt = PML4 + 0x7000;
    for n in 0..512u64 {
        let writable = if n << 12 == GDT { 0 } else { 2 };
        m.write_phys(pt + 8 * n, &((n << 12) | 1 | writable).to_le_bytes());
    }
    assert_eq!(entry, 0x83);
    m.write_phys(pd, &(pt | 3).to_le_bytes());
    load(&mut m, |a| {
        a.mov(ax, u32::from(TSS_SELECTOR) as i32)?;
        a.ltr(ax)
    });
    run_to_wait(&mut m, 0);
    assert!(in_handler(&m, 0, 14), "{:#x}", m.cpu(0).rip);
}

#[test]
fn segment_loads_set_accessed_by_a_write() {
    let mut m = intel();
    m.write_phys(GDT + 16, &0x00cf_9200_0000_ffffu64.to_le_bytes());
    m.set_tag(PhysRange::new(GDT, 0x1000), Tag(7));
    load(&mut m, |a| {
        a.mov(eax, 0x10)?;
        a.mov(ds, eax)?;
        a.hlt()
    });
    m.set_allowed(0, !(1 << 7));
    run_to_wait(&mut m, 0);
    assert_eq!(m.read_phys_u64(GDT + 16) >> 40 & 0xff, 0x93);
    let kinds: Vec<AccessKind> = m.breaches.first().iter().map(|breach| breach.kind).collect();
    assert_eq!(kinds, [AccessKind::Descriptor, AccessKind::DescriptorWrite]);
}

#[test]
fn far_return_reloads_cs() {
    let m = run(|a| {
        let mut there = a.create_label();
        a.push(i32::from(CODE_SELECTOR))?;
        a.lea(rax, qword_ptr(there))?;
        a.push(rax)?;
        a.db(&[0x48, 0xcb])?;
        a.ud2()?;
        a.set_label(&mut there)?;
        a.mov(r15, 1u64)
    });
    assert_eq!(m.cpu(0).reg(Gpr::R15), 1);
    raises(
        |a| {
            a.push(0x10)?;
            a.push(0)?;
            a.db(&[0x48, 0xcb])
        },
        13,
    );
}

#[test]
fn control_register_rules() {
    let gp = Err(Exception { vector: 13, error: Some(0) });
    let mut m = intel();
    let old_cr4 = m.cpu(0).cr4;
    assert_eq!(m.write_reg(0, HostReg::Cr4, old_cr4 | (1 << 12)), gp, "LA57 in long mode");
    assert_eq!(m.write_reg(0, HostReg::Cr4, old_cr4 & !(1 << 5)), gp, "PAE in long mode");
    assert_eq!(m.write_reg(0, HostReg::Cr4, old_cr4 | (1 << 40)), gp, "reserved");
    m.cpu_mut(0).cr3 |= 1;
    assert_eq!(m.write_reg(0, HostReg::Cr4, old_cr4 | (1 << 17)), gp, "PCIDE with a PCID");
    m.cpu_mut(0).cr3 &= !1;
    assert_eq!(m.write_reg(0, HostReg::Cr4, old_cr4 | (1 << 17)), Ok(()));
    let old_cr0 = m.cpu(0).cr0;
    assert_eq!(m.write_reg(0, HostReg::Cr0, old_cr0 & !(1 << 31)), gp, "PG with PCIDE and 64-bit code");
    assert_eq!(m.write_reg(0, HostReg::Cr0, old_cr0 & !(1 << 16)), Ok(()));
    assert_eq!(m.write_reg(0, HostReg::Cr4, old_cr4 | (1 << 23)), gp, "CET without WP");
    assert_eq!(m.write_reg(0, HostReg::Cr0, old_cr0), Ok(()));
    assert_eq!(m.write_reg(0, HostReg::Cr4, old_cr4 | (1 << 23)), Ok(()));
    assert_eq!(m.write_reg(0, HostReg::Cr0, old_cr0 & !(1 << 16)), gp, "WP with CET");
    assert_eq!(m.write_reg(0, HostReg::Cr8, 16), gp);
    assert_eq!(m.write_msr(0, num::EFER, 0), gp, "LME while paging");
    let mut m = amd();
    assert_eq!(m.write_reg(0, HostReg::Cr4, old_cr4 | (1 << 13)), gp, "no VMX on AMD");
    let vm_cr = num::VM_CR;
    assert_eq!(m.write_msr(0, vm_cr, 1 << 4), Ok(()));
    let efer = m.cpu(0).efer;
    assert_eq!(m.write_msr(0, num::EFER, efer | (1 << 12)), gp, "SVMDIS");
    assert_eq!(m.write_msr(0, vm_cr, 1 << 5), gp, "reserved");
}

#[test]
fn endbranch_is_wanted_after_indirect_branches() {
    let program = |rule: Option<Rule>, marked: bool| {
        let mut config = MachineConfig::intel(1);
        if let Some(rule) = rule {
            config.rules = config.rules.without(rule);
        }
        let mut m = machine_of(&config);
        m.cpu_mut(0).cr4 |= 1 << 23;
        m.write_msr(0, num::S_CET, 1 << 2).expect("CET");
        load(&mut m, |a| {
            let mut there = a.create_label();
            a.lea(rax, qword_ptr(there))?;
            a.jmp(rax)?;
            a.set_label(&mut there)?;
            if marked {
                a.endbr64()?;
            }
            a.mov(r15, 1u64)?;
            a.hlt()
        });
        // Handlers do not begin with ENDBR64 either: the delivery of #CP itself would fault.
        m.write_phys(HANDLERS + 21 * 64, &[0xf3, 0x0f, 0x1e, 0xfa, 0xf4]);
        run_to_wait(&mut m, 0);
        m
    };
    assert_eq!(program(None, true).cpu(0).reg(Gpr::R15), 1);
    assert!(in_handler(&program(None, false), 0, 21));
    assert_eq!(program(Some(Rule::EndbranchChecked), false).cpu(0).reg(Gpr::R15), 1);
}

#[test]
fn shadow_stack_catches_a_changed_return_and_touches_memory() {
    let mut m = intel();
    m.cpu_mut(0).cr4 |= 1 << 23;
    m.cpu_mut(0).ssp = DATA + 0x1000;
    m.set_tag(PhysRange::new(DATA, 0x1000), Tag(4));
    m.set_allowed(0, !(1 << 4));
    m.write_msr(0, num::S_CET, 1).expect("CET");
    load(&mut m, |a| {
        let mut function = a.create_label();
        a.call(function)?;
        a.hlt()?;
        a.set_label(&mut function)?;
        a.inc(qword_ptr(rsp))?;
        a.ret()
    });
    run_to_wait(&mut m, 0);
    assert!(in_handler(&m, 0, 21));
    assert!(m.breaches.first().iter().all(|breach| breach.kind == AccessKind::Push && breach.tag == 4));
    assert!(!m.breaches.is_empty());
}

#[test]
fn fred_takes_events_past_the_idt() {
    let deliver = |rule: Option<Rule>| {
        let mut config = MachineConfig::intel(1);
        if let Some(rule) = rule {
            config.rules = config.rules.without(rule);
        }
        let mut m = machine_of(&config);
        m.write_msr(0, num::FRED_CONFIG, DATA).expect("FRED");
        let old_cr4 = m.cpu(0).cr4;
        m.write_reg(0, HostReg::Cr4, old_cr4 | (1 << 32)).expect("FRED");
        m.write_phys(DATA + 256, &[0xf4]);
        m.inject(Event::at(0, EventKind::Nmi));
        m.step(0);
        m.cpu(0).rip
    };
    assert_eq!(deliver(None), DATA + 256);
    assert_eq!(deliver(Some(Rule::FredReplacesIdt)), HANDLERS + 2 * 64);
}

#[test]
fn idt_limit_and_gate_type_are_checked() {
    let mut m = intel();
    m.cpu_mut(0).idtr.limit = 16 * 32 - 1;
    load(&mut m, |a| a.int(0x40));
    run_to_wait(&mut m, 0);
    assert!(in_handler(&m, 0, 13));
    // From a software interrupt: no EXT bit.
    assert_eq!(m.load(0, m.cpu(0).reg(Gpr::Rsp)), 0x40 * 8 + 2);
}

#[test]
fn unaligned_and_unknown_things_do_not_panic() {
    let mut m = intel();
    m.inject(Event::at(99, EventKind::Nmi));
    assert_eq!(m.step(99), Outcome::Stopped);
    assert_eq!(m.load_sized(0, 3, 3), 0);
    assert!(!m.drain_one(99));
    m.set_tag(PhysRange::new(u64::MAX - 5, 100), Tag(200));
    m.write_phys(u64::MAX - 1, &[1; 8]);
    m.dma_write(u64::MAX - 1, &[1; 8]);
    assert_eq!(m.tag_at(u64::MAX), Tag(0));
}
