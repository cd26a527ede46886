//! All lists of steps together: unique, in order, and none of them idle.

use cpu_park::core::{Action, ApicRegister, Cpu, Mechanism, PlatformError, Register};
use cpu_park::x86::features::{FeatureSet, Features, MonitorLeaf, Signature, Vendor};
use cpu_park::x86::orders::Orders;
use cpu_park::x86::sanitise::{BY_ARRIVAL, COMMON, Context, FIRST, REFUSALS, Step, run};
use cpu_park::{amd, intel};
use std::collections::{HashMap, HashSet};

/// Registers in a map, and what was executed. It has no rules: those are the simulator's.
#[derive(Clone, Debug, Default, PartialEq)]
struct Dirty {
    registers: HashMap<Register, u64>,
    acts: Vec<Action>,
    eois: u32,
}

/// Registers that read otherwise than "every bit set" on the dirty CPU, so that no refusal refuses it.
const SANE: &[(Register, u64)] = &[
    (Register::Cr0, 0x8005_0031 | 0xc),
    (Register::Cr3, 1 << 51 | 0x1000),
    (Register::Cs, 0x10),
    (Register::Msr(0x1b), 0xfee0_0800),
    (Register::Msr(0x277), 0x0007_0406_0007_0406),
    (Register::Msr(0xc001_0114), 0b0_0010),
    (Register::Msr(0x1a0), 0),
    (Register::Apic(ApicRegister(0x30)), 6 << 16 | 0x15),
    (Register::Apic(ApicRegister(0x400)), 4 << 16),
];

/// Bits that a kernel may have left clear where parking wants them set.
const CLEAR: &[(Register, u64)] = &[(Register::Cr0, 1 << 16 | 1 << 5), (Register::Cr4, 1 << 6)];

impl Cpu for Dirty {
    fn cpuid(&mut self, _: u32, _: u32) -> [u32; 4] {
        [0; 4]
    }
    fn read(&mut self, register: Register) -> Result<u64, PlatformError> {
        if let Some(value) = self.registers.get(&register) {
            return Ok(*value);
        }
        if let Register::Apic(ApicRegister(0x100..0x180)) = register {
            return Ok(u64::from(self.eois == 0 && register == Register::Apic(ApicRegister(0x120))));
        }
        if let Register::Apic(ApicRegister(0x2f0..=0x370 | 0x500..=0x530)) = register {
            return Ok(0); // LVT entries: not masked
        }
        let sane = SANE.iter().find(|(other, _)| *other == register).map_or(u64::MAX, |(_, value)| *value);
        let clear = CLEAR.iter().find(|(other, _)| *other == register).map_or(0, |(_, mask)| *mask);
        Ok(sane & !clear)
    }
    fn write(&mut self, register: Register, value: u64) -> Result<(), PlatformError> {
        if register == Register::Apic(ApicRegister(0xb0)) {
            self.eois += 1;
        } else if self.read(register) != Ok(value) {
            self.registers.insert(register, value); // what was written as it stood is no change
        }
        Ok(())
    }
    fn act(&mut self, action: Action) -> Result<(), PlatformError> {
        self.acts.push(action);
        Ok(())
    }
}

fn machine(vendor: Vendor, set: FeatureSet) -> Features {
    let monitor = MonitorLeaf { smallest_line: 64, largest_line: 64, substates: 0 };
    Features { vendor, signature: Signature::default(), set, monitor, encryption_bit: Some(51) }
}

/// CPUs with as many features as exclude no step, two for each vendor where steps exclude each other.
fn machines() -> Vec<Features> {
    let guest = FeatureSet::TDX_GUEST
        | FeatureSet::HYPERVISOR
        | FeatureSet::XEN
        | FeatureSet::KVM
        | FeatureSet::KVM_CLOCK_OLD
        | FeatureSet::KVM_CLOCK
        | FeatureSet::KVM_ASYNC_PF
        | FeatureSet::KVM_STEAL_TIME
        | FeatureSet::KVM_PV_EOI
        | FeatureSet::HV_SYNIC
        | FeatureSet::HV_VP_ASSIST;
    let all = FeatureSet::all() - guest;
    vec![
        machine(Vendor::Intel, all),
        machine(Vendor::Amd, all),
        machine(Vendor::Amd, all - FeatureSet::AMD_PERFMON_V2),
        machine(Vendor::Hygon, all - FeatureSet::AMD_PERFMON_V2 - FeatureSet::PERFCTR_CORE),
    ]
}

fn orders(features: &Features, mechanism: Mechanism) -> Option<Orders> {
    match features.vendor {
        Vendor::Intel => intel::Capabilities::from_features(*features)?.orders(mechanism, 0).ok(),
        _ => amd::Capabilities::from_features(*features)?.orders(mechanism, 0).ok(),
    }
}

fn sanitised(features: &Features, steps: impl Iterator<Item = &'static Step>) -> Dirty {
    let mut cpu = Dirty::default();
    run(&mut cpu, steps, &Context::new(*features, 1 << 51)).unwrap();
    cpu
}

#[test]
fn no_two_steps_share_a_name() {
    let mut seen = HashSet::new();
    let lists = [REFUSALS, intel::REFUSALS, amd::REFUSALS, FIRST, intel::STEPS, amd::STEPS, COMMON, BY_ARRIVAL];
    for step in lists.into_iter().flatten() {
        assert!(seen.insert(step.id), "{} twice", step.id);
    }
}

#[test]
fn leaving_out_any_step_leaves_its_register_as_it_was() {
    let mut tested = HashSet::new();
    for features in machines() {
        for mechanism in Mechanism::ALL {
            let Some(orders) = orders(&features, mechanism) else { continue };
            let whole = sanitised(&features, orders.steps());
            for left_out in orders.steps().filter(|step| !step.is_refusal()) {
                let part = sanitised(&features, orders.steps().filter(|step| step.id != left_out.id));
                if part != whole {
                    tested.insert(left_out.id);
                }
            }
        }
    }
    let version_1 = "counters-off-v1"; // needs a CPU without version 2; see below
    for step in FIRST.iter().chain(COMMON).chain(intel::STEPS).chain(amd::STEPS) {
        assert!(tested.contains(&step.id) || step.id.0 == version_1, "{} changes nothing anywhere", step.id);
    }
}

#[test]
fn every_vendor_refusal_is_in_the_orders() {
    for refusal in REFUSALS.iter().chain(amd::REFUSALS).chain(intel::REFUSALS) {
        let found = machines().iter().any(|features| {
            Mechanism::ALL
                .into_iter()
                .filter_map(|mechanism| orders(features, mechanism))
                .any(|orders| orders.steps().any(|step| step.id == refusal.id))
        });
        assert!(found, "{}", refusal.id);
    }
}

#[test]
fn virtualisation_is_left_in_the_order_that_does_not_fault() {
    let position = |orders: &Orders, id: &str| orders.steps().position(|step| step.id.0 == id).unwrap();
    let intel = orders(&machines()[0], Mechanism::Hlt).unwrap();
    assert!(position(&intel, "interrupts-off") < position(&intel, "vmx-off"));
    assert!(position(&intel, "vmx-off") < position(&intel, "vmxe-off"), "clearing CR4.VMXE in VMX operation is #GP");
    assert!(position(&intel, "vmx-off") < position(&intel, "processor-trace-off"));
    let amd = orders(&machines()[1], Mechanism::Hlt).unwrap();
    assert!(position(&amd, "interrupts-off") < position(&amd, "stgi"));
    assert!(position(&amd, "init-redirection-off") < position(&amd, "stgi"), "a held INIT must not become #SX");
    assert!(position(&amd, "stgi") < position(&amd, "svme-off"), "STGI is #UD without SVME on parts without SKINIT");
}

#[test]
fn the_end_state_is_the_one_that_the_lot_wants() {
    for features in machines() {
        let orders = orders(&features, Mechanism::Mwait).unwrap();
        let mut cpu = sanitised(&features, orders.steps());
        let mut read = |register| cpu.read(register).unwrap();
        assert_eq!(read(Register::Cr0) & 0x0005_002c, 0x0001_0020, "WP and NE, neither AM, TS nor EM");
        assert_eq!(read(Register::Cr4) & (1 << 6 | 1 << 25), 1 << 6, "MCE, not UINTR");
        assert_eq!(read(Register::Dr7), 0x400);
        assert_eq!(read(Register::Apic(ApicRegister(0xf0))) & 0x100, 0);
        for lvt in [0x2f0, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370] {
            assert_eq!(read(Register::Apic(ApicRegister(lvt))) & 1 << 16, 1 << 16, "LVT {lvt:#x}");
        }
        for msr in [0x1d9, 0x48, 0x6e0] {
            assert_eq!(read(Register::Msr(msr)), 0, "MSR {msr:#x}");
        }
        if features.vendor == Vendor::Intel {
            assert_eq!(read(Register::Cr4) & 1 << 13, 0, "VMXE");
            assert_eq!(read(Register::Msr(0x570)) & 1, 0, "TraceEn");
            assert_eq!(read(Register::Msr(0x1a0)) & 1 << 18, 1 << 18, "MONITOR is on");
        } else {
            assert_eq!(read(Register::Msr(0xc000_0080)) & 1 << 12, 0, "SVME");
            assert_eq!(read(Register::Msr(0xc001_0114)) & 2, 0, "R_INIT");
            assert_eq!(read(Register::Msr(0xc001_0015)) & 1 << 9, 0, "MONITOR is on");
        }
        assert_eq!(cpu.acts[0], Action::Cli);
        assert_eq!(cpu.eois, 1);
    }
}

#[test]
fn counters_of_version_one_are_stopped_one_by_one() {
    let set = machines()[0].set - FeatureSet::PERFMON_V2;
    let cpu = sanitised(&machine(Vendor::Intel, set), intel::STEPS.iter());
    assert_eq!(
        (cpu.registers.get(&Register::Msr(0x186)), cpu.registers.get(&Register::Msr(0x187))),
        (Some(&0), Some(&0))
    );
}
