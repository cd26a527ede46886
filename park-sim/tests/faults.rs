//! Every planted fault is found, by a counterexample that replays; without it the same setting is clean.

mod support;

use park_core::{Action, ApicId, Cpu, CpuidResult, IpiSender, PlatformError, Register};
use park_sim::faults::{BOSS, Fault, KEPT_FENCES, Plant, Sweep, TARGET, Throw, Wrong, list};
use park_sim::machine::{Activity, Knob, Machine, MachineConfig, PhysRange};
use park_sim::platform::OnCpu;
use park_x86::apic::LocalApic;
use std::collections::HashSet;
use std::time::Instant;

/// Looks for a fault; returns a failure if it is not found, or its setting is not clean without it.
fn look(fault: &Fault) -> Result<(), String> {
    let setting = &fault.shown_by;
    let cases = setting.cases(support::request).expect("knob values");
    let planted = Plant { changes: fault.changes, owner: fault.owner };
    let clean = Plant { changes: &[], owner: fault.owner };
    let sweep = |case, plant| Sweep { case, throws: setting.throws, legs: setting.legs, end: setting.end, plant };
    for case in &cases {
        if let Some(example) = sweep(case, clean).run().counterexample {
            return Err(format!("{}: without the fault: {example}", fault.name));
        }
    }
    for (number, case) in cases.iter().enumerate() {
        let sweep = sweep(case, planted);
        let report = sweep.run();
        let Some(example) = report.counterexample else { continue };
        println!("{}: {}\n  {example}", fault.name, fault.what);
        println!(
            "  again: cargo run -p park-sim --example fault -- {} {number} {} {}",
            fault.name, example.position, example.throw
        );
        let (again, log) = sweep.replay(&example);
        for line in log.iter().rev().take(4).rev() {
            println!("    {line}");
        }
        if again.as_ref() != Some(&example.wrong) {
            return Err(format!("{}: its counterexample does not replay: {again:?}", fault.name));
        }
        if matches!(&example.wrong, Wrong::Operation { what } if what.contains("can't be planted")) {
            return Err(format!("{}: {}", fault.name, example.wrong));
        }
        return Ok(());
    }
    Err(format!("{}: not found", fault.name))
}

#[test]
fn every_fault_is_found() {
    let started = Instant::now();
    let failures: Vec<_> = list::all().filter_map(|fault| look(fault).err()).collect();
    println!("{} faults, {:.1} s", list::all().count(), started.elapsed().as_secs_f64());
    for (fence, why) in KEPT_FENCES {
        println!("kept, although no run shows its absence: {fence}: {why}");
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn there_are_enough_and_names_are_unique() {
    let names: HashSet<_> = list::all().map(|fault| fault.name).collect();
    assert_eq!(names.len(), list::all().count());
    assert!(names.len() >= 25, "{}", names.len());
    assert!(list::all().all(|fault| Fault::from_name(fault.name).is_some()));
}

#[test]
fn throws_have_names() {
    for throw in
        Throw::SINGLE.into_iter().chain(Throw::NESTED).chain([
        Throw::McFatal,
        Throw::McStorm,
        Throw::FalseWake,
        Throw::Smi,
        Throw::CounterOverflow,
        Throw::TimerExpiry,
    ])
    {
        assert_eq!(throw.to_string().parse(), Ok(throw));
    }
}

/// Whether the driver's fence before the ICR is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fence {
    Made,
    LeftOut,
}

/// A waker's CPU, for park's own driver of the local APIC.
struct Waker<'m> {
    on: OnCpu<'m>,
    fence: Fence,
}

impl Cpu for Waker<'_> {
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidResult {
        self.on.cpuid(leaf, subleaf)
    }

    fn read(&mut self, register: Register) -> Result<u64, PlatformError> {
        self.on.read(register)
    }

    fn write(&mut self, register: Register, value: u64) -> Result<(), PlatformError> {
        self.on.write(register, value)
    }

    fn act(&mut self, action: Action) -> Result<(), PlatformError> {
        if action != Action::Fence {
            return self.on.act(action);
        }
        if self.fence == Fence::Made {
            self.on.machine.fence(self.on.cpu);
        }
        Ok(())
    }
}

/// True if a CPU that is started runs the start-up page as its starter wrote it last.
fn starts_on_the_new_page(fence: Fence) -> bool {
    /// The start-up page: where STARTUP with vector 8 leads.
    const PAGE: u64 = 0x8000;
    const VECTOR: u8 = 8;
    let mut config = MachineConfig::intel(2);
    config.x2apic = true;
    config.knobs.set(Knob::IcrReorder, "on").expect("a value of the knob");
    let mut machine = Machine::new(&config).expect("a machine");
    // HLT stands there; NOP is stored over it, and may wait in the store buffer.
    machine.write_phys(PAGE, &[0xf4; 8]);
    machine.store(BOSS, PAGE, u64::from_le_bytes([0x90; 8]));
    let lot = PhysRange::new(0, 0);
    let waker = Waker { on: OnCpu { machine: &mut machine, cpu: BOSS, lot }, fence };
    let mut apic = LocalApic::new(waker).expect("a local APIC");
    apic.send_startup(ApicId(TARGET as u32), VECTOR).expect("a STARTUP");
    machine.step(TARGET);
    machine.cpu(TARGET).activity == Activity::Running
}

#[test]
fn the_fence_before_the_icr_shows() {
    assert!(starts_on_the_new_page(Fence::Made), "with the fence of the driver");
    assert!(!starts_on_the_new_page(Fence::LeftOut), "without it the IPI overtakes the store");
}
