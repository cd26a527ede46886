//! Plans of known machines.

mod common;

use common::{ABSENT, ALL_OFFERS, WAITS, all_claims, claim, machine};
use park_core::op::Processor;
use park_core::{ApicId, Condition, Event, Mechanism, MechanismSet, Response};
use park_policy::{
    Absence, Assessments, CpuKind, CpuView, Guarantees, Obstacle, Offer, Offers, Placement, PlanError, Policy, Reason,
    Requirements, Situation, StoreWake, Waits, Warnings, Which, assess, plan, plan_by, timeout_us,
};

fn ids(placements: &[Placement]) -> Vec<u32> {
    placements.iter().map(|placement| placement.apic_id.0).collect()
}

fn out(len: usize) -> Vec<Placement> {
    vec![Placement::EMPTY; len]
}

#[test]
fn siblings_come_first_then_other_packages_and_the_bootstrap_processor_last() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let cpus = machine(&kind, 2, 2, 2);
    let mut out = out(8);
    // The one that goes on is CPU 5, in package 1.
    let made = plan(&cpus, &Which::AllBut(ApicId(5)), &Requirements::NONE, &mut out).expect("a plan");
    assert_eq!(ids(made.placements), [1, 3, 7, 2, 4, 6, 0]);
    assert!(made.placements.iter().enumerate().all(|(place, one)| one.order as usize == place));
    assert_eq!(made.spared, None);
    // And the other way round: the package in which somebody goes on comes last.
    let made = plan(&cpus, &Which::AllBut(ApicId(1)), &Requirements::NONE, &mut out).expect("a plan");
    assert_eq!(ids(made.placements), [5, 7, 3, 4, 6, 2, 0]);
}

#[test]
fn no_smt_keeps_the_first_thread_of_every_core() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let cpus = machine(&kind, 1, 3, 4);
    let mut out = out(12);
    let which = Situation::NoSmt.which(ApicId(0)).expect("known");
    let made = plan(&cpus, &which, &Requirements::NONE, &mut out).expect("a plan");
    assert_eq!(ids(made.placements), [3, 7, 11, 2, 6, 10, 1, 5, 9]);
}

#[test]
fn situations_park_whom_they_say() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let cpus = machine(&kind, 2, 2, 1);
    for situation in Situation::ALL {
        assert_eq!(Situation::from_name(situation.name()), Some(situation));
        let Some(which) = situation.which(ApicId(2)) else {
            assert_eq!(situation, Situation::Consolidate);
            continue;
        };
        let mut out = out(4);
        let made = plan(&cpus, &which, &Requirements::NONE, &mut out).expect("a plan");
        let mut parked = ids(made.placements);
        parked.sort_unstable();
        let expected: &[u32] = match situation {
            Situation::Offline => &[1, 2, 3],
            Situation::NoSmt => &[],
            _ => &[0, 1, 3],
        };
        assert_eq!(parked, expected, "{situation}");
    }
}

#[test]
fn the_last_cpu_goes_on() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let cpus = machine(&kind, 1, 3, 1);
    let all = [u64::MAX];
    let mut storage = out(3);
    let made = plan(&cpus, &Which::Marked(&all), &Requirements::NONE, &mut storage).expect("a plan");
    assert_eq!((ids(made.placements), made.spared), (vec![1, 2], Some(ApicId(0))));
    assert_eq!(made.warnings, Warnings::SPARED_LAST);
    // Without a bootstrap processor it is the first.
    let made = plan(&cpus[1..], &Which::Marked(&all), &Requirements::NONE, &mut storage).expect("a plan");
    assert_eq!((ids(made.placements), made.spared), (vec![2], Some(ApicId(1))));
    let made = plan(&cpus[..1], &Which::Marked(&all), &Requirements::NONE, &mut storage).expect("a plan");
    assert_eq!((made.placements.len(), made.spared), (0, Some(ApicId(0))));
    let none = plan(&[], &Which::Marked(&all), &Requirements::NONE, &mut storage).expect("a plan of nothing");
    assert_eq!((none.placements.len(), none.spared), (0, None));
}

#[test]
fn marks_are_read_bit_by_bit_and_end_where_they_end() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let cpus = machine(&kind, 1, 130, 1);
    let mut storage = out(130);
    let marks = [1 << 63, 1 << 1];
    let made = plan(&cpus, &Which::Marked(&marks), &Requirements::NONE, &mut storage).expect("a plan");
    assert_eq!(ids(made.placements), [63, 65]);
}

#[test]
fn preferences_decide_and_reasons_say_how() {
    let claims = all_claims(Response::Unnoticed);
    let no_store = Offer::Here(Waits { store_wake: StoreWake::None, ..WAITS });
    let offers = Offers { hlt: no_store, clgi: ABSENT, wait_for_sipi: ABSENT, ..ALL_OFFERS };
    let kind = CpuKind::new(&claims, offers);
    let cpus = machine(&kind, 1, 2, 1);
    let of = |requirements: Requirements| {
        let mut out = out(2);
        let which = Which::AllBut(ApicId(0));
        let made = plan(&cpus, &which, &requirements, &mut out).expect("a plan");
        made.placements.first().map(|one| (one.mechanism, one.reason)).expect("a placement")
    };
    let prefer = |set| Requirements::NONE.and_prefer(set);
    assert_eq!(of(Requirements::NONE), (Mechanism::Mwait, Reason::FirstOfEquals));
    assert_eq!(of(prefer(Guarantees::SAVES_POWER)), (Mechanism::Mwait, Reason::FirstOfEquals));
    let store = Guarantees::WAKES_BY_STORE;
    assert_eq!(of(prefer(store)), (Mechanism::Mwait, Reason::Preferred(store)));
    assert_eq!(of(Requirements::NONE.and_require(store)), (Mechanism::Mwait, Reason::OnlyOne));
    assert_eq!(of(Requirements::NONE.without(Mechanism::Mwait)), (Mechanism::Hlt, Reason::OnlyOne));
}

#[test]
fn an_erratum_weighs_more_than_depth() {
    let claims = all_claims(Response::Unnoticed);
    let unsure = Offer::Here(Waits { store_wake: StoreWake::Unreliable("X1"), ..WAITS });
    let shallow = Offer::Here(Waits { store_wake: StoreWake::None, idle: park_policy::Idle::Halts, ..WAITS });
    let kind = CpuKind::new(&claims, Offers { hlt: shallow, mwait: unsure, ..Offers::NONE });
    let cpus = machine(&kind, 1, 2, 1);
    let mut storage = out(2);
    let requirements = Situation::Consolidate.requirements();
    let made = plan(&cpus, &Which::Marked(&[2]), &requirements, &mut storage).expect("a plan");
    assert_eq!(made.placements.first().map(|one| one.mechanism), Some(Mechanism::Hlt));
}

#[test]
fn the_bootstrap_processor_parks_by_hlt_or_mwait_and_is_warned_about() {
    let mut claims = all_claims(Response::Unnoticed);
    claims.push(claim(Mechanism::Hlt, Event::Init, Condition::Bsp, Response::Reset));
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let cpus = machine(&kind, 1, 2, 1);
    let mut storage = out(2);
    let which = Which::AllBut(ApicId(1));
    let anything = Requirements { exclude: MechanismSet::empty(), ..Requirements::NONE };
    let made = plan(&cpus, &which, &anything.without(Mechanism::Mwait), &mut storage).expect("a plan");
    assert_eq!(made.placements.first().map(|one| one.mechanism), Some(Mechanism::Hlt));
    assert_eq!(made.warnings, Warnings::BOOTSTRAP_INIT_RESETS);
    let neither = anything.without(Mechanism::Mwait).without(Mechanism::Hlt);
    let Err(PlanError::Lacking(lacking)) = plan(&cpus, &which, &neither, &mut storage) else { panic!("a plan") };
    assert_eq!((lacking.apic_id, lacking.processor, lacking.cpus), (ApicId(0), Processor::Bootstrap, 1));
    for one in lacking.assessments() {
        let expected = match one.mechanism {
            Mechanism::Hlt | Mechanism::Mwait => Obstacle::Excluded,
            Mechanism::Clgi | Mechanism::WaitForSipi => Obstacle::NotForBootstrap,
        };
        assert_eq!(one.obstacle, Some(expected));
        assert!(one.missing.is_empty() && !one.fits());
    }
    // No warning where the claims don't reset, or not this CPU.
    let mut tame = all_claims(Response::Unnoticed);
    tame.extend(Mechanism::ALL.map(|mechanism| claim(mechanism, Event::Init, Condition::Ap, Response::Reset)));
    let kind = CpuKind::new(&tame, ALL_OFFERS);
    let cpus = machine(&kind, 1, 2, 1);
    let made = plan(&cpus, &which, &anything, &mut storage).expect("a plan");
    assert_eq!((made.placements.len(), made.warnings), (1, Warnings::empty()));
}

#[test]
fn what_is_too_slow_or_absent_is_said() {
    let claims = all_claims(Response::Unnoticed);
    let slow = Offer::Here(Waits { wake_latency_us: 100, ..WAITS });
    let offers =
        Offers { hlt: slow, mwait: Offer::Absent(Absence::Erratum { name: "X1", what: "hangs" }), ..Offers::NONE };
    let kind = CpuKind::new(&claims, offers);
    let requirements = Requirements::NONE.within(99).and_require(Guarantees::SAVES_POWER);
    let [hlt, mwait, clgi, sipi] = assess(&kind, Processor::Application, &requirements);
    assert_eq!(hlt.obstacle, Some(Obstacle::TooSlow { wake_latency_us: 100, latency_us: 99 }));
    assert!(hlt.missing.is_empty());
    assert_eq!(mwait.obstacle.map(|why| why.to_string()).as_deref(), Some("erratum X1: hangs"));
    // What is not there provides nothing.
    for absent in [mwait, clgi, sipi] {
        assert_eq!((absent.provided, absent.missing), (Guarantees::empty(), Guarantees::SAVES_POWER));
    }
    let fast_enough = Requirements::NONE.within(100);
    assert!(assess(&kind, Processor::Application, &fast_enough).iter().any(|one| one.fits()));
    let cpus = machine(&kind, 1, 3, 1);
    let Err(error) = plan(&cpus, &Which::Applications, &requirements, &mut out(3)) else { panic!("a plan") };
    let text = error.to_string();
    assert!(text.contains("APIC id 1") && text.contains("hlt (takes 100 us") && text.contains("X1"), "{text}");
    assert!(matches!(error, PlanError::Lacking(lacking) if lacking.cpus == 2));
}

#[test]
fn storage_and_list_are_checked() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let cpus = machine(&kind, 1, 4, 1);
    let which = Which::AllBut(ApicId(0));
    let (mut two, mut four) = (out(2), out(4));
    let small = plan(&cpus, &which, &Requirements::NONE, &mut two);
    assert_eq!(small, Err(PlanError::OutTooSmall { needed: 3 }));
    let unknown = plan(&cpus, &Which::AllBut(ApicId(9)), &Requirements::NONE, &mut four);
    assert_eq!(unknown, Err(PlanError::NotListed(ApicId(9))));
}

#[test]
fn hybrid_machines_are_judged_kind_by_kind() {
    let claims = all_claims(Response::Unnoticed);
    let big = CpuKind::new(&claims, ALL_OFFERS);
    let small = CpuKind::new(&claims, Offers { mwait: ABSENT, clgi: ABSENT, ..ALL_OFFERS });
    let cpu = |id: u32, kind| CpuView { apic_id: ApicId(id), ..CpuView::new(kind) };
    let cpus: Vec<_> = (0..12).map(|id| cpu(id, if id % 2 == 0 { &big } else { &small })).collect();
    let mut storage = out(12);
    let made = plan(&cpus, &Which::AllBut(ApicId(0)), &Requirements::NONE, &mut storage).expect("a plan");
    for one in made.placements {
        let expected = if one.apic_id.0 % 2 == 0 { Mechanism::Mwait } else { Mechanism::Hlt };
        assert_eq!(one.mechanism, expected);
    }
}

#[test]
fn timeouts_grow_with_the_count_and_with_what_the_mechanism_needs() {
    for mechanism in Mechanism::ALL {
        assert!(timeout_us(mechanism, 2) > timeout_us(mechanism, 1));
        assert!(timeout_us(mechanism, 8192) > timeout_us(mechanism, 64));
        assert!(timeout_us(mechanism, usize::MAX) >= timeout_us(mechanism, 8192));
        assert!(timeout_us(mechanism, 0) >= 1_000_000);
    }
    assert!(timeout_us(Mechanism::WaitForSipi, 4) > timeout_us(Mechanism::Hlt, 4));
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let cpus = machine(&kind, 1, 100, 1);
    let mut storage = out(100);
    let made = plan(&cpus, &Which::Applications, &Requirements::NONE, &mut storage).expect("a plan");
    assert!(made.placements.iter().all(|one| one.timeout_us == timeout_us(one.mechanism, 99)));
}

/// However many CPUs there are, each is asked about a fixed number of times.
#[test]
fn planning_takes_time_in_proportion_to_the_cpus() {
    /// Looks at one CPU: is anybody left, who goes on, how many, and where to.
    const LOOKS: usize = 4;
    #[derive(Default)]
    struct Counting {
        parks: core::cell::Cell<usize>,
        requirements: core::cell::Cell<usize>,
    }
    impl Policy for Counting {
        fn parks(&self, index: usize, _cpu: &CpuView<'_>) -> bool {
            self.parks.set(self.parks.get() + 1);
            index % 3 > 0
        }
        fn requirements(&self, _cpu: &CpuView<'_>) -> Requirements {
            self.requirements.set(self.requirements.get() + 1);
            Requirements::NONE
        }
    }
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    for packages in [1, 32] {
        let cpus = machine(&kind, packages, 128, 2);
        let (counting, mut storage) = (Counting::default(), out(cpus.len()));
        let made = plan_by(&cpus, &counting, &mut storage).expect("a plan");
        assert!(counting.parks.get() <= LOOKS * cpus.len());
        assert_eq!(counting.requirements.get(), made.placements.len());
    }
}

#[test]
fn a_policy_of_ones_own_is_told_apart_and_held_to_the_rules() {
    struct Chooses(Option<Mechanism>);
    impl Policy for Chooses {
        fn parks(&self, index: usize, _cpu: &CpuView<'_>) -> bool {
            index > 0
        }
        fn requirements(&self, _cpu: &CpuView<'_>) -> Requirements {
            Requirements::NONE
        }
        fn choose(&self, _cpu: &CpuView<'_>, _assessments: &Assessments) -> Option<Mechanism> {
            self.0
        }
    }
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let cpus = machine(&kind, 1, 3, 1);
    let mut storage = out(3);
    let made = plan_by(&cpus, &Chooses(Some(Mechanism::Clgi)), &mut storage).expect("a plan");
    assert!(made.placements.iter().all(|one| (one.mechanism, one.reason) == (Mechanism::Clgi, Reason::OwnPolicy)));
    for wrong in [Some(Mechanism::WaitForSipi), None] {
        assert_eq!(plan_by(&cpus, &Chooses(wrong), &mut storage), Err(PlanError::BadPolicy(ApicId(1))));
    }
}

#[test]
fn each_cpu_is_asked_for_its_own_requirements() {
    struct ByLoad;
    impl Policy for ByLoad {
        fn parks(&self, index: usize, _cpu: &CpuView<'_>) -> bool {
            index > 0
        }
        fn requirements(&self, cpu: &CpuView<'_>) -> Requirements {
            if cpu.load_percent > 50 { Requirements::NONE.without(Mechanism::Mwait) } else { Requirements::NONE }
        }
    }
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let mut cpus = machine(&kind, 1, 9, 1);
    for cpu in cpus.iter_mut().step_by(2) {
        cpu.load_percent = 90;
    }
    let mut storage = out(9);
    let made = plan_by(&cpus, &ByLoad, &mut storage).expect("a plan");
    for one in made.placements {
        let expected = if one.apic_id.0 % 2 == 0 { Mechanism::Hlt } else { Mechanism::Mwait };
        assert_eq!(one.mechanism, expected, "{}", one.apic_id);
    }
}

#[test]
fn a_policy_that_changes_its_mind_gets_no_plan() {
    /// Parks CPUs 1 and 2, and from the given look on CPU 1 alone, or CPU 3 too.
    struct Fickle {
        looks: core::cell::Cell<usize>,
        from: usize,
        then: &'static [u32],
    }
    impl Policy for Fickle {
        fn parks(&self, index: usize, _cpu: &CpuView<'_>) -> bool {
            let look = self.looks.replace(self.looks.get() + 1);
            let parked: &[u32] = if look < self.from { &[1, 2] } else { self.then };
            parked.contains(&(index as u32))
        }
        fn requirements(&self, _cpu: &CpuView<'_>) -> Requirements {
            Requirements::NONE
        }
    }
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let cpus = machine(&kind, 1, 4, 1);
    for then in [&[1][..], &[1, 2, 3]] {
        let mut seen = (0, 0);
        for from in 0..20 {
            let mut storage = out(4);
            match plan_by(&cpus, &Fickle { looks: core::cell::Cell::new(0), from, then }, &mut storage) {
                // Whatever is planned, is planned wholly.
                Ok(plan) => {
                    assert!(ids(plan.placements) == [1, 2] || ids(plan.placements) == then, "{from}");
                    seen.0 += 1;
                }
                Err(PlanError::BadPolicy(_)) => seen.1 += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(seen.0 > 0 && seen.1 > 0, "{seen:?}");
    }
}

/// A policy that forgets what it said: noise from a seed.
struct Forgetful(core::cell::Cell<u64>);

impl Policy for Forgetful {
    fn parks(&self, _index: usize, _cpu: &CpuView<'_>) -> bool {
        // xorshift64: any noise will do.
        let mut noise = self.0.get();
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        self.0.set(noise);
        noise >> 33 & 3 != 0
    }

    fn requirements(&self, _cpu: &CpuView<'_>) -> Requirements {
        Requirements::NONE
    }
}

#[test]
fn no_place_is_left_empty_or_taken_twice_whatever_a_policy_forgets() {
    let claims = all_claims(Response::Unnoticed);
    let kind = CpuKind::new(&claims, ALL_OFFERS);
    let cpus = machine(&kind, 2, 2, 2);
    let mut plans = 0;
    for seed in 1..=5_000 {
        let mut out = out(8);
        if let Ok(made) = plan_by(&cpus, &Forgetful(core::cell::Cell::new(seed)), &mut out) {
            let mut parked = ids(made.placements);
            let orders: Vec<_> = made.placements.iter().map(|one| one.order as usize).collect();
            assert!(orders.iter().copied().eq(0..parked.len()), "seed {seed}: {orders:?}");
            parked.sort_unstable();
            parked.dedup();
            assert_eq!(parked.len(), made.placements.len(), "seed {seed}");
            plans += 1;
        }
    }
    assert!(plans > 0, "some are consistent by chance");
}
