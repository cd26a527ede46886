//! Every crate that is published makes a package, and the package builds by itself.

use std::collections::BTreeSet;
use std::process::Command;

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
    // What is not committed is packaged too: the working tree is what is tested.
    run(&mut command(&published), deadline)
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
    fn what_is_not_published_is_not_packaged() {
        let metadata = r#"{"packages":[{"name":"a","publish":null},{"name":"b","publish":[]},{"name":"c"}]}"#;
        let names = published(metadata).unwrap();
        assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "c"]);
        assert!(published("no JSON").is_err());
    }
}
