//! `park plan`, from the outside: the built program.

use serde_json::Value;
use std::process::{Command, Output};

fn park(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_park"));
    command.arg("plan").args(arguments.split_whitespace()).output().expect("park runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn json(arguments: &str) -> (i32, Value) {
    let output = park(&format!("{arguments} --json"));
    assert!(output.stderr.is_empty(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    (code(&output), serde_json::from_slice(&output.stdout).expect("one JSON document and nothing else"))
}

fn text(arguments: &str) -> (i32, String) {
    let output = park(arguments);
    assert!(output.stderr.is_empty(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    (code(&output), String::from_utf8(output.stdout).expect("UTF-8"))
}

fn ids(document: &Value) -> Vec<u64> {
    document["cpus"].as_array().expect("cpus").iter().map(|cpu| cpu["apic_id"].as_u64().expect("a number")).collect()
}

const SITUATIONS: [&str; 8] =
    ["offline", "no-smt", "kexec", "crash-kexec", "hibernate", "shutdown", "boot", "consolidate"];

#[test]
fn every_situation_is_planned_on_both_vendors_machines() {
    for situation in SITUATIONS {
        for (vendor, mechanism) in [("intel", "hlt"), ("amd", "mwait")] {
            let (exit, plan) = json(&format!("--situation {situation} --topology 2x3x2 --vendor {vendor}"));
            assert_eq!((exit, plan["schema"].as_str()), (0, Some("park.plan/1")), "{situation}");
            assert_eq!(plan["machine"]["vendor"], vendor);
            assert_eq!(plan["machine"]["signature"].as_str().map(str::len), Some(8));
            assert_eq!(plan["machine"]["topology"]["shape"], "2x3x2");
            let cpus = plan["cpus"].as_array().expect("cpus");
            assert!(!cpus.is_empty());
            for (place, cpu) in cpus.iter().enumerate() {
                assert_eq!(cpu["order"].as_u64(), Some(place as u64));
                // The simulated Intel CPU is an Ice Lake server, whose MWAIT may miss a store.
                assert_eq!(cpu["mechanism"], mechanism, "{situation}");
                assert!(cpu["timeout_us"].as_u64().is_some_and(|timeout_us| timeout_us >= 1_000_000));
                assert!(cpu["reason"].as_str().is_some_and(|reason| reason.contains("required")));
            }
            let goes_on = plan["goes_on"].as_array().expect("goes_on");
            assert_eq!(goes_on.len() + cpus.len(), 12);
            assert!(goes_on.contains(&Value::from(0)));
        }
    }
}

#[test]
fn ids_are_packed_and_siblings_come_first() {
    // Three cores need two bits, two threads one: the second package begins at 8.
    let (_, plan) = json("--situation kexec --topology 2x3x2");
    assert_eq!(ids(&plan), [9, 11, 13, 1, 3, 5, 8, 10, 12, 2, 4]);
    let (_, plan) = json("--situation no-smt --topology 1x2x4");
    assert_eq!(ids(&plan), [3, 7, 2, 6, 1, 5]);
    assert_eq!(plan["goes_on"], serde_json::json!([0, 4]));
}

#[test]
fn what_cannot_be_is_told_mechanism_by_mechanism() {
    let arguments = "--situation kexec --topology 1x4x1 --vendor amd --require survives-init";
    let (exit, document) = json(arguments);
    assert_eq!((exit, document.get("cpus"), document.get("goes_on")), (1, None, None));
    let lost = ["survives-mc", "survives-smi-rendezvous"];
    let lacking = serde_json::json!({
        "hlt": ["survives-init"],
        "mwait": ["survives-init"],
        "clgi": [lost[0], lost[1], "foreign-kernel-can-take"],
        "wait-for-sipi": lost,
    });
    assert_eq!(document["lacking"], lacking);
    assert_eq!(document["lacking_on"], serde_json::json!({ "apic_id": 1, "bootstrap": false, "cpus": 3 }));
    assert!(document["obstacles"]["wait-for-sipi"].as_str().is_some_and(|why| why.contains("--allow")));
    let (exit, words) = text(arguments);
    assert_eq!(exit, 1);
    assert!(words.contains("no mechanism will do for APIC id 1 and 2 more"), "{words}");
}

#[test]
fn requirements_and_preferences_change_the_plan() {
    let of = |options: &str| {
        let (exit, plan) = json(&format!("--situation shutdown --topology 1x2x1 {options}"));
        (exit, plan["cpus"][0]["mechanism"].as_str().map(str::to_owned))
    };
    let by = |name: &str| (0, Some(name.to_owned()));
    assert_eq!(of("--vendor intel"), by("hlt"));
    assert_eq!(of("--vendor intel --require wakes-by-store"), (1, None));
    assert_eq!(of("--vendor amd"), by("mwait"));
    assert_eq!(of("--vendor amd --exclude mwait"), by("hlt"));
    assert_eq!(of("--vendor amd --exclude mwait,hlt"), (1, None));
    assert_eq!(of("--vendor amd --exclude mwait --latency-us 100"), (1, None));
    // CLGI keeps everybody out, and no situation accepts its price; nor that of an INIT.
    assert_eq!(of("--vendor amd --require foreign-kernel-cannot-take"), (1, None));
    assert_eq!(of("--vendor amd --require survives-init --allow wait-for-sipi"), (1, None));
    // A preference that nothing meets loses nothing.
    assert_eq!(of("--vendor amd --prefer survives-init,sleeps-deep"), by("mwait"));
}

#[test]
fn a_crash_elsewhere_parks_the_bootstrap_processor_last_and_warns() {
    let (exit, plan) = json("--situation crash-kexec --topology 1x4x1 --on 2");
    assert_eq!((exit, ids(&plan)), (0, vec![1, 3, 0]));
    assert!(plan["warnings"][0].as_str().is_some_and(|why| why.contains("INIT resets the machine")));
    let (exit, document) = json("--situation kexec --topology 1x4x1 --on 2");
    assert_eq!((exit, document["lacking"]["hlt"].clone()), (1, serde_json::json!(["foreign-kernel-can-take"])));
}

#[test]
fn consolidate_leaves_one_cpu_awake_in_every_package() {
    let of = |shape: &str, load: &str| {
        let (exit, plan) = json(&format!("--situation consolidate --topology {shape} {load}"));
        assert_eq!(exit, 0);
        plan["goes_on"].clone()
    };
    assert_eq!(of("2x4x1", "--load 0,0,0,0,0,0,7,0"), serde_json::json!([0, 4]));
    assert_eq!(of("2x4x1", "--load 9,1,1,1,0,0,0,0"), serde_json::json!([0, 4]));
    // Nobody said: all idle.
    assert_eq!(of("2x4x1", ""), serde_json::json!([0, 4]));
}

#[test]
fn consolidate_comes_to_what_the_consolidator_rests_at() {
    let of = |shape: &str, load: &str| {
        let (exit, plan) = json(&format!("--situation consolidate --topology {shape} --load {load}"));
        assert_eq!(exit, 0);
        assert!(plan["notes"][0].as_str().is_some_and(|note| note.contains("60 % busy on average")), "{plan}");
        plan["goes_on"].clone()
    };
    // 10 and 70 percent fit on one CPU and on two of 60; 61 on each of four leave no room at all.
    assert_eq!(of("1x4x1", "0,10,0,0"), serde_json::json!([0]));
    assert_eq!(of("1x4x1", "30,20,20,0"), serde_json::json!([0, 1]));
    assert_eq!(of("1x4x1", "61,61,61,61"), serde_json::json!([0, 1, 2, 3]));
    // What sleepers did counts on: 320 percent need six CPUs, the nearest, of which siblings are neighbours.
    assert_eq!(of("1x4x2", "40,40,40,40,40,40,40,40"), serde_json::json!([0, 1, 2, 3, 4, 5]));
    // Who is too busy to be moved stays, and another sleeps.
    assert_eq!(of("1x4x1", "10,0,0,95"), serde_json::json!([0, 3]));
}

#[test]
fn consolidate_says_what_is_lacking_where_nobody_could_sleep() {
    let (exit, plan) = json("--situation consolidate --topology 1x4x1 --require survives-init");
    assert_eq!((exit, plan["lacking"]["hlt"].clone()), (1, serde_json::json!(["survives-init"])));
}

#[test]
fn a_stranger_can_read_it() {
    let (exit, words) = text("--situation kexec --topology 2x8x2 --vendor intel");
    assert_eq!(exit, 0);
    for part in [
        "32 CPUs (intel, signature 000606a6, 2x8x2)",
        "Goes on: APIC id 0.",
        "17-31 by 2",
        "1015 ms",
        "Not mwait: ",
        "ICX143",
        "Not clgi: no CPU of this vendor has it.",
        "Not wait-for-sipi: ",
        "By hlt: HLT in reserved memory",
    ] {
        assert!(words.contains(part), "no `{part}` in:\n{words}");
    }
    assert!(!words.contains('\x1b') && words.lines().all(|line| line.chars().count() <= 120), "{words}");
}

#[test]
fn thousands_of_cpus_fit_on_a_page() {
    let (exit, words) = text("--situation kexec --topology 64x64x2 --vendor amd");
    assert_eq!(exit, 0);
    assert!(words.contains("8191 of 8192 CPUs"), "{words}");
    assert!(words.lines().count() < 40, "{words}");
}

#[test]
fn one_cpu_is_no_plan_and_no_failure() {
    let (exit, plan) = json("--situation kexec --topology 1x1x1");
    assert_eq!((exit, ids(&plan).len()), (0, 0));
    assert!(plan["notes"][0].as_str().is_some_and(|note| note.contains("one CPU")));
}

#[test]
fn this_machine_is_planned_or_told_why_not() {
    let (exit, document) = json("--situation offline");
    assert!(matches!(exit, 0 | 1), "{document}");
    assert_eq!(exit == 0, document.get("cpus").is_some());
}

#[test]
fn bad_input_is_one_sentence_that_names_it() {
    let shape = "--situation kexec --topology 1x4x1";
    for (arguments, named) in [
        (String::new(), "--situation"),
        ("--situation kexek".to_owned(), "did you mean kexec"),
        ("--situation".to_owned(), "--situation"),
        ("--situation kexec --topology 0x4x2".to_owned(), "at least one CPU"),
        ("--situation kexec --topology 1x1x100000".to_owned(), "100000 CPUs"),
        ("--situation kexec --topology 4x2".to_owned(), "2x8x2"),
        ("--situation kexec --vendor amd".to_owned(), "--topology"),
        (format!("{shape} --vendor via"), "via"),
        (format!("{shape} --require survive-nmi"), "did you mean survives-nmi"),
        (format!("{shape} --require survives-nmi,"), "guarantee"),
        (format!("{shape} --prefer xyzzyxyzzyxyzzyxyzzyxyzzy"), "there are survives-overwrite"),
        (format!("{shape} --exclude halt"), "did you mean hlt"),
        (format!("{shape} --allow init"), "mechanism"),
        (format!("{shape} --latency-us fast"), "fast"),
        (format!("{shape} --latency-us -1"), "-1"),
        (format!("{shape} --latency-us 4294967296"), "4294967296"),
        (format!("{shape} --on 4"), "no CPU of this machine has APIC id 4"),
        (format!("{shape} --on x"), "--on"),
        (format!("{shape} --load 1,2,3"), "3 percentages, and the machine has 4 CPUs"),
        (format!("{shape} --load 1,2,3,4,5"), "5 percentages"),
        (format!("{shape} --load 1,2,3,101"), "`101`"),
        (format!("{shape} --load 1,2,,4"), "``"),
        (format!("{shape} --load 1,2,+3,4"), "`+3`"),
        (format!("{shape} --load 1,2,3.5,4"), "`3.5`"),
        (format!("{shape} --cpuid /nowhere"), "--cpuid"),
        ("--situation kexec --cpuid /nowhere".to_owned(), "/nowhere"),
        ("--situation kexec --cpuid /".to_owned(), "directory"),
        (format!("{shape} --situation boot"), "--situation"),
        (format!("{shape} kexec"), "'kexec'"),
    ] {
        let output = park(&arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(code(&output), 2, "{arguments}: {message}");
        assert!(message.contains(named) && message.lines().count() == 1, "{arguments}: {message}");
        assert!(output.stdout.is_empty(), "{arguments}");
    }
}
