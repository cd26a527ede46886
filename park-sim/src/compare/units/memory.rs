//! Translations that outlive their tables, and pages that refuse.

use super::Unit;
use super::lab::{DATA, GLOBAL, Lab, PRESENT, USER, WINDOW, WRITE};
use crate::machine::{Delivered, HostReg, Outcome, RuleSet};

pub(super) const ALL: &[Unit] = &[
    Unit::new("pge-off-flushes", pge_off_flushes),
    Unit::new("no-execute", |rules| fetch_faults(rules, PRESENT | NO_EXECUTE, 0)),
    Unit::new("smep", |rules| fetch_faults(rules, PRESENT | USER, 1 << 20)),
    Unit::new("write-protect", write_protect),
    Unit::new("smap", smap),
];

const NO_EXECUTE: u64 = 1 << 63;
const PGE: u64 = 1 << 7;
/// Two pages with different content.
const SECOND: u64 = DATA + 0x1000;

/// The window shows the first page, then is mapped onto the second.
fn remap(lab: &mut Lab, bits: u64) {
    lab.machine.write_phys(DATA, &1u64.to_le_bytes());
    lab.machine.write_phys(SECOND, &2u64.to_le_bytes());
    lab.map_window(DATA, PRESENT | WRITE | bits);
    let _ = lab.machine.load_linear(0, WINDOW, 8);
    lab.map_window(SECOND, PRESENT | WRITE | bits);
}

fn pge_off_flushes(rules: RuleSet) -> bool {
    let mut lab = Lab::intel(rules);
    let cr4 = lab.machine.cpu(0).cr4;
    let _ = lab.machine.write_reg(0, HostReg::Cr4, cr4 | PGE);
    remap(&mut lab, GLOBAL);
    let _ = lab.machine.write_reg(0, HostReg::Cr4, cr4);
    lab.machine.load_linear(0, WINDOW, 8) == Ok(2)
}

/// Whether a fetch from the window, mapped with `bits` and under more bits of CR4, is #PF.
fn fetch_faults(rules: RuleSet, bits: u64, cr4: u64) -> bool {
    let mut lab = Lab::intel(rules);
    lab.machine.write_phys(DATA, &[0x90]);
    lab.map_window(DATA, bits);
    let cpu = lab.machine.cpu_mut(0);
    cpu.cr4 |= cr4;
    cpu.rip = WINDOW;
    lab.step(0) == Outcome::Delivered(Delivered::Vector(14))
}

fn write_protect(rules: RuleSet) -> bool {
    let mut lab = Lab::intel(rules);
    lab.map_window(DATA, PRESENT);
    lab.machine.store_linear(0, WINDOW, 8, 1).is_err()
}

fn smap(rules: RuleSet) -> bool {
    let mut lab = Lab::intel(rules);
    lab.map_window(DATA, PRESENT | USER);
    lab.machine.cpu_mut(0).cr4 |= 1 << 21;
    lab.machine.load_linear(0, WINDOW, 8).is_err()
}
