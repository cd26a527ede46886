//! How Bochs is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::LabError;
use crate::configuration::{Configuration, Pace};
use crate::deadline::Deadline;
use crate::iso;
use crate::tool::{BOCHS, BOCHS_BIOS, BOCHS_TERM, VGA_BIOS};

/// The file that Bochs writes the serial line to, in the trial's folder.
const SERIAL: &str = "com1";
/// Its configuration.
const CONFIGURATION: &str = "bochsrc";
/// The file with what Debian's build, with its debugger, does.
const DEBUGGER_COMMANDS: &str = "debugger.rc";
/// Go on. The debugger gives each CPU five instructions in turn, whatever `quantum` says.
const GO_ON: &str = "c\n";
/// Go on until the image executes XCHG BX, BX, and from there on give each CPU one instruction in turn: enough of them for
/// 20 minutes, which no run takes.
const GO_ON_AND_STEP: &str = "c\ns all 4000000000\n";
/// The ISO.
const ISO: &str = "park.iso";
/// Instructions per second of virtual time: few, so that waits of BIOS and GRUB are short.
const INSTRUCTIONS_PER_SECOND: u32 = 5_000_000;

/// `term` draws on a pseudoterminal that nobody reads: Bochs hangs in a write once that holds some 64 KiB, which is less than
/// some hundred lines on the image's screen.
const WITHOUT_SCREEN: &str = "screen=no";

/// Where [`command`] makes Bochs write the serial line.
#[must_use]
pub fn serial(folder: &Path) -> PathBuf {
    folder.join(SERIAL)
}

/// The command that runs `image` with `command_line`, in `folder`.
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
    let program = BOCHS.find()?;
    BOCHS_TERM.find()?;
    let command_line = format!("{command_line} {WITHOUT_SCREEN}");
    iso::make(image, &command_line, &folder.join(ISO), folder, deadline)?;
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(LabError::file(&path))
    };
    write(CONFIGURATION, &settings(configuration, &BOCHS_BIOS.find()?, &VGA_BIOS.find()?))?;
    write(DEBUGGER_COMMANDS, if configuration.pace == Pace::Stepped { GO_ON_AND_STEP } else { GO_ON })?;
    let mut command = Command::new(program);
    command.current_dir(folder).args(["-q", "-f", CONFIGURATION, "-rc", DEBUGGER_COMMANDS]);
    Ok(command)
}

/// `display_library: term` works without a display; `reset_on_triple_fault=0` ends the run where the machine would reset;
/// the clock begins at a fixed time, so that a run is the same each time.
fn settings(configuration: &Configuration, bios: &Path, video_bios: &Path) -> String {
    let Configuration { model, cpus, ram_mib, .. } = configuration;
    let magic_break = u8::from(configuration.pace == Pace::Stepped);
    let (bios, video_bios) = (bios.display(), video_bios.display());
    format!(
        "config_interface: textconfig
display_library: term
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1, iodebug=1
cpu: model={model}, count={cpus}, ips={INSTRUCTIONS_PER_SECOND}, quantum=16, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest={ram_mib}, host={ram_mib}
romimage: file={bios}
vgaromimage: file={video_bios}
ata0-master: type=cdrom, path={ISO}, status=inserted
boot: cdrom
clock: sync=none, time0=1000000000
panic: action=fatal
magic_break: enabled={magic_break}
com1: enabled=1, mode=file, dev={SERIAL}
port_e9_hack: enabled=1
log: bochs.log
"
    )
}
