//! Programs and ROMs of others: where they are, which package has them, whether they are new enough.

use core::time::Duration;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::LabError;
use crate::deadline::Deadline;
use crate::group::output;

/// How long a program may take to tell its version.
const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// A program or a file that a Debian package has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tool {
    /// The name of a program that the search path has, or an absolute path.
    pub name: &'static str,
    /// The Debian package.
    pub package: &'static str,
}

/// QEMU.
pub const QEMU: Tool = Tool { name: "qemu-system-x86_64", package: "qemu-system-x86" };
/// UEFI firmware without SMM.
pub const OVMF_PLAIN: Tool = Tool { name: "/usr/share/ovmf/OVMF.fd", package: "ovmf" };
/// UEFI firmware with SMM: code.
pub const OVMF_SMM_CODE: Tool = Tool { name: "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", package: "ovmf" };
/// UEFI firmware with SMM: variables, of which each run gets a copy.
pub const OVMF_VARS: Tool = Tool { name: "/usr/share/OVMF/OVMF_VARS_4M.fd", package: "ovmf" };
/// Bochs.
pub const BOCHS: Tool = Tool { name: "bochs", package: "bochs" };
/// The display library of Bochs that works without a display.
pub const BOCHS_TERM: Tool =
    Tool { name: "/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so", package: "bochs-term" };
/// BIOS of Bochs.
pub const BOCHS_BIOS: Tool = Tool { name: "/usr/share/bochs/BIOS-bochs-latest", package: "bochsbios" };
/// Video BIOS of Bochs.
pub const VGA_BIOS: Tool = Tool { name: "/usr/share/vgabios/vgabios.bin", package: "vgabios" };
/// Makes bootable ISO images.
pub const GRUB_MKRESCUE: Tool = Tool { name: "grub-mkrescue", package: "grub-common" };
/// GRUB's modules for BIOS.
pub const GRUB_BIOS: Tool = Tool { name: "/usr/lib/grub/i386-pc/multiboot2.mod", package: "grub-pc-bin" };
/// GRUB's modules for UEFI.
pub const GRUB_UEFI: Tool = Tool { name: "/usr/lib/grub/x86_64-efi/multiboot2.mod", package: "grub-efi-amd64-bin" };
/// Writes ISO images.
pub const XORRISO: Tool = Tool { name: "xorriso", package: "xorriso" };
/// Makes the FAT file system that UEFI boots from.
pub const MFORMAT: Tool = Tool { name: "mformat", package: "mtools" };

impl Tool {
    /// Where it is.
    ///
    /// # Errors
    /// [`LabError::ToolMissing`] names the package.
    pub fn find(self) -> Result<PathBuf, LabError> {
        self.find_in(std::env::var_os("PATH").unwrap_or_default().as_os_str())
    }

    fn find_in(self, search_path: &std::ffi::OsStr) -> Result<PathBuf, LabError> {
        let name = Path::new(self.name);
        let found = if name.is_absolute() {
            name.is_file().then(|| name.to_owned())
        } else {
            std::env::split_paths(search_path).map(|folder| folder.join(name)).find(|path| path.is_file())
        };
        found.ok_or_else(|| LabError::ToolMissing { tool: self.name.to_owned(), package: self.package })
    }
}

/// The oldest QEMU whose behaviour the lab knows.
const QEMU_OLDEST: (u32, u32) = (7, 2);
const QEMU_OLDEST_TEXT: &str = "7.2";

/// QEMU's version, as it tells it.
///
/// # Errors
/// [`LabError::ToolMissing`], [`LabError::ToolTooOld`], [`LabError::Program`].
pub fn qemu_version() -> Result<String, LabError> {
    let text = first_line(Command::new(QEMU.find()?).arg("--version"))?;
    let version = text.strip_prefix("QEMU emulator version ").unwrap_or(&text);
    if number(version).is_none_or(|number| number < QEMU_OLDEST) {
        let (found, wanted) = (version.to_owned(), QEMU_OLDEST_TEXT);
        return Err(LabError::ToolTooOld { tool: QEMU.name, found, wanted, package: QEMU.package });
    }
    Ok(version.to_owned())
}

/// Bochs' version, as it tells it.
///
/// # Errors
/// [`LabError::ToolMissing`], [`LabError::Program`].
pub fn bochs_version() -> Result<String, LabError> {
    // It has no option that tells only the version; the help begins after a banner in the log, so Debian is asked first.
    BOCHS.find()?;
    let query = ["--show", "--showformat=${Version}", BOCHS.package];
    Ok(first_line(Command::new("dpkg-query").args(query)).unwrap_or_else(|_| "of unknown version".to_owned()))
}

fn first_line(command: &mut Command) -> Result<String, LabError> {
    let text = output(command.stderr(Stdio::null()), Deadline::after(VERSION_LIMIT))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Major and minor number at the beginning of `version`.
fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let tool = Tool { name: "no-such-program", package: "some-package" };
        let error = tool.find().unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.contains("some-package"), "{error}");
        let rom = Tool { name: "/no/such/rom", package: "roms" };
        assert!(rom.find().is_err());
        let shell = Tool { name: "sh", package: "dash" };
        assert!(shell.find().unwrap().is_absolute());
        assert!(matches!(shell.find_in("/no/such/folder".as_ref()), Err(LabError::ToolMissing { .. })));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(number("7.2.22 (Debian 1:7.2)"), Some((7, 2)));
        assert_eq!(number("10.0"), Some((10, 0)));
        assert!(number("10.0") > Some(QEMU_OLDEST));
        assert!(number("7.1.9") < Some(QEMU_OLDEST));
        assert_eq!(number("x"), None);
    }
}
