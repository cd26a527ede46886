//! What the program prints with `--json` is what docs/schemas promises, and nothing that is not promised.

use jsonschema::{Registry, Validator};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Commands, and the exit code of each. Every schema is met by one at least.
const COMMANDS: &[(&[&str], i32)] = &[
    (&["survey", "--json"], 0),
    (&["survey", "--json", "--cpuid", "tests/dumps/two-cores.txt"], 0),
    (&["survey", "--json", "--cpuid", "tests/dumps/no-monitor.txt"], 0),
    (&["plan", "--situation", "kexec", "--cpuid", "tests/dumps/two-cores.txt", "--json"], 0),
    (&["plan", "--situation", "consolidate", "--topology", "1x2x2", "--load", "90,0,0,0", "--json"], 0),
    (&["plan", "--situation", "offline", "--topology", "2x2x2", "--latency-us", "0", "--json"], 1),
    (&["plan", "--situation", "kexec", "--cpuid", "tests/dumps/another-vendor.txt", "--json"], 1),
    (&["demo", "--json"], 0),
    (&["demo", "--cpuid", "tests/dumps/two-cores.txt", "--json"], 0),
    (&["demo", "--cpuid", "tests/dumps/another-vendor.txt", "--json"], 0),
    (&["matrix", "--json"], 0),
    (&["sim", "--list", "--json"], 0),
    (&["sim", "linux-mwait-kexec", "--json"], 0),
    (&["sim", "linux-hlt-kexec-nmi", "--trace", "--json"], 0),
    (&["sim", "linux-hlt-kexec-nmi", "--without", "nmi", "--json"], 0),
    (&["sim", "lot-hlt", "--mechanism", "mwait", "--json"], 0),
    (&["sim", "clgi-mce", "--knob", "mc-gif0=all", "--trace", "--json"], 1),
    (&["sim", "lot-hlt", "--knob", "all=all", "--seed", "18446744073709551615", "--json"], 0),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas")
}

/// Every schema by its file's name.
fn schemas() -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(folder()).expect("the folder of schemas");
    let paths = files.map(|file| file.expect("a file").path());
    paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| {
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
            let text = std::fs::read_to_string(&path).expect("a schema");
            (name, serde_json::from_str(&text).expect("JSON"))
        })
        .collect()
}

/// All schemas, for those that refer to each other.
fn registry(schemas: &BTreeMap<String, Value>) -> Registry<'_> {
    let mut registry = Registry::new();
    for (name, schema) in schemas {
        registry = registry.add(format!("urn:park:{name}:1"), schema).expect("a schema");
    }
    registry.prepare().expect("schemas that refer to each other")
}

fn validator(name: &str, schemas: &BTreeMap<String, Value>, registry: &Registry<'_>) -> Validator {
    let options = jsonschema::draft202012::options().with_registry(registry);
    options.build(&schemas[name]).unwrap_or_else(|error| panic!("{name}.json: {error}"))
}

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
    let schemas = schemas();
    let registry = registry(&schemas);
    let mut met = BTreeSet::new();
    for (arguments, code) in COMMANDS {
        let document = run(arguments, *code);
        let schema = document["schema"].as_str().unwrap_or_else(|| panic!("{arguments:?}: no schema"));
        let name = schema.strip_prefix("park.").and_then(|rest| rest.strip_suffix("/1"));
        let name = name.unwrap_or_else(|| panic!("{arguments:?}: {schema}"));
        assert!(schemas.contains_key(name), "{arguments:?}: docs/schemas/{name}.json does not exist");
        let validator = validator(name, &schemas, &registry);
        let errors: Vec<String> =
            validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{arguments:?}: {errors:#?}");
        met.insert(name.to_owned());
    }
    // `machine` is a part of other documents.
    let documents: BTreeSet<String> = schemas.keys().filter(|name| *name != "machine").cloned().collect();
    assert_eq!(met, documents, "a schema that no command meets, or the other way round");
}

#[test]
fn schemas_are_closed_and_named_like_their_files() {
    fn closed(name: &str, schema: &Value) {
        match schema {
            Value::Object(map) => {
                if map.contains_key("properties") && map.contains_key("required") {
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
