//! QEMU's monitor protocol: events that only the host can make, registers, memory.
//!
//! Messages are JSON, one per line; the server greets, and takes commands once capabilities are negotiated (QEMU
//! documentation, "QEMU Machine Protocol Specification"). Events may come between a command and its answer.

use core::time::Duration;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::LabError;
use crate::deadline::Deadline;

/// The socket's name in the folder where QEMU runs.
pub const SOCKET: &str = "qmp.sock";
/// Pause between two attempts to connect.
const CONNECT_POLL: Duration = Duration::from_millis(20);
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 4096;

/// A machine check to inject, in the words of QEMU's monitor command `mce`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MachineCheck {
    /// QEMU's number of the CPU.
    pub cpu: u32,
    /// Whom it reaches.
    pub reach: Reach,
}

/// Whom a machine check reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// One CPU.
    Local,
    /// All CPUs: the others get one in bank 1.
    Broadcast,
}

/// VAL, UC, EN, MISCV, ADDRV, S and AR, with PCC clear: uncorrected and to be handled now, so that it is not ignored while another
/// is in progress (SDM vol. 3, "Machine-Check Architecture", IA32_MCi_STATUS). QEMU delivers an exception only with VAL and UC.
const MCI_STATUS: u64 = 0xbd80_0000_0000_0134;
/// A bank that QEMU's CPUs have (they have 10), and that nothing else uses.
const MCI_BANK: u32 = 5;
/// RIPV and MCIP: the program can go on, a machine check is in progress (SDM vol. 3, IA32_MCG_STATUS).
const MCG_STATUS: u64 = 0x5;
/// Any address.
const MCI_ADDR: u64 = 0x1234;
/// A physical address, to a page (SDM vol. 3, IA32_MCi_MISC).
const MCI_MISC: u64 = 0x8c;

impl MachineCheck {
    /// The command for [`Qmp::monitor`].
    #[must_use]
    pub fn command(self) -> String {
        let broadcast = if self.reach == Reach::Broadcast { "-b " } else { "" };
        let cpu = self.cpu;
        format!("mce {broadcast}{cpu} {MCI_BANK} {MCI_STATUS:#x} {MCG_STATUS:#x} {MCI_ADDR:#x} {MCI_MISC:#x}")
    }
}

/// What QEMU did with a machine check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// It raised the exception.
    Exception,
    /// It reset the machine: the CPU could not take the exception, which is a shutdown.
    Reset,
}

/// A connection to QEMU's monitor.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    log: File,
    unread: Vec<u8>,
    events: Vec<Value>,
}

impl Qmp {
    /// Connects to [`SOCKET`] in `folder` and negotiates; what is said goes into `log`.
    ///
    /// # Errors
    /// [`LabError::Qmp`] if nobody listens until `deadline`, or not in this protocol.
    pub fn connect(folder: &Path, log: &Path, deadline: Deadline) -> Result<Self, LabError> {
        let log = File::create(log).map_err(LabError::file(log))?;
        let opened = File::open(folder).map_err(LabError::file(folder))?;
        // The name of a socket has 108 bytes at most (unix(7)); that of a folder may be longer, its descriptor's is not.
        let socket = format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd());
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) if deadline.has_passed() => return Err(failed("nobody listens", &error)),
                Err(_) => thread::sleep(CONNECT_POLL),
            }
        };
        Self::negotiate(stream, log, deadline)
    }

    fn negotiate(stream: UnixStream, log: File, deadline: Deadline) -> Result<Self, LabError> {
        let mut qmp = Self { stream, log, unread: Vec::new(), events: Vec::new() };
        let greeting = qmp.message(deadline)?.ok_or_else(|| deadline.error("QMP's greeting"))?;
        if greeting.get("QMP").is_none() {
            return Err(LabError::Qmp(format!("{greeting} is no greeting")));
        }
        qmp.execute("qmp_capabilities", &json!({}), deadline)?;
        Ok(qmp)
    }

    /// Executes a command and returns its answer. Events that come before it are kept for [`events`](Self::events).
    ///
    /// # Errors
    /// [`LabError::Qmp`] if it fails, [`LabError::Deadline`] if there is no answer in time.
    pub fn execute(&mut self, name: &str, arguments: &Value, deadline: Deadline) -> Result<Value, LabError> {
        let command = json!({ "execute": name, "arguments": arguments }).to_string();
        self.note("->", &command);
        writeln!(self.stream, "{command}").map_err(|error| failed(name, &error))?;
        loop {
            let message = self.message(deadline)?.ok_or_else(|| deadline.error(format!("QMP's {name}")))?;
            if let Some(answer) = message.get("return") {
                return Ok(answer.clone());
            }
            if let Some(error) = message.get("error") {
                let what = error.get("desc").and_then(Value::as_str).unwrap_or("no reason given");
                return Err(LabError::Qmp(format!("{name}: {what}")));
            }
            self.events.push(message);
        }
    }

    /// Executes a line of the human monitor and returns what it prints.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn monitor(&mut self, line: &str, deadline: Deadline) -> Result<String, LabError> {
        let answer = self.execute("human-monitor-command", &json!({ "command-line": line }), deadline)?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    /// Registers of all CPUs, for people.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn registers(&mut self, deadline: Deadline) -> Result<String, LabError> {
        self.monitor("info registers -a", deadline)
    }

    /// Writes physical memory as an ELF core into the file `path`, for `park lot`.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn dump_guest_memory(&mut self, path: &Path, deadline: Deadline) -> Result<(), LabError> {
        let protocol = format!("file:{}", path.display());
        self.execute("dump-guest-memory", &json!({ "paging": false, "protocol": protocol }), deadline).map(drop)
    }

    /// Writes `bytes` of physical memory from `at` on into the file `path`.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn save_memory(&mut self, at: u64, bytes: u64, path: &Path, deadline: Deadline) -> Result<(), LabError> {
        let arguments = json!({ "val": at, "size": bytes, "filename": path });
        self.execute("pmemsave", &arguments, deadline).map(drop)
    }

    /// Makes a machine check happen, and waits until QEMU says what it did with it.
    ///
    /// # Errors
    /// [`LabError::Qmp`] if QEMU refuses or ignores it; [`LabError::Deadline`] if it says nothing.
    pub fn inject(&mut self, check: MachineCheck, deadline: Deadline) -> Result<Delivery, LabError> {
        self.events();
        let said = self.monitor(&check.command(), deadline)?;
        if said.contains("raising triple fault") {
            // What QEMU says where CR4.MCE is clear or a machine check is in progress (target/i386/helper.c).
            return Ok(Delivery::Reset);
        }
        if !said.trim().is_empty() {
            return Err(LabError::Qmp(format!("mce: {}", said.trim())));
        }
        loop {
            for event in self.events() {
                if event.get("event").and_then(Value::as_str) == Some("MEMORY_FAILURE") {
                    return match event.pointer("/data/action").and_then(Value::as_str) {
                        Some("inject") => Ok(Delivery::Exception),
                        Some("reset") => Ok(Delivery::Reset),
                        other => Err(LabError::Qmp(format!("the machine check became {}", other.unwrap_or("nothing")))),
                    };
                }
            }
            let message = self.message(deadline)?.ok_or_else(|| deadline.error("a machine check's delivery"))?;
            self.events.push(message);
        }
    }

    /// Events that came since this was last called, as far as they have been read.
    pub fn events(&mut self) -> Vec<Value> {
        core::mem::take(&mut self.events)
    }

    /// The next message; `None` if none comes in time.
    fn message(&mut self, deadline: Deadline) -> Result<Option<Value>, LabError> {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line).trim().to_owned();
                self.note("<-", &text);
                return serde_json::from_str(&text).map(Some).map_err(|error| failed(&text, &error));
            }
            let left = deadline.remaining();
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left)).map_err(|error| failed("the socket", &error))?;
            let mut chunk = [0; CHUNK_BYTES];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(LabError::Qmp("QEMU closed the connection".to_owned())),
                Ok(count) => self.unread.extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("the socket", &error)),
            }
        }
    }

    fn note(&mut self, direction: &str, text: &str) {
        // For people, after a failure: not worth one itself.
        let _ = writeln!(self.log, "{:?} {direction} {text}", Instant::now());
    }
}

fn failed(what: &str, error: &dyn core::fmt::Display) -> LabError {
    LabError::Qmp(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    const SOON: Duration = Duration::from_secs(20);

    /// A folder whose name is too long for a socket, and a server there that greets and then gives `answers`, one batch of
    /// lines per command.
    fn server(name: &str, answers: &'static [&'static str]) -> PathBuf {
        let long = "a-folder-with-a-long-name-".repeat(6);
        let folder = std::env::temp_dir().join(format!("park-lab-{name}-{}", std::process::id())).join(long);
        std::fs::create_dir_all(&folder).unwrap();
        let opened = File::open(&folder).unwrap();
        let socket = format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd());
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(socket).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            writeln!(stream, "{{\"QMP\":{{\"version\":{{}}}}}}").unwrap();
            let mut commands = BufReader::new(stream.try_clone().unwrap()).lines();
            for answer in core::iter::once(&"{\"return\":{}}").chain(answers) {
                let _command = commands.next();
                writeln!(stream, "{answer}").unwrap();
            }
            // Holds the connection until the client goes.
            let _end = commands.next();
        });
        folder
    }

    fn connected(folder: &Path) -> Qmp {
        Qmp::connect(folder, &folder.join("qmp.log"), Deadline::after(SOON)).unwrap()
    }

    fn clear(folder: &Path) {
        std::fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    }

    #[test]
    fn events_before_an_answer_are_kept() {
        let folder = server("kept", &["{\"event\":\"STOP\"}\n{\"return\":\"RAX=0\"}"]);
        let mut qmp = connected(&folder);
        assert_eq!(qmp.registers(Deadline::after(SOON)).unwrap(), "RAX=0");
        assert_eq!(qmp.events(), [json!({ "event": "STOP" })]);
        assert!(qmp.events().is_empty());
        let log = std::fs::read_to_string(folder.join("qmp.log")).unwrap();
        assert!(log.contains("-> {\"arguments\":{\"command-line\":\"info registers -a\"}"), "{log}");
        assert!(log.contains("<- {\"event\":\"STOP\"}"), "{log}");
        clear(&folder);
    }

    #[test]
    fn errors_and_silence_are_told_apart() {
        let folder = server("errors", &["{\"error\":{\"desc\":\"no such CPU\"}}", "{\"event\":\"STOP\"}"]);
        let mut qmp = connected(&folder);
        let error = qmp.monitor("mce", Deadline::after(SOON)).unwrap_err();
        assert!(matches!(&error, LabError::Qmp(text) if text.contains("no such CPU")), "{error}");
        let late = qmp.monitor("x", Deadline::after(Duration::from_millis(200))).unwrap_err();
        assert!(matches!(late, LabError::Deadline { .. }), "{late}");
        clear(&folder);
    }

    #[test]
    fn a_machine_check_counts_only_if_it_was_injected() {
        let failure = [
            "{\"return\":\"\"}\n{\"event\":\"X\"}\n{\"event\":\"MEMORY_FAILURE\",\"data\":{\"action\":\"inject\"}}",
            "{\"return\":\"\"}\n{\"event\":\"MEMORY_FAILURE\",\"data\":{\"action\":\"reset\"}}",
            "{\"return\":\"Invalid bank number\"}",
            "{\"return\":\"\"}",
        ];
        let folder = server("mce", Box::leak(Box::new(failure)));
        let mut qmp = connected(&folder);
        let check = MachineCheck { cpu: 1, reach: Reach::Local };
        assert_eq!(qmp.inject(check, Deadline::after(SOON)).unwrap(), Delivery::Exception);
        assert_eq!(qmp.inject(check, Deadline::after(SOON)).unwrap(), Delivery::Reset);
        assert!(qmp.inject(check, Deadline::after(SOON)).unwrap_err().to_string().contains("bank"));
        assert!(matches!(
            qmp.inject(check, Deadline::after(Duration::from_millis(200))),
            Err(LabError::Deadline { .. })
        ));
        clear(&folder);
    }

    #[test]
    fn machine_checks_in_the_words_of_the_monitor() {
        let local = MachineCheck { cpu: 2, reach: Reach::Local }.command();
        assert_eq!(local, "mce 2 5 0xbd80000000000134 0x5 0x1234 0x8c");
        assert!(MachineCheck { cpu: 0, reach: Reach::Broadcast }.command().starts_with("mce -b 0 5 "));
    }

    #[test]
    fn nobody_listening_is_an_error_in_time() {
        let folder = std::env::temp_dir().join(format!("park-lab-nobody-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let start = Instant::now();
        let error =
            Qmp::connect(&folder, &folder.join("log"), Deadline::after(Duration::from_millis(100))).unwrap_err();
        assert!(error.to_string().contains("nobody listens"), "{error}");
        assert!(start.elapsed() < SOON);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
