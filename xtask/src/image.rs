//! Building the freestanding image.

use core::time::Duration;
use std::path::PathBuf;

use crate::group;
use crate::stage::{Deadline, StageError, minutes};
use crate::tools::cargo;

/// The longest that building may take.
pub(crate) const LIMIT: Duration = minutes(8);

/// Builds the image and returns where it is.
pub(crate) fn build(deadline: Deadline) -> Result<PathBuf, StageError> {
    group::run(&mut cargo(&["build", "-p", "park-metal", "--features", "image", "--profile", "metal"]), deadline)?;
    path()
}

/// Where [`build`] has put the image.
pub(crate) fn path() -> Result<PathBuf, StageError> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let image = target.join("metal").join("park-metal");
    image.canonicalize().map_err(|error| StageError::new(format!("{}: {error}", image.display())))
}
