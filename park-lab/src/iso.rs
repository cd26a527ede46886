//! A hybrid ISO image: GRUB starts the image from BIOS and from UEFI.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::LabError;
use crate::deadline::Deadline;
use crate::group::{Group, shown};
use crate::tool::{GRUB_BIOS, GRUB_MKRESCUE, GRUB_UEFI, MFORMAT, Tool, XORRISO};

/// Everything that making an ISO needs.
pub const TOOLS: [Tool; 5] = [GRUB_MKRESCUE, GRUB_BIOS, GRUB_UEFI, XORRISO, MFORMAT];
/// The modules that both platforms have and booting needs; all others are left out: the ISO has half the size.
const MODULES: &str =
    "--install-modules=multiboot2 normal configfile boot iso9660 part_msdos search search_fs_file search_fs_uuid echo";
/// Bytes that GRUB's shell gives a meaning.
const SHELL_BYTES: &[u8] = b"\"'\\$;{}#|&<>\n\r";

/// Makes an ISO at `iso` that boots the ELF file `image` with `command_line`. What it is made of lies in `folder` meanwhile.
///
/// # Errors
/// [`LabError::ToolMissing`] names the package; [`LabError::Input`] if GRUB can't pass the command line on.
pub fn make(image: &Path, command_line: &str, iso: &Path, folder: &Path, deadline: Deadline) -> Result<(), LabError> {
    TOOLS.into_iter().try_for_each(|tool| tool.find().map(drop))?;
    let configuration = grub_configuration(command_line)?;
    let tree = folder.join("iso");
    let boot = tree.join("boot").join("grub");
    fs::create_dir_all(&boot).map_err(LabError::file(&boot))?;
    let copy = tree.join("boot").join("park-metal");
    fs::copy(image, &copy).map_err(LabError::file(image))?;
    let file = boot.join("grub.cfg");
    fs::write(&file, configuration).map_err(LabError::file(&file))?;
    let mut command = Command::new(GRUB_MKRESCUE.name);
    command.arg("-o").arg(iso).arg(&tree).args([MODULES, "--fonts=", "--locales=", "--themes="]);
    // xorriso tells its progress on standard error; what counts is the status.
    let log = folder.join("grub-mkrescue.log");
    let told = fs::File::create(&log).map_err(LabError::file(&log))?;
    let mut group = Group::spawn(command.stdout(Stdio::null()).stderr(told))?;
    let status = group.wait("grub-mkrescue", deadline)?;
    drop(group);
    if !status.success() || !iso.is_file() {
        let told = fs::read_to_string(&log).unwrap_or_default();
        let last = told.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
        return Err(LabError::Program(format!("{} ended with {status}: {last}", shown(&command))));
    }
    fs::remove_dir_all(&tree).map_err(LabError::file(&tree))
}

/// What GRUB does, without asking.
fn grub_configuration(command_line: &str) -> Result<String, LabError> {
    if let Some(bad) = command_line.bytes().find(|byte| SHELL_BYTES.contains(byte) || !byte.is_ascii()) {
        let bad = char::from(bad).escape_default();
        return Err(LabError::Input(format!("`{command_line}` can't go through GRUB: it holds `{bad}`")));
    }
    Ok(format!("set timeout=0\nmenuentry park {{ multiboot2 /boot/park-metal {command_line}; boot; }}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_reaches_the_image_and_nothing_else() {
        let configuration = grub_configuration("t=smp cpus=4").unwrap();
        assert!(configuration.contains("multiboot2 /boot/park-metal t=smp cpus=4; boot"), "{configuration}");
        for bad in ["t=smp; reboot", "t=$x", "a\nb", "a'b", "ä"] {
            assert!(matches!(grub_configuration(bad), Err(LabError::Input(_))), "{bad}");
        }
    }
}
