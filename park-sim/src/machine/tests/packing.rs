//! Packing, the scheduler, the trace.

use iced_x86::code_asm::*;

use super::*;

const REGIONS: [PhysRange; 2] = [PhysRange::new(PML4, 0x8000), PhysRange::new(DATA, 0x1000)];

fn busy() -> Machine {
    let mut config = MachineConfig::intel(2);
    config.tsc_per_step = 0;
    let mut m = machine_of(&config);
    load(&mut m, |a| {
        let mut top = a.create_label();
        a.mov(rbx, DATA)?;
        a.set_label(&mut top)?;
        a.lock().inc(qword_ptr(rbx))?;
        a.mov(qword_ptr(rbx + 8), rsp)?;
        a.mov(rax, rbx)?;
        a.xor(ecx, ecx)?;
        a.xor(edx, edx)?;
        a.monitor()?;
        a.mwait()?;
        a.jmp(top)
    });
    m
}

#[test]
fn packed_states_restore_and_go_on_alike() {
    let mut m = busy();
    let mut scheduler = Scheduler::new(3, 2);
    for step in 0..400 {
        if step % 37 == 0 {
            m.inject(Event::at(step % 2, EventKind::Smi));
        }
        if step % 101 == 5 {
            m.inject(Event::at(step % 2, EventKind::FalseWake));
        }
        m.step_scheduled(&mut scheduler);
        if step % 20 != 0 {
            continue;
        }
        let mut image = Vec::new();
        m.pack(&REGIONS, &mut image);
        let mut copy = busy();
        assert!(copy.unpack(&REGIONS, &image));
        let mut again = Vec::new();
        copy.pack(&REGIONS, &mut again);
        assert_eq!(image, again);
        let (mut a, mut b) = (m.clone(), copy);
        let mut twin = scheduler.clone();
        let mut other = scheduler.clone();
        for _ in 0..50 {
            assert_eq!(a.step_scheduled(&mut twin), b.step_scheduled(&mut other));
        }
        let (mut x, mut y) = (Vec::new(), Vec::new());
        a.pack(&REGIONS, &mut x);
        b.pack(&REGIONS, &mut y);
        assert_eq!(x, y);
    }
}

#[test]
fn an_image_that_does_not_fit_is_refused() {
    let mut m = busy();
    let mut image = Vec::new();
    m.pack(&REGIONS, &mut image);
    assert!(!m.unpack(&REGIONS[..1], &image));
    for len in (0..image.len()).step_by(97) {
        assert!(!m.unpack(&REGIONS, image.get(..len).expect("in range")));
    }
}

#[test]
fn same_seed_same_run_and_other_seeds_differ() {
    let run = |seed: u64| {
        let mut m = busy();
        let mut scheduler = Scheduler::new(seed, 2);
        for _ in 0..2000 {
            m.step_scheduled(&mut scheduler);
        }
        let mut image = Vec::new();
        m.pack(&REGIONS, &mut image);
        image
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn every_store_drains_and_every_cpu_moves() {
    let mut m = intel();
    load(&mut m, |a| {
        let mut top = a.create_label();
        a.set_label(&mut top)?;
        a.inc(r15)?;
        a.jmp(top)
    });
    m.store(0, DATA, 7);
    let mut scheduler = Scheduler::new(9, 2);
    scheduler.rates = schedule::Rates { drain: 0, drain_own: 0, evict: 0, false_wake: 0, switch: 0 };
    for _ in 0..1000 {
        m.step_scheduled(&mut scheduler);
    }
    assert_eq!(m.read_phys_u64(DATA), 7);
    assert!(m.cpu(0).reg(Gpr::R15) > 0 && m.cpu(1).reg(Gpr::R15) > 0);
}

#[test]
fn nothing_to_do_is_none() {
    let mut m = intel();
    load(&mut m, |a| a.hlt());
    let mut scheduler = Scheduler::new(1, 2);
    let steps = (0..100).take_while(|_| m.step_scheduled(&mut scheduler).is_some()).count();
    assert_eq!(steps, 2);
}

#[test]
fn trace_keeps_the_last_records_in_order() {
    let mut config = MachineConfig::intel(1);
    config.trace_records = 4;
    let mut m = machine_of(&config);
    load(&mut m, |a| {
        for _ in 0..6 {
            a.nop()?;
        }
        a.hlt()
    });
    for _ in 0..6 {
        m.step(0);
    }
    let rips: Vec<u64> = m.trace.iter().map(|record| record.rip).collect();
    assert_eq!(rips, [CODE + 2, CODE + 3, CODE + 4, CODE + 5]);
}
