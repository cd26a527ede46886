//! Bad scenario files: each a typed error with its line, and none a panic.

use park_sim::scenario::{GenericOrders, RunOptions, Scenario, ScenarioError, builtin_text, names, run};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The properties' seed in the test run.
const FIXED_SEED: u64 = 0x70a5;

const GOOD: &str = r#"name = "good"
summary = "a CPU parks"
expect = "safe"
[machine]
vendor = "intel"
cpus = 2
[[park]]
cpu = 1
by = "hlt"
[[step]]
do = "confirm"
cpu = 1
"#;

fn error(from: &str, to: &str) -> ScenarioError {
    assert!(GOOD.contains(from));
    match Scenario::parse(&GOOD.replacen(from, to, 1), "f.toml") {
        Ok(_) => panic!("{to} was accepted"),
        Err(error) => error,
    }
}

fn says(error: &ScenarioError, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text} does not say {part}");
    }
}

#[test]
fn the_good_one_is_good() {
    let scenario = Scenario::parse(GOOD, "f.toml").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(scenario.steps().len(), 2);
}

#[test]
fn unknown_keys_are_named_with_their_line() {
    says(&error("summary", "colour = 1\nsummary"), &["f.toml:2", "colour", "summary"]);
    says(&error("vendor", "sockets = 2\nvendor"), &["f.toml:5", "sockets", "x2apic"]);
    says(&error("by = \"hlt\"", "by = \"hlt\"\nwhy = 1"), &["f.toml:10", "why", "from"]);
    says(&error("do = \"confirm\"", "do = \"confirm\"\ntimes = 1"), &["f.toml:12", "step 1 (confirm)", "times"]);
    assert!(matches!(error("summary", "colour = 1\nsummary"), ScenarioError::UnknownKey { .. }));
}

#[test]
fn unknown_names_are_told_what_there_is() {
    let cases = [
        ("by = \"hlt\"", "by = \"sleep\"", "sleep", "linux-mwait"),
        ("do = \"confirm\"", "do = \"confrim\"", "confrim", "rehabilitate"),
        ("[[park]]", "[knobs]\nmc-gif1 = \"pend\"\n[[park]]", "mc-gif1", "mc-gif0"),
        ("[[park]]", "[knobs]\nmc-gif0 = \"never\"\n[[park]]", "never", "shutdown"),
        ("do = \"confirm\"\ncpu = 1", "do = \"event\"\nevent = \"nim\"\ncpu = 1", "nim", "nmi"),
        ("vendor = \"intel\"", "vendor = \"intel\"\nerrata = [\"ABC1\"]", "ABC1", "ICX143"),
    ];
    for (from, to, name, known) in cases {
        let error = error(from, to);
        assert!(matches!(error, ScenarioError::UnknownName { .. }), "{error}");
        says(&error, &["f.toml:", name, known]);
    }
}

#[test]
fn a_cpu_that_is_not_there_is_refused() {
    for to in ["cpu = 2\nby", "cpus = [1, 9]\nby", "cpu = 18446744073709551615\nby"] {
        let error = error("cpu = 1\nby", to);
        assert!(matches!(error, ScenarioError::NoSuchCpu { cpus: 2, .. }), "{error}");
        says(&error, &["f.toml:8"]);
    }
    assert!(matches!(error("cpus = 2", "cpus = 2\nbsp = 2"), ScenarioError::NoSuchCpu { .. }));
}

#[test]
fn values_and_contradictions_are_refused() {
    says(&error("cpus = 2", "cpus = 0"), &["at least 1"]);
    says(&error("cpus = 2", "cpus = 65"), &["0 to 64"]);
    says(&error("cpus = 2", "cpus = -1"), &["cpus"]);
    says(&error("cpus = 2", "cpus = 2\nlevels = 3"), &["4 or 5"]);
    says(&error("cpus = 2", "cpus = 2\napic_ids = [1]"), &["names 1"]);
    says(&error("cpus = 2", "cpus = 2\napic_ids = [1, 1]"), &["two CPUs"]);
    says(&error("cpus = 2", "cpus = 2\napic_ids = [1, 300]"), &["x2apic"]);
    says(&error("vendor = \"intel\"", "vendor = \"intel\"\nerrata = [\"1109\"]"), &["1109"]);
    says(&error("expect = \"safe\"", "expect = \"safe\"\ndeadly = \"nmi\""), &["deadly"]);
    says(&error("expect = \"safe\"", "expect = \"lost\""), &["deadly", "missing"]);
    says(&error("cpu = 1\nby", "by"), &["cpus", "missing"]);
    says(&error("cpu = 1\nby", "cpu = 1\ncpus = [1]\nby"), &["both"]);
    says(&error("cpu = 1\nby", "cpus = []\nby"), &["no CPU"]);
    says(&error("do = \"confirm\"\ncpu = 1", "do = \"event\"\nevent = \"overwrite\"\ncpu = 1"), &["step of its own"]);
    says(&error("name = \"good\"", "name = "), &["f.toml:1"]);
    let endless = "do = \"repeat\"\ntimes = 1000\n[[step.steps]]\ndo = \"repeat\"\ntimes = 1000\n[[step.steps.steps]]\ndo = \"overwrite\"";
    says(&error("do = \"confirm\"\ncpu = 1", endless), &["1000001", "10000 are the most"]);
}

#[test]
fn steps_that_do_not_fit_are_errors_and_no_panics() {
    let cases = [
        ("do = \"confirm\"\ncpu = 1", "do = \"confirm\"\ncpu = 0", "no bay"),
        ("do = \"confirm\"\ncpu = 1", "do = \"wake\"\ncpu = 0", "not parked"),
        ("do = \"confirm\"\ncpu = 1", "do = \"park\"\ncpu = 1\nby = \"hlt\"", "does not run"),
        ("do = \"confirm\"\ncpu = 1", "do = \"park\"\ncpu = 0\nby = \"hlt\"", "another boss"),
        ("do = \"confirm\"\ncpu = 1", "do = \"release\"\ncpu = 1", "not held"),
        ("do = \"confirm\"\ncpu = 1", "do = \"revoke\"\ncpu = 1", "not rung"),
        ("do = \"confirm\"\ncpu = 1", "do = \"kexec\"\nboss = 1", "can't start"),
        ("do = \"confirm\"\ncpu = 1", "do = \"hibernate-restore\"", "no image"),
        ("do = \"confirm\"\ncpu = 1", "do = \"stale-ring\"\ncpu = 1", "no kernel before"),
        ("do = \"confirm\"\ncpu = 1", "do = \"corrupt\"\nwhat = \"lease\"\nbit = 64", "beyond"),
    ];
    for (from, to, says_this) in cases {
        let scenario = Scenario::parse(&GOOD.replacen(from, to, 1), "f.toml").unwrap_or_else(|error| panic!("{error}"));
        match run(&scenario, &RunOptions::default(), &GenericOrders) {
            Ok(report) => panic!("{to}: {report:?}"),
            Err(error) => says(&error, &["f.toml:10", says_this]),
        }
    }
}

#[test]
fn an_unknown_scenario_is_told_what_there_is() {
    let error = Scenario::builtin("lot-htl").map(|_| ()).unwrap_err();
    says(&error, &["lot-htl", "lot-hlt"]);
}

/// A built-in file with a stretch of it cut out, doubled, or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let texts: Vec<&'static str> = names().filter_map(builtin_text).collect();
    (prop::sample::select(texts), any::<prop::sample::Index>(), 0usize..24, "[ -~\n]{0,12}").prop_map(
        |(text, at, len, with)| {
            let bytes = text.as_bytes();
            let at = at.index(bytes.len());
            let end = (at + len).min(bytes.len());
            let parts = [&bytes[..at], with.as_bytes(), &bytes[end..]].concat();
            String::from_utf8_lossy(&parts).into_owned()
        },
    )
}

/// Lines of built-in files in any order: most parse, and do what nobody meant.
fn shuffled() -> impl Strategy<Value = String> {
    let tables: Vec<String> = names()
        .filter_map(builtin_text)
        .flat_map(|text| text.split("\n\n").skip(1).map(str::to_owned).collect::<Vec<_>>())
        .filter(|table| table.starts_with("[[step]]") || table.starts_with("[[park]]"))
        .collect();
    prop::collection::vec(prop::sample::select(tables), 1..8).prop_map(|tables| {
        let (parks, steps): (Vec<_>, Vec<_>) = tables.into_iter().partition(|table| table.starts_with("[[park]]"));
        let head = "name = \"x\"\nsummary = \"x\"\nexpect = \"safe\"\n[machine]\nvendor = \"amd\"\ncpus = 3\n";
        format!("{head}\n{}\n{}\n", parks.join("\n"), steps.join("\n"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, rng_seed: RngSeed::Fixed(FIXED_SEED), ..ProptestConfig::default() })]

    #[test]
    fn no_file_panics_the_reader(text in mutated()) {
        let _ = Scenario::parse(&text, "f.toml");
    }

    #[test]
    fn no_text_panics_the_reader(text in "\\PC{0,80}") {
        let _ = Scenario::parse(&text, "f.toml");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, rng_seed: RngSeed::Fixed(FIXED_SEED), ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_steps_panics_the_run(text in shuffled(), seed in any::<u64>()) {
        if let Ok(scenario) = Scenario::parse(&text, "f.toml") {
            let _ = run(&scenario, &RunOptions { seed, ..RunOptions::default() }, &GenericOrders);
        }
    }
}
