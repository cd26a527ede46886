//! The library crates check with the oldest compiler that their manifests promise.
//!
//! Debian's archive has it; it is fetched once and unpacked below `target`, not installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian;
use crate::group;
use crate::stage::{Deadline, StageError};
use crate::tools::{LIBRARY_CRATES, cargo, library_packages};

/// Where the compiler lives.
const FOLDER: &str = "target/msrv";

/// Checks the library crates.
pub(crate) fn check(deadline: Deadline) -> Result<(), StageError> {
    let wanted =
        stated_version(&group::output(&mut cargo(&["metadata", "--no-deps", "--format-version=1"]), deadline)?)?;
    let rustc = compiler(&wanted, deadline)?;
    let version = group::output(Command::new(&rustc).arg("--version"), deadline)?;
    println!("compiler: {}", version.trim());
    if !version.starts_with(&format!("rustc {wanted}.")) {
        let found = version.trim();
        return Err(StageError::new(format!("wanted rustc {wanted}, found {found}; remove {FOLDER}")));
    }
    let mut command = cargo(&["check", "--lib", "--target-dir", "target/msrv/build"]);
    group::run(command.args(library_packages()).env("RUSTC", &rustc), deadline)
}

/// The `rust-version` of the library crates, from `cargo metadata`.
fn stated_version(metadata: &str) -> Result<String, StageError> {
    let metadata: serde_json::Value = serde_json::from_str(metadata)
        .map_err(|error| StageError::new(format!("cargo metadata is not JSON: {error}")))?;
    let packages = metadata.get("packages").and_then(serde_json::Value::as_array);
    let mut stated = packages
        .into_iter()
        .flatten()
        .filter(|package| package.get("name").and_then(serde_json::Value::as_str).is_some_and(is_library))
        .map(|package| package.get("rust_version").and_then(serde_json::Value::as_str).unwrap_or("none"));
    let first = stated.next().ok_or_else(|| StageError::new("cargo metadata has no library crate"))?;
    match stated.find(|other| *other != first) {
        None => Ok(first.to_owned()),
        Some(other) => Err(StageError::new(format!("library crates state rust-version {first} and {other}"))),
    }
}

fn is_library(name: &str) -> bool {
    LIBRARY_CRATES.contains(&name)
}

/// A compiler of version `wanted`: unpacked before, or fetched now.
fn compiler(wanted: &str, deadline: Deadline) -> Result<PathBuf, StageError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error| StageError::new(format!("{path}: {error}"))
    };
    let folder = std::path::absolute(FOLDER).map_err(failed(Path::new(FOLDER)))?;
    let (packages, root, script) = (folder.join("packages"), folder.join("root"), folder.join("rustc"));
    // Written last, so that what was interrupted is done again.
    if script.exists() {
        return Ok(script);
    }
    let prefix = format!("{wanted}.");
    let mut version = debian::version("rustc-web", &prefix, deadline)?;
    if version.is_none() && debian::is_root(deadline)? {
        debian::update(deadline)?;
        version = debian::version("rustc-web", &prefix, deadline)?;
    }
    let version = version
        .ok_or_else(|| StageError::new(format!("the Debian archive has no rustc-web {wanted}; apt-get update?")))?;
    // Leftovers of an interrupted run may be of another version.
    for old in [&packages, &root] {
        if old.exists() {
            fs::remove_dir_all(old).map_err(failed(old))?;
        }
    }
    fs::create_dir_all(&packages).map_err(failed(&packages))?;
    let wanted_packages = [
        format!("rustc-web={version}"),
        format!("libstd-rust-web-dev={version}"),
        format!("libstd-rust-web-{wanted}={version}"),
        // What rustc 1.85 is linked against. A later rust-version brings another.
        "libllvm19".to_owned(),
    ];
    debian::download(&wanted_packages, &packages, deadline)?;
    debian::unpack(&packages, &root, deadline)?;
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    let rustc = root.join("usr/bin/rustc");
    let text = format!("#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n", libraries.display(), rustc.display());
    let unfinished = folder.join("rustc.new");
    fs::write(&unfinished, text).map_err(failed(&unfinished))?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o755)).map_err(failed(&unfinished))?;
    fs::rename(&unfinished, &script).map_err(failed(&script))?;
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stated_version_is_that_of_all_library_crates() {
        let of = |core: &str, x86: &str| {
            let package = |name: &str, version: &str| format!(r#"{{"name":"{name}","rust_version":{version}}}"#);
            let packages = [package("xtask", "\"1.95\""), package("park-core", core), package("park-x86", x86)];
            stated_version(&format!(r#"{{"packages":[{}]}}"#, packages.join(",")))
        };
        assert_eq!(of("\"1.85\"", "\"1.85\""), Ok("1.85".to_owned()));
        assert!(of("\"1.85\"", "\"1.86\"").is_err());
        assert!(of("\"1.85\"", "null").is_err());
        assert!(stated_version("{}").is_err());
        assert!(stated_version("no").is_err());
    }
}
