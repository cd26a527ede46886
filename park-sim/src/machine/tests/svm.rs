//! GIF (events.md table 1C), SVME, R_INIT, and VMX root's hold on INIT (1D).

use iced_x86::code_asm::*;

use super::super::msr::num;
use super::*;

fn machine(knob: &str, rule: Option<Rule>) -> Machine {
    let mut config = MachineConfig::amd(2);
    if !knob.is_empty() {
        config.knobs.parse(knob).expect("a knob");
    }
    if let Some(rule) = rule {
        config.rules = config.rules.without(rule);
    }
    let mut m = machine_of(&config);
    for cpu in 0..2 {
        let efer = m.cpu(cpu).efer;
        m.write_msr(cpu, num::EFER, efer | (1 << 12)).expect("SVME");
    }
    m
}

/// CPU 1 after CLGI, in HLT; STGI follows.
fn closed(knob: &str, rule: Option<Rule>) -> Machine {
    let mut m = machine(knob, rule);
    load(&mut m, |a| {
        a.clgi()?;
        a.hlt()?;
        a.mov(r15, 1u64)?;
        a.stgi()?;
        a.hlt()
    });
    run_to_wait(&mut m, 1);
    assert!(!m.cpu(1).gif && m.cpu(1).activity == Activity::Hlt);
    m
}

const HELD: [(EventKind, Rule); 4] = [
    (EventKind::Nmi, Rule::Gif0HoldsNmi),
    (EventKind::Smi, Rule::Gif0HoldsSmi),
    (EventKind::Init, Rule::Gif0HoldsInit),
    (EventKind::Fixed(0x40), Rule::Gif0HoldsIntr),
];

#[test]
fn gif_0_holds_everything_and_each_rule_matters() {
    for (kind, rule) in HELD {
        let mut m = closed("", None);
        m.cpu_mut(1).rflags |= 1 << 9;
        m.inject(Event::at(1, kind));
        assert!(!m.can_step(1), "{kind:?}");
        let mut m = closed("", Some(rule));
        m.cpu_mut(1).rflags |= 1 << 9;
        m.inject(Event::at(1, kind));
        assert!(m.can_step(1), "{kind:?}");
    }
}

#[test]
fn held_events_may_end_the_wait_but_are_not_taken() {
    for (kind, _) in HELD {
        let mut m = closed("gif0-wait-ends=fall-through", None);
        m.cpu_mut(1).rflags |= 1 << 9;
        m.inject(Event::at(1, kind));
        assert_eq!(m.step(1), Outcome::Delivered(Delivered::WaitEnded));
        assert_eq!(m.step(1), Outcome::Executed);
        assert!(!m.cpu(1).gif && m.cpu(1).reg(Gpr::R15) == 1);
    }
}

#[test]
fn stgi_lets_them_in_by_priority() {
    let mut m = closed("gif0-wait-ends=fall-through", None);
    m.inject(Event::at(1, EventKind::Nmi));
    m.inject(Event::at(1, EventKind::Smi));
    m.step(1);
    m.step(1);
    assert_eq!(m.step(1), Outcome::Executed, "STGI");
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::SmmEntry));
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::SmmExit));
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::Vector(2)));
}

#[test]
fn machine_check_with_gif_0_is_held_or_fatal() {
    let mut m = closed("mc-gif0=pend", None);
    m.inject(Event::at(1, EventKind::MachineCheck));
    assert!(!m.can_step(1) && m.cpu(1).mc_held());
    let mut m = closed("mc-gif0=shutdown", None);
    m.inject(Event::at(1, EventKind::MachineCheck));
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::Shutdown));
    // With GIF=0 only RESET leads out (A:15.27.6): what else would is held, and nothing is executed that sets GIF.
    for kind in [EventKind::Nmi, EventKind::Init, EventKind::Smi] {
        m.inject(Event::at(1, kind));
        assert!(!m.can_step(1), "{kind:?}");
    }
}

#[test]
fn clgi_and_stgi_need_svme() {
    let mut m = machine_of(&MachineConfig::amd(1));
    let ud = Err(Exception { vector: 6, error: None });
    assert_eq!(m.exec_special(0, Special::Clgi), ud);
    assert_eq!(m.exec_special(0, Special::Stgi), ud);
    assert_eq!(intel().exec_special(0, Special::Clgi), ud);
    let mut m = machine("", None);
    assert_eq!(m.exec_special(0, Special::Clgi), Ok(()));
    let efer = m.cpu(0).efer;
    m.write_msr(0, num::EFER, efer & !(1 << 12)).expect("SVME off");
    assert!(!m.cpu(0).gif);
    assert_eq!(m.exec_special(0, Special::Stgi), ud, "locked in: no SKINIT");
    let mut m = machine("svme-off-gif0=becomes-set", None);
    m.exec_special(0, Special::Clgi).expect("CLGI");
    m.write_msr(0, num::EFER, efer & !(1 << 12)).expect("SVME off");
    assert!(m.cpu(0).gif);
}

#[test]
fn single_step_traps_and_breakpoints_vanish_with_gif_0() {
    let mut m = machine("", None);
    m.exec_special(0, Special::Clgi).expect("CLGI");
    m.write_reg(0, HostReg::Dr(0), DATA).expect("DR0");
    m.write_reg(0, HostReg::Dr(7), 0x400 | 1 | (1 << 16)).expect("DR7");
    load(&mut m, |a| {
        a.mov(rbx, DATA)?;
        a.mov(byte_ptr(rbx), 1)?;
        a.hlt()
    });
    run_to_wait(&mut m, 0);
    assert!(!in_handler(&m, 0, 1));
    m.cpu_mut(0).activity = Activity::Running;
    m.cpu_mut(0).rip = CODE;
    m.cpu_mut(0).rflags |= 1 << 8;
    run_to_wait(&mut m, 0);
    assert!(in_handler(&m, 0, 1));
}

#[test]
fn r_init_turns_init_into_sx() {
    let take = |rule: Option<Rule>| {
        let mut m = machine("", rule);
        m.write_msr(1, num::VM_CR, 2).expect("VM_CR");
        m.inject(Event::at(1, EventKind::Init));
        let outcome = m.step(1);
        assert!(!m.cpu(1).init_held());
        outcome
    };
    assert_eq!(take(None), Outcome::Delivered(Delivered::Vector(30)));
    assert_eq!(take(Some(Rule::RInitRedirects)), Outcome::Delivered(Delivered::Init));
}

#[test]
fn vmx_root_holds_init_until_vmxoff() {
    let mut m = intel();
    m.cpu_mut(1).cr4 |= 1 << 13;
    m.exec_special(1, Special::Vmxon).expect("VMXON");
    load(&mut m, |a| a.hlt());
    m.inject(Event::at(1, EventKind::Init));
    run_to_wait(&mut m, 1);
    assert!(m.cpu(1).init_held());
    // A SIPI in that window is lost.
    m.inject(Event::at(1, EventKind::Sipi(0x10)));
    m.exec_special(1, Special::Vmxoff).expect("VMXOFF");
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::Init));
    assert_eq!(m.cpu(1).activity, Activity::WaitForSipi);
    let mut config = MachineConfig::intel(2);
    config.rules = config.rules.without(Rule::InitHeldInVmxRoot);
    let mut m = machine_of(&config);
    m.cpu_mut(1).cr4 |= 1 << 13;
    m.exec_special(1, Special::Vmxon).expect("VMXON");
    m.inject(Event::at(1, EventKind::Init));
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::Init));
}

#[test]
fn store_to_the_line_with_gif_0() {
    for (knob, wakes) in [("gif0-monitor=wakes", true), ("gif0-monitor=ignored", false)] {
        let mut m = machine(knob, None);
        load(&mut m, |a| {
            a.clgi()?;
            a.mov(rax, DATA)?;
            a.xor(ecx, ecx)?;
            a.xor(edx, edx)?;
            a.monitor()?;
            a.mwait()?;
            a.hlt()
        });
        run_to_wait(&mut m, 1);
        m.compare_exchange(0, DATA, 0, 1);
        assert_eq!(m.can_step(1), wakes, "{knob}");
    }
}

#[test]
fn mwaitx_has_its_own_monitor_and_a_timer() {
    let mut m = machine("", None);
    load(&mut m, |a| {
        a.mov(rax, DATA)?;
        a.xor(ecx, ecx)?;
        a.xor(edx, edx)?;
        a.monitor()?;
        a.mwaitx()?; // armed by MONITOR: falls through
        a.mov(r14, 1u64)?;
        a.monitorx()?;
        a.mov(ecx, 2)?;
        a.mov(ebx, 1000)?;
        a.mwaitx()?;
        a.mov(r15, 1u64)?;
        a.hlt()
    });
    run_to_wait(&mut m, 0);
    assert_eq!(m.cpu(0).reg(Gpr::R14), 1);
    assert!(matches!(m.cpu(0).activity, Activity::Mwaitx { .. }));
    m.inject(Event::at(0, EventKind::DeadlinePasses));
    run_to_wait(&mut m, 0);
    assert_eq!(m.cpu(0).reg(Gpr::R15), 1);
}
