//! Every crate that is published makes a package, and the package builds by itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use serde_json::Value;

use crate::group::{output, run};
use crate::stage::{Deadline, StageError};
use crate::tools::cargo;

/// Packages all of them together, since none is in a registry for the next to find, and builds each from its package.
pub(crate) fn check(deadline: Deadline) -> Result<(), StageError> {
    let metadata = output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]), deadline)?;
    let published = published(&metadata)?;
    if published.is_empty() {
        return Err(StageError::new("cargo metadata names no package that is published"));
    }
    for folder in registries().map_err(|error| StageError::new(format!("cargo's home: {error}")))? {
        forget_unpacked(&folder, &published)
            .map_err(|error| StageError::new(format!("{}: {error}", folder.display())))?;
    }
    // And what it built of them, for the same reason: cargo takes a package of a registry for what it was.
    let built = target_folder(&metadata)?.join(FOLDER);
    match fs::remove_dir_all(&built) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StageError::new(format!("{}: {error}", built.display())));
        }
        _ => {}
    }
    // What is not committed is packaged too: the working tree is what is tested.
    run(command(&published).arg("--target-dir").arg(built), deadline)
}

/// The folder below cargo's target folder that the packages are made and built in.
const FOLDER: &str = "published";

/// Cargo's target folder, as `cargo metadata` names it.
fn target_folder(metadata: &str) -> Result<PathBuf, StageError> {
    let metadata: Value =
        serde_json::from_str(metadata).map_err(|error| StageError::new(format!("cargo metadata: {error}")))?;
    let folder = metadata.get("target_directory").and_then(Value::as_str);
    folder.map(PathBuf::from).ok_or_else(|| StageError::new("cargo metadata names no target folder"))
}

/// The folders in which cargo unpacks packages of registries that are folders themselves: their names have no host before
/// the hyphen. `cargo package` makes such a registry for packages that need one another.
fn registries() -> io::Result<Vec<PathBuf>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let Some(sources) = home.map(|home| home.join("registry/src")).filter(|sources| sources.is_dir()) else {
        return Ok(Vec::new());
    };
    let entries = sources.read_dir()?.collect::<io::Result<Vec<_>>>()?;
    let local = entries.into_iter().filter(|entry| entry.file_name().to_string_lossy().starts_with('-'));
    Ok(local.map(|entry| entry.path()).collect())
}

/// Removes what an earlier run unpacked of our packages there. Cargo takes what is unpacked for what it has just packaged,
/// as long as the version is the same.
fn forget_unpacked(registry: &Path, published: &BTreeSet<String>) -> io::Result<()> {
    for entry in registry.read_dir()? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = |package: &String| name.strip_prefix(package.as_str()).is_some_and(is_version);
        if published.iter().any(is_ours) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// True if `rest`, behind a package's name, is a hyphen and a version.
fn is_version(rest: &str) -> bool {
    rest.strip_prefix('-').is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
}

fn command(published: &BTreeSet<String>) -> Command {
    let mut command = cargo(&["package", "--allow-dirty"]);
    command.args(published.iter().flat_map(|name| ["-p", name]));
    command
}

/// The packages of the workspace whose manifest does not say `publish = false`.
fn published(metadata: &str) -> Result<BTreeSet<String>, StageError> {
    let metadata: Value =
        serde_json::from_str(metadata).map_err(|error| StageError::new(format!("cargo metadata: {error}")))?;
    let packages = metadata.get("packages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let published = packages.iter().filter(|package| package.get("publish").is_none_or(Value::is_null));
    let names = published.filter_map(|package| package.get("name")?.as_str());
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_unpacked_packages_go() {
        let registry = std::env::temp_dir().join(format!("park-xtask-unpacked-{}", std::process::id()));
        for name in ["park-core-0.1.0", "park-core-extra-1.0.0", "libc-0.2.1"] {
            fs::create_dir_all(registry.join(name)).unwrap();
        }
        forget_unpacked(&registry, &BTreeSet::from(["park-core".to_owned()])).unwrap();
        let left = ["park-core-0.1.0", "park-core-extra-1.0.0", "libc-0.2.1"].map(|name| registry.join(name).exists());
        fs::remove_dir_all(&registry).unwrap();
        assert_eq!(left, [false, true, true]);
    }

    #[test]
    fn what_is_not_published_is_not_packaged() {
        let metadata = r#"{"packages":[{"name":"a","publish":null},{"name":"b","publish":[]},{"name":"c"}]}"#;
        let names = published(metadata).unwrap();
        assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "c"]);
        assert!(published("no JSON").is_err());
    }
}
