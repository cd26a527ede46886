//! The library crates build for x86_64-unknown-none, where there is no operating system.
//!
//! rustup's stable toolchain need not have that target; Debian's compiler with Debian's source of core builds it. Its
//! `RUSTC_BOOTSTRAP` lets unstable features pass too, so the other stages compile the same crates on plain stable.

use std::process::Command;

use crate::group;
use crate::stage::{Deadline, StageError};
use crate::tools::{cargo, library_packages};

/// Debian's compiler; its source of core is found from it.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Builds the library crates.
pub(crate) fn build(deadline: Deadline) -> Result<(), StageError> {
    println!("compiler: {}", group::output(Command::new(DEBIAN_RUSTC).arg("--version"), deadline)?.trim());
    let mut command = cargo(&["build", "-Zbuild-std=core", "--target", "x86_64-unknown-none"]);
    command.args(["--target-dir", "target/none", "--lib"]).args(library_packages());
    command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
    group::run(&mut command, deadline)
}
