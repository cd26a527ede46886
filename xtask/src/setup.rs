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
const PACKAGES: [Package; 14] = [
    Package { name: "qemu-system-x86", reason: "runs the freestanding image" },
    Package { name: "ovmf", reason: "UEFI for QEMU, with and without SMM" },
    Package { name: "bochs", reason: "runs the freestanding image with real MWAIT and x2APIC" },
    Package { name: "bochs-term", reason: "Bochs without a display" },
    Package { name: "bochsbios", reason: "BIOS of Bochs" },
    Package { name: "vgabios", reason: "video BIOS of Bochs" },
    Package { name: "grub-common", reason: "grub-mkrescue, which makes ISOs" },
    Package { name: "grub-pc-bin", reason: "GRUB for BIOS, in ISOs" },
    Package { name: "grub-efi-amd64-bin", reason: "GRUB for UEFI, in ISOs" },
    Package { name: "xorriso", reason: "writes ISOs, for grub-mkrescue" },
    Package { name: "mtools", reason: "the file system in ISOs that UEFI boots from" },
    Package { name: "binutils", reason: "readelf, which tells what stock Linux's kexec is linked to" },
    Package { name: "rustc-web", reason: "a compiler that can build core for x86_64-unknown-none" },
    Package { name: "rust-web-src", reason: "the source of core, for that" },
];

/// Installs what is missing, or says what to type. Quick if nothing is missing.
pub(crate) fn run(deadline: Deadline) -> Result<(), StageError> {
    let mut missing = Vec::new();
    for package in &PACKAGES {
        let installed = debian::is_installed(package.name, deadline)?;
        println!("{:<20} {:<8} {}", package.name, if installed { "present" } else { "missing" }, package.reason);
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
