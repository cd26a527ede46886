//! A command in a process group that can't outlive this program.
//!
//! Nothing that was started may go on afterwards: neither after its time limit, nor when this program panics, is
//! interrupted, or is killed outright. So every group is led by a *watcher*: a shell that reads from a pipe whose other end
//! this program alone holds. When that end closes, for whatever reason, the watcher kills the group, itself included. It is
//! started first, so that there is no moment at which a command runs unwatched.

use core::time::Duration;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;

use crate::LabError;
use crate::deadline::Deadline;

/// Pause between two looks at a child.
const POLL: Duration = Duration::from_millis(20);
/// Waits for the end of the pipe, then kills the group that it leads.
const WATCHER: &str = r#"read -r _; kill -s KILL -- "-$$""#;

/// A running command with everything that it starts. Dropping it kills them all.
#[derive(Debug)]
pub struct Group {
    child: Child,
    watcher: Watcher,
}

impl Group {
    /// Starts `command` in a new process group, with no standard input.
    ///
    /// # Errors
    /// [`LabError::Program`] if it can't be started.
    pub fn spawn(command: &mut Command) -> Result<Self, LabError> {
        Self::start(command.stdin(Stdio::null()))
    }

    /// Starts `command` in a new process group; what its standard input is, the caller has said.
    ///
    /// # Errors
    /// [`LabError::Program`] if it can't be started.
    pub fn start(command: &mut Command) -> Result<Self, LabError> {
        let watcher = Watcher::start()?;
        let name = command.get_program().to_string_lossy().into_owned();
        // If this program is killed before the child is in the group, there is no group to enter any more, and no child.
        let child = command.process_group(watcher.group_id).spawn();
        let child = child.map_err(|error| LabError::Program(format!("can't start {name}: {error}")))?;
        Ok(Self { child, watcher })
    }

    /// The command's own process: for its pipes.
    pub const fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether the command's own process has ended, and how.
    ///
    /// # Errors
    /// [`LabError::Program`] if the system can't tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, LabError> {
        self.child.try_wait().map_err(|error| LabError::Program(format!("can't wait for a child: {error}")))
    }

    /// Waits for the command's own process to end, until `deadline`; `what` names it in the error.
    ///
    /// # Errors
    /// [`LabError::Deadline`]; [`LabError::Program`] if the system can't tell.
    pub fn wait(&mut self, what: &str, deadline: Deadline) -> Result<ExitStatus, LabError> {
        loop {
            match self.ended()? {
                Some(status) => return Ok(status),
                None if deadline.has_passed() => return Err(deadline.error(what)),
                None => thread::sleep(POLL),
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The watcher leads the group until it kills it, so the group's id can't belong to anyone else meanwhile.
        self.watcher.kill_group();
        // An error means that there is nothing left to wait for.
        let _ = self.child.wait();
    }
}

/// The leader of a group, which kills it when this program lets go of the pipe.
#[derive(Debug)]
struct Watcher {
    process: Child,
    lifeline: Option<ChildStdin>,
    group_id: i32,
}

impl Watcher {
    fn start() -> Result<Self, LabError> {
        let failed = |error: &dyn core::fmt::Display| LabError::Program(format!("can't start a watcher: {error}"));
        let mut command = Command::new("sh");
        command.args(["-c", WATCHER]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().map_err(|error| failed(&error))?;
        let lifeline = process.stdin.take();
        match i32::try_from(process.id()) {
            Ok(group_id) => Ok(Self { process, lifeline, group_id }),
            Err(error) => {
                drop(lifeline);
                let _ = process.wait();
                Err(failed(&error))
            }
        }
    }

    fn kill_group(&mut self) {
        drop(self.lifeline.take());
        // An error means that it has been waited for.
        let _ = self.process.wait();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Runs `command` to its end with this program's output; anything but success is an error.
///
/// # Errors
/// [`LabError::Program`] or [`LabError::Deadline`], which name the command.
pub fn run(command: &mut Command, deadline: Deadline) -> Result<(), LabError> {
    let status = Group::spawn(command)?.wait(&shown(command), deadline)?;
    if status.success() { Ok(()) } else { Err(LabError::Program(format!("{} ended with {status}", shown(command)))) }
}

/// Runs `command` to its end and returns what it wrote to standard output; anything but success is an error. What standard
/// error is, the caller has said.
///
/// # Errors
/// [`LabError::Program`] or [`LabError::Deadline`], which name the command.
pub fn output(command: &mut Command, deadline: Deadline) -> Result<String, LabError> {
    let mut group = Group::spawn(command.stdout(Stdio::piped()))?;
    let stdout = group.child().stdout.take();
    let reader = thread::spawn(move || stdout.map(std::io::read_to_string).transpose());
    let status = group.wait(&shown(command), deadline);
    // Ends everything that still holds the pipe, so that the reader ends.
    drop(group);
    let read = reader.join();
    let status = status?;
    if !status.success() {
        return Err(LabError::Program(format!("{} ended with {status}", shown(command))));
    }
    match read {
        Ok(Ok(text)) => Ok(text.unwrap_or_default()),
        Ok(Err(error)) => Err(LabError::Program(format!("{}: {error}", shown(command)))),
        Err(_) => Err(LabError::Program(format!("{}: its reader panicked", shown(command)))),
    }
}

/// The command as one would type it in the folder where it runs, without the folder of the program.
#[must_use]
pub fn shown(command: &Command) -> String {
    let program = command.get_program();
    let program = Path::new(program).file_name().unwrap_or(program);
    let words = core::iter::once(program).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// A word as a shell wants it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=./:,+@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// True while the process exists and is not a zombie.
    fn is_alive(process_id: &str) -> bool {
        let stat = std::fs::read_to_string(Path::new("/proc").join(process_id).join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    }

    /// A command whose background child ignores SIGTERM and SIGHUP, and the child's process id.
    fn stubborn() -> (Group, String) {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM HUP; sleep 1000 & echo $!; wait"]).stdout(Stdio::piped());
        let mut group = Group::spawn(&mut command).unwrap();
        let mut line = String::new();
        let stdout = group.child().stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        (group, line.trim().to_owned())
    }

    fn ends_soon(process_id: &str) -> bool {
        let start = Instant::now();
        while is_alive(process_id) && start.elapsed() < Duration::from_secs(10) {
            thread::sleep(POLL);
        }
        !is_alive(process_id)
    }

    #[test]
    fn grandchildren_end_with_the_group() {
        let (group, grandchild) = stubborn();
        assert!(is_alive(&grandchild));
        drop(group);
        assert!(ends_soon(&grandchild));
    }

    #[test]
    fn grandchildren_end_with_a_panic() {
        let (group, grandchild) = stubborn();
        let thread = thread::spawn(move || {
            let _group = group;
            panic!("as a failing stage might");
        });
        assert!(thread.join().is_err());
        assert!(ends_soon(&grandchild));
    }

    #[test]
    fn a_program_that_does_not_exist_leaves_no_watcher() {
        let mut command = Command::new("/no/such/program");
        assert!(Group::spawn(&mut command).is_err());
    }

    #[test]
    fn a_command_that_hangs_is_ended_at_its_deadline() {
        let start = Instant::now();
        let result = run(Command::new("sleep").arg("1000"), Deadline::after(Duration::from_millis(200)));
        assert!(matches!(result, Err(LabError::Deadline { .. })));
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn failure_and_output_are_seen() {
        let deadline = Deadline::after(Duration::from_secs(60));
        assert!(run(&mut Command::new("true"), deadline).is_ok());
        assert!(run(&mut Command::new("false"), deadline).is_err());
        assert!(run(&mut Command::new("/no/such/program"), deadline).is_err());
        assert_eq!(output(Command::new("echo").arg("x"), deadline).unwrap(), "x\n");
        assert!(output(Command::new("sh").args(["-c", "echo x; exit 3"]), deadline).is_err());
    }

    #[test]
    fn a_shown_command_can_be_typed() {
        let mut command = Command::new("/usr/bin/printf");
        command.args(["%s", "t=smp cpus=4", "it's"]);
        assert_eq!(shown(&command), r"printf %s 't=smp cpus=4' 'it'\''s'");
    }
}
