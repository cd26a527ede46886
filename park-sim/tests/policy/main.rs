//! Plans carried out on simulated machines, by the code that carries them out on real ones.

mod properties;
mod scale;
mod stage;
#[path = "../support/mod.rs"]
mod support;

use park_core::lot::{OwnerState, PagingLevels, Stage as BayStage, bay};
use park_core::op::Processor;
use park_core::{ApicId, ErrorKind, Mechanism};
use park_policy::carry::{Goal, Outcome, Pace, Rescue, Tally, Task};
use park_policy::{CpuView, Placement, Situation, plan};
use park_sim::machine::{Activity, MachineConfig, Vendor};
use stage::{Habit, Stage, outcomes};

/// Arrival timeout of tasks, in microseconds.
const TIMEOUT_US: u32 = 300_000;
/// CPUs of a machine here.
const CPUS: usize = 6;

fn stage(vendor: Vendor) -> Stage {
    Stage::new(support::machine(vendor, CPUS), PagingLevels::Four, CPUS as u32, 7)
}

/// What all tasks are expected to be, but for some.
fn all_but(tasks: &[Task], rest: Outcome, others: &[(usize, Outcome)]) -> Vec<Outcome> {
    let mut expected = vec![rest; tasks.len()];
    for (index, outcome) in others {
        expected[*index] = *outcome;
    }
    expected
}

#[test]
fn a_plan_is_carried_out_and_every_cpu_comes_back() {
    for vendor in [Vendor::Intel, Vendor::Amd] {
        for lanes in [1, 3, 16] {
            let stage = stage(vendor);
            let mut tasks = stage.tasks(support::mechanisms(vendor), TIMEOUT_US);
            stage.carry(Goal::Park, &mut tasks, lanes, stage.pace());
            assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Parked, &[]), "{vendor:?}, {lanes} lanes");
            assert_eq!(*stage.summoned.borrow(), [1, 2, 3, 4, 5], "in the plan's order");
            assert!(*stage.most_under_way.borrow() <= lanes, "no more under way than lanes");
            if lanes > 1 {
                assert!(*stage.most_under_way.borrow() > 1, "side by side");
            }
            for (cpu, task) in (1..).zip(&tasks) {
                assert_eq!(stage.owner(task), OwnerState::Reserved);
                assert!(stage.world.borrow().is_confined_to_lot(cpu));
            }
            stage.carry(Goal::Confirm, &mut tasks, lanes, stage.pace());
            assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Parked, &[]));
            stage.carry(Goal::Wake, &mut tasks, lanes, stage.pace());
            assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Woken, &[]));
            assert_eq!(*stage.given_entries.borrow(), [5, 4, 3, 2, 1], "against the plan's order");
            assert!((1..CPUS).all(|cpu| stage.entries(cpu) == 1), "each entry is taken once");
            stage.assert_no_breach();
        }
    }
}

#[test]
fn what_the_planner_plans_is_carried_out() {
    let stage = stage(Vendor::Amd);
    let detected = cpu_park::detect(|leaf, subleaf| {
        let regs = support::machine(Vendor::Amd, CPUS).cpuid.get(leaf, subleaf);
        [regs.eax, regs.ebx, regs.ecx, regs.edx]
    });
    let kind = detected.kind(park_policy::Requirements::ANY_LATENCY_US);
    let cpus: Vec<_> = (0..CPUS as u32)
        .map(|id| CpuView {
            apic_id: ApicId(id),
            core: id,
            processor: if id == 0 { Processor::Bootstrap } else { Processor::Application },
            ..CpuView::new(&kind)
        })
        .collect();
    let mut out = [Placement::EMPTY; CPUS];
    let which = Situation::Kexec.which(ApicId(0)).expect("known");
    let made = plan(&cpus, &which, &Situation::Kexec.requirements(), &mut out).expect("a plan");
    let mut tasks: Vec<_> = made.placements.iter().map(|placement| stage.task_of(placement)).collect();
    stage.carry(Goal::Park, &mut tasks, 4, stage.pace());
    assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Parked, &[]));
    assert_eq!(tasks.len(), CPUS - 1);
    stage.assert_no_breach();
}

#[test]
fn one_that_does_not_come_is_quarantined_and_one_that_comes_late_is_not_lost() {
    for lanes in [1, 4] {
        let stage = stage(Vendor::Intel);
        stage.habit(2, Habit::Stays);
        // Within the grace that follows.
        stage.habit(3, Habit::ComesAfter(u64::from(TIMEOUT_US) + 50_000));
        let mut tasks = stage.tasks(&[Mechanism::Hlt, Mechanism::Mwait], TIMEOUT_US);
        stage.carry(Goal::Park, &mut tasks, lanes, stage.pace());
        let expected = all_but(&tasks, Outcome::Parked, &[(1, Outcome::Quarantined), (2, Outcome::Late)]);
        assert_eq!(outcomes(&tasks), expected, "{lanes} lanes");
        assert_eq!(stage.owner(&tasks[1]), OwnerState::Quarantined);
        assert_eq!(stage.owner(&tasks[2]), OwnerState::Reserved);
        assert_eq!(tasks[1].why().map(|why| why.kind), Some(ErrorKind::Uncertain));
        stage.carry(Goal::Wake, &mut tasks, lanes, stage.pace());
        assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Woken, &[(1, Outcome::Quarantined)]));
        assert_eq!((stage.entries(2), stage.entries(3)), (0, 1));
        stage.assert_no_breach();
    }
}

#[test]
fn one_that_comes_very_late_is_recovered() {
    let stage = stage(Vendor::Amd);
    stage.habit(4, Habit::ComesAfter(3_000_000));
    let mut tasks = stage.tasks(&[Mechanism::Clgi, Mechanism::Hlt], TIMEOUT_US);
    stage.carry(Goal::Park, &mut tasks, 8, stage.pace());
    assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Parked, &[(3, Outcome::Quarantined)]));
    stage.carry(Goal::Recover, &mut tasks, 8, stage.pace());
    assert_eq!(tasks[3].outcome(), Outcome::Quarantined, "not there yet");
    stage.world.borrow_mut().machine.advance_tsc(3_000_000);
    stage.carry(Goal::Recover, &mut tasks, 8, stage.pace());
    assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Parked, &[(3, Outcome::Late)]));
    assert_eq!(stage.owner(&tasks[3]), OwnerState::Reserved);
    stage.assert_no_breach();
}

#[test]
fn one_that_never_answers_is_quarantined_and_the_rest_goes_on() {
    for goal in [Goal::Confirm, Goal::Hold, Goal::Wake] {
        let stage = stage(Vendor::Intel);
        let mut tasks = stage.tasks(&[Mechanism::Hlt, Mechanism::Mwait], TIMEOUT_US);
        stage.carry(Goal::Park, &mut tasks, 4, stage.pace());
        // An INIT of somebody else's took them: NMIs don't reach them.
        for cpu in [2, 3] {
            stage.world.borrow_mut().machine.cpu_mut(cpu).activity = Activity::WaitForSipi;
        }
        stage.carry(goal, &mut tasks, 4, stage.pace());
        let rest = match goal {
            Goal::Confirm => Outcome::Parked,
            Goal::Hold => Outcome::Held,
            _ => Outcome::Woken,
        };
        let lost = [(1, Outcome::Quarantined), (2, Outcome::Quarantined)];
        assert_eq!(outcomes(&tasks), all_but(&tasks, rest, &lost), "{goal:?}");
        assert_eq!(tasks[1].why().map(|why| why.kind), Some(ErrorKind::Revoked));
        assert_eq!(stage.owner(&tasks[1]), OwnerState::Quarantined);
        stage.assert_no_breach();
    }
}

#[test]
fn one_that_is_slow_to_leave_is_leaving_and_then_woken() {
    let stage = stage(Vendor::Intel);
    let mut tasks = stage.tasks(&[Mechanism::Hlt, Mechanism::Mwait], TIMEOUT_US);
    stage.carry(Goal::Park, &mut tasks, 4, stage.pace());
    let pace = Pace { leave_ticks: 5_000, ..stage.pace() };
    let much_later = stage.world.borrow().machine.tsc() + 100 * stage.pace().leave_ticks;
    *stage.leave_from.borrow_mut() = much_later;
    stage.carry(Goal::Wake, &mut tasks, 4, pace);
    assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Leaving, &[]));
    assert!(tasks.iter().all(|task| stage.owner(task) == OwnerState::Reserved), "they may still give it back");
    stage.carry(Goal::Recover, &mut tasks, 4, pace);
    assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Leaving, &[]));
    *stage.leave_from.borrow_mut() = 0;
    stage.carry(Goal::Recover, &mut tasks, 4, pace);
    assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Woken, &[]));
    assert!((1..CPUS).all(|cpu| stage.entries(cpu) == 1));
    stage.assert_no_breach();
}

#[test]
fn one_that_stopped_in_its_bay_is_faulted_and_the_rest_goes_on() {
    for goal in [Goal::Confirm, Goal::Hold, Goal::Wake] {
        let stage = stage(Vendor::Intel);
        let mut tasks = stage.tasks(&[Mechanism::Hlt], TIMEOUT_US);
        stage.carry(Goal::Park, &mut tasks, 4, stage.pace());
        let bay = tasks[2].bay().expect("a bay");
        {
            // As the lot's handlers leave it: the stage says so, and the CPU stands still.
            let mut world = stage.world.borrow_mut();
            let at = world.lot().expect("a lot").range.start + bay.offset() + bay::STAGE;
            world.machine.write_phys(at, &(BayStage::Faulted as u64).to_le_bytes());
            world.machine.cpu_mut(3).activity = Activity::WaitForSipi;
        }
        stage.carry(goal, &mut tasks, 4, stage.pace());
        let rest = match goal {
            Goal::Confirm => Outcome::Parked,
            Goal::Hold => Outcome::Held,
            _ => Outcome::Woken,
        };
        assert_eq!(outcomes(&tasks), all_but(&tasks, rest, &[(2, Outcome::Faulted)]), "{goal:?}");
        stage.assert_no_breach();
    }
}

#[test]
fn one_that_misses_a_ring_is_rung_again() {
    for goal in [Goal::Confirm, Goal::Hold, Goal::Wake] {
        let stage = stage(Vendor::Intel);
        let mut tasks = stage.tasks(&[Mechanism::Hlt], TIMEOUT_US);
        stage.carry(Goal::Park, &mut tasks, 2, stage.pace());
        // Two rings are over by then, the third is not.
        stage.put_beyond_reach(3, stage.pace().ring_ticks * 4);
        let once = Pace { attempts: 2, ..stage.pace() };
        let mut hasty = tasks.clone();
        let pace = stage.pace();
        assert_eq!(pace.attempts, 3);
        stage.carry(goal, &mut tasks, 2, pace);
        let expected = match goal {
            Goal::Confirm => Outcome::Parked,
            Goal::Hold => Outcome::Held,
            _ => Outcome::Woken,
        };
        assert_eq!(outcomes(&tasks), all_but(&tasks, expected, &[]), "{goal:?}");
        if goal == Goal::Confirm {
            stage.put_beyond_reach(3, stage.pace().ring_ticks * 4);
            stage.carry(goal, &mut hasty, 2, once);
            assert_eq!(outcomes(&hasty), all_but(&hasty, expected, &[(2, Outcome::Quarantined)]), "two are too few");
        }
        stage.assert_no_breach();
    }
}

#[test]
fn one_that_an_init_took_is_fetched_where_that_is_allowed() {
    let stage = stage(Vendor::Intel);
    let mut tasks = stage.tasks(&[Mechanism::Hlt], TIMEOUT_US);
    stage.carry(Goal::Park, &mut tasks, 4, stage.pace());
    for cpu in [1, 4] {
        stage.world.borrow_mut().machine.cpu_mut(cpu).activity = Activity::WaitForSipi;
    }
    stage.carry(Goal::Wake, &mut tasks, 4, stage.pace().with_rescue(Rescue::InitStartup));
    assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Woken, &[]));
    assert!((1..CPUS).all(|cpu| stage.entries(cpu) == 1));
    stage.assert_no_breach();
}

#[test]
fn microcode_is_loaded_while_all_are_held() {
    let stage = stage(Vendor::Amd);
    let mut tasks = stage.tasks(support::mechanisms(Vendor::Amd), TIMEOUT_US);
    stage.carry(Goal::Park, &mut tasks, 4, stage.pace());
    stage.carry(Goal::Hold, &mut tasks, 4, stage.pace());
    assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Held, &[]));
    // All spin: each takes steps while nothing happens.
    let count = |stage: &Stage, cpu| stage.world.borrow().machine.cpu(cpu).instructions;
    let before: Vec<_> = (1..CPUS).map(|cpu| count(&stage, cpu)).collect();
    stage.others(2_000);
    assert!((1..CPUS).zip(before).all(|(cpu, before)| count(&stage, cpu) > before));
    stage.carry(Goal::Wake, &mut tasks, 4, stage.pace());
    assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Held, &[]), "held CPUs are released first");
    stage.carry(Goal::Release, &mut tasks, 4, stage.pace());
    stage.carry(Goal::Confirm, &mut tasks, 4, stage.pace());
    assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Parked, &[]));
    stage.assert_no_breach();
}

#[test]
fn before_a_suspend_all_are_woken_and_parked_again_after_it() {
    let stage = stage(Vendor::Intel);
    let mut tasks = stage.tasks(&[Mechanism::Mwait, Mechanism::Hlt], TIMEOUT_US);
    for round in 1..=3 {
        stage.carry(Goal::Park, &mut tasks, 4, stage.pace());
        assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Parked, &[]), "round {round}");
        stage.carry(Goal::Wake, &mut tasks, 4, stage.pace());
        assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Woken, &[]), "round {round}");
        let mut world = stage.world.borrow_mut();
        world.suspend_to_ram(0);
        for cpu in 1..CPUS {
            assert!(world.init_sipi_sipi(0, cpu).expect("it runs"), "CPU {cpu} comes back");
        }
    }
    stage.assert_no_breach();
}

#[test]
fn cpus_in_wait_for_sipi_are_fetched_one_after_the_other_through_one_page() {
    for lanes in [1, 4] {
        let stage = stage(Vendor::Intel);
        let mut tasks = stage.tasks(&[Mechanism::WaitForSipi, Mechanism::Hlt], TIMEOUT_US);
        stage.carry(Goal::Park, &mut tasks, lanes, stage.pace());
        assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Parked, &[]));
        for cpu in [1, 3, 5] {
            assert_eq!(stage.world.borrow().machine.cpu(cpu).activity, Activity::WaitForSipi);
        }
        stage.carry(Goal::Hold, &mut tasks, lanes, stage.pace());
        assert_eq!(tasks[0].outcome(), Outcome::Parked);
        assert_eq!(tasks[0].why().map(|why| why.kind), Some(ErrorKind::NotSupported), "nothing can be asked");
        stage.carry(Goal::Release, &mut tasks, lanes, stage.pace());
        stage.carry(Goal::Wake, &mut tasks, lanes, stage.pace());
        assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Woken, &[]), "{lanes} lanes");
        assert!((1..CPUS).all(|cpu| stage.entries(cpu) == 1));
        stage.assert_no_breach();
    }
}

#[test]
fn under_a_void_lease_nothing_is_done_and_under_the_next_all_goes_on() {
    let stage = stage(Vendor::Amd);
    let mut tasks = stage.tasks(support::mechanisms(Vendor::Amd), TIMEOUT_US);
    stage.carry(Goal::Park, &mut tasks[..4], 4, stage.pace());
    stage.carry(Goal::Hold, &mut tasks[..2], 4, stage.pace());
    let void = stage.lease();
    {
        let mut world = stage.world.borrow_mut();
        let bay = tasks[0].bay().expect("a bay");
        // Held CPUs are released by the seize.
        world.seize(0, bay).expect("seized");
    }
    let mut stale = tasks.clone();
    stage.carry_under(&void, Goal::Park, &mut stale, 4, stage.pace());
    stage.carry_under(&void, Goal::Confirm, &mut stale, 4, stage.pace());
    stage.carry_under(&void, Goal::Release, &mut stale, 4, stage.pace());
    // Those that were held went back to their wait, whoever released them.
    let others = [(0, Outcome::Parked), (1, Outcome::Parked), (4, Outcome::Refused)];
    assert_eq!(outcomes(&stale), all_but(&stale, Outcome::Unknown, &others));
    assert!(stale[2..].iter().all(|task| task.why().is_some_and(|why| why.kind == ErrorKind::StaleGeneration)));
    assert!(stage.summoned.borrow().len() == 4, "nobody is summoned under a void lease");
    for task in &mut tasks {
        task.rebind(&stage.lease()).expect("the same lot");
    }
    stage.carry(Goal::Park, &mut tasks, 4, stage.pace());
    stage.carry(Goal::Confirm, &mut tasks, 4, stage.pace());
    assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Parked, &[]));
    stage.assert_no_breach();
}

#[test]
fn what_is_refused_costs_no_bay_and_the_rest_goes_on() {
    let config = support::machine(Vendor::Intel, CPUS);
    let stage = Stage::new(config, PagingLevels::Four, 3, 9);
    stage.habit(1, Habit::CannotBeAsked);
    let mut tasks = stage.tasks(&[Mechanism::Hlt], TIMEOUT_US);
    stage.carry(Goal::Park, &mut tasks, 1, stage.pace());
    // Three bays, and none is wasted on the one that could not be asked.
    let refused = [(0, Outcome::Refused), (4, Outcome::Refused)];
    assert_eq!(outcomes(&tasks), all_but(&tasks, Outcome::Parked, &refused));
    assert_eq!(tasks[0].why().map(|why| why.kind), Some(ErrorKind::Platform));
    assert_eq!(tasks[4].why().map(|why| why.kind), Some(ErrorKind::NotSupported));
    let tally = Tally::of(&tasks);
    assert_eq!((tally.count(Outcome::Parked), tally.to_string().as_str()), (3, "2 refused, 3 parked"));
    // A CPU that has a bay gets no second one.
    let mut again = vec![stage.task(2, Mechanism::Hlt, TIMEOUT_US)];
    stage.carry(Goal::Park, &mut again, 1, stage.pace());
    assert_eq!(again[0].why().map(|why| why.kind), Some(ErrorKind::InvalidCpu));
    stage.assert_no_breach();
}

#[test]
fn the_bootstrap_processor_is_never_sent_an_init() {
    let mut config: MachineConfig = support::machine(Vendor::Intel, 2);
    (config.cpus[0].bsp, config.cpus[1].bsp) = (false, true);
    let stage = Stage::new(config, PagingLevels::Four, 2, 3);
    let mut tasks = stage.tasks(&[Mechanism::WaitForSipi], TIMEOUT_US);
    stage.carry(Goal::Park, &mut tasks, 1, stage.pace());
    assert_eq!(outcomes(&tasks), [Outcome::Refused]);
    assert!(stage.summoned.borrow().is_empty());
    let mut tasks = stage.tasks(&[Mechanism::Hlt], TIMEOUT_US);
    stage.carry(Goal::Park, &mut tasks, 1, stage.pace());
    // It is dead, and stays so.
    stage.world.borrow_mut().machine.cpu_mut(1).activity = Activity::WaitForSipi;
    stage.carry(Goal::Wake, &mut tasks, 1, stage.pace().with_rescue(Rescue::InitStartup));
    assert_eq!(outcomes(&tasks), [Outcome::Quarantined]);
}
