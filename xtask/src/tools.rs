//! The stages that are one cargo command.

use std::process::Command;

use crate::group;
use crate::stage::{Deadline, StageError};

/// The library crates: what a kernel may depend on.
pub(crate) const LIBRARY_CRATES: [&str; 7] =
    ["park-core", "park-policy", "park-x86", "park-intel", "park-amd", "cpu-park", "park-conformance"];

/// The cargo that runs this program, without what it put into the environment for it.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo run` adds the toolchain's own libraries; another compiler must not find them.
    command.env_remove("LD_LIBRARY_PATH").args(arguments);
    command
}

/// `-p` for every library crate.
pub(crate) fn library_packages() -> impl Iterator<Item = &'static str> {
    LIBRARY_CRATES.into_iter().flat_map(|name| ["-p", name])
}

/// Formatting is what rustfmt makes.
pub(crate) fn fmt(deadline: Deadline) -> Result<(), StageError> {
    group::run(&mut cargo(&["fmt", "--all", "--check"]), deadline)
}

/// No warnings in anything that `cargo build` builds.
pub(crate) fn clippy(deadline: Deadline) -> Result<(), StageError> {
    group::run(&mut cargo(&["clippy", "--workspace", "--keep-going", "--", "-D", "warnings"]), deadline)
}

/// No warnings in the image, which is behind a feature and needs the profile without unwinding.
pub(crate) fn clippy_image(deadline: Deadline) -> Result<(), StageError> {
    let arguments = ["clippy", "-p", "park-metal", "--features", "image", "--profile", "metal", "--", "-D", "warnings"];
    group::run(&mut cargo(&arguments), deadline)
}

/// Documentation builds without warnings.
pub(crate) fn doc(deadline: Deadline) -> Result<(), StageError> {
    let mut command = cargo(&["doc", "--no-deps", "--workspace", "--keep-going"]);
    group::run(command.env("RUSTDOCFLAGS", "-Dwarnings"), deadline)
}

/// All tests, also after the first that fails.
pub(crate) fn test(deadline: Deadline) -> Result<(), StageError> {
    group::run(&mut cargo(&["test", "--workspace", "--no-fail-fast"]), deadline)
}
