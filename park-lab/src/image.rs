//! Building the freestanding image, by plain stable cargo.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::LabError;
use crate::deadline::Deadline;
use crate::group;

/// What builds it, after `cargo`.
pub const BUILD: [&str; 7] = ["build", "-p", "park-metal", "--features", "image", "--profile", "metal"];
/// The manifest by which the workspace is known.
const MANIFEST: &str = "park-metal/Cargo.toml";

/// The workspace in or above `folder`.
///
/// # Errors
/// [`LabError::Input`]: there is none.
pub fn workspace(folder: &Path) -> Result<PathBuf, LabError> {
    let found = folder.ancestors().find(|folder| folder.join(MANIFEST).is_file());
    found.map(Path::to_owned).ok_or_else(|| {
        let folder = folder.display();
        LabError::Input(format!(
            "{folder} is not in park's source, from which the image is built; go there, or name an image"
        ))
    })
}

/// Builds the image of the workspace at `workspace` and returns where it is.
///
/// # Errors
/// [`LabError::ToolMissing`] without cargo; [`LabError::Program`] if it fails: it has told why on standard error.
pub fn build(workspace: &Path, deadline: Deadline) -> Result<PathBuf, LabError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // `cargo run` adds the toolchain's own libraries; another compiler must not find them.
    command.env_remove("LD_LIBRARY_PATH").args(BUILD).arg("--quiet").current_dir(workspace);
    group::run(&mut command, deadline)?;
    path(workspace)
}

/// Where [`build`] has put the image.
///
/// # Errors
/// [`LabError::File`] if it is not there.
pub fn path(workspace: &Path) -> Result<PathBuf, LabError> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let image = workspace.join(target).join("metal").join("park-metal");
    image.canonicalize().map_err(LabError::file(&image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_found_from_below_and_missed_from_elsewhere() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let found = workspace(&here.join("src")).unwrap();
        assert!(found.join("park-lab").is_dir());
        let error = workspace(Path::new("/")).unwrap_err().to_string();
        assert!(error.contains("park's source"), "{error}");
    }
}
