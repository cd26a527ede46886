//! A command in a process group of its own that can't outlive this program.
//!
//! A stage must end in time, and nothing it started may go on afterwards: neither after its time limit, nor when this
//! program panics, is interrupted, or is killed outright. So every command gets a *watcher*: a shell in the command's
//! process group that reads from a pipe whose other end this program alone holds. When that end closes, for whatever
//! reason, the watcher kills the group, itself included.

use core::time::Duration;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;

use crate::stage::{Deadline, StageError};

/// Pause between two looks at a child.
const POLL: Duration = Duration::from_millis(20);
/// Waits for the end of the pipe, then kills the group whose id is `$0`.
const WATCHER: &str = r#"read -r _; kill -s KILL -- "-$0""#;

/// A running command with everything that it starts. Dropping it kills them all.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
    watcher: Child,
    lifeline: Option<ChildStdin>,
}

impl Group {
    /// Starts `command` in a new process group, with no standard input.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self, StageError> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| StageError::new(format!("can't start {name}: {error}")))?;
        match watch(&child) {
            Ok(mut watcher) => {
                let lifeline = watcher.stdin.take();
                Ok(Self { child, watcher, lifeline })
            }
            Err(error) => {
                // Without a watcher only the child itself can be reached; both calls fail only if it has ended.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// The command's own process: for its pipes.
    pub(crate) const fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for the command's own process to end, until `deadline`.
    pub(crate) fn wait(&mut self, deadline: Deadline) -> Result<ExitStatus, StageError> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if deadline.has_passed() => return Err(deadline.error()),
                Ok(None) => thread::sleep(POLL),
                Err(error) => return Err(StageError::new(format!("can't wait for a child: {error}"))),
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The watcher is in the group until it kills it, so the group's id can't belong to anyone else meanwhile.
        drop(self.lifeline.take());
        // Errors mean that there is nothing left to wait for.
        let _ = self.watcher.wait();
        let _ = self.child.wait();
    }
}

/// Starts the watcher of the group that `leader` leads.
fn watch(leader: &Child) -> Result<Child, StageError> {
    let failed = |error: &dyn core::fmt::Display| StageError::new(format!("can't start the watcher: {error}"));
    let group_id = i32::try_from(leader.id()).map_err(|error| failed(&error))?;
    let mut command = Command::new("sh");
    command.args(["-c", WATCHER, &group_id.to_string()]).process_group(group_id);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(|error| failed(&error))
}

/// Runs `command` to its end with this program's output; anything but success is an error.
pub(crate) fn run(command: &mut Command, deadline: Deadline) -> Result<(), StageError> {
    let status = Group::spawn(command)?.wait(deadline)?;
    if status.success() { Ok(()) } else { Err(StageError::new(format!("{} ended with {status}", shown(command)))) }
}

/// Runs `command` to its end and returns what it wrote to standard output; anything but success is an error.
pub(crate) fn output(command: &mut Command, deadline: Deadline) -> Result<String, StageError> {
    let mut group = Group::spawn(command.stdout(Stdio::piped()).stderr(Stdio::inherit()))?;
    let stdout = group.child().stdout.take();
    let reader = thread::spawn(move || stdout.map(std::io::read_to_string).transpose());
    let status = group.wait(deadline);
    // Ends everything that still holds the pipe, so that the reader ends.
    drop(group);
    let read = reader.join();
    if !status?.success() {
        return Err(StageError::new(format!("{} failed", shown(command))));
    }
    match read {
        Ok(Ok(text)) => Ok(text.unwrap_or_default()),
        Ok(Err(error)) => Err(StageError::new(format!("{}: {error}", shown(command)))),
        Err(_) => Err(StageError::new(format!("{}: its reader panicked", shown(command)))),
    }
}

/// The command as one would type it, without the folder of the program.
pub(crate) fn shown(command: &Command) -> String {
    let program = command.get_program();
    let program = Path::new(program).file_name().unwrap_or(program);
    let words = core::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
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
    fn a_command_that_hangs_is_ended_at_its_deadline() {
        let start = Instant::now();
        let result = run(Command::new("sleep").arg("1000"), Deadline::after(Duration::from_millis(200)));
        assert!(result.is_err_and(|error| error.to_string().contains("time limit")));
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
}
