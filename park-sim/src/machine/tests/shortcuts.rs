//! What the machine remembers for speed never shows: translations, rights, decoded code.

use iced_x86::code_asm::*;

use super::super::msr::num;
use super::*;

/// A linear page that the tests map themselves: 16 MiB.
const WINDOW: u64 = 0x100_0000;
const PT: u64 = PML4 + 0x8000;
const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const USER: u64 = 4;

fn machine(rule: Option<Rule>, config: MachineConfig) -> Machine {
    let mut config = config;
    if let Some(rule) = rule {
        config.rules = config.rules.without(rule);
    }
    machine_of(&config)
}

fn map(m: &mut Machine, phys: u64, bits: u64) {
    m.write_phys(PML4 + 0x2000 + 8 * 8, &(PT | 7).to_le_bytes());
    m.write_phys(PT, &(phys | bits).to_le_bytes());
}

fn read(m: &mut Machine) -> Result<u64, Exception> {
    m.load_linear(0, WINDOW, 8)
}

fn pf(code: u32) -> Exception {
    Exception { vector: 14, error: Some(code) }
}

#[test]
fn rights_that_change_without_a_flush_are_seen_at_once() {
    // WP: a write went through before it was set.
    let mut m = machine(None, MachineConfig::intel(1));
    m.write_phys(DATA, &[1]);
    map(&mut m, DATA, PRESENT);
    let old = m.cpu(0).cr0;
    m.write_reg(0, HostReg::Cr0, old & !(1 << 16)).expect("WP=0");
    for _ in 0..2 {
        assert_eq!(m.store_linear(0, WINDOW, 8, 1), Ok(()));
    }
    m.write_reg(0, HostReg::Cr0, old).expect("WP=1");
    assert_eq!(m.store_linear(0, WINDOW, 8, 1), Err(pf(3)));
    // IA32_PKRS: a read went through before its key was shut.
    let mut m = machine(None, MachineConfig::intel(1));
    m.write_phys(DATA, &[1]);
    map(&mut m, DATA, PRESENT | WRITE | (2 << 59));
    let old = m.cpu(0).cr4;
    m.write_reg(0, HostReg::Cr4, old | (1 << 24)).expect("PKS");
    for _ in 0..2 {
        assert!(read(&mut m).is_ok());
    }
    m.write_msr(0, num::PKRS, 1 << 4).expect("PKRS");
    assert_eq!(read(&mut m), Err(pf(0x21)));
    // RFLAGS.AC with SMAP.
    let mut m = machine(None, MachineConfig::intel(1));
    for at in [PML4, PML4 + 0x1000] {
        let entry = m.read_phys_u64(at) | USER;
        m.write_phys(at, &entry.to_le_bytes());
    }
    m.write_phys(DATA, &[1]);
    map(&mut m, DATA, PRESENT | WRITE | USER);
    m.cpu_mut(0).cr4 |= 1 << 21;
    load(&mut m, |a| {
        a.mov(rbx, WINDOW)?;
        a.stac()?;
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(rax, qword_ptr(rbx))?;
        a.clac()?;
        a.mov(r15, 1u64)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(r15, 2u64)
    });
    run_to_wait(&mut m, 0);
    assert!(in_handler(&m, 0, 14) && m.cpu(0).reg(Gpr::R15) == 1);
    // Tags and masks.
    let mut m = machine(None, MachineConfig::intel(1));
    m.write_phys(DATA, &[1]);
    map(&mut m, DATA, PRESENT | WRITE);
    for _ in 0..2 {
        m.store_linear(0, WINDOW, 8, 1).expect("writable");
    }
    m.set_tag(PhysRange::new(DATA, 0x1000), Tag(6));
    m.store_linear(0, WINDOW, 8, 1).expect("writable");
    assert!(m.breaches.is_empty());
    m.set_allowed(0, !(1 << 6));
    m.store_linear(0, WINDOW, 8, 1).expect("writable");
    assert_eq!(m.breaches.count(), 1);
    // A data breakpoint set by MOV DR.
    m.write_reg(0, HostReg::Dr(0), WINDOW).expect("DR0");
    m.write_reg(0, HostReg::Dr(7), 0x400 | 1 | (1 << 16)).expect("DR7");
    m.store_linear(0, WINDOW, 8, 1).expect("writable");
    load(&mut m, |a| a.nop());
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Vector(1)));
}

#[test]
fn code_that_a_loop_changes_ahead_of_itself_is_seen() {
    let m = run(|a| {
        let mut top = a.create_label();
        let mut target = a.create_label();
        a.mov(ecx, 2)?;
        a.mov(dl, 0xc0u32 as i32)?; // inc eax
        a.lea(rbx, qword_ptr(target))?;
        a.set_label(&mut top)?;
        a.mov(byte_ptr(rbx + 1), dl)?;
        a.set_label(&mut target)?;
        a.inc(eax)?;
        a.mov(dl, 0xc8u32 as i32)?; // dec eax
        a.dec(ecx)?;
        a.jnz(top)
    });
    assert_eq!(m.cpu(0).reg(Gpr::Rax), 0, "one up, one down");
}

#[test]
fn code_that_another_cpu_a_loader_or_a_device_changes_is_seen() {
    let changes: [fn(&mut Machine); 4] = [
        |m| m.write_phys(CODE + 1, &[0xc8]),
        |m| m.dma_write(CODE + 1, &[0xc8]),
        |m| {
            m.store_sized(1, CODE + 1, 1, 0xc8);
            m.drain_all(1);
        },
        |m| m.write_phys(CODE - 2, &[0x90, 0x90, 0xff, 0xc8]),
    ];
    for change in changes {
        let mut m = intel();
        // inc eax; jmp $-2
        m.write_phys(CODE, &[0xff, 0xc0, 0xeb, 0xfc]);
        for _ in 0..4 {
            m.step(0);
        }
        assert_eq!(m.cpu(0).reg(Gpr::Rax), 2);
        change(&mut m);
        for _ in 0..4 {
            m.step(0);
        }
        assert_eq!(m.cpu(0).reg(Gpr::Rax), 0);
    }
}

#[test]
fn every_access_outside_is_recorded() {
    let mut m = intel();
    m.write_phys(DATA, &[1]);
    m.set_tag(PhysRange::new(DATA, 0x1000), Tag(3));
    m.set_allowed(0, !(1 << 3));
    for _ in 0..3 {
        m.load_linear(0, DATA, 8).expect("mapped");
        m.store_linear(0, DATA, 8, 1).expect("mapped");
    }
    assert_eq!(m.breaches.count(), 6);
}

#[test]
fn every_fetch_outside_is_recorded() {
    let mut m = intel();
    m.write_phys(CODE, &[0x90, 0x90, 0x90, 0xeb, 0xfb]);
    m.set_tag(PhysRange::new(CODE, 0x1000), Tag(3));
    m.set_allowed(0, !(1 << 3));
    for _ in 0..9 {
        m.step(0);
    }
    assert_eq!(m.breaches.count(), 9);
    // Taken away while the CPU runs there.
    let mut m = intel();
    m.write_phys(CODE, &[0x90, 0x90, 0x90, 0xeb, 0xfb]);
    m.set_allowed(0, !(1 << 3));
    for _ in 0..9 {
        m.step(0);
    }
    assert!(m.breaches.is_empty());
    m.set_tag(PhysRange::new(CODE, 0x1000), Tag(3));
    m.step(0);
    assert_eq!(m.breaches.count(), 1);
}

#[test]
fn a_fetch_walks_anew_where_nothing_is_cached() {
    let mut config = MachineConfig::intel(1);
    config.tlb = TlbMode::EvictAlways;
    let mut m = machine(None, config);
    m.write_phys(DATA, &[0x90, 0x90]);
    m.write_phys(DATA + 0x1000, &[0x90, 0xff, 0xc0]);
    map(&mut m, DATA, PRESENT);
    m.cpu_mut(0).rip = WINDOW;
    m.step(0);
    map(&mut m, DATA + 0x1000, PRESENT);
    m.step(0);
    assert_eq!(m.cpu(0).rip, WINDOW + 3, "the second instruction came from the other frame: {}", m.disassemble(0));
}
