//! Who may know whom: the dependency edges of the workspace, asserted from `cargo metadata`.
//!
//! Encodings, CPU rules and claims have three homes, so that nothing is checked against itself. That only means
//! something while no home can see another.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates of this workspace that a crate may depend on to be built; a crate that isn't listed may have any.
const ALLOWED: &[(&str, &[&str])] = &[
    ("park-core", &[]),
    ("park-policy", &["park-core"]),
    ("park-x86", &["park-core"]),
    ("park-intel", &["park-core", "park-x86"]),
    ("park-amd", &["park-core", "park-x86"]),
    ("cpu-park", &["park-core", "park-x86", "park-intel", "park-amd", "park-policy"]),
    ("park-sim", &["park-core", "park-x86"]),
    ("park-conformance", &["park-core"]),
];
/// Homes of claims and of what derives from them: the simulator must not see these.
const CLAIM_SIDE: [&str; 5] = ["park-intel", "park-amd", "cpu-park", "park-policy", "park-conformance"];
/// Crates that may hold unsafe blocks and assembly.
const UNSAFE_ALLOWED: [&str; 2] = ["park-x86", "park-metal"];
/// Crates for kernels: their roots say `no_std`.
const NO_STD: [&str; 7] =
    ["park-core", "park-x86", "park-intel", "park-amd", "cpu-park", "park-policy", "park-conformance"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Normal,
    Build,
    Dev,
}

/// One crate of the workspace.
#[derive(Debug)]
struct Package {
    manifest_dir: PathBuf,
    library_root: Option<PathBuf>,
    edges: BTreeSet<(String, Kind)>,
}

fn workspace() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages.iter().map(|package| (text(&package["name"]), read_package(package))).collect()
}

fn read_package(package: &Value) -> Package {
    let dependencies = package["dependencies"].as_array().expect("a list of dependencies");
    let edges = dependencies
        .iter()
        .map(|dependency| {
            let kind = match dependency["kind"].as_str() {
                None => Kind::Normal,
                Some("build") => Kind::Build,
                Some("dev") => Kind::Dev,
                Some(other) => panic!("a kind of dependency that this test does not know: {other}"),
            };
            (text(&dependency["name"]), kind)
        })
        .collect();
    let targets = package["targets"].as_array().expect("a list of targets");
    let library = targets
        .iter()
        .find(|target| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib")));
    Package {
        manifest_dir: PathBuf::from(text(&package["manifest_path"])).parent().expect("a directory").to_owned(),
        library_root: library.map(|target| PathBuf::from(text(&target["src_path"]))),
        edges,
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

/// Every crate of the workspace that `name` needs to be built, however far away.
fn built_with(workspace: &BTreeMap<String, Package>, name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![name.to_owned()];
    while let Some(next) = open.pop() {
        let Some(package) = workspace.get(&next) else { continue };
        for (dependency, kind) in &package.edges {
            if *kind != Kind::Dev && workspace.contains_key(dependency) && found.insert(dependency.clone()) {
                open.push(dependency.clone());
            }
        }
    }
    found
}

#[test]
fn no_crate_has_an_edge_that_the_design_does_not_draw() {
    let workspace = workspace();
    for (name, allowed) in ALLOWED {
        if !workspace.contains_key(*name) {
            continue;
        }
        for dependency in built_with(&workspace, name) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn core_needs_bitflags_alone() {
    let workspace = workspace();
    let edges: Vec<_> = workspace["park-core"].edges.iter().filter(|(_, kind)| *kind != Kind::Dev).collect();
    assert_eq!(edges, [&("bitflags".to_owned(), Kind::Normal)]);
}

#[test]
fn rules_and_claims_do_not_see_each_other() {
    let workspace = workspace();
    let simulator = built_with(&workspace, "park-sim");
    for claims in CLAIM_SIDE {
        assert!(!simulator.contains(claims), "the CPU rules see {claims}");
        if workspace.contains_key(claims) {
            assert!(!built_with(&workspace, claims).contains("park-sim"), "{claims} sees the CPU rules");
        }
    }
    // Not even the tests of the crates that state claims may ask the simulator what to claim.
    for claims in ["park-intel", "park-amd"] {
        assert!(!workspace[claims].edges.iter().any(|(name, _)| name == "park-sim"), "{claims} tests with the rules");
    }
}

/// An edge could be hidden by reading the other side's file instead of linking it.
#[test]
fn no_side_includes_the_others_files() {
    let workspace = workspace();
    for (name, foreign) in [
        ("park-sim", &["park-intel", "park-amd", "park_intel", "park_amd", "cpu_park"][..]),
        ("park-intel", &["park-sim", "park_sim"][..]),
        ("park-amd", &["park-sim", "park_sim"][..]),
    ] {
        for (path, source) in sources(&workspace[name].manifest_dir.join("src")) {
            for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let reads = foreign.iter().any(|word| line.contains(word));
                assert!(!reads, "{} names the other side: {line}", path.display());
            }
        }
    }
}

#[test]
fn unsafe_code_is_where_it_belongs() {
    let workspace = workspace();
    for (name, package) in &workspace {
        if UNSAFE_ALLOWED.contains(&name.as_str()) {
            continue;
        }
        if let Some(root) = package.library_root.as_ref().filter(|_| ALLOWED.iter().any(|(listed, _)| listed == name)) {
            let source = std::fs::read_to_string(root).expect("a readable file");
            assert!(source.contains("#![forbid(unsafe_code)]"), "{name} does not forbid unsafe code");
        }
        for (path, source) in sources(&package.manifest_dir.join("src")) {
            let block = source.lines().find(|line| {
                let code = line.split("//").next().unwrap_or("");
                code.contains("unsafe {") || code.contains("asm!(")
            });
            assert_eq!(block, None, "{} holds unsafe code", path.display());
        }
    }
}

#[test]
fn crates_for_kernels_do_without_std() {
    let workspace = workspace();
    for name in NO_STD {
        let Some(package) = workspace.get(name) else { continue };
        let root = package.library_root.as_ref().expect("a library");
        let source = std::fs::read_to_string(root).expect("a readable file");
        assert!(source.contains("#![no_std]") || source.contains("no_std)]"), "{name} is not no_std");
        assert!(!source.contains("extern crate alloc"), "{name} allocates");
    }
}

/// All Rust files under `dir`, with what they hold.
fn sources(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return found };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).expect("a readable file");
            found.push((path, source));
        }
    }
    found
}
