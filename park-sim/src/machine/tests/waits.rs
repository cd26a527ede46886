//! MWAIT, UMWAIT, TPAUSE: what ends them and what does not (events.md table 1A and section 4).

use iced_x86::code_asm::*;

use super::super::msr::num;
use super::*;

/// CPU 0 in HLT (IF=0) on a machine with these rules and knobs.
pub(super) fn halted(mut m: Machine) -> Machine {
    load(&mut m, |a| {
        a.hlt()?;
        a.mov(r15, 1u64)?;
        a.hlt()
    });
    run_to_wait(&mut m, 0);
    assert_eq!(m.cpu(0).activity, Activity::Hlt);
    m
}

/// CPU 0 in MWAIT on DATA with this ECX and EAX.
pub(super) fn in_mwait(mut m: Machine, line_ecx: u32, hint: u32) -> Machine {
    let bytes = assemble(CODE, |a| {
        a.mov(rax, DATA)?;
        a.mov(ecx, 0)?;
        a.mov(edx, 0)?;
        a.monitor()?;
        a.mov(ecx, line_ecx)?;
        a.mov(eax, hint)?;
        a.mwait()?;
        a.mov(r15, 1u64)?;
        a.hlt()
    });
    m.write_phys(CODE, &bytes);
    run_to_wait(&mut m, 0);
    assert!(matches!(m.cpu(0).activity, Activity::Mwait { .. }), "{:?}", m.cpu(0).activity);
    m
}

pub(super) fn with(config: MachineConfig, change: impl FnOnce(&mut MachineConfig)) -> Machine {
    let mut config = config;
    change(&mut config);
    machine_of(&config)
}

pub(super) fn knob(name: &str) -> Machine {
    with(MachineConfig::intel(2), |config| {
        config.knobs.parse(name).expect("a knob");
    })
}

pub(super) fn without(rule: Rule) -> Machine {
    with(MachineConfig::intel(2), |config| config.rules = config.rules.without(rule))
}

pub(super) fn went_on(m: &Machine) -> bool {
    m.cpu(0).reg(Gpr::R15) == 1
}

#[test]
fn store_to_the_line_ends_mwait_and_only_there() {
    let mut m = in_mwait(intel(), 0, 0);
    m.store(1, DATA + 64, 1);
    m.drain_all(1);
    assert!(!m.can_step(0));
    m.store(1, DATA + 56, 1);
    assert!(!m.can_step(0), "the store is not visible yet");
    m.drain_all(1);
    assert!(m.can_step(0));
    run_to_wait(&mut m, 0);
    assert!(went_on(&m));
    for (machine, wakes) in [
        (without(Rule::MwaitEndedByStore), false),
        (knob("monitor-lost=always"), false),
        (knob("monitor-stale=yes"), false),
    ] {
        let mut m = in_mwait(machine, 0, 0);
        m.store(1, DATA, 1);
        m.drain_all(1);
        assert_eq!(m.can_step(0), wakes);
    }
}

#[test]
fn lost_stores_alternate() {
    let mut m = in_mwait(knob("monitor-lost=alternate"), 0, 0);
    m.compare_exchange(1, DATA, 0, 1);
    assert!(!m.can_step(0));
    m.compare_exchange(1, DATA, 1, 2);
    assert!(m.can_step(0));
}

#[test]
fn clflush_heals_the_stale_monitor() {
    let mut m = knob("monitor-stale=yes");
    load(&mut m, |a| {
        a.mov(rax, DATA)?;
        a.clflush(byte_ptr(rax))?;
        a.xor(ecx, ecx)?;
        a.xor(edx, edx)?;
        a.monitor()?;
        a.xor(eax, eax)?;
        a.mwait()?;
        a.mov(r15, 1u64)?;
        a.hlt()
    });
    run_to_wait(&mut m, 0);
    m.compare_exchange(1, DATA, 0, 1);
    assert!(m.can_step(0));
}

#[test]
fn larger_monitor_line_may_wake() {
    let big = |near: &str| {
        with(MachineConfig::intel(2), |config| {
            config.cpuid = config.cpuid.clone().with(5, 0, |regs| regs.ebx = 128);
            config.knobs.parse(near).expect("a knob");
        })
    };
    let mut m = in_mwait(big("near-store-wakes=no"), 0, 0);
    m.compare_exchange(1, DATA + 64, 0, 1);
    assert!(!m.can_step(0));
    let mut m = in_mwait(big("near-store-wakes=yes"), 0, 0);
    m.compare_exchange(1, DATA + 64, 0, 1);
    assert!(m.can_step(0));
    let mut m = in_mwait(big("near-store-wakes=yes"), 0, 0);
    m.compare_exchange(1, DATA + 128, 0, 1);
    assert!(!m.can_step(0));
}

#[test]
fn store_between_monitor_and_mwait_makes_it_fall_through() {
    let program = |m: &mut Machine| {
        load(m, |a| {
            a.mov(rax, DATA)?;
            a.xor(ecx, ecx)?;
            a.xor(edx, edx)?;
            a.monitor()?;
            a.nop()?;
            a.xor(eax, eax)?;
            a.mwait()?;
            a.mov(r15, 1u64)?;
            a.hlt()
        });
        for _ in 0..5 {
            m.step(0);
        }
        m.compare_exchange(1, DATA, 0, 1);
        run_to_wait(m, 0);
    };
    let mut m = intel();
    program(&mut m);
    assert!(went_on(&m));
    let mut m = without(Rule::MonitorSeesEarlyStore);
    program(&mut m);
    assert!(!went_on(&m));
}

#[test]
fn unarmed_mwait_and_disarming_transfers() {
    let program = |m: &mut Machine, arm: bool| {
        load(m, |a| {
            a.mov(rax, DATA)?;
            a.xor(ecx, ecx)?;
            a.xor(edx, edx)?;
            if arm {
                a.monitor()?;
                a.mov(rbx, cr3)?;
                a.mov(cr3, rbx)?;
            }
            a.xor(eax, eax)?;
            a.mwait()?;
            a.mov(r15, 1u64)?;
            a.hlt()
        });
        run_to_wait(m, 0);
    };
    for arm in [false, true] {
        let mut m = intel();
        program(&mut m, arm);
        assert!(went_on(&m));
    }
    let mut m = without(Rule::MwaitUnarmedFallsThrough);
    program(&mut m, false);
    assert!(!went_on(&m));
    let mut m = without(Rule::MonitorDisarmedByTransfer);
    program(&mut m, true);
    assert!(!went_on(&m));
}

#[test]
fn masked_interrupt_and_mwait() {
    let wakes = |mut m: Machine| {
        m.inject(Event::at(0, EventKind::Fixed(0x40)));
        m.can_step(0)
    };
    assert!(!wakes(in_mwait(intel(), 0, 0)));
    assert!(wakes(in_mwait(knob("masked-intr-mwait=ends"), 0, 0)));
    assert!(wakes(in_mwait(intel(), 1, 0)));
    assert!(!wakes(in_mwait(without(Rule::MwaitBreaksOnMaskedIntr), 1, 0)));
    // It stays requested.
    let mut m = in_mwait(intel(), 1, 0);
    m.inject(Event::at(0, EventKind::Fixed(0x40)));
    run_to_wait(&mut m, 0);
    assert!(went_on(&m));
    assert_eq!(m.cpu(0).apic.irr[1], 1);
}

#[test]
fn blocked_nmi_and_mwait() {
    for (name, ends) in [("blocked-nmi-mwait=waits", false), ("blocked-nmi-mwait=ends", true)] {
        let mut m = in_mwait(knob(name), 0, 0);
        m.cpu_mut(0).nmi_blocked = true;
        m.inject(Event::at(0, EventKind::Nmi));
        assert_eq!(m.can_step(0), ends);
    }
}

#[test]
fn device_writes_end_shallow_waits() {
    let wakes = |mut m: Machine| {
        m.dma_write(DATA, &[1]);
        m.can_step(0)
    };
    assert!(wakes(in_mwait(intel(), 0, 0)));
    assert!(!wakes(in_mwait(intel(), 0, 0x10)));
    assert!(wakes(in_mwait(knob("dma-wakes-deep=yes"), 0, 0x10)));
    assert!(!wakes(in_mwait(amd(), 0, 0)));
}

#[test]
fn false_wake_and_ignored_hint() {
    let mut m = in_mwait(intel(), 0, 0);
    m.inject(Event::at(0, EventKind::FalseWake));
    run_to_wait(&mut m, 0);
    assert!(went_on(&m));
    let mut m = halted(intel());
    m.inject(Event::at(0, EventKind::FalseWake));
    assert!(!m.can_step(0), "HLT has no false wakes");
}

#[test]
fn umwait_and_tpause() {
    let program = |m: &mut Machine, limit: u64| {
        m.write_msr(0, num::UMWAIT_CONTROL, limit).expect("UMWAIT_CONTROL exists");
        load(m, |a| {
            a.mov(rbx, DATA)?;
            a.umonitor(rbx)?;
            a.mov(rax, u64::from(u32::MAX))?;
            a.mov(rdx, u64::from(u32::MAX))?;
            a.xor(ecx, ecx)?;
            a.umwait(ecx)?;
            a.setc(r14b)?;
            a.mov(r15, 1u64)?;
            a.hlt()
        });
        run_to_wait(m, 0);
    };
    let mut m = intel();
    program(&mut m, 0);
    assert_eq!(m.cpu(0).activity, Activity::Umwait);
    m.inject(Event::at(0, EventKind::Fixed(0x40)));
    run_to_wait(&mut m, 0);
    assert!(went_on(&m) && m.cpu(0).reg(Gpr::R14) == 0);
    let mut m = intel();
    program(&mut m, 0);
    m.compare_exchange(1, DATA, 0, 1);
    run_to_wait(&mut m, 0);
    assert!(went_on(&m));
    // The operating system's limit sets CF.
    let mut m = intel();
    program(&mut m, 1000);
    m.inject(Event::at(0, EventKind::DeadlinePasses));
    run_to_wait(&mut m, 0);
    assert!(went_on(&m) && m.cpu(0).reg(Gpr::R14) == 1);
}
