//! The kernel that stands for everybody's: Debian's, unmodified, or a file that the caller names.

use core::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::LabError;
use crate::deadline::Deadline;
use crate::linux::bzimage::{BzImage, BzImageError};
use crate::linux::cache::cached;
use crate::linux::debian::{self, Package, dependency, files_in};

/// Debian's name of its newest kernel for amd64; it depends on the real one.
const METAPACKAGE: &str = "linux-image-amd64";
/// How the files of a kernel in `/boot` begin; what follows is its release.
const KERNEL_PREFIX: &str = "vmlinuz-";
const CONFIG_PREFIX: &str = "config-";
/// What the lab asks a kernel to do, and the options that it takes.
const NEEDED: [(&str, &str); 6] = [
    ("CONFIG_ACPI", "it finds its CPUs by ACPI's MADT"),
    ("CONFIG_SMP", "it starts more than one CPU"),
    ("CONFIG_HOTPLUG_CPU", "it takes CPUs offline"),
    ("CONFIG_KEXEC", "it starts the next kernel"),
    ("CONFIG_BLK_DEV_INITRD", "it is given a root file system in memory"),
    ("CONFIG_SERIAL_8250_CONSOLE", "it is heard on COM1"),
];

/// A kernel that the lab can start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// The bzImage.
    pub file: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// Its release, as `uname -r` tells it.
    pub release: String,
    /// SHA-256 of the bzImage, in hexadecimal.
    pub sha256: String,
    /// The package that it is from; `None` for a file that the caller named.
    pub package: Option<Package>,
}

/// Why a kernel is not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum KernelError {
    /// The file is no kernel that can be started.
    BzImage(BzImageError),
    /// Its configuration lacks something.
    Lacks {
        /// The option.
        option: &'static str,
        /// What for.
        reason: &'static str,
    },
    /// Its package holds no kernel.
    NotThere,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BzImage(error) => write!(f, "{error}"),
            Self::Lacks { option, reason } => {
                write!(f, "it is built without {option}, and the lab needs that {reason}; name a kernel that has it")
            }
            Self::NotThere => f.write_str("the package holds no vmlinuz"),
        }
    }
}

impl core::error::Error for KernelError {}

impl Kernel {
    /// Debian's current kernel, from the cache below `base` or fetched into it.
    ///
    /// # Errors
    /// [`LabError::Package`] if it can't be fetched, [`LabError::Kernel`] if it lacks what the lab needs.
    pub fn of_debian(base: &Path, deadline: Deadline) -> Result<Self, LabError> {
        let cached = cached(base, "kernel", |folder| {
            let package = dependency(METAPACKAGE, deadline)?;
            let (downloads, root) = (folder.join("downloads"), folder.join("root"));
            let packages = debian::fetch(&[package], &downloads, &root, deadline)?;
            let boot = root.join("boot");
            for file in files_in(&boot)? {
                let kept = folder.join(file.file_name().unwrap_or_default());
                if begins(&file, KERNEL_PREFIX) || begins(&file, CONFIG_PREFIX) {
                    fs::rename(&file, &kept).map_err(LabError::file(&file))?;
                }
            }
            // Hundreds of MiB of modules that nobody loads, and the package's file.
            fs::remove_dir_all(&root).map_err(LabError::file(&root))?;
            fs::remove_dir_all(&downloads).map_err(LabError::file(&downloads))?;
            Ok(packages)
        })?;
        let files = files_in(&cached.folder)?;
        let file = files
            .iter()
            .find(|file| begins(file, KERNEL_PREFIX))
            .ok_or_else(|| LabError::Kernel { path: cached.folder.clone(), why: KernelError::NotThere })?;
        Ok(Self { package: cached.packages.into_iter().next(), ..Self::of_file(file, deadline)? })
    }

    /// The bzImage at `file`. Its configuration is looked at where it lies beside it, as `/boot` has it: `config-RELEASE`
    /// beside `vmlinuz-RELEASE`.
    ///
    /// # Errors
    /// [`LabError::Kernel`] names what is wrong with it; [`LabError::File`] if it can't be read.
    pub fn of_file(file: &Path, deadline: Deadline) -> Result<Self, LabError> {
        let refused = |why| LabError::Kernel { path: file.to_owned(), why };
        let file = file.canonicalize().map_err(LabError::file(file))?;
        let bytes = fs::read(&file).map_err(LabError::file(&file))?;
        let image = BzImage::parse(&bytes).map_err(|error| refused(KernelError::BzImage(error)))?;
        let configuration = configuration_beside(&file)?;
        if let Some((option, reason)) = configuration.as_deref().and_then(lacked) {
            return Err(refused(KernelError::Lacks { option, reason }));
        }
        let sha256 = debian::sha256(&file, deadline)?;
        Ok(Self { bytes: bytes.len() as u64, release: image.release, sha256, package: None, file })
    }
}

fn begins(file: &Path, prefix: &str) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}

/// The configuration that lies beside a kernel, if one does.
fn configuration_beside(file: &Path) -> Result<Option<String>, LabError> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(release) = name.strip_prefix(KERNEL_PREFIX) else { return Ok(None) };
    let beside = file.with_file_name(format!("{CONFIG_PREFIX}{release}"));
    match fs::read_to_string(&beside) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LabError::File { path: beside, error }),
    }
}

/// The first option that a configuration lacks: it is not there as `NAME=y`.
fn lacked(configuration: &str) -> Option<(&'static str, &'static str)> {
    let has = |option: &str| configuration.lines().any(|line| line.trim_end().strip_prefix(option) == Some("=y"));
    NEEDED.into_iter().find(|(option, _)| !has(option))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn what_a_configuration_lacks_is_named() {
        let whole: String = NEEDED.iter().map(|(option, _)| format!("{option}=y\n")).collect();
        assert_eq!(lacked(&whole), None);
        for (option, reason) in NEEDED {
            // As Linux writes what is off, as a module, and by another name that begins like it.
            for without in [format!("# {option} is not set"), format!("{option}=m"), format!("{option}_X=y")] {
                assert_eq!(lacked(&whole.replace(&format!("{option}=y"), &without)), Some((option, reason)));
            }
        }
    }

    #[test]
    fn a_file_that_is_no_kernel_is_refused_by_name() {
        let folder = std::env::temp_dir().join(format!("park-lab-kernel-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("vmlinuz-1");
        fs::write(&file, "no kernel").unwrap();
        let deadline = Deadline::after(Duration::from_secs(60));
        let error = Kernel::of_file(&file, deadline).unwrap_err().to_string();
        assert!(error.contains("vmlinuz-1") && error.contains("no bzImage"), "{error}");
        assert!(matches!(Kernel::of_file(&folder.join("none"), deadline), Err(LabError::File { .. })));
        fs::remove_dir_all(folder).unwrap();
    }
}
