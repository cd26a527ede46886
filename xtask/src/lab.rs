//! The lab on one rig, by `park lab` as a user would run it.

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::group;
use crate::image;
use crate::stage::{Deadline, StageError, minutes};
use crate::tools::cargo;

/// The longest that the lab on QEMU may take: it took 6 minutes on two cores.
pub(crate) const QEMU_LIMIT: Duration = minutes(12);
/// The longest that the lab on Bochs may take: it took 3 minutes on two cores.
pub(crate) const BOCHS_LIMIT: Duration = minutes(8);

/// The longest that the soak may take: 4 s for each generation of 16 CPUs on two cores, many times over.
pub(crate) const SOAK_LIMIT: Duration = minutes(40);

/// The longest that stock Linux may take: 3 minutes on two cores, and its kernel, of 70 MB, is fetched first.
pub(crate) const LINUX_LIMIT: Duration = minutes(10);
/// The longest that its long form may take: a quarter of an hour on two cores.
pub(crate) const LINUX_SOAK_LIMIT: Duration = minutes(60);
/// What it shows.
const LINUX: [&str; 3] = ["linux-torture", "linux-mailbox", "linux-chain"];

/// The longest that the lab on the simulator may take: 2 seconds, and it is the first that builds `park`.
pub(crate) const SIM_LIMIT: Duration = minutes(6);

/// The conformance cases on the simulator.
pub(crate) fn sim(deadline: Deadline) -> Result<(), StageError> {
    measure("sim", None, deadline)
}

/// Everything short on QEMU.
pub(crate) fn qemu(deadline: Deadline) -> Result<(), StageError> {
    measure("qemu", Some(image::path()?), deadline)
}

/// Everything short on Bochs.
pub(crate) fn bochs(deadline: Deadline) -> Result<(), StageError> {
    measure("bochs", Some(image::path()?), deadline)
}

/// Stock Linux: what it loses and the lot keeps, its CPUs by the mailbox, one kexec.
pub(crate) fn linux(deadline: Deadline) -> Result<(), StageError> {
    each_of_linux(&[], deadline)
}

/// The same with every way of parking and every event, with 8 CPUs, and with three Linuxes one after the other.
pub(crate) fn linux_soak(deadline: Deadline) -> Result<(), StageError> {
    each_of_linux(&["--long"], deadline)
}

/// All of [`LINUX`], also after one that fails.
fn each_of_linux(arguments: &[&str], deadline: Deadline) -> Result<(), StageError> {
    let mut failed = Vec::new();
    for name in LINUX {
        let mut command = park("lab");
        command.arg(name).args(arguments).arg("--image").arg(image::path()?);
        if let Err(error) = group::run(&mut command, deadline) {
            failed.push(format!("{name}: {error}"));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(StageError::new(failed.join("; "))) }
}

/// The long torture.
pub(crate) fn soak(deadline: Deadline) -> Result<(), StageError> {
    let mut command = park("lab");
    command.arg("--soak").arg("--image").arg(image::path()?);
    group::run(&mut command, deadline)
}

/// Where the lab on `rig` leaves what it measured; what an earlier run left is gone once another begins.
pub(crate) fn results(rig: &str) -> PathBuf {
    Path::new(RESULTS).join(rig).with_extension("json")
}

/// The folder of [`results`].
const RESULTS: &str = "target/lab-results";

/// Everything short on one rig; it tells its progress, and its document goes to [`results`].
fn measure(rig: &str, image: Option<PathBuf>, deadline: Deadline) -> Result<(), StageError> {
    let path = results(rig);
    let unwritable = |error| StageError::new(format!("{}: {error}", path.display()));
    fs::create_dir_all(RESULTS).map_err(unwritable)?;
    if path.exists() {
        fs::remove_file(&path).map_err(unwritable)?;
    }
    let mut command = park("lab");
    command.args(["--json", "--rig", rig]);
    if let Some(image) = image {
        command.arg("--image").arg(image);
    }
    let document = group::output(&mut command, deadline)?;
    fs::write(&path, document).map_err(unwritable)
}

/// The program as a user would run it.
pub(crate) fn park(subcommand: &str) -> Command {
    cargo(&["run", "--quiet", "-p", "cpu-park-cli", "--bin", "park", "--", subcommand])
}
