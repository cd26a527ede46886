//! NMI, INIT, machine checks, shutdown, GIF, and interrupts of the local APIC's own.

use super::Unit;
use super::lab::{IST1, Lab, TSS_SELECTOR, x2apic};
use crate::machine::apic::{ApicMode, Lvt};
use crate::machine::msr::num;
use crate::machine::{Activity, Delivered, EventKind, Gpr, HostReg, Outcome, RuleSet, Special, Vendor};

pub(super) const ALL: &[Unit] = &[
    Unit::new("nmi-in-nmi-handler", nmi_in_nmi_handler),
    Unit::new("mcg-status-write", |rules| Lab::intel(rules).machine.write_msr(0, num::MCG_STATUS, 1 << 2).is_err()),
    Unit::new("init-apic-mode", |rules| {
        let lab = after_init(Lab::of(x2apic(Vendor::Intel), rules));
        lab.machine.cpu(1).apic.mode() == ApicMode::X2apic
    }),
    Unit::new("init-apic-off", |rules| !after_init(Lab::intel(rules)).machine.cpu(1).apic.software_enabled()),
    Unit::new("init-debug-registers-amd", init_debug_registers),
    Unit::new("init-in-smm", init_in_smm),
    Unit::new("gif0-interrupt", gif0_interrupt),
    Unit::new("gif0-shutdown", gif0_shutdown),
    Unit::new("clgi-without-svme", |rules| Lab::amd(rules).machine.exec_special(0, Special::Clgi).is_err()),
    Unit::new("shutdown-nmi", |rules| shutdown_ends(rules, EventKind::Nmi)),
    Unit::new("shutdown-init", |rules| shutdown_ends(rules, EventKind::Init)),
    Unit::new("triple-fault", triple_fault),
    Unit::new("ist", ist),
    Unit::new("ltr-twice", ltr_twice),
    Unit::new("single-step", single_step),
    Unit::new("counter-overflow", counter_overflow),
    Unit::new("deadline-timer", deadline_timer),
];

const VECTOR: u8 = 0x40;

fn nmi_in_nmi_handler(rules: RuleSet) -> bool {
    let mut lab = Lab::intel(rules);
    lab.inject(0, EventKind::Nmi);
    lab.step(0);
    lab.inject(0, EventKind::Nmi);
    lab.step(0) == Outcome::Executed
}

fn after_init(mut lab: Lab) -> Lab {
    lab.inject(1, EventKind::Init);
    lab.step(1);
    lab
}

fn init_debug_registers(rules: RuleSet) -> bool {
    const ADDRESS: u64 = 0x1234;
    let mut lab = Lab::amd(rules);
    lab.machine.cpu_mut(1).dr[0] = ADDRESS;
    after_init(lab).machine.cpu(1).dr[0] == ADDRESS
}

fn init_in_smm(rules: RuleSet) -> bool {
    let mut lab = Lab::intel(rules);
    lab.inject(1, EventKind::Smi);
    lab.step(1);
    lab.inject(1, EventKind::Init);
    lab.step(1) == Outcome::Delivered(Delivered::SmmExit)
}

fn gif0_interrupt(rules: RuleSet) -> bool {
    let mut lab = Lab::amd(rules);
    lab.load(&[0x90, 0x90]);
    let cpu = lab.machine.cpu_mut(0);
    cpu.gif = false;
    cpu.rflags |= 1 << 9;
    lab.inject(0, EventKind::Fixed(VECTOR));
    lab.step(0) == Outcome::Executed
}

fn gif0_shutdown(rules: RuleSet) -> bool {
    let mut lab = Lab::amd(rules);
    lab.machine.cpu_mut(1).gif = false;
    lab.shut_down(1);
    lab.machine.cpu_mut(1).gif = true;
    lab.inject(1, EventKind::Nmi);
    lab.activity(1) == Activity::Shutdown && !lab.machine.can_step(1)
}

fn shutdown_ends(rules: RuleSet, kind: EventKind) -> bool {
    let mut lab = Lab::intel(rules);
    lab.shut_down(1);
    lab.inject(1, kind);
    lab.machine.can_step(1)
}

fn triple_fault(rules: RuleSet) -> bool {
    let mut lab = Lab::intel(rules);
    lab.shut_down(1);
    lab.activity(1) == Activity::Shutdown
}

fn ist(rules: RuleSet) -> bool {
    const FRAME_BYTES: u64 = 40;
    let mut lab = Lab::intel(rules);
    lab.use_ist(2, 1);
    lab.inject(0, EventKind::Nmi);
    lab.step(0);
    lab.machine.cpu(0).reg(Gpr::Rsp) == IST1 - FRAME_BYTES
}

/// LTR of a TSS that the first LTR made busy.
fn ltr_twice(rules: RuleSet) -> bool {
    const LTR_AX: [u8; 3] = [0x0f, 0x00, 0xd8];
    const HLT: u8 = 0xf4;
    let mut lab = Lab::intel(rules);
    lab.machine.cpu_mut(0).set_reg(Gpr::Rax, u64::from(TSS_SELECTOR));
    lab.play(&[&LTR_AX[..], &LTR_AX[..], &[HLT]].concat());
    lab.in_handler(0, 13)
}

fn single_step(rules: RuleSet) -> bool {
    let mut lab = Lab::intel(rules);
    lab.load(&[0x90, 0x90]);
    lab.machine.cpu_mut(0).rflags |= 1 << 8;
    lab.step(0);
    lab.step(0) == Outcome::Delivered(Delivered::Vector(1))
}

/// A fixed counter overflows, and LVTPC says NMI.
fn counter_overflow(rules: RuleSet) -> bool {
    const LVT_NMI: u32 = 0x400;
    let mut lab = Lab::intel(rules);
    let _ = lab.machine.write_msr(0, num::FIXED_CTR_CTRL, 0b1011);
    let _ = lab.machine.write_msr(0, num::PERF_GLOBAL_CTRL, 1 << 32);
    lab.machine.cpu_mut(0).apic.lvt[Lvt::Perf as usize] = LVT_NMI;
    lab.inject(0, EventKind::PmuOverflow);
    lab.machine.cpu(0).nmis_held() == 1
}

fn deadline_timer(rules: RuleSet) -> bool {
    const TSC_DEADLINE_MODE: u32 = 2 << 17;
    let mut lab = Lab::intel(rules);
    lab.machine.cpu_mut(0).apic.lvt[Lvt::Timer as usize] = u32::from(VECTOR) | TSC_DEADLINE_MODE;
    let _ = lab.machine.write_reg(0, HostReg::Msr(num::TSC_DEADLINE), 1);
    lab.inject(0, EventKind::TimerExpiry);
    lab.machine.cpu(0).apic.irr != [0; 4]
}
