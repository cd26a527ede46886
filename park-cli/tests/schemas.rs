//! What the program prints with `--json` is what docs/schemas promises, and nothing that is not promised.

mod schema;

use schema::{check, schemas};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

/// A part of other documents, and what other tests check: they have lots and emulators.
const ELSEWHERE: [&str; 4] = ["machine", "lot", "lab", "lab-linux"];

/// Commands, and the exit code of each. Every schema is met by one at least.
const COMMANDS: &[(&[&str], i32)] = &[
    (&["survey", "--json"], 0),
    (&["survey", "--json", "--cpuid", "tests/machines/two-cores.txt"], 0),
    (&["survey", "--json", "--cpuid", "tests/machines/no-monitor.txt"], 0),
    (&["plan", "--situation", "kexec", "--cpuid", "tests/machines/two-cores.txt", "--json"], 0),
    (&["plan", "--situation", "consolidate", "--topology", "1x2x2", "--load", "90,0,0,0", "--json"], 0),
    (&["plan", "--situation", "offline", "--topology", "2x2x2", "--latency-us", "0", "--json"], 1),
    (&["plan", "--situation", "kexec", "--cpuid", "tests/machines/another-vendor.txt", "--json"], 1),
    (&["demo", "--json"], 0),
    (&["demo", "--cpuid", "tests/machines/two-cores.txt", "--json"], 0),
    (&["demo", "--cpuid", "tests/machines/another-vendor.txt", "--json"], 0),
    (&["matrix", "--json"], 0),
    (&["bench", "--log", "tests/bench/serial.txt", "--json"], 0),
    (&["sim", "--list", "--json"], 0),
    (&["sim", "linux-mwait-kexec", "--json"], 0),
    (&["sim", "linux-hlt-kexec-nmi", "--trace", "--json"], 0),
    (&["sim", "linux-hlt-kexec-nmi", "--without", "nmi", "--json"], 0),
    (&["sim", "lot-hlt", "--mechanism", "mwait", "--json"], 0),
    (&["sim", "clgi-mce", "--knob", "mc-gif0=all", "--trace", "--json"], 1),
    (&["sim", "lot-hlt", "--knob", "all=all", "--seed", "18446744073709551615", "--json"], 0),
];

fn run(arguments: &[&str], code: i32) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_park"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

#[test]
fn every_document_is_what_its_schema_promises() {
    let mut met = BTreeSet::new();
    for (arguments, code) in COMMANDS {
        met.insert(check(&run(arguments, *code), &format!("{arguments:?}")));
    }
    let documents: BTreeSet<String> =
        schemas().into_keys().filter(|name| !ELSEWHERE.contains(&name.as_str())).collect();
    assert_eq!(met, documents, "a schema that no command meets, or the other way round");
}

#[test]
fn schemas_are_closed_and_named_like_their_files() {
    fn closed(name: &str, schema: &Value) {
        match schema {
            Value::Object(map) => {
                if map.contains_key("properties") && map["properties"].is_object() {
                    assert_eq!(map.get("additionalProperties"), Some(&Value::Bool(false)), "{name}: {schema}");
                }
                map.values().for_each(|inner| closed(name, inner));
            }
            Value::Array(list) => list.iter().for_each(|inner| closed(name, inner)),
            _ => {}
        }
    }
    for (name, schema) in &schemas() {
        assert_eq!(schema["$id"], format!("urn:park:{name}:1"), "{name}.json");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}.json");
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name}.json is no schema");
        closed(name, schema);
    }
}

#[test]
fn the_closed_sets_are_those_of_the_simulator() {
    let schemas = schemas();
    let names = |path: &str| -> Vec<String> {
        let set = schemas["sim"].pointer(path).and_then(Value::as_array).expect("a set");
        set.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let own = |names: &mut dyn Iterator<Item = &'static str>| names.map(str::to_owned).collect::<Vec<_>>();
    use park_sim::scenario::{Cause, Declared, End};
    assert_eq!(names("/$defs/cpu/properties/cause/enum"), own(&mut Cause::names()));
    assert_eq!(names("/$defs/cpu/properties/end/enum"), own(&mut End::names()));
    assert_eq!(names("/properties/declared/items/enum"), own(&mut Declared::names()));
}
