//! Running `t=bench` under QEMU.

use core::time::Duration;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::LabError;
use crate::bench::Log;
use crate::configuration::{Boot, Configuration, Emulator, Pace};
use crate::deadline::Deadline;
use crate::group::{Group, output};
use crate::judge::Exit;
use crate::line::Line;
use crate::qemu;
use crate::serial::{Heard, Serial};
use crate::session::{Monitor, Patience, Wire, run};

/// The machine: AMD with SVM, and with MONITOR, which that model has only when asked for. TCG executes MWAIT as PAUSE.
const MACHINE: Configuration = Configuration {
    name: "qemu-bench",
    emulator: Emulator::Qemu,
    model: "EPYC,+monitor",
    cpus: 2,
    ram_mib: 64,
    boot: Boot::Pvh,
    pace: Pace::Parallel,
    apic: "x",
    timeout_ms: 60_000,
};
/// UEFI does not start with less.
const UEFI_RAM_MIB: u32 = 512;
/// CPUs of the machine that counts: a waker, a target, and two more for groups.
const CPUS_COUNTED: u32 = 4;
/// Longest turn of the target, and samples of each row: each turn from 1 on once, and longer ones make no difference.
const SLICES: u32 = 160;
/// Longest idle time when instructions are counted, in µs: nothing depends on it but how long it takes.
const IDLE_COUNTED_US: u32 = 5;
/// The longest silence of the image.
const SILENCE: Duration = Duration::from_secs(90);
/// How long QEMU may take to start its threads, and the pause between two looks.
const THREADS_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// How long a tool that pins a thread may take.
const PIN_LIMIT: Duration = Duration::from_secs(10);

/// The command line of the image that counts instructions.
fn counting() -> String {
    format!(
        "t=bench cpus={CPUS_COUNTED} samples={SLICES} slices={SLICES} idle_us={IDLE_COUNTED_US} timeout_ms={}",
        MACHINE.timeout_ms
    )
}

/// Counts instructions: under QEMU's `-icount shift=0,sleep=off` one tick is one instruction, of whichever CPU.
///
/// # Errors
/// [`LabError`] if QEMU can't be run, or the run does not come to its end.
pub fn counted(image: &Path, folder: &Path, deadline: Deadline) -> Result<Log, LabError> {
    let machine = Configuration { cpus: CPUS_COUNTED, pace: Pace::Counted, ..MACHINE };
    let command = qemu::command(&machine, image, &counting(), folder, deadline)?;
    let mut lines = Vec::new();
    let patience = Patience { end: deadline, silence: SILENCE };
    match run(command, &Wire::Stdio, Monitor::Absent, folder, patience, &mut lines)? {
        Exit::Late { .. } => Err(deadline.error("counting instructions")),
        _ => Log::parse(lines.iter().map(String::as_str)),
    }
}

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Samples of each row.
    pub samples: u32,
    /// What decides orders and idle times.
    pub seed: u32,
    /// The longest idle time before a wake, in microseconds.
    pub idle_us: u32,
    /// What starts the image.
    pub firmware: Firmware,
}

/// What starts the image that is timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Firmware {
    /// QEMU itself: at once.
    None,
    /// UEFI, whose own way of starting a CPU is timed in the same boot. It takes half a minute more.
    Uefi,
}

/// Whether each virtual CPU had a CPU of the host to itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pinned {
    /// Yes.
    Yes,
    /// No, for this reason: medians are the host scheduler's then.
    No(String),
}

/// Times in real time, each virtual CPU pinned to a CPU of the host. `heard` is called for each line that the image reports.
///
/// # Errors
/// As [`counted`].
pub fn timed(
    image: &Path,
    folder: &Path,
    timing: Timing,
    deadline: Deadline,
    mut heard: impl FnMut(&Line),
) -> Result<(Log, Pinned), LabError> {
    let Timing { samples, seed, idle_us, firmware } = timing;
    let machine = match firmware {
        Firmware::None => MACHINE,
        Firmware::Uefi => Configuration { boot: Boot::UefiIso, ram_mib: UEFI_RAM_MIB, ..MACHINE },
    };
    let words = format!(
        "t=bench cpus={} samples={samples} seed={seed} idle_us={idle_us} timeout_ms={}",
        MACHINE.cpus, MACHINE.timeout_ms
    );
    let mut command = qemu::command(&machine, image, &words, folder, deadline)?;
    // Threads get names by which they are found.
    command.args(["-name", "park,debug-threads=on"]).stderr(Stdio::null());
    let mut group = Group::spawn(command.stdout(Stdio::piped()))?;
    let process = group.child().id();
    let stdout = group.child().stdout.take();
    let stdout = stdout.ok_or_else(|| LabError::Program("QEMU has no standard output".to_owned()))?;
    let serial = Serial::read(stdout, &folder.join(crate::artifacts::name::SERIAL))?;
    let pinned = pin(process, MACHINE.cpus as usize);
    let mut lines = Vec::new();
    loop {
        match serial.hear(SILENCE) {
            Heard::Line(text) => {
                if let Some(line) = Line::parse(&text) {
                    heard(&line);
                }
                lines.push(text);
            }
            Heard::Ended => break,
            Heard::Quiet => return Err(LabError::Program("the image fell silent".to_owned())),
        }
        if deadline.has_passed() {
            return Err(deadline.error("timing"));
        }
    }
    drop(group);
    Ok((Log::parse(lines.iter().map(String::as_str))?, pinned))
}

/// Gives each thread of QEMU that is a CPU one of the host's CPUs, once all `wanted` are there.
fn pin(process: u32, wanted: usize) -> Pinned {
    let hosts = allowed();
    let patience = Deadline::after(THREADS_LIMIT);
    let mut threads = virtual_cpus(process);
    while threads.len() < wanted {
        if patience.has_passed() {
            return Pinned::No("QEMU's threads can't be told apart".to_owned());
        }
        std::thread::sleep(POLL);
        threads = virtual_cpus(process);
    }
    threads.sort_unstable();
    if threads.len() > hosts.len() {
        return Pinned::No(format!("{} virtual CPUs on {} of the host", threads.len(), hosts.len()));
    }
    for ((_, thread), host) in threads.iter().zip(hosts) {
        let mut command = Command::new("taskset");
        command.args(["-p", "-c", &host.to_string(), &thread.to_string()]);
        if let Err(error) = output(command.stderr(Stdio::null()), Deadline::after(PIN_LIMIT)) {
            return Pinned::No(error.to_string());
        }
    }
    Pinned::Yes
}

/// The virtual CPUs of a QEMU: number and thread.
fn virtual_cpus(process: u32) -> Vec<(u32, u32)> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let found = tasks.filter_map(|task| {
        let thread = task.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        Some((virtual_cpu(&name)?, thread))
    });
    found.collect()
}

/// The number in a name as `CPU 1/TCG`.
fn virtual_cpu(name: &str) -> Option<u32> {
    name.strip_prefix("CPU ")?.split('/').next()?.trim().parse().ok()
}

/// The host's CPUs that this program may use.
fn allowed() -> Vec<u32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    cpu_list(list.trim())
}

/// A list as `0-2,5`.
fn cpu_list(text: &str) -> Vec<u32> {
    let ranges = text.split(',').filter_map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse().ok()?..=to.parse().ok()?)
    });
    ranges.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lists_of_the_kernel_are_read() {
        assert_eq!(
            (virtual_cpu("CPU 1/TCG\n"), virtual_cpu("CPU 12/KVM"), virtual_cpu("qemu")),
            (Some(1), Some(12), None)
        );
        assert_eq!(cpu_list("0-2,5"), [0, 1, 2, 5]);
        assert!(cpu_list("").is_empty() && !allowed().is_empty());
    }

    #[test]
    fn a_process_without_virtual_cpus_is_not_pinned() {
        assert!(virtual_cpus(std::process::id()).is_empty() && virtual_cpus(0).is_empty());
        assert!(matches!(pin(std::process::id(), 0), Pinned::Yes));
    }
}
