//! `docs/matrix.json` and `docs/matrix.html`: what the labs measured last, beside the claims.

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::group;
use crate::lab;
use crate::stage::{Deadline, StageError, minutes};

/// The longest that it may take: the simulator measures for some seconds, after the stages that built `park`.
pub(crate) const LIMIT: Duration = minutes(5);
/// The rigs whose labs are in it; the simulator's column is measured anew.
const RIGS: [&str; 2] = ["qemu", "bochs"];
/// Where it is kept.
const FOLDER: &str = "docs";
/// The document, in [`FOLDER`].
const DOCUMENT: &str = "matrix.json";
/// The page, in [`FOLDER`].
const PAGE: &str = "matrix.html";

/// Compares what the stages of the lab have just measured with what is kept.
pub(crate) fn check(deadline: Deadline) -> Result<(), StageError> {
    group::run(park()?.args(["--against", FOLDER]), deadline).map_err(|error| {
        StageError::new(format!(
            "{error}: what is measured is not what {FOLDER}/{DOCUMENT} has; if it is meant to be, `cargo xtask bless-matrix`"
        ))
    })
}

/// Keeps what the stages of the lab measured last.
pub(crate) fn bless(deadline: Deadline) -> Result<(), StageError> {
    let folder = Path::new(FOLDER);
    let document = group::output(park()?.arg("--json").arg("--html").arg(folder.join(PAGE)), deadline)?;
    let path = folder.join(DOCUMENT);
    fs::write(&path, document).map_err(|error| StageError::new(format!("{}: {error}", path.display())))
}

/// `park matrix` with the labs' documents.
fn park() -> Result<Command, StageError> {
    let mut command = lab::park("matrix");
    for path in RIGS.map(lab::results) {
        command.arg("--log").arg(present(path)?);
    }
    Ok(command)
}

fn present(path: PathBuf) -> Result<PathBuf, StageError> {
    if path.is_file() {
        return Ok(path);
    }
    let stages = RIGS.map(|rig| format!("--only lab-{rig}")).join(" ");
    let path = path.display();
    Err(StageError::new(format!("{path} is missing: `cargo xtask test --only image {stages} --only matrix` makes it")))
}
