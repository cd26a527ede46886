//! One run of an emulator, from its start to its end, with somebody listening all the time.

use core::time::Duration;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::LabError;
use crate::artifacts::name;
use crate::deadline::Deadline;
use crate::group::{Group, shown};
use crate::judge::{Exit, STATUS_RESET};
use crate::line::Line;
use crate::observer::Observer;
use crate::qmp::{Delivery, MachineCheck, Qmp, Reach};
use crate::serial::{Ended, Following, Heard, Serial};
use crate::smm_log;

/// Pause between two looks at the emulator while nothing comes.
const POLL: Duration = Duration::from_millis(100);
/// How long an emulator may take to end after the image's last line.
const LEAVING: Duration = Duration::from_secs(20);
/// Pause between two questions whether the machine is down.
const DOWN_POLL: Duration = Duration::from_millis(500);
/// The tag of registers of a machine that went down.
pub const DOWN_TAG: &str = "down";
/// How long QEMU's monitor may take for one answer, on a busy host.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take once the run is given up: that comes on top of every limit.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// What the image waits for after it asked for something that only the host can do.
const GO: &[u8] = b"g";
/// Memory larger than this is not written to a file after a hang, in MiB.
const MEMORY_MIB_MAX: u32 = 64;

/// Where the serial line is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wire {
    /// The emulator's standard input and output.
    Stdio,
    /// A file that the emulator writes; nothing can be sent.
    File(PathBuf),
}

/// Whether the emulator has a monitor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Monitor {
    /// QMP, at its socket in the folder; the machine has so much RAM, in MiB.
    Qmp {
        /// RAM.
        ram_mib: u32,
        /// What becomes of the machine when it goes down.
        down: Down,
    },
    /// None.
    Absent,
}

/// What QEMU does with a machine that resets or shuts down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Down {
    /// It ends.
    Ends,
    /// It keeps the machine as it is, so that what its CPUs came to can be seen: `-action reboot=shutdown,shutdown=pause`.
    Pauses,
}

/// How long anyone waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the end.
    pub end: Deadline,
    /// For any line.
    pub silence: Duration,
}

/// A run that goes on.
struct Session<'a> {
    folder: &'a Path,
    monitor: Monitor,
    input: Option<ChildStdin>,
    qmp: Option<Qmp>,
    lines: &'a mut Vec<String>,
    looked: Instant,
    observer: Observer,
}

/// Runs `command` in `folder` and listens until it ends, or patience does. Nothing of it runs when this returns. `lines` gets
/// the serial line, also before an error.
///
/// # Errors
/// [`LabError`] if it can't be started, or the host could not do what the image asked for. How it ended is no error.
pub fn run(
    mut command: Command,
    wire: &Wire,
    monitor: Monitor,
    folder: &Path,
    patience: Patience,
    lines: &mut Vec<String>,
) -> Result<Exit, LabError> {
    let (path, text) = (folder.join(name::COMMAND), format!("{}\n", shown(&command)));
    fs::write(&path, text).map_err(LabError::file(&path))?;
    let complaints = folder.join(name::COMPLAINTS);
    let complaints = File::create(&complaints).map_err(LabError::file(&complaints))?;
    let copy = complaints.try_clone().map_err(LabError::file(folder))?;
    command.stderr(complaints);
    let stdio = *wire == Wire::Stdio;
    let mut group = if stdio {
        Group::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?
    } else {
        Group::spawn(command.stdout(copy))?
    };
    let log = folder.join(name::SERIAL);
    let ended = Ended::default();
    let serial = match (wire, group.child().stdout.take()) {
        (Wire::File(path), _) => Serial::read(Following::new(path.clone(), ended.clone()), &log)?,
        (Wire::Stdio, Some(stdout)) => Serial::read(stdout, &log)?,
        (Wire::Stdio, None) => return Err(LabError::Program("the emulator has no standard output".to_owned())),
    };
    let input = group.child().stdin.take();
    let mut session =
        Session { folder, monitor, input, qmp: None, lines, looked: Instant::now(), observer: Observer::new(folder) };
    let exit = session.listen(&mut group, &serial, &ended, patience);
    drop(group);
    ended.set();
    let exit = exit?;
    Ok(if stdio || !matches!(exit, Exit::Status(_)) { exit } else { Exit::Meaningless })
}

impl Session<'_> {
    fn listen(
        &mut self,
        group: &mut Group,
        serial: &Serial,
        ended: &Ended,
        patience: Patience,
    ) -> Result<Exit, LabError> {
        let (mut last, mut silence) = (Instant::now(), patience.silence);
        loop {
            match serial.hear(POLL) {
                Heard::Line(text) => {
                    last = Instant::now();
                    let line = Line::parse(&text);
                    self.lines.push(text);
                    if let Some(line) = line {
                        match line.event() {
                            "sync" => self.act(&line)?,
                            "complete" | "failed" => silence = silence.min(LEAVING),
                            _ => self.note_moment(&line)?,
                        }
                    }
                }
                Heard::Ended => return self.leave(group),
                Heard::Quiet if group.ended()?.is_some() => ended.set(),
                Heard::Quiet if self.is_down()? => return Ok(Exit::Status(STATUS_RESET)),
                Heard::Quiet => {}
            }
            if last.elapsed() >= silence {
                self.inspect();
                return Ok(Exit::Silent { seconds: silence.as_secs() });
            }
            if patience.end.has_passed() {
                self.inspect();
                return Ok(Exit::Late { seconds: patience.end.limit().as_secs() });
            }
        }
    }

    /// The serial line is closed: so the emulator ends.
    fn leave(&mut self, group: &mut Group) -> Result<Exit, LabError> {
        match group.wait("the emulator's end", Deadline::after(LEAVING)) {
            Ok(status) => Ok(status.code().map_or(Exit::Killed, Exit::Status)),
            Err(LabError::Deadline { limit_s, .. }) => {
                self.inspect();
                Ok(Exit::Silent { seconds: limit_s })
            }
            Err(error) => Err(error),
        }
    }

    /// Does what the image asks the host for, and tells it so.
    fn act(&mut self, line: &Line) -> Result<(), LabError> {
        let want = line.text("want").unwrap_or_default();
        let reach = match want {
            "registers" => {
                self.note_registers(line.text("tag").unwrap_or_default())?;
                return self.go();
            }
            "smm-entries" => return self.tell_smm_entries(line),
            "mc-local" => Reach::Local,
            "mc-broadcast" => Reach::Broadcast,
            _ => return Err(LabError::Input(format!("the image asks for `{want}`, which this lab can't do"))),
        };
        let number = |key| line.number(key).and_then(|number| u32::try_from(number).ok());
        let (Some(cpu), Some(times)) = (number("cpu_index"), number("n")) else {
            return Err(LabError::Input(format!("the image asks for `{want}` without cpu_index and n")));
        };
        for _ in 0..times {
            let delivery = self.qmp(ANSWER)?.inject(MachineCheck { cpu, reach }, Deadline::after(ANSWER))?;
            if delivery == Delivery::Reset {
                // Nobody waits for an answer any more.
                return Ok(());
            }
        }
        self.go()
    }

    /// Tells the last digit of how often CPUs entered SMM that execute where `line` says. The log begins when it is asked first.
    fn tell_smm_entries(&mut self, line: &Line) -> Result<(), LabError> {
        let (Some(from), Some(to)) = (line.hexadecimal("from"), line.hexadecimal("to")) else {
            return Err(LabError::Input("the image asks for `smm-entries` without from and to".to_owned()));
        };
        if !self.folder.join(smm_log::LOG).exists() {
            smm_log::begin(self.qmp(ANSWER)?, Deadline::after(ANSWER))?;
        }
        let entries = smm_log::read(self.folder, &(from..to))?;
        self.answer(entries.to_string().as_bytes().last().map_or(GO, core::slice::from_ref))
    }

    /// Tells the image that it can go on.
    fn go(&mut self) -> Result<(), LabError> {
        self.answer(GO)
    }

    fn answer(&mut self, bytes: &[u8]) -> Result<(), LabError> {
        let input =
            self.input.as_mut().ok_or_else(|| LabError::Input("nothing can be sent to the image".to_owned()))?;
        // An emulator that does not listen has ended: how, its status says.
        let _ = input.write_all(bytes).and_then(|()| input.flush());
        Ok(())
    }

    /// Adds a line for each CPU: where it is, and whether it executes. From outside, so that no CPU has to say it.
    fn note_registers(&mut self, tag: &str) -> Result<(), LabError> {
        let observer = self.observer.clone();
        let lines = observer.registers(tag, self.qmp(ANSWER)?, Deadline::after(ANSWER))?;
        self.lines.extend(lines);
        Ok(())
    }

    /// Adds lines about a moment at which one kernel follows another.
    fn note_moment(&mut self, line: &Line) -> Result<(), LabError> {
        if let Some(tag) = self.observer.is_moment(line) {
            let mut observer = core::mem::take(&mut self.observer);
            let lines = observer.moment(tag, self.qmp(ANSWER)?, Deadline::after(ANSWER));
            self.observer = observer;
            self.lines.extend(lines?);
        }
        Ok(())
    }

    /// Whether the machine went down and is kept; then its registers are noted.
    fn is_down(&mut self) -> Result<bool, LabError> {
        let pauses = matches!(self.monitor, Monitor::Qmp { down: Down::Pauses, .. });
        if !pauses || self.looked.elapsed() < DOWN_POLL {
            return Ok(false);
        }
        self.looked = Instant::now();
        let asked = self.qmp(ANSWER).and_then(|qmp| qmp.execute("query-status", &json!({}), Deadline::after(ANSWER)));
        // QEMU may end while it is asked: how, the listener sees.
        let status = match asked {
            Err(LabError::Qmp(_)) => return Ok(false),
            other => other?,
        };
        let is_down = status.get("status").and_then(Value::as_str) == Some("shutdown");
        if is_down {
            self.note_registers(DOWN_TAG)?;
        }
        Ok(is_down)
    }

    /// The monitor, connected within `patience` when it is needed first.
    fn qmp(&mut self, patience: Duration) -> Result<&mut Qmp, LabError> {
        if self.monitor == Monitor::Absent {
            return Err(LabError::Input("this emulator has no monitor".to_owned()));
        }
        match &mut self.qmp {
            Some(qmp) => Ok(qmp),
            none => {
                let qmp = Qmp::connect(self.folder, &self.folder.join(name::QMP), Deadline::after(patience))?;
                Ok(none.insert(qmp))
            }
        }
    }

    /// Leaves what can be learnt of a machine that hangs. That nothing can be learnt is no failure: its hang is told anyway.
    fn inspect(&mut self) {
        let Monitor::Qmp { ram_mib, .. } = self.monitor else { return };
        let (registers, memory) = (self.folder.join(name::REGISTERS), self.folder.join(name::MEMORY));
        let inspected = self.qmp(LAST_ANSWER).and_then(|qmp| {
            let text = qmp.registers(Deadline::after(LAST_ANSWER))?;
            fs::write(&registers, text).map_err(LabError::file(&registers))?;
            if ram_mib <= MEMORY_MIB_MAX {
                qmp.dump_guest_memory(&memory, Deadline::after(LAST_ANSWER))
            } else {
                Ok(())
            }
        });
        if let Err(error) = inspected {
            // If even that can't be written, the file is missing, which says as much.
            let _ = fs::write(&registers, format!("nothing could be learnt: {error}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{End, Expected, Flaw, judge};

    const EXPECTED: Expected = Expected { end: End::Completes { test: "smp" }, cpus: 2, generations: 0 };
    const WHOLE: &str = r#"echo BIOS; echo '{"event":"boot"}'; echo '{"event":"online","cpu":1}';
        echo '{"event":"complete","test":"smp","ok":true}'; "#;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("park-lab-session-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn patience(silence: Duration) -> Patience {
        Patience { end: Deadline::after(Duration::from_secs(60)), silence }
    }

    /// An image that is a shell script.
    fn fake(name: &str, script: &str, wire: &Wire, silence: Duration) -> (Result<(), Flaw>, PathBuf) {
        let folder = folder(name);
        let mut command = Command::new("sh");
        command.current_dir(&folder).args(["-c", script]);
        let mut lines = Vec::new();
        let exit = run(command, wire, Monitor::Absent, &folder, patience(silence), &mut lines).unwrap();
        (judge(&EXPECTED, &lines, exit), folder)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_whole_run_counts_and_leaves_its_log() {
        let (verdict, folder) = fake("whole", &format!("{WHOLE} echo oh >&2; exit 1"), &Wire::Stdio, LONG);
        assert_eq!(verdict, Ok(()));
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert!(read(name::SERIAL).starts_with("BIOS\n{\"event\":\"boot\"}\n"));
        assert_eq!(read(name::COMPLAINTS), "oh\n");
        assert!(read(name::COMMAND).starts_with("sh -c "));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_early_reset_and_a_wrong_token_do_not_count() {
        let (verdict, folder) = fake("reset", "echo '{\"event\":\"boot\"}'; exit 0", &Wire::Stdio, LONG);
        assert_eq!(verdict, Err(Flaw::Reset));
        fs::remove_dir_all(folder).unwrap();
        let wrong = WHOLE.replace("\"smp\"", "\"torture\"");
        let (verdict, folder) = fake("wrong", &format!("{wrong} exit 1"), &Wire::Stdio, LONG);
        assert!(matches!(verdict, Err(Flaw::WrongToken { .. })), "{verdict:?}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn silence_is_ended_before_the_deadline() {
        let start = Instant::now();
        let silence = Duration::from_secs(1);
        let script = "echo '{\"event\":\"boot\"}'; sleep 1000";
        let (verdict, folder) = fake("silent", script, &Wire::Stdio, silence);
        assert_eq!(verdict, Err(Flaw::Silence { seconds: 1 }));
        assert!(start.elapsed() < LONG);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_is_read_to_the_end_of_the_emulator_whose_status_says_nothing() {
        let folder = folder("file");
        let wire = Wire::File(folder.join("com1"));
        let (verdict, folder) = fake("file", &format!("({WHOLE}) > com1; exit 1"), &wire, LONG);
        assert_eq!(verdict, Ok(()));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_the_lab_can_not_do_is_an_error() {
        let folder = folder("sync");
        let mut command = Command::new("sh");
        command.current_dir(&folder).args(["-c", r#"echo '{"event":"sync","want":"fire"}'; read x"#]);
        let mut lines = Vec::new();
        let error = run(command, &Wire::Stdio, Monitor::Absent, &folder, patience(LONG), &mut lines).unwrap_err();
        assert!(error.to_string().contains("`fire`"), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }
}
