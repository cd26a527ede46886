//! Properties over drawn machines, orders, event scripts, schedules and knobs; the seed is fixed.

mod coverage;
mod draw;
mod holds;
mod known;
mod leases;
mod old_entries;
mod player;
mod reach;
mod rings;
mod stays;
#[path = "../support/mod.rs"]
mod support;

use core::fmt::Debug;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::time::Instant;

/// Cases of each property.
const CASES: u32 = 2000;
/// Attempts to make a counterexample smaller.
const SHRINKS: u32 = 300;

/// Checks a property on [`CASES`] drawn values, always the same ones.
fn check<S>(name: &str, seed: u8, strategy: &S, property: impl Fn(&S::Value) -> Result<(), String>)
where
    S: Strategy,
    S::Value: Debug,
{
    check_cases(name, seed, CASES, strategy, property);
}

/// As [`check`], with another number of cases.
fn check_cases<S>(name: &str, seed: u8, cases: u32, strategy: &S, property: impl Fn(&S::Value) -> Result<(), String>)
where
    S: Strategy,
    S::Value: Debug,
{
    let started = Instant::now();
    let config = Config { cases, max_shrink_iters: SHRINKS, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let result =
        TestRunner::new_with_rng(config, rng).run(strategy, |value| property(&value).map_err(TestCaseError::fail));
    println!("{name}: {cases} cases, {:.1} s", started.elapsed().as_secs_f64());
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, value)) => panic!("{name}: {reason}\n{value:?}"),
        Err(TestError::Abort(reason)) => panic!("{name}: {reason}"),
    }
}
