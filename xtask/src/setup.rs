//! `cargo xtask setup`: the Debian packages that the tests need.

use core::time::Duration;

use crate::debian;
use crate::stage::{Deadline, StageError, minutes};

/// The longest that installing may take.
pub(crate) const LIMIT: Duration = minutes(8);

/// A package and why it is needed.
struct Package {
    name: &'static str,
    reason: &'static str,
}

/// All packages.
const PACKAGES: [Package; 3] = [
    Package { name: "qemu-system-x86", reason: "runs the freestanding image" },
    Package { name: "rustc-web", reason: "a compiler that can build core for x86_64-unknown-none" },
    Package { name: "rust-web-src", reason: "the source of core, for that" },
];

/// Installs what is missing, or says what to type. Quick if nothing is missing.
pub(crate) fn run(deadline: Deadline) -> Result<(), StageError> {
    let mut missing = Vec::new();
    for package in &PACKAGES {
        let installed = debian::is_installed(package.name, deadline)?;
        println!("{:<16} {:<8} {}", package.name, if installed { "present" } else { "missing" }, package.reason);
        if !installed {
            missing.push(package.name);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !debian::is_root(deadline)? {
        let line = format!("sudo apt-get update && sudo apt-get install --no-install-recommends {}", missing.join(" "));
        return Err(StageError::new(format!("only root can install packages; type\n{line}")));
    }
    debian::update(deadline)?;
    debian::install(&missing, deadline)
}
