//! Running the image under QEMU.
//!
//! A run counts only if the image says that it came to its end *and* QEMU's exit status says so: a hang, a reset or an
//! early exit has neither.

use core::time::Duration;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::group::{Group, shown};
use crate::image;
use crate::stage::{Deadline, StageError};

/// The longest that one run may take: a run of a few seconds, on a machine that is busy with something else.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// Lines of the serial output that are shown after a failure.
const TAIL_LINES: usize = 30;
/// The `iobase` of `isa-debug-exit`, as park-metal knows it.
const EXIT_DEVICE: &str = "isa-debug-exit,iobase=0xf4,iosize=4";
/// QEMU's exit status when the image writes 0 to that port: 2 * value + 1.
const STATUS_PASSED: i32 = 1;
/// The status after a panic or an exception in the image: it writes 2.
const STATUS_BROKEN: i32 = 5;

/// What a run is meant to end with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The line `complete` of this test, with `ok`, as the last one.
    Complete,
    /// A line `fault` with this vector, and no line `complete`.
    Fault { vector: u64 },
}

/// One run.
struct Run {
    test: &'static str,
    cpus: u32,
    cpu_model: &'static str,
    end: End,
}

/// Every CPU starts, takes a job, an NMI and interrupts.
pub(crate) fn smp(deadline: Deadline) -> Result<(), StageError> {
    run(&Run { test: "smp", cpus: 4, cpu_model: "EPYC", end: End::Complete }, deadline)
}

/// An image that breaks says so: a test of the tests.
pub(crate) fn fault(deadline: Deadline) -> Result<(), StageError> {
    run(&Run { test: "fault", cpus: 2, cpu_model: "EPYC", end: End::Fault { vector: 6 } }, deadline)
}

/// One CPU parks with Hlt and one with Clgi; both get an NMI; both are woken. EPYC: a model with SVM.
pub(crate) fn skeleton(deadline: Deadline) -> Result<(), StageError> {
    run(&Run { test: "skeleton", cpus: 4, cpu_model: "EPYC", end: End::Complete }, deadline)
}

/// Runs the image and judges the run.
fn run(run: &Run, deadline: Deadline) -> Result<(), StageError> {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-nodefaults", "-display", "none", "-no-reboot", "-m", "256", "-serial", "stdio"]);
    command.args(["-accel", "tcg,thread=multi", "-cpu", run.cpu_model, "-smp", &run.cpus.to_string()]);
    command.args(["-device", EXIT_DEVICE]).arg("-kernel").arg(image::path()?);
    command.args(["-append", &format!("t={} cpus={}", run.test, run.cpus)]);
    println!("{}", shown(&command));
    let mut group = Group::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let serial = collect(group.child().stdout.take());
    let complaints = collect(group.child().stderr.take());
    let status = group.wait(deadline);
    // Ends QEMU if it still runs, so that both readers come to their ends.
    drop(group);
    let (serial, complaints) = (serial.join().unwrap_or_default(), complaints.join().unwrap_or_default());
    let verdict = status.and_then(|status| judge(run, &serial, status.code()));
    match &verdict {
        Ok(()) => serial.iter().for_each(|line| println!("{line}")),
        Err(_) => {
            show_tail("serial output", &serial);
            show_tail("QEMU's complaints", &complaints);
        }
    }
    verdict
}

/// Reads lines until the end of the pipe, in a thread.
fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let lines = pipe.into_iter().flat_map(|pipe| BufReader::new(pipe).split(b'\n'));
        lines.map_while(Result::ok).map(|line| String::from_utf8_lossy(&line).trim_end().to_owned()).collect()
    })
}

fn show_tail(what: &str, lines: &[String]) {
    println!("--- the last {TAIL_LINES} lines of {what}:");
    lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)).for_each(|line| println!("{line}"));
    println!("---");
}

/// Decides whether the run ended as it should.
fn judge(run: &Run, serial: &[String], status: Option<i32>) -> Result<(), StageError> {
    let events: Vec<Value> = serial.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let is = |event: &Value, name: &str| event.get("event").and_then(Value::as_str) == Some(name);
    let ended_with = |wanted: i32| match status {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(StageError::new(format!("QEMU's exit status is {found}, not {wanted}"))),
        None => Err(StageError::new("QEMU was killed")),
    };
    match run.end {
        End::Complete => {
            let last = events.last().filter(|event| is(event, "complete"));
            let last = last.ok_or_else(|| StageError::new("the last line is not the event `complete`"))?;
            if last.get("test").and_then(Value::as_str) != Some(run.test) {
                return Err(StageError::new(format!("another test than {} is complete", run.test)));
            }
            if last.get("ok").and_then(Value::as_bool) != Some(true) {
                return Err(StageError::new(format!("the image says that {} does not hold", run.test)));
            }
            ended_with(STATUS_PASSED)
        }
        End::Fault { vector } => {
            if events.iter().any(|event| is(event, "complete")) {
                return Err(StageError::new("the image says that it came to its end"));
            }
            let found = events.iter().find(|event| is(event, "fault")).and_then(|event| event.get("vector"));
            if found.and_then(Value::as_u64) != Some(vector) {
                return Err(StageError::new(format!("the image did not report a fault with vector {vector}")));
            }
            ended_with(STATUS_BROKEN)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(end: End, serial: &str, status: Option<i32>) -> Result<(), StageError> {
        let run = Run { test: "smp", cpus: 1, cpu_model: "max", end };
        judge(&run, &serial.lines().map(str::to_owned).collect::<Vec<_>>(), status)
    }

    const BOOT: &str = "SeaBIOS\n{\"event\":\"boot\"}\n";
    const OK: &str = "{\"event\":\"complete\",\"test\":\"smp\",\"ok\":true}";

    #[test]
    fn token_and_status_together_count() {
        assert_eq!(judged(End::Complete, &format!("{BOOT}{OK}"), Some(1)), Ok(()));
    }

    #[test]
    fn neither_counts_alone() {
        let whole = format!("{BOOT}{OK}");
        let cases: [(&str, Option<i32>); 7] = [
            (&whole, Some(0)),
            (&whole, Some(3)),
            (&whole, None),
            (BOOT, Some(1)),
            ("{\"event\":\"complete\",\"test\":\"smp\",\"ok\":false}", Some(1)),
            ("{\"event\":\"complete\",\"test\":\"skeleton\",\"ok\":true}", Some(1)),
            (&format!("{OK}\n{{\"event\":\"panic\"}}"), Some(1)),
        ];
        for (serial, status) in cases {
            assert!(judged(End::Complete, serial, status).is_err(), "{serial} {status:?}");
        }
    }

    #[test]
    fn a_wanted_fault_is_that_fault_and_no_end() {
        let end = End::Fault { vector: 6 };
        let fault = "{\"event\":\"fault\",\"vector\":6}";
        assert_eq!(judged(end, fault, Some(5)), Ok(()));
        assert!(judged(end, fault, Some(1)).is_err());
        assert!(judged(end, "{\"event\":\"fault\",\"vector\":13}", Some(5)).is_err());
        assert!(judged(end, &format!("{fault}\n{OK}"), Some(5)).is_err());
        assert!(judged(end, "", Some(5)).is_err());
    }
}
