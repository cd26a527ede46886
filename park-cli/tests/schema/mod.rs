//! Documents against docs/schemas. Shared by tests; each uses what it needs.
#![allow(dead_code, reason = "every test compiles its own copy of this module")]
#![allow(unreachable_pub, reason = "tests export nothing, and this module serves several")]

use jsonschema::{Registry, Validator};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas")
}

/// Every schema by its file's name.
pub fn schemas() -> BTreeMap<String, Value> {
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

/// The name of the schema that a document is said to follow; panics if it does not.
pub fn check(document: &Value, what: &str) -> String {
    let schemas = schemas();
    let registry = registry(&schemas);
    let schema = document["schema"].as_str().unwrap_or_else(|| panic!("{what}: no schema"));
    let name = schema.strip_prefix("park.").and_then(|rest| rest.strip_suffix("/1"));
    let name = name.unwrap_or_else(|| panic!("{what}: {schema}"));
    assert!(schemas.contains_key(name), "{what}: docs/schemas/{name}.json does not exist");
    let validator = validator(name, &schemas, &registry);
    let errors: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}");
    name.to_owned()
}
