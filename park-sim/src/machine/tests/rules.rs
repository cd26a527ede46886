//! Every rule matters: the same situation with the rule on and off. Rules whose cells other files switch off are not repeated here.

use iced_x86::code_asm::*;

use super::super::apic::Lvt;
use super::super::msr::num;
use super::knobs::shut_down;
use super::*;

/// Where each rule is switched off.
const SOURCES: [&str; 9] = [
    include_str!("apic.rs"),
    include_str!("control.rs"),
    include_str!("events.rs"),
    include_str!("init.rs"),
    include_str!("memory.rs"),
    include_str!("ordering.rs"),
    include_str!("rules.rs"),
    include_str!("svm.rs"),
    include_str!("waits.rs"),
];

#[test]
fn every_rule_is_switched_off_somewhere() {
    for rule in Rule::ALL {
        let name = format!("Rule::{rule:?}");
        let named = SOURCES.iter().any(|source| {
            source
                .match_indices(&name)
                .any(|(at, _)| !source[at + name.len()..].starts_with(|c: char| c.is_alphanumeric()))
        });
        assert!(named, "{name}");
    }
}

fn both(rule: Rule, config: &MachineConfig, observe: impl Fn(Machine) -> bool) {
    for on in [true, false] {
        let mut config = config.clone();
        if !on {
            config.rules = config.rules.without(rule);
        }
        assert_eq!(observe(machine_of(&config)), on, "{rule:?} {}", if on { "on" } else { "off" });
    }
}

fn on_intel(rule: Rule, observe: impl Fn(Machine) -> bool) {
    both(rule, &MachineConfig::intel(2), observe);
}

fn on_amd(rule: Rule, observe: impl Fn(Machine) -> bool) {
    both(rule, &MachineConfig::amd(2), observe);
}

/// CPU 0 waits: HLT, or the wait that `instruction` enters after MONITOR and UMONITOR of DATA.
fn wait(m: &mut Machine, instruction: &[u8]) {
    load(m, |a| {
        a.mov(rax, DATA)?;
        a.xor(ecx, ecx)?;
        a.xor(edx, edx)?;
        if instruction == TPAUSE {
            a.mov(rdx, u64::from(u32::MAX))?;
        }
        a.monitor()?;
        a.db(instruction)?;
        a.hlt()
    });
    run_to_wait(m, 0);
}

const HLT: &[u8] = &[0xf4];
const MWAIT: &[u8] = &[0x0f, 0x01, 0xc9];
const TPAUSE: &[u8] = &[0x66, 0x0f, 0xae, 0xf1];

fn is_err<T>(result: Result<T, Exception>) -> bool {
    result.is_err()
}

#[test]
fn waits_and_interrupts() {
    for (rule, instruction) in [(Rule::HltEndedByIntr, HLT), (Rule::MwaitEndedByIntr, MWAIT)] {
        on_intel(rule, |mut m| {
            wait(&mut m, instruction);
            m.cpu_mut(0).rflags |= 1 << 9;
            m.inject(Event::at(0, EventKind::Fixed(0x40)));
            m.can_step(0)
        });
    }
    on_intel(Rule::UmwaitEndedByAnyIntr, |mut m| {
        wait(&mut m, TPAUSE);
        assert_eq!(m.cpu(0).activity, Activity::Tpause);
        m.inject(Event::at(0, EventKind::Fixed(0x40)));
        m.can_step(0)
    });
}

#[test]
fn nmi_blocking() {
    on_intel(Rule::NmiBlocksNmi, |mut m| {
        m.inject(Event::at(0, EventKind::Nmi));
        m.step(0);
        m.inject(Event::at(0, EventKind::Nmi));
        m.step(0) == Outcome::Executed
    });
    on_intel(Rule::IretUnblocksNmi, |mut m| {
        m.cpu_mut(0).nmi_blocked = true;
        m.write_phys(CODE, &[0x48, 0xcf]);
        m.step(0);
        !m.cpu(0).nmi_blocked
    });
}

#[test]
fn machine_checks() {
    on_intel(Rule::LmceIsLocal, |mut m| {
        m.write_msr(0, num::MCG_EXT_CTL, 1).expect("LMCE is allowed");
        m.inject(Event::at(0, EventKind::MachineCheckLocal));
        !m.cpu(1).mc_held()
    });
    on_intel(Rule::McgStatusTakesZeroOnly, |mut m| is_err(m.write_msr(0, num::MCG_STATUS, 4)));
}

#[test]
fn init_and_shutdown() {
    on_intel(Rule::InitHeldInSmm, |mut m| {
        m.inject(Event::at(1, EventKind::Smi));
        m.step(1);
        m.inject(Event::at(1, EventKind::Init));
        m.step(1) == Outcome::Delivered(Delivered::SmmExit)
    });
    for (rule, kind) in [(Rule::ShutdownLeftByNmi, EventKind::Nmi), (Rule::ShutdownLeftByInit, EventKind::Init)] {
        on_intel(rule, |mut m| {
            shut_down(&mut m);
            assert_eq!(m.cpu(1).activity, Activity::Shutdown);
            m.inject(Event::at(1, kind));
            m.can_step(1)
        });
    }
    on_intel(Rule::TripleFaultShutsDown, |mut m| {
        shut_down(&mut m);
        m.stopped().is_none()
    });
}

#[test]
fn svm_and_control_registers() {
    on_amd(Rule::ClgiNeedsSvme, |mut m| is_err(m.exec_special(0, Special::Clgi)));
    on_amd(Rule::SvmdisRefusesSvme, |mut m| {
        m.write_msr(0, num::VM_CR, 1 << 4).expect("VM_CR");
        let value = m.cpu(0).efer | (1 << 12);
        is_err(m.write_msr(0, num::EFER, value))
    });
    on_intel(Rule::La57FixedInLongMode, |mut m| {
        let value = m.cpu(0).cr4 | (1 << 12);
        is_err(m.write_reg(0, HostReg::Cr4, value))
    });
    on_intel(Rule::CetNeedsWp, |mut m| {
        m.cpu_mut(0).cr0 &= !(1 << 16);
        let value = m.cpu(0).cr4 | (1 << 23);
        is_err(m.write_reg(0, HostReg::Cr4, value))
    });
    on_intel(Rule::LtrMarksBusy, |mut m| {
        load(&mut m, |a| {
            a.mov(ax, i32::from(TSS_SELECTOR))?;
            a.ltr(ax)?;
            a.ltr(ax)?;
            a.hlt()
        });
        run_to_wait(&mut m, 0);
        in_handler(&m, 0, 13)
    });
    on_intel(Rule::NtFaultsIret, |mut m| {
        m.cpu_mut(0).rflags |= 1 << 14;
        load(&mut m, |a| {
            a.mov(rbx, DATA)?;
            a.push(0)?;
            a.push(rsp)?;
            a.push(2)?;
            a.push(i32::from(CODE_SELECTOR))?;
            a.push(rbx)?;
            a.iretq()
        });
        m.write_phys(DATA, HLT);
        run_to_wait(&mut m, 0);
        in_handler(&m, 0, 13)
    });
}

#[test]
fn cet_and_debug() {
    on_intel(Rule::ShadowStackUsed, |mut m| {
        m.cpu_mut(0).cr4 |= 1 << 23;
        m.cpu_mut(0).ssp = DATA + 0x100;
        m.write_msr(0, num::S_CET, 1).expect("CET");
        // call +0
        m.write_phys(CODE, &[0xe8, 0, 0, 0, 0, 0xe8, 1, 0, 0, 0, 0xf4, 0xf4]);
        run_to_wait(&mut m, 0);
        m.cpu(0).ssp != DATA + 0x100
    });
    on_intel(Rule::BreakpointsMatch, |mut m| {
        m.write_reg(0, HostReg::Dr(1), CODE).expect("DR1");
        m.write_reg(0, HostReg::Dr(7), 0x404).expect("DR7");
        m.write_phys(CODE, HLT);
        m.step(0) == Outcome::Delivered(Delivered::Vector(1))
    });
    on_intel(Rule::TrapFlagTraps, |mut m| {
        m.cpu_mut(0).rflags |= 1 << 8;
        m.write_phys(CODE, &[0x90, 0x90]);
        m.step(0);
        m.step(0) == Outcome::Delivered(Delivered::Vector(1))
    });
}

#[test]
fn hardware_left_running() {
    on_intel(Rule::PmuInterrupts, |mut m| {
        m.write_msr(0, num::FIXED_CTR_CTRL, 8 | 3).expect("fixed counter");
        m.write_msr(0, num::PERF_GLOBAL_CTRL, 1 << 32).expect("fixed counter");
        m.cpu_mut(0).apic.lvt[Lvt::Perf as usize] = 0x400;
        m.inject(Event::at(0, EventKind::PmuOverflow));
        m.cpu(0).nmis_held() == 1
    });
    on_amd(Rule::PmuInterrupts, |mut m| {
        m.write_msr(0, num::AMD_PERF_CTL0 + 2, (1 << 22) | (1 << 20)).expect("core counter");
        m.cpu_mut(0).apic.lvt[Lvt::Perf as usize] = 0x400;
        m.inject(Event::at(0, EventKind::PmuOverflow));
        m.cpu(0).nmis_held() == 1
    });
    on_intel(Rule::TracingWrites, |mut m| {
        // Debug store: branch records at DATA + 800h.
        m.write_phys(DATA + 8, &(DATA + 0x800).to_le_bytes());
        m.write_msr(0, num::DS_AREA, DATA).expect("DS");
        m.write_msr(0, num::DEBUGCTL, 0xc0).expect("BTS");
        m.inject(Event::at(0, EventKind::TraceFlush));
        m.read_phys_u64(DATA + 0x800) != 0 && m.load(0, DATA + 8) == DATA + 0x818
    });
    let mut guest = MachineConfig::intel(2);
    guest.cpuid = guest.cpuid.with(1, 0, |regs| regs.ecx |= 1 << 31);
    both(Rule::ParavirtWrites, &guest, |mut m| {
        m.write_msr(0, num::KVM_PV_EOI, (DATA + 0x40) | 1).expect("KVM");
        m.inject(Event::at(0, EventKind::ParavirtTick));
        m.read_phys_u64(DATA + 0x40) != 0
    });
    on_intel(Rule::TimerInterrupts, |mut m| {
        // TSC-deadline mode.
        m.cpu_mut(0).apic.lvt[Lvt::Timer as usize] = 0x40 | (2 << 17);
        m.write_msr(0, num::TSC_DEADLINE, 1).expect("deadline");
        m.inject(Event::at(0, EventKind::TimerExpiry));
        m.cpu(0).apic.irr[1] == 1
    });
}
