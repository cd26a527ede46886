//! Commands that can't outlive this program: park-lab's, with the errors of a stage.

use std::process::{Command, Stdio};

use park_lab::group;

use crate::stage::{Deadline, StageError};

pub(crate) use park_lab::group::{Group, shown};

/// Runs `command` to its end with this program's output; anything but success is an error.
pub(crate) fn run(command: &mut Command, deadline: Deadline) -> Result<(), StageError> {
    Ok(group::run(command, deadline)?)
}

/// Runs `command` to its end and returns what it wrote to standard output; anything but success is an error.
pub(crate) fn output(command: &mut Command, deadline: Deadline) -> Result<String, StageError> {
    Ok(group::output(command.stderr(Stdio::inherit()), deadline)?)
}
