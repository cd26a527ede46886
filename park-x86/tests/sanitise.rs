//! The engine of sanitising, and the lists that every vendor shares. What leaving a step out *does* is the simulator's to show.

mod mock;

use mock::{Access, MockCpu};
use park_core::{Action, ApicRegister, Error, ErrorKind, PlatformError, Register};
use park_x86::features::{FeatureSet, Features, MonitorLeaf, Signature, Vendor};
use park_x86::orders::generic_hlt;
use park_x86::sanitise::{
    BY_ARRIVAL, COMMON, Context, Effect, FIRST, Guard, Harm, Progress, REFUSALS, Refusal, SanitiseError, Step, StepRun,
    When, run,
};

const EFER: Register = Register::Msr(0xc000_0080);
const PAT: Register = Register::Msr(0x277);
const APIC_BASE: Register = Register::Msr(0x1b);
const SVR: Register = Register::Apic(ApicRegister(0xf0));

fn context(set: FeatureSet) -> Context {
    let features = Features {
        vendor: Vendor::Other,
        signature: Signature::default(),
        set,
        monitor: MonitorLeaf::default(),
        encryption_bit: set.intersects(FeatureSet::SME | FeatureSet::SEV).then_some(51),
    };
    Context::new(features, 0)
}

/// A CPU as a kernel leaves it, that no refusal refuses.
fn clean() -> MockCpu {
    let mut cpu = MockCpu { eoi_works: true, ..MockCpu::default() };
    cpu.set(EFER, 0xd01).set(PAT, 0x0007_0406_0007_0406).set(APIC_BASE, 0xfee0_0800).set(Register::Cs, 0x10);
    cpu.set(Register::Cr0, 0x8005_0033).set(SVR, 0x1ff).set(Register::Apic(ApicRegister(0x30)), 6 << 16 | 0x15);
    cpu
}

fn refusal(error: SanitiseError) -> Refusal {
    match error {
        SanitiseError::Refused { refusal, .. } => refusal,
        error => panic!("{error}"),
    }
}

#[test]
fn every_refusal_refuses_by_its_name_before_anything_is_touched() {
    type Spoil = fn(&mut MockCpu);
    let cases: &[(Refusal, FeatureSet, Spoil)] = &[
        (Refusal::TdxGuest, FeatureSet::TDX_GUEST, |_| {}),
        (Refusal::SevEsGuest, FeatureSet::SEV.union(FeatureSet::HYPERVISOR), |cpu| {
            cpu.set(Register::Msr(0xc001_0131), 0b11);
        }),
        (Refusal::NoExecuteOff, FeatureSet::empty(), |cpu| {
            cpu.set(EFER, 0x501);
        }),
        (Refusal::CacheDisabled, FeatureSet::empty(), |cpu| {
            cpu.set(Register::Cr0, 0xc005_0033);
        }),
        (Refusal::PatEntryNotWriteBack, FeatureSet::empty(), |cpu| {
            cpu.set(PAT, 0x0007_0406_0007_0400);
        }),
        (Refusal::NotSupervisor, FeatureSet::empty(), |cpu| {
            cpu.set(Register::Cs, 0x33);
        }),
        (Refusal::CodeSegmentInLdt, FeatureSet::empty(), |cpu| {
            cpu.set(Register::Cs, 0x14);
        }),
        (Refusal::CodeSelectorTooLarge, FeatureSet::empty(), |cpu| {
            cpu.set(Register::Cs, 0x100);
        }),
        (Refusal::EncryptionMask, FeatureSet::SME, |cpu| {
            cpu.set(Register::Cr3, 1 << 51 | 0x1000);
        }),
        (Refusal::ApicDisabled, FeatureSet::empty(), |cpu| {
            cpu.set(APIC_BASE, 0xfee0_0000);
        }),
        (Refusal::KvmClock, FeatureSet::KVM_CLOCK_OLD, |cpu| {
            cpu.set(Register::Msr(0x12), 0x5001);
        }),
        (Refusal::KvmClock, FeatureSet::KVM_CLOCK, |cpu| {
            cpu.set(Register::Msr(0x4b56_4d01), 0x5001);
        }),
        (Refusal::KvmAsyncPageFault, FeatureSet::KVM_ASYNC_PF, |cpu| {
            cpu.set(Register::Msr(0x4b56_4d02), 0x5001);
        }),
        (Refusal::KvmStealTime, FeatureSet::KVM_STEAL_TIME, |cpu| {
            cpu.set(Register::Msr(0x4b56_4d03), 0x5001);
        }),
        (Refusal::KvmPvEoi, FeatureSet::KVM_PV_EOI, |cpu| {
            cpu.set(Register::Msr(0x4b56_4d04), 0x5001);
        }),
        (Refusal::HyperVSynIc, FeatureSet::HV_SYNIC, |cpu| {
            cpu.set(Register::Msr(0x4000_0083), 0x5001);
        }),
        (Refusal::HyperVSynIc, FeatureSet::HV_SYNIC, |cpu| {
            cpu.set(Register::Msr(0x4000_0082), 0x5001);
        }),
        (Refusal::HyperVVpAssist, FeatureSet::HV_VP_ASSIST, |cpu| {
            cpu.set(Register::Msr(0x4000_0073), 0x5001);
        }),
        (Refusal::XenSharedPages, FeatureSet::XEN, |_| {}),
    ];
    for (expected, features, spoil) in cases {
        let mut cpu = clean();
        spoil(&mut cpu);
        let steps = REFUSALS.iter().filter(|step| step.id.0 != "refuse-bootstrap-processor").chain(FIRST).chain(COMMON);
        let error = run(&mut cpu, steps, &context(*features)).unwrap_err();
        assert_eq!(refusal(error), *expected);
        assert_eq!(cpu.changes(), [], "{expected:?} came after a change");
        let error = Error::from(error);
        assert_eq!((error.kind(), error.what()), (ErrorKind::NotSupported, expected.what()));
        // With the same features and nothing spoilt the CPU passes: the refusal is about the register.
        if !matches!(expected, Refusal::TdxGuest | Refusal::XenSharedPages) {
            let mut cpu = clean();
            let steps = REFUSALS.iter().filter(|step| step.id.0 != "refuse-bootstrap-processor");
            run(&mut cpu, steps, &context(*features)).unwrap();
        }
    }
    assert!(run(&mut clean(), REFUSALS, &context(FeatureSet::XEN).torn_down()).is_ok());
}

#[test]
fn a_lot_encrypted_otherwise_is_refused_both_ways() {
    let encrypted = |mask, cr3, set| {
        let mut cpu = clean();
        cpu.set(Register::Cr3, cr3);
        run(&mut cpu, REFUSALS, &Context { encryption_mask: mask, ..context(set) }).map_err(refusal)
    };
    let bit = 1 << 51;
    assert!(encrypted(bit, bit | 0x1000, FeatureSet::SME).is_ok());
    assert_eq!(encrypted(bit, 0x1000, FeatureSet::SME), Err(Refusal::EncryptionMask));
    assert_eq!(encrypted(0, bit | 0x1000, FeatureSet::SME), Err(Refusal::EncryptionMask));
    assert_eq!(encrypted(bit, 0x1000, FeatureSet::empty()), Err(Refusal::EncryptionMask), "no C-bit: an address bit");
}

#[test]
fn the_bootstrap_processor_is_refused_by_the_right_mechanisms_only() {
    let step = REFUSALS.iter().find(|step| step.id.0 == "refuse-bootstrap-processor").unwrap();
    let mut cpu = clean();
    cpu.set(APIC_BASE, 0xfee0_0900);
    let error = run(&mut cpu, [step], &context(FeatureSet::empty())).unwrap_err();
    assert_eq!(refusal(error), Refusal::BootstrapProcessor);
    let names: Vec<_> = step.mechanisms.iter_names().map(|(name, _)| name).collect();
    assert_eq!(names, ["CLGI", "WAIT_FOR_SIPI"]);
}

#[test]
fn vectors_in_service_are_ended_one_by_one() {
    let mut cpu = clean();
    cpu.set(Register::Apic(ApicRegister(0x110)), 1 << 4).set(Register::Apic(ApicRegister(0x170)), 1 << 31 | 1);
    run(&mut cpu, FIRST, &context(FeatureSet::empty())).unwrap();
    let eoi = Access::Write(Register::Apic(ApicRegister(0xb0)), 0);
    assert_eq!(cpu.changes(), [Access::Act(Action::Cli), eoi, eoi, eoi]);
}

#[test]
fn a_vector_that_stays_in_service_is_refused_after_a_bounded_time() {
    let mut cpu = MockCpu { eoi_works: false, ..clean() };
    cpu.set(Register::Apic(ApicRegister(0x120)), 1 << 3);
    let error = run(&mut cpu, FIRST.iter().chain(COMMON), &context(FeatureSet::empty())).unwrap_err();
    assert_eq!(refusal(error), Refusal::VectorInService);
    assert_eq!(cpu.changes().len(), 1 + 240, "CLI, and one end-of-interrupt for each vector from 16 to 255");
    assert_eq!(cpu.get(SVR), 0x1ff, "refused before the rest");
}

#[test]
fn one_call_makes_at_most_one_access_and_all_calls_make_those_of_run() {
    let everything = context(FeatureSet::all() - FeatureSet::TDX_GUEST - FeatureSet::SEV).torn_down();
    let dirty = || {
        let mut cpu = clean();
        cpu.set(Register::Apic(ApicRegister(0x110)), 1 << 4).set(Register::XInUse, 3 << 17);
        cpu
    };
    let steps = || REFUSALS.iter().chain(FIRST).chain(COMMON);
    let mut whole = dirty();
    let report = run(&mut whole, steps(), &everything).unwrap();
    assert_eq!(usize::from(report.taken + report.skipped), steps().count());
    let mut piecewise = dirty();
    for step in steps() {
        let mut step = StepRun::new(step);
        loop {
            let before = piecewise.log.len();
            let progress = step.advance(&mut piecewise, &everything).unwrap();
            assert!(piecewise.log.len() <= before + 1, "{} made two accesses in one call", step.step().id);
            if progress != Progress::Accessed {
                break;
            }
        }
    }
    assert_eq!(whole.log, piecewise.log);
}

#[test]
fn a_guard_keeps_a_step_from_being_taken() {
    let register = Register::Msr(1);
    let write = Step::new("test", Effect::Write { register: Register::Msr(2), value: 5 }, Harm::Safety, "-", "-");
    let cases = [
        (Guard::AnySet { register, mask: 0b110 }, 0b010, 0b001),
        (Guard::AllClear { register, mask: 0b110 }, 0b001, 0b010),
        (Guard::AtLeast { register, shift: 4, mask: 0xf, minimum: 3 }, 0x30, 0x12f),
    ];
    for (guard, passing, failing) in cases {
        for (value, taken) in [(passing, 1), (failing, 0)] {
            let mut cpu = MockCpu::default();
            cpu.set(register, value);
            let report = run(&mut cpu, &[write.guard(guard)], &context(FeatureSet::empty())).unwrap();
            assert_eq!((report.taken, cpu.changes().len()), (taken, usize::from(taken)), "{guard:?} on {value:#b}");
        }
    }
    let when = write.when(When::AllBut(FeatureSet::VMX, FeatureSet::SVM));
    for (set, taken) in [(FeatureSet::VMX, 1), (FeatureSet::empty(), 0), (FeatureSet::VMX | FeatureSet::SVM, 0)] {
        assert_eq!(run(&mut MockCpu::default(), &[when], &context(set)).unwrap().taken, taken);
    }
}

#[test]
fn only_the_fault_that_says_nothing_to_do_is_forgiven() {
    let faulting = || MockCpu { vmxoff_faults: true, ..MockCpu::default() };
    let step = |effect| Step::new("test", effect, Harm::Safety, "-", "-");
    let context = context(FeatureSet::empty());
    assert!(run(&mut faulting(), &[step(Effect::ActOrFault(Action::Vmxoff))], &context).is_ok());
    let strict = run(&mut faulting(), &[step(Effect::Act(Action::Vmxoff))], &context);
    assert!(matches!(strict, Err(SanitiseError::Platform { error: PlatformError::Fault { vector: 6 }, .. })));
}

#[test]
fn the_order_that_matters_is_kept() {
    let orders = generic_hlt(&Features {
        set: FeatureSet::LONG_MODE | FeatureSet::NX | FeatureSet::APIC | FeatureSet::MCE,
        ..context(FeatureSet::empty()).features
    })
    .unwrap();
    let ids: Vec<_> = orders.steps().map(|step| step.id.0).collect();
    let at = |id: &str| ids.iter().position(|other| *other == id).unwrap();
    let last_refusal = orders.steps().map(Step::is_refusal).collect::<Vec<_>>().iter().rposition(|is| *is).unwrap();
    assert!(last_refusal < at("interrupts-off"));
    assert!(at("interrupts-off") < at("end-in-service"));
    assert!(at("end-in-service") < at("apic-soft-disable"));
    for later in ["mask-timer", "mask-lint0", "mask-lint1", "mask-perf", "mask-thermal", "mask-cmci"] {
        assert!(at("mask-error") < at(later) && at(later) < at("apic-soft-disable"));
    }
}

#[test]
fn every_step_says_why_and_where_from() {
    for step in REFUSALS.iter().chain(FIRST).chain(COMMON).chain(BY_ARRIVAL) {
        assert!(step.why.len() > 10 && step.source.len() > 5, "{}", step.id);
        assert_eq!(step.effect == Effect::ByArrival, BY_ARRIVAL.contains(step));
    }
}
