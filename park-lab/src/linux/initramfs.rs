//! The root file system of the lab's Linux, which lies in memory: a script, what it calls, and what it starts next.

use std::fs;
use std::path::{Path, PathBuf};

use crate::LabError;
use crate::deadline::Deadline;
use crate::linux::cpio::Archive;
use crate::linux::debian;
use crate::linux::kernel::Kernel;
use crate::linux::userland::{LINKER, Userland};

/// The script that Linux starts as its first program.
const INIT: &str = include_str!("init.sh");
/// `/dev/console`, which the kernel opens before any script runs (Documentation/admin-guide/devices.txt of Linux).
const CONSOLE: (u32, u32) = (5, 1);
const PROGRAM_MODE: u32 = 0o755;
const DATA_MODE: u32 = 0o644;

/// What Linux can start next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next<'a> {
    /// The image.
    Image,
    /// The image, or this kernel again.
    ImageOrKernel(&'a Kernel),
}

/// An archive in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Initramfs {
    /// The file.
    pub file: PathBuf,
    /// Its bytes.
    pub bytes: u64,
}

impl Initramfs {
    /// Writes the archive into `file`.
    ///
    /// # Errors
    /// [`LabError::File`].
    pub fn write(file: &Path, userland: &Userland, image: &Path, next: Next<'_>) -> Result<Self, LabError> {
        let mut archive = Archive::default();
        for folder in ["bin", "boot", "dev", "lib", "lib64"] {
            archive.directory(folder);
        }
        archive.character_device("dev/console", CONSOLE.0, CONSOLE.1);
        archive.file("init", PROGRAM_MODE, INIT.as_bytes());
        let mut copy = |name: &str, mode, from: &Path| {
            let data = fs::read(from).map_err(LabError::file(from))?;
            archive.file(name, mode, &data);
            Ok::<_, LabError>(())
        };
        copy("bin/busybox", PROGRAM_MODE, &userland.busybox)?;
        copy("bin/kexec", PROGRAM_MODE, &userland.kexec)?;
        for library in &userland.libraries {
            let name = library.file_name().unwrap_or_default().to_string_lossy();
            let folder = if name == LINKER { "lib64" } else { "lib" };
            copy(&format!("{folder}/{name}"), PROGRAM_MODE, library)?;
        }
        copy("boot/park-metal", DATA_MODE, image)?;
        if let Next::ImageOrKernel(kernel) = next {
            copy("boot/vmlinuz", DATA_MODE, &kernel.file)?;
        }
        let bytes = archive.finish();
        fs::write(file, &bytes).map_err(LabError::file(file))?;
        Ok(Self { file: file.to_owned(), bytes: bytes.len() as u64 })
    }

    /// SHA-256 of it, in hexadecimal.
    ///
    /// # Errors
    /// As [`debian::sha256`].
    pub fn sha256(&self, deadline: Deadline) -> Result<String, LabError> {
        debian::sha256(&self.file, deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_the_script_calls_is_in_it() {
        let folder = std::env::temp_dir().join(format!("park-lab-initramfs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let put = |name: &str| {
            let path = folder.join(name);
            fs::write(&path, name).unwrap();
            path
        };
        let userland = Userland {
            busybox: put("busybox"),
            kexec: put("kexec"),
            libraries: vec![put(LINKER), put("libc.so.6")],
            packages: Vec::new(),
        };
        let image = put("image");
        let made = Initramfs::write(&folder.join("rd"), &userland, &image, Next::Image).unwrap();
        let bytes = fs::read(&made.file).unwrap();
        assert_eq!(made.bytes, bytes.len() as u64);
        let text = String::from_utf8_lossy(&bytes);
        for name in [
            "init\0",
            "bin/busybox\0",
            "bin/kexec\0",
            "lib64/ld-linux-x86-64.so.2\0",
            "lib/libc.so.6\0",
            "boot/park-metal\0",
        ] {
            assert!(text.contains(name), "{name}");
        }
        assert!(!text.contains("boot/vmlinuz\0"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_shell_takes_the_script() {
        let checked = std::process::Command::new("sh").args(["-n", "-c", INIT]).status().unwrap();
        assert!(checked.success());
    }
}
