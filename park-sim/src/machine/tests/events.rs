//! The cells of events.md table 1A: what ends a wait, what is delivered, what is held.

use iced_x86::code_asm::*;

use super::super::mc::{MCIP, RIPV};
use super::super::msr::num;
use super::waits::{halted, in_mwait, knob, went_on, with, without};
use super::*;

#[test]
fn nmi_ends_hlt_and_is_delivered_once_until_iret() {
    let mut m = halted(intel());
    load_at(&mut m, HANDLERS + 2 * 64, |a| {
        a.inc(r14)?;
        a.hlt()?;
        a.iretq()
    });
    m.inject(Event::at(0, EventKind::Nmi));
    run_to_wait(&mut m, 0);
    assert_eq!(m.cpu(0).reg(Gpr::R14), 1);
    // In the handler NMIs are blocked: one is held and does not end the handler's HLT.
    m.inject(Event::at(0, EventKind::Nmi));
    m.inject(Event::at(0, EventKind::Nmi));
    assert!(!m.can_step(0));
    assert_eq!(m.cpu(0).nmis_held(), 1);
    // An enabled interrupt ends it; its handler's IRET is not needed: move on by hand, then IRET lets the held NMI in.
    let after = m.cpu(0).rip;
    m.cpu_mut(0).activity = Activity::Running;
    assert_eq!(m.cpu(0).rip, after);
    run_to_wait(&mut m, 0);
    assert_eq!(m.cpu(0).reg(Gpr::R14), 2);
    m.cpu_mut(0).activity = Activity::Running;
    run_to_wait(&mut m, 0);
    assert!(went_on(&m));
    assert_eq!(m.cpu(0).taken.nmi, 2);
}

#[test]
fn two_nmis_are_held_where_the_knob_says_so() {
    let mut m = halted(knob("nmi-depth=2"));
    m.inject(Event::at(0, EventKind::Nmi));
    run_to_wait(&mut m, 0);
    for _ in 0..3 {
        m.inject(Event::at(0, EventKind::Nmi));
    }
    assert_eq!(m.cpu(0).nmis_held(), 2);
    assert!(m.knobs_read().contains(Knob::NmiDepth));
}

#[test]
fn masked_interrupt_stays_out_of_hlt_and_enabled_one_ends_it() {
    let mut m = halted(intel());
    m.inject(Event::at(0, EventKind::Fixed(0x40)));
    assert!(!m.can_step(0));
    m.cpu_mut(0).rflags |= 1 << 9;
    run_to_wait(&mut m, 0);
    assert!(in_handler(&m, 0, 0x40));
    assert_eq!(m.cpu(0).apic.isr[1], 1);
    let mut m = halted(without(Rule::HltKeepsOutMaskedIntr));
    m.inject(Event::at(0, EventKind::Fixed(0x40)));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::WaitEnded));
}

#[test]
fn rules_about_hlt_switch_off() {
    for (rule, kind) in [
        (Rule::HltEndedByNmi, EventKind::Nmi),
        (Rule::HltEndedByMc, EventKind::MachineCheck),
        (Rule::SmiEndsWait, EventKind::Smi),
    ] {
        let mut m = halted(without(rule));
        m.inject(Event::at(0, kind));
        assert!(!m.can_step(0), "{rule:?}");
        let mut m = halted(intel());
        m.inject(Event::at(0, kind));
        assert!(m.can_step(0), "{kind:?}");
    }
}

#[test]
fn rules_about_mwait_switch_off() {
    for (rule, kind) in [
        (Rule::MwaitEndedByNmi, EventKind::Nmi),
        (Rule::MwaitEndedByMc, EventKind::MachineCheck),
        (Rule::SmiEndsWait, EventKind::Smi),
    ] {
        let mut m = in_mwait(without(rule), 0, 0);
        m.inject(Event::at(0, kind));
        assert!(!m.can_step(0), "{rule:?}");
        let mut m = in_mwait(intel(), 0, 0);
        m.inject(Event::at(0, kind));
        assert!(m.can_step(0), "{kind:?}");
    }
}

#[test]
fn machine_check_needs_mce_and_clear_mcip_and_sets_it() {
    let mut m = halted(intel());
    m.inject(Event::at(0, EventKind::MachineCheck));
    run_to_wait(&mut m, 0);
    assert!(in_handler(&m, 0, 18));
    assert_eq!(m.read_msr(0, num::MCG_STATUS), Ok(MCIP | RIPV));
    // The broadcast reached CPU 1 too.
    assert!(m.cpu(1).mc_held());
    m.inject(Event::at(0, EventKind::MachineCheck));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Shutdown));
    assert_eq!(m.cpu(0).activity, Activity::Shutdown);

    let mut m = halted(amd());
    m.cpu_mut(0).cr4 &= !(1 << 6);
    m.inject(Event::at(0, EventKind::MachineCheck));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Shutdown));
    // AMD: local, so no system failure.
    assert_eq!(m.was_reset(), None);
    assert!(!m.cpu(1).mc_held());
}

#[test]
fn broadcast_machine_check_resets_a_machine_with_mce_off_anywhere() {
    let mut m = halted(intel());
    m.cpu_mut(1).cr4 &= !(1 << 6);
    m.inject(Event::at(0, EventKind::MachineCheck));
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::Shutdown));
    assert_eq!(m.was_reset(), Some(ResetCause::BroadcastMachineCheck { cpu: 1 }));
}

#[test]
fn local_machine_check_stays_local_with_lmce() {
    let mut m = halted(intel());
    m.inject(Event::at(0, EventKind::MachineCheckLocal));
    assert!(m.cpu(1).mc_held());
    let mut m = halted(intel());
    m.write_msr(0, num::MCG_EXT_CTL, 1).expect("feature control allows LMCE");
    m.inject(Event::at(0, EventKind::MachineCheckLocal));
    assert!(m.cpu(0).mc_held() && !m.cpu(1).mc_held());
}

#[test]
fn mcg_status_takes_only_zero_on_intel() {
    let mut m = intel();
    assert_eq!(m.write_msr(0, num::MCG_STATUS, 4), Err(Exception { vector: 13, error: Some(0) }));
    assert_eq!(m.write_msr(0, num::MCG_STATUS, 0), Ok(()));
    let mut m = amd();
    assert_eq!(m.write_msr(0, num::MCG_STATUS, 4), Ok(()));
}

#[test]
fn smi_returns_into_hlt_by_the_flag_and_behind_mwait_always() {
    let smm = |mut m: Machine| {
        m.inject(Event::at(0, EventKind::Smi));
        assert_eq!(m.step(0), Outcome::Delivered(Delivered::SmmEntry));
        assert_eq!(m.step(0), Outcome::Delivered(Delivered::SmmExit));
        m
    };
    let m = smm(halted(intel()));
    assert_eq!(m.cpu(0).activity, Activity::Hlt);
    assert_eq!(m.cpu(0).smi_count, 1);
    let mut m = smm(halted(knob("auto-halt=clear")));
    run_to_wait(&mut m, 0);
    assert!(went_on(&m));
    let mut m = smm(halted(without(Rule::RsmRestartsHlt)));
    run_to_wait(&mut m, 0);
    assert!(went_on(&m));
    let mut m = smm(in_mwait(intel(), 0, 0));
    run_to_wait(&mut m, 0);
    assert!(went_on(&m));
    let m = smm(in_mwait(without(Rule::RsmSkipsMwait), 0, 0));
    assert!(matches!(m.cpu(0).activity, Activity::Mwait { .. }));
}

#[test]
fn smm_holds_nmi_and_init_and_shuts_down_on_a_machine_check() {
    let mut m = halted(intel());
    m.inject(Event::at(0, EventKind::Smi));
    m.step(0);
    m.inject(Event::at(0, EventKind::Nmi));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::SmmExit));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Vector(2)));
    let mut m = halted(intel());
    m.inject(Event::at(1, EventKind::Smi));
    m.step(1);
    m.inject(Event::at(1, EventKind::Init));
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::SmmExit));
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::Init));
    let mut m = halted(intel());
    m.inject(Event::at(0, EventKind::Smi));
    m.step(0);
    m.inject(Event::at(0, EventKind::MachineCheck));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Shutdown));
}

#[test]
fn smm_rendezvous_waits_for_all_gives_up_or_hangs() {
    // Both CPUs take the SMI: they meet and leave.
    let mut m = knob("smm-rendezvous=time-out");
    m.inject(Event::all(EventKind::Smi));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::SmmEntry));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::SmmWait));
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::SmmEntry));
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::SmmExit));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::SmmExit));
    assert_eq!(m.smm_missed(), 0);
    // CPU 1 waits for a SIPI: it never comes.
    for (value, reset) in
        [("smm-rendezvous=time-out", None), ("smm-rendezvous=hang", Some(ResetCause::SmmHang { cpu: 1 }))]
    {
        let mut m = knob(value);
        m.inject(Event::at(1, EventKind::Init));
        m.step(1);
        m.inject(Event::at(0, EventKind::Smi));
        load(&mut m, |a| a.hlt());
        m.run(0, 5000);
        assert_eq!(m.was_reset(), reset);
        assert_eq!(m.smm_missed(), u64::from(reset.is_none()));
        assert!(m.cpu(1).smi_held());
    }
}

#[test]
fn nmi_at_a_software_disabled_apic() {
    let soft_off = |name: &str| {
        let mut m = halted(knob(name));
        m.cpu_mut(0).apic.svr = 0xff;
        m.inject(Event::at(0, EventKind::Nmi));
        run_to_wait(&mut m, 0);
        m
    };
    let m = soft_off("nmi-apic-soft-off=deliver");
    assert!(in_handler(&m, 0, 2));
    let m = soft_off("nmi-apic-soft-off=wake-only");
    assert!(went_on(&m));
    assert_eq!(m.cpu(0).taken.nmi, 0);
}

#[test]
fn sti_shadow_makes_sti_hlt_race_free() {
    let program = |mut m: Machine| {
        load(&mut m, |a| {
            a.sti()?;
            a.mov(r15, 1u64)?;
            a.hlt()
        });
        m.inject(Event::at(0, EventKind::Fixed(0x40)));
        run_to_wait(&mut m, 0);
        m
    };
    assert!(went_on(&program(intel())));
    assert!(!went_on(&program(without(Rule::StiShadow))));
}

#[test]
fn shutdown_is_left_by_nmi_and_init_but_not_from_an_nmi_handler() {
    let shut = |blocked: bool| {
        let mut m = intel();
        m.cpu_mut(1).idtr.limit = 0;
        m.cpu_mut(1).nmi_blocked = blocked;
        m.write_phys(CODE, &[0x0f, 0x0b]);
        assert_eq!(m.step(1), Outcome::Delivered(Delivered::Shutdown));
        m.cpu_mut(1).idtr.limit = 0xfff;
        m.cpu_mut(1).nmi_blocked = false;
        m
    };
    let mut m = shut(false);
    m.inject(Event::at(1, EventKind::Fixed(0x40)));
    assert!(!m.can_step(1));
    m.inject(Event::at(1, EventKind::Nmi));
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::Vector(2)));
    let mut m = shut(false);
    m.inject(Event::at(1, EventKind::Init));
    assert_eq!(m.step(1), Outcome::Delivered(Delivered::Init));
    let mut m = shut(true);
    m.inject(Event::at(1, EventKind::Nmi));
    m.inject(Event::at(1, EventKind::Init));
    assert!(!m.can_step(1));
}

#[test]
fn priority_is_mc_smi_init_nmi_intr() {
    let mut m = halted(intel());
    m.cpu_mut(0).rflags |= 1 << 9;
    for kind in [EventKind::Fixed(0x40), EventKind::Nmi, EventKind::Smi, EventKind::MachineCheck] {
        m.inject(Event::at(0, kind));
    }
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Vector(18)));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::SmmEntry));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::SmmExit));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Vector(2)));
}

#[test]
fn hardware_that_was_left_running_does_harm() {
    // PMU watchdog: an NMI from LVTPC.
    let mut m = halted(intel());
    m.inject(Event::at(0, EventKind::PmuOverflow));
    assert!(!m.can_step(0));
    m.write_msr(0, num::PERFEVTSEL0, (1 << 22) | (1 << 20) | 0x3c).expect("PERFEVTSEL0");
    m.write_msr(0, num::PERF_GLOBAL_CTRL, 1).expect("GLOBAL_CTRL");
    m.cpu_mut(0).apic.lvt[super::super::apic::Lvt::Perf as usize] = 0x400;
    m.inject(Event::at(0, EventKind::PmuOverflow));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Vector(2)));
    // Processor trace writes memory.
    let mut m = halted(intel());
    m.set_tag(PhysRange::new(DATA, 0x1000), Tag(5));
    m.set_allowed(0, !(1 << 5));
    m.write_msr(0, num::RTIT_OUTPUT_BASE, DATA).expect("RTIT");
    m.inject(Event::at(0, EventKind::TraceFlush));
    assert!(m.breaches.is_empty());
    m.write_msr(0, num::RTIT_CTL, 1).expect("RTIT");
    m.inject(Event::at(0, EventKind::TraceFlush));
    assert_eq!(m.breaches.first()[0].kind, AccessKind::Trace);
    assert_ne!(m.read_phys_u64(DATA), 0);
    // A paravirtual page.
    let mut m = with(MachineConfig::intel(2), |config| {
        config.cpuid = config.cpuid.clone().with(1, 0, |regs| regs.ecx |= 1 << 31)
    });
    m.write_msr(0, num::KVM_STEAL_TIME, DATA | 1).expect("KVM");
    m.inject(Event::at(0, EventKind::ParavirtTick));
    assert_ne!(m.read_phys_u64(DATA), 0);
    // A timer.
    let mut m = halted(intel());
    m.cpu_mut(0).rflags |= 1 << 9;
    m.cpu_mut(0).apic.lvt[super::super::apic::Lvt::Timer as usize] = 0x40;
    m.inject(Event::at(0, EventKind::TimerExpiry));
    assert!(!m.can_step(0));
    m.cpu_mut(0).apic.timer_initial = 100;
    m.inject(Event::at(0, EventKind::TimerExpiry));
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Vector(0x40)));
}

#[test]
fn debug_traps() {
    let mut m = intel();
    load(&mut m, |a| {
        a.pushfq()?;
        a.or(qword_ptr(rsp), 0x100)?;
        a.popfq()?;
        a.nop()?;
        a.nop()?;
        a.hlt()
    });
    run_to_wait(&mut m, 0);
    assert!(in_handler(&m, 0, 1));
    assert_eq!(m.cpu(0).dr[6] & (1 << 14), 1 << 14);
    // A data breakpoint on DATA.
    let mut m = intel();
    m.write_reg(0, HostReg::Dr(0), DATA).expect("DR0");
    m.write_reg(0, HostReg::Dr(7), 0x400 | 1 | (0b0001 << 16)).expect("DR7");
    load(&mut m, |a| {
        a.mov(rbx, DATA)?;
        a.mov(byte_ptr(rbx), 1)?;
        a.hlt()
    });
    run_to_wait(&mut m, 0);
    assert!(in_handler(&m, 0, 1));
    assert_eq!(m.cpu(0).dr[6] & 0xf, 1);
    // An instruction breakpoint.
    let mut m = intel();
    m.write_reg(0, HostReg::Dr(1), CODE).expect("DR1");
    m.write_reg(0, HostReg::Dr(7), 0x400 | 4).expect("DR7");
    load(&mut m, |a| a.hlt());
    assert_eq!(m.step(0), Outcome::Delivered(Delivered::Vector(1)));
}
