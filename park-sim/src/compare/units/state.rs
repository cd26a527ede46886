//! Control registers that refuse, and stores that wait.

use super::Unit;
use super::lab::{CODE, DATA, Lab, STRIDE};
use crate::machine::{Gpr, HostReg, RuleSet};

pub(super) const ALL: &[Unit] = &[
    Unit::new("la57-in-long-mode", |rules| cr4_refused(&mut Lab::intel(rules), 1 << 12)),
    Unit::new("cet-without-wp", |rules| {
        let mut lab = Lab::intel(rules);
        lab.machine.cpu_mut(0).cr0 &= !(1 << 16);
        cr4_refused(&mut lab, 1 << 23)
    }),
    Unit::new("store-buffer", |rules| store_then_load(rules, &[]) == (0, 0)),
    Unit::new("mfence", |rules| store_then_load(rules, &[0x0f, 0xae, 0xf0]) != (0, 0)),
    Unit::new("locked", |rules| store_then_load(rules, LOCK_ADD) != (0, 0)),
    Unit::new("serialising", |rules| store_then_load(rules, CPUID) != (0, 0)),
];

/// LOCK ADD QWORD [RSP], 0.
const LOCK_ADD: &[u8] = &[0xf0, 0x48, 0x83, 0x04, 0x24, 0x00];
/// XOR EAX, EAX; PUSH RBX; PUSH RCX; CPUID; POP RCX; POP RBX.
const CPUID: &[u8] = &[0x31, 0xc0, 0x53, 0x51, 0x0f, 0xa2, 0x59, 0x5b];
/// MOV QWORD [RBX], 1.
const STORE: &[u8] = &[0x48, 0xc7, 0x03, 0x01, 0x00, 0x00, 0x00];
/// MOV RAX, [RCX]; HLT.
const LOAD: &[u8] = &[0x48, 0x8b, 0x01, 0xf4];

fn cr4_refused(lab: &mut Lab, bits: u64) -> bool {
    let value = lab.machine.cpu(0).cr4 | bits;
    lab.machine.write_reg(0, HostReg::Cr4, value).is_err()
}

/// Each CPU stores to its own word, does what is `between`, and loads the other's; nothing drains by itself.
fn store_then_load(rules: RuleSet, between: &[u8]) -> (u64, u64) {
    let mut lab = Lab::intel(rules);
    for cpu in 0..2u64 {
        lab.machine.write_phys(CODE + STRIDE * cpu, &[STORE, between, LOAD].concat());
        let state = lab.machine.cpu_mut(cpu as usize);
        state.set_reg(Gpr::Rbx, DATA + 64 * cpu);
        state.set_reg(Gpr::Rcx, DATA + 64 * (1 - cpu));
    }
    lab.run(0);
    lab.run(1);
    (lab.machine.cpu(0).reg(Gpr::Rax), lab.machine.cpu(1).reg(Gpr::Rax))
}
