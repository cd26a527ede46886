//! The freestanding image, as park-lab builds it.

use core::time::Duration;
use std::path::{Path, PathBuf};

use crate::stage::{Deadline, StageError, minutes};

/// The longest that building may take.
pub(crate) const LIMIT: Duration = minutes(8);

/// Builds the image and returns where it is.
pub(crate) fn build(deadline: Deadline) -> Result<PathBuf, StageError> {
    Ok(park_lab::image::build(workspace(), deadline)?)
}

/// Where [`build`] has put the image.
pub(crate) fn path() -> Result<PathBuf, StageError> {
    Ok(park_lab::image::path(workspace())?)
}

/// `main` has gone there.
fn workspace() -> &'static Path {
    Path::new(".")
}
