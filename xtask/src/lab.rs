//! The lab on one emulator, by `park lab` as a user would run it.

use core::time::Duration;

use crate::group;
use crate::image;
use crate::stage::{Deadline, StageError, minutes};
use crate::tools::cargo;

/// The longest that the lab on QEMU may take: it took 3 minutes on two busy cores.
pub(crate) const QEMU_LIMIT: Duration = minutes(10);
/// The longest that the lab on Bochs may take: it took 1 minute on two busy cores.
pub(crate) const BOCHS_LIMIT: Duration = minutes(5);

/// The longest that the soak may take: 4 s for each generation of 16 CPUs on two cores, many times over.
pub(crate) const SOAK_LIMIT: Duration = minutes(40);

/// Everything short on QEMU.
pub(crate) fn qemu(deadline: Deadline) -> Result<(), StageError> {
    run(&["--rig", "qemu"], deadline)
}

/// Everything short on Bochs.
pub(crate) fn bochs(deadline: Deadline) -> Result<(), StageError> {
    run(&["--rig", "bochs"], deadline)
}

/// The long torture.
pub(crate) fn soak(deadline: Deadline) -> Result<(), StageError> {
    run(&["--soak"], deadline)
}

fn run(arguments: &[&str], deadline: Deadline) -> Result<(), StageError> {
    let mut command = cargo(&["run", "--quiet", "-p", "cpu-park-cli", "--bin", "park", "--", "lab"]);
    command.args(arguments).arg("--image").arg(image::path()?);
    group::run(&mut command, deadline)
}
