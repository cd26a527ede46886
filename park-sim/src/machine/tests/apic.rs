//! The local APIC in both modes, and interrupts between CPUs.

use iced_x86::code_asm::*;

use super::super::msr::num;
use super::host::icr;
use super::*;

fn x2apic(ids: &[u32]) -> Machine {
    let mut config = MachineConfig::intel(ids.len());
    config.x2apic = true;
    for (cpu, id) in config.cpus.iter_mut().zip(ids) {
        cpu.apic_id = *id;
    }
    machine_of(&config)
}

const ICR: u32 = 0x830;
const LAPIC: u64 = 0xfee0_0000;

#[test]
fn xapic_by_mmio_sends_to_the_other_cpu() {
    let mut m = intel();
    load(&mut m, |a| {
        a.mov(rbx, LAPIC)?;
        a.mov(eax, dword_ptr(rbx + 0x30))?;
        a.mov(dword_ptr(rbx + 0x310), 0x0100_0000)?;
        a.mov(dword_ptr(rbx + 0x300), icr::NMI as i32)?;
        a.mov(ecx, dword_ptr(rbx + 0x300))?;
        a.hlt()
    });
    run_to_wait(&mut m, 0);
    assert_eq!(m.cpu(0).reg(Gpr::Rax), 0x0006_0015);
    assert_eq!(m.cpu(0).reg(Gpr::Rcx) & (1 << 12), 0);
    assert_eq!(m.cpu(1).nmis_held(), 1);
    assert_eq!(m.cpu(0).nmis_held(), 0);
}

#[test]
fn ids_shorthands_and_broadcasts() {
    let held = |m: &Machine| (0..m.cpu_count()).map(|cpu| m.cpu(cpu).nmis_held()).collect::<Vec<_>>();
    let ids = [0, 5, 0x1_0005, 300];
    let send = |destination: u32, low: u32| {
        let mut m = x2apic(&ids);
        m.send_ipi(0, destination, low).expect("an IPI");
        held(&m)
    };
    assert_eq!(send(5, icr::NMI), [0, 1, 0, 0]);
    assert_eq!(send(0x1_0005, icr::NMI), [0, 0, 1, 0]);
    assert_eq!(send(300, icr::NMI), [0, 0, 0, 1]);
    assert_eq!(send(u32::MAX, icr::NMI), [1, 1, 1, 1]);
    assert_eq!(send(0xff, icr::NMI), [0, 0, 0, 0]);
    assert_eq!(send(0, icr::NMI | icr::ALL_BUT_SELF), [0, 1, 1, 1]);
    assert_eq!(send(0, icr::NMI | 0x8_0000), [1, 1, 1, 1]);
    assert_eq!(send(0, icr::NMI | 0x4_0000), [1, 0, 0, 0]);
    // Logical: cluster 0, bits 0 and 5.
    assert_eq!(send(0x21, icr::NMI | 0x800), [1, 1, 0, 0]);
    let mut m = machine_of(&MachineConfig::intel(3));
    m.send_ipi(0, 0xff, icr::NMI).expect("an IPI");
    assert_eq!(held(&m), [1, 1, 1]);
}

#[test]
fn x2apic_ipi_overtakes_stores_unless_fenced_or_the_knob_says_so() {
    let stores_waiting = |fence: bool, knob: &str| {
        let mut config = MachineConfig::intel(2);
        config.x2apic = true;
        config.knobs.parse(knob).expect("a knob");
        let mut m = machine_of(&config);
        m.store(0, DATA, 1);
        if fence {
            m.fence(0);
        }
        m.send_ipi(0, 1, icr::NMI).expect("an IPI");
        assert_eq!(m.cpu(1).nmis_held(), 1);
        m.cpu(0).stores_waiting()
    };
    assert!(stores_waiting(false, "icr-reorder=on"));
    assert!(!stores_waiting(true, "icr-reorder=on"));
    assert!(!stores_waiting(false, "icr-reorder=off"));
    // In xAPIC mode the uncached write waits for them.
    let mut m = intel();
    m.store(0, DATA, 1);
    m.send_ipi(0, 1, icr::NMI).expect("an IPI");
    assert!(!m.cpu(0).stores_waiting());
}

#[test]
fn x2apic_register_rules() {
    let gp = Err(Exception { vector: 13, error: Some(0) });
    let mut m = x2apic(&[0, 1]);
    assert_eq!(m.read_msr(0, 0x802), Ok(0));
    assert_eq!(m.read_msr(1, 0x80d), Ok(2));
    assert_eq!(m.write_msr(0, 0x802, 1), gp);
    assert_eq!(m.write_msr(0, 0x80b, 1), gp);
    assert_eq!(m.write_msr(0, 0x80b, 0), Ok(()));
    assert!(m.read_msr(0, 0x831).is_err());
    assert_eq!(m.write_msr(0, ICR, 1 << 20), gp);
    assert!(m.read_msr(0, 0x80e).is_err());
    assert!(intel().read_msr(0, 0x802).is_err());
}

#[test]
fn mode_changes() {
    let gp = Err(Exception { vector: 13, error: Some(0) });
    let mut m = intel();
    let base = m.read_msr(0, num::APIC_BASE).expect("APIC_BASE");
    let extd = 1 << 10;
    assert_eq!(m.write_msr(0, num::APIC_BASE, base | extd), Ok(()));
    assert_eq!(m.write_msr(0, num::APIC_BASE, base), gp, "x2APIC to xAPIC");
    assert_eq!(m.write_msr(0, num::APIC_BASE, base & !(1 << 11)), Ok(()));
    assert_eq!(m.write_msr(0, num::APIC_BASE, base | extd), gp, "disabled to x2APIC");
    assert_eq!(m.write_msr(0, num::APIC_BASE, base), Ok(()));
    assert!(!m.cpu(0).apic.software_enabled());
    // A disabled APIC receives nothing.
    let mut m = intel();
    let base = m.read_msr(1, num::APIC_BASE).expect("APIC_BASE");
    m.write_msr(1, num::APIC_BASE, base & !(1 << 11)).expect("disable");
    m.send_ipi(0, 1, icr::NMI).expect("an IPI");
    assert_eq!(m.cpu(1).nmis_held(), 0);
}

#[test]
fn software_disabled_apic_drops_fixed_only() {
    for (rule, requested) in [(None, 0), (Some(Rule::SoftOffDropsFixed), 1)] {
        let mut config = MachineConfig::intel(2);
        if let Some(rule) = rule {
            config.rules = config.rules.without(rule);
        }
        let mut m = machine_of(&config);
        m.cpu_mut(1).apic.svr = 0xff;
        m.send_ipi(0, 1, icr::FIXED | 0x40).expect("an IPI");
        assert_eq!(m.cpu(1).apic.irr[1], requested);
        m.send_ipi(0, 1, icr::INIT).expect("an IPI");
        assert!(m.cpu(1).init_held());
    }
}

#[test]
fn in_service_vector_holds_its_class_until_eoi() {
    let second = |rule: Option<Rule>| {
        let mut config = MachineConfig::intel(1);
        if let Some(rule) = rule {
            config.rules = config.rules.without(rule);
        }
        let mut m = machine_of(&config);
        m.cpu_mut(0).rflags |= 1 << 9;
        m.inject(Event::at(0, EventKind::Fixed(0x41)));
        assert_eq!(m.step(0), Outcome::Delivered(Delivered::Vector(0x41)));
        m.cpu_mut(0).rflags |= 1 << 9;
        m.inject(Event::at(0, EventKind::Fixed(0x42)));
        m
    };
    let mut m = second(None);
    assert_eq!(m.step(0), Outcome::Executed);
    m.store_sized(0, LAPIC + 0xb0, 4, 0);
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Vector(0x42)));
    assert_eq!(second(Some(Rule::InServiceHoldsLower)).step(0), Outcome::Delivered(Delivered::Vector(0x42)));
}

#[test]
fn delivery_status_follows_its_knob() {
    let polls = |knob: &str| {
        let mut config = MachineConfig::intel(2);
        config.knobs.parse(knob).expect("a knob");
        let mut m = machine_of(&config);
        m.send_ipi(0, 1, icr::NMI).expect("an IPI");
        (0..10).take_while(|_| m.load_sized(0, LAPIC + 0x300, 4) & (1 << 12) != 0).count()
    };
    assert_eq!(polls("icr-busy=idle"), 0);
    assert_eq!(polls("icr-busy=three-polls"), 3);
    assert_eq!(polls("icr-busy=stuck"), 10);
}

#[test]
fn init_deassert_is_ignored() {
    let mut m = intel();
    m.send_ipi(0, 1, 0x8500).expect("an IPI");
    assert!(!m.cpu(1).init_held());
}
