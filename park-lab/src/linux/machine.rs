//! QEMU with stock Linux in it, and what came of one run.

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::LabError;
use crate::deadline::Deadline;
use crate::judge::Exit;
use crate::line::Line;
use crate::linux::initramfs::Initramfs;
use crate::linux::kernel::Kernel;
use crate::qmp::SOCKET;
use crate::resets::{LOG, Resets};
use crate::session::{self, Down, Monitor, Patience, Wire};
use crate::tool::QEMU;

/// The `iobase` of `isa-debug-exit`, as park-metal knows it.
const EXIT_DEVICE: &str = "isa-debug-exit,iobase=0xf4,iosize=4";
/// Room for a kernel, a root file system, and copies of both for the next kernel.
const RAM_MIB: u32 = 512;
/// Where files are placed for the image to start Linux from: above where the kernel will lie, 64 MiB apart.
const KERNEL_ADDRESS: u64 = 0x800_0000;
const INITRD_ADDRESS: u64 = 0xc00_0000;
/// What every Linux is told: where to write, to write little, and not to judge by its own pace whether timers work: CPUs that poll
/// a mailbox leave it little of a busy host.
const CONSOLE: &str = "console=ttyS0 quiet no_timer_check";
/// The longest time without a line: a kernel that copies itself and starts, on a busy host.
const SILENCE: Duration = Duration::from_secs(120);

/// The CPUs of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// The CPU model, in QEMU's words.
    pub model: &'static str,
    /// How many CPUs, and what they share, in the words of `-smp`.
    pub topology: &'static str,
}

impl Machine {
    /// How many CPUs.
    #[must_use]
    pub fn cpus(self) -> u64 {
        self.topology.split(',').next().and_then(|count| count.parse().ok()).unwrap_or(1)
    }
}

/// Files that a machine is started with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// Linux.
    pub kernel: Kernel,
    /// Its root file system.
    pub initramfs: Initramfs,
    /// The freestanding image.
    pub image: PathBuf,
}

/// Who is started first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// Linux, by QEMU.
    Linux,
    /// The image, with these words behind `t=linux`; it starts Linux.
    Image {
        /// More words of the image's command line.
        words: String,
    },
}

/// What came of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ride {
    /// What was said on the serial line, and what the lab noted beside it.
    pub lines: Vec<String>,
    /// How QEMU ended.
    pub exit: Exit,
    /// What CPUs were reset.
    pub resets: Resets,
}

impl Ride {
    /// Everything that was said or noted.
    pub fn reports(&self) -> impl Iterator<Item = Line> {
        self.lines.iter().filter_map(|text| Line::parse(text))
    }

    /// The first report of this event.
    #[must_use]
    pub fn first(&self, event: &str) -> Option<Line> {
        self.reports().find(|line| line.event() == event)
    }

    /// The reports of Linux of this step.
    pub fn steps<'a>(&'a self, step: &'a str) -> impl Iterator<Item = Line> + 'a {
        self.reports().filter(move |line| line.event() == "linux" && line.text("step") == Some(step))
    }

    /// Why it did not come to its end, in the words of whoever gave up.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let failed = self
            .reports()
            .find(|line| matches!(line.event(), "failed" | "panic" | "fault") || line.text("step") == Some("failed"))?;
        Some(failed.text("why").unwrap_or("it does not say why").to_owned())
    }
}

/// Runs a machine with `append` on Linux's command line until it ends, goes down, or `deadline` passes.
///
/// # Errors
/// [`LabError`]; how the run ended is none.
pub fn ride(
    machine: Machine,
    files: &Files,
    start: &Start,
    append: &str,
    folder: &Path,
    deadline: Deadline,
) -> Result<Ride, LabError> {
    let mut command = Command::new(QEMU.find()?);
    command.current_dir(folder);
    command.args(["-nodefaults", "-display", "none", "-action", "reboot=shutdown,shutdown=pause"]);
    command.args(["-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"]);
    command.args(["-qmp", &format!("unix:{SOCKET},server=on,wait=off"), "-device", EXIT_DEVICE]);
    command.args(["-m", &RAM_MIB.to_string(), "-smp", machine.topology, "-cpu", machine.model]);
    command.args(["-accel", "tcg,thread=multi", "-d", "cpu_reset", "-D", LOG]);
    let (kernel, initramfs) = (&files.kernel, &files.initramfs);
    match start {
        Start::Linux => {
            command.arg("-kernel").arg(&kernel.file).arg("-initrd").arg(&initramfs.file);
            command.args(["-append", &format!("{CONSOLE} {append}")]);
        }
        Start::Image { words } => {
            let words = format!(
                "t=linux exit=qemu {words} kernel={KERNEL_ADDRESS:#x}:{} initrd={INITRD_ADDRESS:#x}:{} append={CONSOLE} {append}",
                kernel.bytes, initramfs.bytes
            );
            command.arg("-kernel").arg(&files.image).args(["-append", &words]);
            for (file, address) in [(&kernel.file, KERNEL_ADDRESS), (&initramfs.file, INITRD_ADDRESS)] {
                // A comma separates options, and two of them stand for one (QEMU documentation, "-device").
                let file = file.display().to_string().replace(',', ",,");
                command.args(["-device", &format!("loader,file={file},addr={address:#x},force-raw=on")]);
            }
        }
    }
    let monitor = Monitor::Qmp { ram_mib: RAM_MIB, down: Down::Pauses };
    let mut lines = Vec::new();
    let patience = Patience { end: deadline, silence: SILENCE };
    let exit = session::run(command, &Wire::Stdio, monitor, folder, patience, &mut lines)?;
    let log = fs::read(folder.join(LOG)).unwrap_or_default();
    Ok(Ride { lines, exit, resets: Resets::parse(&String::from_utf8_lossy(&log)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_found_wherever_it_is() {
        let ride = |text: &str| Ride { lines: vec![text.to_owned()], exit: Exit::Status(0), resets: Resets::default() };
        let linux = ride(r#"{"event":"linux","step":"failed","why":"CPU 1 does not go to 0"}"#);
        assert_eq!(linux.refusal().as_deref(), Some("CPU 1 does not go to 0"));
        assert_eq!(ride(r#"{"event":"failed","why":"x"}"#).refusal().as_deref(), Some("x"));
        assert_eq!(ride(r#"{"event":"linux","step":"up"}"#).refusal(), None);
        assert_eq!(ride(r#"{"event":"linux","step":"up"}"#).steps("up").count(), 1);
    }
}
