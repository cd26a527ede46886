//! Every value of every knob changes what it says it changes. Knobs that other files turn are not repeated here.

use super::super::msr::num;
use super::*;

/// Where knobs are turned.
const SOURCES: [&str; 6] = [
    include_str!("apic.rs"),
    include_str!("events.rs"),
    include_str!("init.rs"),
    include_str!("knobs.rs"),
    include_str!("svm.rs"),
    include_str!("waits.rs"),
];

#[test]
fn every_knob_is_turned_somewhere() {
    for knob in Knob::ALL {
        for value in knob.values().iter().skip(1) {
            let assignment = format!("\"{}={value}\"", knob.name());
            assert!(SOURCES.iter().any(|source| source.contains(&assignment)), "{assignment}");
        }
    }
}

fn with(config: MachineConfig, knob: &str) -> Machine {
    let mut config = config;
    config.knobs.parse(knob).expect("a knob");
    machine_of(&config)
}

fn intel_with(knob: &str) -> Machine {
    with(MachineConfig::intel(2), knob)
}

/// Runs `observe` with each value, and checks that the run says it read the knob.
fn each(config: &MachineConfig, values: &[(&str, bool)], observe: impl Fn(&mut Machine) -> bool) {
    for (value, expected) in values {
        let mut m = with(config.clone(), value);
        assert_eq!(observe(&mut m), *expected, "{value}");
        let knob = value.split('=').next().and_then(Knob::from_name).expect("a knob");
        assert!(m.knobs_read().contains(knob), "{value} was not read");
    }
}

/// CPU 1 in shutdown.
pub(super) fn shut_down(m: &mut Machine) {
    m.cpu_mut(1).idtr.limit = 0;
    m.write_phys(CODE, &[0x0f, 0x0b]);
    m.step(1);
    m.cpu_mut(1).idtr.limit = 0xfff;
}

/// CPU 0 executes MONITOR of DATA and the bytes behind it, up to a wait.
fn monitor_then(m: &mut Machine, rest: &[u8]) {
    let mut code = vec![0xb8]; // mov eax, DATA
    code.extend_from_slice(&(DATA as u32).to_le_bytes());
    code.extend_from_slice(&[0x31, 0xc9, 0x31, 0xd2, 0x0f, 0x01, 0xc8]); // xor ecx, ecx; xor edx, edx; monitor
    code.extend_from_slice(rest);
    m.write_phys(CODE, &code);
}

const MWAIT_HLT: &[u8] = &[0x31, 0xc0, 0x0f, 0x01, 0xc9, 0xf4];

#[test]
fn smm() {
    let inside = |m: &mut Machine| {
        m.inject(Event::at(0, EventKind::Smi));
        assert_eq!(m.step(0), Outcome::Delivered(Delivered::SmmEntry));
    };
    each(&MachineConfig::intel(2), &[("mc-smm=shutdown", true), ("mc-smm=pend", false)], |m| {
        inside(m);
        m.inject(Event::at(0, EventKind::MachineCheck));
        m.step(0) == Outcome::Delivered(Delivered::Shutdown)
    });
    each(&MachineConfig::intel(2), &[("nmi-block-across-smm=kept", true), ("nmi-block-across-smm=lost", false)], |m| {
        m.cpu_mut(0).nmi_blocked = true;
        inside(m);
        m.step(0);
        m.cpu(0).nmi_blocked
    });
    each(&MachineConfig::intel(2), &[("monitor-across-smm=kept", true), ("monitor-across-smm=disarmed", false)], |m| {
        monitor_then(m, MWAIT_HLT);
        for _ in 0..4 {
            m.step(0);
        }
        inside(m);
        m.step(0);
        run_to_wait(m, 0);
        matches!(m.cpu(0).activity, Activity::Mwait { .. })
    });
    each(&MachineConfig::intel(2), &[("auto-halt=keep", true), ("auto-halt=clear", false)], |m| {
        m.write_phys(CODE, &[0xf4, 0x90]);
        run_to_wait(m, 0);
        inside(m);
        m.step(0);
        m.cpu(0).activity == Activity::Hlt
    });
}

#[test]
fn shutdown() {
    each(&MachineConfig::intel(2), &[("smi-shutdown=ignored", false), ("smi-shutdown=ends", true)], |m| {
        shut_down(m);
        m.inject(Event::at(1, EventKind::Smi));
        m.can_step(1)
    });
    each(&MachineConfig::amd(2), &[("nmi-shutdown-amd=ends", true), ("nmi-shutdown-amd=ignored", false)], |m| {
        shut_down(m);
        m.inject(Event::at(1, EventKind::Nmi));
        m.can_step(1)
    });
    each(&MachineConfig::intel(2), &[("shutdown-resets=no", false), ("shutdown-resets=yes", true)], |m| {
        shut_down(m);
        m.was_reset() == Some(ResetCause::CpuShutdown { cpu: 1 })
    });
}

#[test]
fn init() {
    each(
        &MachineConfig::intel(2),
        &[("nmi-block-across-init=cleared", false), ("nmi-block-across-init=kept", true)],
        |m| {
            m.cpu_mut(1).nmi_blocked = true;
            m.inject(Event::at(1, EventKind::Init));
            m.step(1);
            m.cpu(1).nmi_blocked
        },
    );
    let mut config = MachineConfig::amd(2);
    config.rules = config.rules.without(Rule::RInitRedirects);
    each(&config, &[("r-init-across-init=kept", true), ("r-init-across-init=cleared", false)], |m| {
        m.write_msr(1, num::VM_CR, 2).expect("VM_CR");
        m.inject(Event::at(1, EventKind::Init));
        m.step(1);
        m.read_msr(1, num::VM_CR) == Ok(2)
    });
}

#[test]
fn mwait() {
    each(&MachineConfig::intel(2), &[("mwait-waits=yes", true), ("mwait-waits=never", false)], |m| {
        monitor_then(m, MWAIT_HLT);
        run_to_wait(m, 0);
        matches!(m.cpu(0).activity, Activity::Mwait { .. })
    });
    each(&MachineConfig::amd(2), &[("dma-wakes-amd=no", false), ("dma-wakes-amd=yes", true)], |m| {
        monitor_then(m, MWAIT_HLT);
        run_to_wait(m, 0);
        m.dma_write(DATA, &[1]);
        m.can_step(0)
    });
}

#[test]
fn sti_may_hold_nmi_and_smi_for_one_instruction() {
    each(&MachineConfig::intel(2), &[("sti-holds-nmi=no", false), ("sti-holds-nmi=yes", true)], |m| {
        m.write_phys(CODE, &[0xfb, 0x90, 0x90]);
        m.step(0);
        m.inject(Event::at(0, EventKind::Nmi));
        let held = m.step(0) == Outcome::Executed;
        if held {
            assert_eq!(m.step(0), Outcome::Delivered(Delivered::Vector(2)), "one instruction only");
        }
        held
    });
}

#[test]
fn a_run_tells_which_knobs_it_read() {
    let mut m = intel_with("mc-wfs=shutdown");
    assert!(m.knobs_read().is_empty());
    m.inject(Event::at(1, EventKind::Init));
    m.step(1);
    m.take_knobs_read();
    m.inject(Event::at(1, EventKind::MachineCheck));
    m.step(1);
    let read: Vec<Knob> = m.take_knobs_read().iter().collect();
    assert!(read.contains(&Knob::McWfs), "{read:?}");
    assert!(m.knobs_read().is_empty());
}
