//! Store buffers: what passes what, and what makes stores visible (S:8.2).

use iced_x86::code_asm::*;

use super::*;

fn machine(rule: Option<Rule>, config: MachineConfig) -> Machine {
    let mut config = config;
    if let Some(rule) = rule {
        config.rules = config.rules.without(rule);
    }
    machine_of(&config)
}

const MFENCE: &[u8] = &[0x0f, 0xae, 0xf0];

/// Dekker: each CPU stores its flag and reads the other's.
fn dekker(m: &mut Machine, between: &[u8]) -> (u64, u64) {
    for cpu in 0..2u64 {
        let (mine, other) = (DATA + 64 * cpu, DATA + 64 * (1 - cpu));
        load_at(m, CODE + 0x1000 * cpu, |a| {
            a.mov(rbx, mine)?;
            a.mov(rcx, other)?;
            a.mov(qword_ptr(rbx), 1)?;
            if !between.is_empty() {
                a.db(between)?;
            }
            a.mov(rax, qword_ptr(rcx))?;
            a.hlt()
        });
        m.cpu_mut(cpu as usize).rip = CODE + 0x1000 * cpu;
    }
    run_to_wait(m, 0);
    run_to_wait(m, 1);
    (m.cpu(0).reg(Gpr::Rax), m.cpu(1).reg(Gpr::Rax))
}

#[test]
fn stores_pass_loads_unless_fenced() {
    assert_eq!(dekker(&mut intel(), &[]), (0, 0));
    assert_eq!(dekker(&mut intel(), MFENCE), (0, 1));
    assert_eq!(dekker(&mut machine(Some(Rule::FenceDrains), MachineConfig::intel(2)), MFENCE), (0, 0));
    assert_eq!(dekker(&mut machine(Some(Rule::StoresAreBuffered), MachineConfig::intel(2)), &[]), (0, 1));
    let mut config = MachineConfig::intel(2);
    config.store_buffer_depth = 0;
    assert_eq!(dekker(&mut machine_of(&config), &[]), (0, 1));
}

#[test]
fn own_stores_are_seen_and_drain_in_order() {
    let mut m = intel();
    m.store(0, DATA, 1);
    m.store(0, DATA + 8, 2);
    assert_eq!(m.load(0, DATA), 1);
    assert_eq!(m.load(1, DATA), 0);
    assert!(m.drain_one(0));
    assert_eq!((m.load(1, DATA), m.load(1, DATA + 8)), (1, 0));
    assert!(m.drain_one(0));
    assert!(!m.drain_one(0));
    // A full buffer lets the oldest go.
    for n in 0..5u64 {
        m.store(0, DATA + 0x100 + 8 * n, n + 1);
    }
    assert_eq!((m.load(1, DATA + 0x100), m.load(1, DATA + 0x108)), (1, 0));
}

#[test]
fn what_drains() {
    let drains = |m: &mut Machine, bytes: &[u8]| {
        m.store(0, DATA, 1);
        m.write_phys(CODE, bytes);
        m.step(0);
        assert!(m.stopped().is_none(), "{:?}", m.stopped());
        !m.cpu(0).stores_waiting()
    };
    for (bytes, expected) in [
        (&[0x0f, 0xa2][..], true),                   // cpuid
        (&[0x0f, 0xae, 0xf0][..], true),             // mfence
        (&[0x0f, 0xae, 0xf8][..], false),            // sfence
        (&[0x0f, 0xae, 0xe8][..], false),            // lfence
        (&[0x90][..], false),                        // nop
        (&[0xf4][..], false),                        // hlt
        (&[0x0f, 0x09][..], true),                   // wbinvd
        (&[0x0f, 0x01, 0x38][..], true),             // invlpg [rax]
        (&[0x0f, 0x20, 0xd8][..], false),            // mov rax, cr3
        (&[0xe6, 0x80][..], true),                   // out 80h, al
        (&[0xf0, 0x83, 0x0c, 0x24, 0x00][..], true), // lock or dword [rsp], 0
        (&[0x87, 0x04, 0x24][..], true),             // xchg [rsp], eax
        (&[0x83, 0x0c, 0x24, 0x00][..], false),      // or dword [rsp], 0
    ] {
        assert_eq!(drains(&mut intel(), bytes), expected, "{bytes:x?}");
    }
    assert!(!drains(&mut machine(Some(Rule::LockDrains), MachineConfig::intel(2)), &[0x87, 0x04, 0x24]));
    assert!(!drains(&mut machine(Some(Rule::SerialisingDrains), MachineConfig::intel(2)), &[0x0f, 0xa2]));
}

#[test]
fn iretq_drains() {
    let mut m = intel();
    load(&mut m, |a| {
        let mut there = a.create_label();
        a.lea(rbx, qword_ptr(there))?;
        a.push(0)?;
        a.push(rsp)?;
        a.pushfq()?;
        a.push(i32::from(CODE_SELECTOR))?;
        a.push(rbx)?;
        a.iretq()?;
        a.set_label(&mut there)?;
        a.nop()
    });
    for _ in 0..6 {
        m.step(0);
    }
    assert!(m.cpu(0).stores_waiting());
    assert_eq!(m.step(0), Outcome::Executed);
    assert!(!m.cpu(0).stores_waiting());
}
