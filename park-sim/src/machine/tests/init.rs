//! INIT, SIPI and wait-for-SIPI (events.md 1B and section 2).

use super::super::apic::{ApicMode, LVT_MASKED};
use super::super::msr::num;
use super::*;

fn machine(config: MachineConfig, knob: &str, rule: Option<Rule>) -> Machine {
    let mut config = config;
    if !knob.is_empty() {
        config.knobs.parse(knob).expect("a knob");
    }
    if let Some(rule) = rule {
        config.rules = config.rules.without(rule);
    }
    let mut m = machine_of(&config);
    m.write_phys(CODE, &[0xf4, 0xeb, 0xfd]);
    m
}

fn after_init(config: MachineConfig, knob: &str, rule: Option<Rule>) -> Machine {
    let mut m = machine(config, knob, rule);
    run_to_wait(&mut m, 1);
    m.cpu_mut(1).dr[0] = 0x1234;
    m.inject(Event::at(1, EventKind::Init));
    m.step(1);
    m
}

fn wfs(config: MachineConfig, knob: &str, rule: Option<Rule>) -> Machine {
    let m = after_init(config, knob, rule);
    assert_eq!(m.cpu(1).activity, Activity::WaitForSipi);
    m
}

#[test]
fn init_resets_what_the_tables_say_by_vendor() {
    for config in [MachineConfig::intel(2), MachineConfig::amd(2)] {
        let amd = config.vendor == Vendor::Amd;
        let m = wfs(config, "", None);
        let cpu = m.cpu(1);
        assert_eq!((cpu.cr0, cpu.cr3, cpu.cr4, cpu.efer), (0x10, 0, 0, 0));
        assert_eq!(cpu.seg(Seg::Cs).base, 0xffff_0000);
        assert_eq!(cpu.dr[0], if amd { 0x1234 } else { 0 });
        assert!(!cpu.apic.software_enabled());
        assert!(cpu.apic.lvt.iter().all(|lvt| lvt & LVT_MASKED != 0));
        assert_ne!(cpu.reg(Gpr::Rdx), 0, "the signature");
        assert_eq!(cpu.rflags, 2);
    }
}

#[test]
fn init_rules_switch_off() {
    let m = after_init(MachineConfig::intel(2), "", Some(Rule::InitResetsControl));
    assert_ne!(m.cpu(1).cr4 & (1 << 6), 0);
    let m = after_init(MachineConfig::intel(2), "", Some(Rule::InitDisablesApic));
    assert!(m.cpu(1).apic.software_enabled());
    let m = after_init(MachineConfig::amd(2), "", Some(Rule::InitKeepsDebugAmd));
    assert_eq!(m.cpu(1).dr[0], 0);
    let m = after_init(MachineConfig::intel(2), "", Some(Rule::InitParksAp));
    assert_ne!(m.cpu(1).activity, Activity::WaitForSipi);
    let mut m = machine(MachineConfig::intel(2), "", Some(Rule::InitEndsWait));
    run_to_wait(&mut m, 1);
    m.inject(Event::at(1, EventKind::Init));
    assert!(!m.can_step(1));
    for (rule, mode) in [(None, ApicMode::X2apic), (Some(Rule::InitKeepsApicMode), ApicMode::Xapic)] {
        let mut config = MachineConfig::intel(2);
        config.x2apic = true;
        let m = after_init(config, "", rule);
        assert_eq!(m.cpu(1).apic.mode(), mode);
    }
}

#[test]
fn init_at_the_bsp_resets_the_platform() {
    let mut m = machine(MachineConfig::intel(2), "", None);
    m.inject(Event::at(0, EventKind::Init));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Reset));
    assert_eq!(m.was_reset(), Some(ResetCause::BspInit { cpu: 0 }));
    assert_eq!(m.step(1), Outcome::Stopped);
    let mut m = machine(MachineConfig::intel(2), "", Some(Rule::InitRestartsBsp));
    m.inject(Event::at(0, EventKind::Init));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Init));
}

#[test]
fn sipi_starts_once_and_is_ignored_elsewhere() {
    let mut m = wfs(MachineConfig::intel(2), "", None);
    m.inject(Event::at(1, EventKind::Sipi(0x12)));
    let cpu = m.cpu(1);
    assert_eq!(
        (cpu.activity, cpu.seg(Seg::Cs).selector, cpu.seg(Seg::Cs).base, cpu.rip),
        (Activity::Running, 0x1200, 0x12000, 0)
    );
    m.inject(Event::at(1, EventKind::Sipi(0x34)));
    assert_eq!(m.cpu(1).seg(Seg::Cs).selector, 0x1200);
    let mut m = machine(MachineConfig::intel(2), "", Some(Rule::SipiIgnoredElsewhere));
    m.inject(Event::at(1, EventKind::Sipi(0x34)));
    assert_eq!(m.cpu(1).seg(Seg::Cs).selector, 0x3400);
    let mut m = wfs(MachineConfig::intel(2), "", Some(Rule::SipiStartsWaiting));
    m.inject(Event::at(1, EventKind::Sipi(0x34)));
    assert_eq!(m.cpu(1).activity, Activity::WaitForSipi);
}

#[test]
fn wait_for_sipi_holds_nmi_and_smi() {
    for (config, knob, held) in [
        (MachineConfig::intel(2), "nmi-wfs-intel=pend", 1),
        (MachineConfig::intel(2), "nmi-wfs-intel=drop", 0),
        (MachineConfig::amd(2), "", 1),
    ] {
        let mut m = wfs(config, knob, None);
        m.inject(Event::at(1, EventKind::Nmi));
        m.inject(Event::at(1, EventKind::Smi));
        m.inject(Event::at(1, EventKind::Fixed(0x40)));
        assert!(!m.can_step(1));
        assert_eq!(m.cpu(1).nmis_held(), held);
        assert_eq!(m.cpu(1).apic.irr, [0; 4]);
        m.inject(Event::at(1, EventKind::Sipi(0x12)));
        // The SMI comes before the first instruction, the NMI after it.
        assert_eq!(m.step(1), Outcome::Delivered(Delivered::SmmEntry));
        assert_eq!(m.step(1), Outcome::Delivered(Delivered::SmmExit));
        let next = m.step(1);
        assert_eq!(next == Outcome::Delivered(Delivered::Vector(2)), held == 1);
    }
    let mut m = wfs(MachineConfig::intel(2), "", Some(Rule::WfsHoldsSmi));
    m.inject(Event::at(1, EventKind::Smi));
    assert!(m.can_step(1));
    let mut m = wfs(MachineConfig::intel(2), "", Some(Rule::WfsHoldsNmi));
    m.inject(Event::at(1, EventKind::Nmi));
    assert!(m.can_step(1));
}

#[test]
fn machine_check_in_wait_for_sipi_takes_an_intel_machine_down() {
    let mut m = wfs(MachineConfig::intel(2), "mc-wfs=shutdown", None);
    m.inject(Event::at(0, EventKind::MachineCheck));
    m.step(1);
    assert_eq!(m.was_reset(), Some(ResetCause::BroadcastMachineCheck { cpu: 1 }));
    for knob in ["mc-wfs=pend", "mc-wfs=ignore"] {
        let mut m = wfs(MachineConfig::intel(2), knob, None);
        m.inject(Event::at(0, EventKind::MachineCheck));
        assert!(!m.can_step(1));
        assert_eq!(m.cpu(1).mc_held(), knob == "mc-wfs=pend");
    }
    let mut m = wfs(MachineConfig::amd(2), "", None);
    m.inject(Event::at(0, EventKind::MachineCheck));
    assert!(!m.can_step(1));
}

#[test]
fn rules_about_broadcast_and_mce_switch_off() {
    let mut m = machine(MachineConfig::intel(2), "", Some(Rule::McBroadcast));
    m.inject(Event::at(0, EventKind::MachineCheck));
    assert!(!m.cpu(1).mc_held());
    let mut m = machine(MachineConfig::intel(2), "", Some(Rule::McNeedsMce));
    m.cpu_mut(0).cr4 &= !(1 << 6);
    m.inject(Event::at(0, EventKind::MachineCheck));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Vector(18)));
    let mut m = machine(MachineConfig::intel(2), "", Some(Rule::McNeedsMcipClear));
    for _ in 0..2 {
        m.inject(Event::at(0, EventKind::MachineCheck));
        assert_eq!(m.step(0), Outcome::Delivered(Delivered::Vector(18)));
    }
    let mut m = machine(MachineConfig::intel(2), "", Some(Rule::McSetsMcip));
    m.inject(Event::at(0, EventKind::MachineCheck));
    m.step(0);
    assert_eq!(m.read_msr(0, num::MCG_STATUS), Ok(1));
    let mut m = machine(MachineConfig::amd(2), "mc-broadcast-amd=all", None);
    m.inject(Event::at(0, EventKind::MachineCheck));
    assert!(m.cpu(1).mc_held());
}

#[test]
fn svm_state_across_init() {
    let mut m = machine(MachineConfig::amd(2), "", None);
    m.write_msr(1, num::VM_CR, 1 << 4).expect("VM_CR");
    m.inject(Event::at(1, EventKind::Init));
    m.step(1);
    assert_eq!(m.read_msr(1, num::VM_CR), Ok(0), "SVMDIS goes without LOCK");
    let mut m = machine(MachineConfig::amd(2), "", None);
    m.write_msr(1, num::VM_CR, (1 << 4) | (1 << 3)).expect("VM_CR");
    m.inject(Event::at(1, EventKind::Init));
    m.step(1);
    assert_eq!(m.read_msr(1, num::VM_CR), Ok(0x18));
}

#[test]
fn nmi_and_irr_across_init_follow_their_knobs() {
    for (knob, held) in [("nmi-across-init=kept", 1), ("nmi-across-init=dropped", 0)] {
        let mut m = machine(MachineConfig::intel(2), knob, None);
        m.cpu_mut(1).nmi_blocked = true;
        m.inject(Event::at(1, EventKind::Nmi));
        m.inject(Event::at(1, EventKind::Init));
        m.step(1);
        assert_eq!(m.cpu(1).nmis_held(), held);
    }
    for (knob, kept) in [("irr-across-init-amd=kept", true), ("irr-across-init-amd=cleared", false)] {
        let mut m = machine(MachineConfig::amd(2), knob, None);
        m.inject(Event::at(1, EventKind::Fixed(0x40)));
        m.inject(Event::at(1, EventKind::Init));
        m.step(1);
        assert_eq!(m.cpu(1).apic.irr[1] != 0, kept);
    }
}

#[test]
fn second_init_in_wait_for_sipi() {
    for (knob, steps) in [("init-wfs=ignored", false), ("init-wfs=again", true)] {
        let mut m = wfs(MachineConfig::intel(2), knob, None);
        m.inject(Event::at(1, EventKind::Init));
        assert_eq!(m.can_step(1), steps);
        m.step(1);
        assert_eq!(m.cpu(1).activity, Activity::WaitForSipi);
        m.inject(Event::at(1, EventKind::Sipi(1)));
        assert_eq!(m.cpu(1).activity, Activity::Running);
    }
}

#[test]
fn tlb_across_init() {
    for (knob, kept) in [("tlb-across-init=kept", true), ("tlb-across-init=flushed", false)] {
        let m = wfs(MachineConfig::intel(2), knob, None);
        assert_eq!(m.tlb_len(1) != 0, kept);
    }
}
