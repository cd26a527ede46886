//! What ends HLT, MWAIT and their kin, and what arms a monitor.

use super::Unit;
use super::lab::{DATA, Lab, PRESENT, WINDOW, WRITE};
use crate::machine::{Activity, EventKind, Gpr, RuleSet};

pub(super) const ALL: &[Unit] = &[
    Unit::new("hlt-open-interrupt", |rules| waits_and_wakes(rules, HLT, IF, 0)),
    Unit::new("hlt-masked-interrupt", |rules| !waits_and_wakes(rules, HLT, 0, 0)),
    Unit::new("mwait-open-interrupt", |rules| waits_and_wakes(rules, MWAIT, IF, 0)),
    Unit::new("mwait-break-on-masked-interrupt", |rules| waits_and_wakes(rules, MWAIT, 0, 1)),
    Unit::new("tpause-masked-interrupt", |rules| waits_and_wakes(rules, TPAUSE, 0, 0)),
    Unit::new("mwait-unarmed", |rules| falls_through(rules, &[])),
    Unit::new("mwait-after-mov-cr3", |rules| falls_through(rules, &[MONITOR, MOV_CR3_SAME].concat())),
    Unit::new("mwait-after-early-store", early_store),
    Unit::new("monitor-uncached", monitor_uncached),
    Unit::new("sti-hlt", sti_shadow),
];

const HLT: &[u8] = &[0xf4];
const MONITOR: &[u8] = &[0x0f, 0x01, 0xc8];
const MWAIT: &[u8] = &[0x0f, 0x01, 0xc9];
/// TPAUSE ECX.
const TPAUSE: &[u8] = &[0x66, 0x0f, 0xae, 0xf1];
/// MOV RBX, CR3; MOV CR3, RBX.
const MOV_CR3_SAME: &[u8] = &[0x0f, 0x20, 0xdb, 0x0f, 0x22, 0xdb];
/// MOV R15D, 1: the sign that a wait was left, or never entered.
const WENT_ON: &[u8] = &[0x41, 0xbf, 0x01, 0x00, 0x00, 0x00];
const STI: &[u8] = &[0xfb];
/// RFLAGS.IF.
const IF: u64 = 1 << 9;
const VECTOR: u8 = 0x40;

/// A machine whose CPU 0 has the address of DATA in RAX, and RCX = RDX = 0.
fn ready(rules: RuleSet) -> Lab {
    let mut lab = Lab::intel(rules);
    lab.machine.cpu_mut(0).set_reg(Gpr::Rax, DATA);
    lab
}

/// Whether an interrupt ends the wait; `flags` and ECX as given.
fn waits_and_wakes(rules: RuleSet, wait: &[u8], flags: u64, ecx: u64) -> bool {
    let mut lab = ready(rules);
    if wait == TPAUSE {
        lab.machine.cpu_mut(0).set_reg(Gpr::Rdx, u64::from(u32::MAX)); // a deadline far away
    }
    lab.load(&[MONITOR, wait, WENT_ON, HLT].concat());
    lab.step(0);
    lab.machine.cpu_mut(0).set_reg(Gpr::Rcx, ecx);
    lab.step(0);
    lab.machine.cpu_mut(0).rflags |= flags;
    lab.inject(0, EventKind::Fixed(VECTOR));
    lab.machine.can_step(0)
}

/// Whether MWAIT after `before` does not wait.
fn falls_through(rules: RuleSet, before: &[u8]) -> bool {
    let mut lab = ready(rules);
    lab.play(&[before, MWAIT, WENT_ON, HLT].concat());
    lab.machine.cpu(0).reg(Gpr::R15) == 1
}

fn early_store(rules: RuleSet) -> bool {
    let mut lab = ready(rules);
    lab.load(&[MONITOR, MWAIT, WENT_ON, HLT].concat());
    lab.step(0);
    lab.machine.compare_exchange(1, DATA, 0, 1);
    lab.run(0);
    lab.machine.cpu(0).reg(Gpr::R15) == 1
}

fn monitor_uncached(rules: RuleSet) -> bool {
    /// PCD.
    const UNCACHED: u64 = 1 << 4;
    let mut lab = ready(rules);
    lab.map_window(DATA, PRESENT | WRITE | UNCACHED);
    lab.machine.cpu_mut(0).set_reg(Gpr::Rax, WINDOW);
    lab.play(&[MONITOR, MWAIT, HLT].concat());
    !matches!(lab.activity(0), Activity::Mwait { .. })
}

/// STI; HLT with an interrupt pending: it comes in HLT, and not before.
fn sti_shadow(rules: RuleSet) -> bool {
    let mut lab = Lab::intel(rules);
    lab.load(&[STI, WENT_ON, HLT].concat());
    lab.inject(0, EventKind::Fixed(VECTOR));
    lab.run(0);
    lab.machine.cpu(0).reg(Gpr::R15) == 1
}
