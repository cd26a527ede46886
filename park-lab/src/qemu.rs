//! How QEMU is started.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::LabError;
use crate::configuration::{Boot, Configuration, Pace};
use crate::deadline::Deadline;
use crate::iso;
use crate::qmp::SOCKET;
use crate::tool::{OVMF_PLAIN, OVMF_SMM_CODE, OVMF_VARS, QEMU};

/// The `iobase` of `isa-debug-exit`, as park-metal knows it.
const EXIT_DEVICE: &str = "isa-debug-exit,iobase=0xf4,iosize=4";
/// The ISO, in the trial's folder.
const ISO: &str = "park.iso";
/// The copy of the firmware's variables, in the trial's folder.
const VARIABLES: &str = "variables.fd";

/// The command that runs `image` with `command_line`, in `folder`. Its standard input and output are the serial line.
///
/// # Errors
/// [`LabError::ToolMissing`]; what [`iso::make`] returns.
pub fn command(
    configuration: &Configuration,
    image: &Path,
    command_line: &str,
    folder: &Path,
    deadline: Deadline,
) -> Result<Command, LabError> {
    let mut command = Command::new(QEMU.find()?);
    command.current_dir(folder);
    command.args(["-nodefaults", "-display", "none", "-no-reboot"]);
    command.args(["-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"]);
    command.args(["-qmp", &format!("unix:{SOCKET},server=on,wait=off"), "-device", EXIT_DEVICE]);
    command.args(["-m", &configuration.ram_mib.to_string(), "-smp", &configuration.cpus.to_string()]);
    command.args(["-cpu", configuration.model]);
    match configuration.pace {
        Pace::Parallel => command.args(["-accel", "tcg,thread=multi"]),
        Pace::Stepped => command.args(["-accel", "tcg,thread=multi", "-singlestep"]),
        Pace::Counted => command.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]),
    };
    if configuration.boot == Boot::Pvh {
        command.arg("-kernel").arg(image).args(["-append", command_line]);
        return Ok(command);
    }
    iso::make(image, command_line, &folder.join(ISO), folder, deadline)?;
    command.args(["-cdrom", ISO, "-vga", "none"]);
    match configuration.boot {
        Boot::Pvh | Boot::BiosIso => {}
        Boot::UefiIso => {
            command.args(["-machine", "q35", "-bios"]).arg(OVMF_PLAIN.find()?);
        }
        Boot::UefiSmmIso => {
            let (code, variables) = (OVMF_SMM_CODE.find()?, folder.join(VARIABLES));
            fs::copy(OVMF_VARS.find()?, &variables).map_err(LabError::file(&variables))?;
            command.args(["-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"]);
            command.args(["-drive", &format!("if=pflash,format=raw,unit=0,readonly=on,file={}", code.display())]);
            command.args(["-drive", &format!("if=pflash,format=raw,unit=1,file={VARIABLES}")]);
        }
    }
    Ok(command)
}
