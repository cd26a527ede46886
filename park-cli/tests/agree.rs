//! `park demo`, `park plan` and `park survey` say the same of the same machine.

use serde_json::Value;
use std::process::{Command, Stdio};

fn park(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_park"))
        .args(arguments)
        .arg("--json")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/machines"))
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {told}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

fn list<'d>(document: &'d Value, key: &str) -> &'d [Value] {
    document[key].as_array().map_or(&[], Vec::as_slice)
}

/// The planned mechanism of a CPU by APIC id.
fn planned<'d>(plan: &'d Value, apic_id: &Value) -> Option<&'d Value> {
    list(plan, "cpus").iter().find(|cpu| cpu["apic_id"] == *apic_id).map(|cpu| &cpu["mechanism"])
}

/// Compares the three for one machine; true if the demo shows that machine and not an example.
fn compare(machine: &[&str]) -> bool {
    let demo = park(&[&["demo"], machine].concat());
    let plan = park(&[&["plan", "--situation", "kexec"], machine].concat());
    assert_eq!(demo["plan"], plan, "{machine:?}");
    for key in ["vendor", "signature", "topology"] {
        assert_eq!(demo["survey"][key], plan["machine"][key], "{machine:?}: {key}");
    }
    // A machine of a shape can be planned and shown, and has no registers to survey from outside.
    let survey = if machine.first() == Some(&"--topology") {
        demo["survey"].clone()
    } else {
        park(&[&["survey"], machine].concat())
    };
    assert_eq!(demo["survey"], survey, "{machine:?}");

    let ids: Vec<&Value> = list(&survey, "cpus").iter().map(|cpu| &cpu["apic_id"]).collect();
    assert_eq!(survey["logical_cpus"].as_u64(), Some(ids.len() as u64), "{machine:?}");
    for cpu in list(&plan, "cpus") {
        assert!(ids.contains(&&cpu["apic_id"]), "{machine:?}: {cpu}");
        let mut mechanisms = list(&survey, "mechanisms").iter();
        let offered = mechanisms.find(|one| one["name"] == cpu["mechanism"]);
        assert_eq!(offered.map(|one| &one["available"]), Some(&Value::Bool(true)), "{machine:?}: {cpu}");
    }
    // What is simulated is what is planned, CPU by CPU.
    let is_example = !demo["machine"]["example_because"].is_null();
    let shown = if is_example { &demo["example_plan"] } else { &plan };
    let none = Value::from("none");
    for cpu in list(&demo["park"], "cpus") {
        assert_eq!(&cpu["mechanism"], planned(shown, &cpu["apic_id"]).unwrap_or(&none), "{machine:?}: {cpu}");
        assert!(is_example || ids.contains(&&cpu["apic_id"]), "{machine:?}: {cpu}");
    }
    assert_eq!(demo["park"]["outcome"], "safe", "{machine:?}");
    assert_eq!(demo["linux"]["outcome"], "lost", "{machine:?}");
    !is_example
}

#[test]
fn of_every_machine_the_three_say_the_same() {
    let mut shown = 0;
    for machine in [
        &[][..],
        &["--cpuid", "two-cores.txt"],
        &["--cpuid", "two-packages-raw.txt"],
        &["--cpuid", "amd-two-caches.txt"],
        &["--cpuid", "one-of-many.txt"],
        &["--cpuid", "hybrid.txt"],
        &["--cpuid", "no-monitor.txt"],
        &["--cpuid", "no-apic.txt"],
        &["--cpuid", "guest.txt"],
        &["--cpuid", "another-vendor.txt"],
        &["--cpuid", "unknown-vendor.txt"],
        &["--topology", "1x1x1"],
        &["--topology", "2x3x2"],
        &["--topology", "2x3x2", "--vendor", "amd"],
        &["--topology", "3x100x2", "--vendor", "amd"],
    ] {
        shown += u32::from(compare(machine));
    }
    assert!(shown >= 8, "only {shown} machines were shown as they are");
}

#[test]
fn different_machines_have_different_plans() {
    let mechanism = |machine: &[&str]| {
        let demo = park(&[&["demo"], machine].concat());
        demo["park"]["cpus"][1]["mechanism"].as_str().map(str::to_owned)
    };
    assert_eq!(mechanism(&["--cpuid", "two-cores.txt"]).as_deref(), Some("mwait"));
    // Zen of the first generation: erratum 1057.
    assert_eq!(mechanism(&["--cpuid", "amd-two-caches.txt"]).as_deref(), Some("hlt"));
}

#[test]
fn what_has_no_likeness_is_a_labelled_example_of_four_cpus() {
    for (machine, named) in [
        (&["--topology", "1x1x1"][..], "one CPU"),
        (&["--cpuid", "no-monitor.txt"], "one CPU"),
        (&["--cpuid", "no-apic.txt"], "local APIC"),
        (&["--cpuid", "guest.txt"], "hypervisor"),
        (&["--cpuid", "another-vendor.txt"], "Centaur"),
        (&["--cpuid", "unknown-vendor.txt"], "GenuineBirch"),
    ] {
        let demo = park(&[&["demo"], machine].concat());
        let because = demo["machine"]["example_because"].as_str().unwrap_or_default();
        assert!(because.contains(named), "{machine:?}: {because}");
        assert_eq!(demo["park"]["cpus"].as_array().map(Vec::len), Some(4), "{machine:?}");
    }
}
