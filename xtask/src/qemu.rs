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
/// A model with SVM.
const CPU_MODEL: &str = "EPYC";
const CPUS: u32 = 4;
/// The `iobase` of `isa-debug-exit`, as park-metal knows it.
const EXIT_DEVICE: &str = "isa-debug-exit,iobase=0xf4,iosize=4";
/// QEMU's exit status when the image writes 0 to that port: 2 * value + 1.
const STATUS_PASSED: i32 = 1;

/// What QEMU does when its machine is reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AfterReset {
    Ends,
    StartsAgain,
}

/// One run that is to end with the line `complete`, and `ok` in it, as the last one.
struct Run {
    test: &'static str,
    /// More words for the image's command line.
    more: &'static str,
    /// Lines `silicon` with these answers to these questions stand before it.
    answers: &'static [(&'static str, &'static str)],
    after_reset: AfterReset,
}

/// Two generations with all counters.
pub(crate) fn soak(deadline: Deadline) -> Result<(), StageError> {
    run(&Run { test: "soak", more: "generations=2", answers: &[], after_reset: AfterReset::Ends }, deadline)
}

/// What QEMU 7.2 answers; and a question that resets the machine, whose answer the second start finds in memory.
pub(crate) fn silicon(deadline: Deadline) -> Result<(), StageError> {
    let answers = &[
        ("mwait-waits", "never"),
        ("nmi-depth", "1"),
        ("nmi-apic-soft-off", "deliver"),
        ("icr-busy", "idle"),
        ("irr-across-init", "cleared"),
        ("nmi-block-across-init", "cleared"),
        ("vm-hsave-across-init", "kept"),
    ];
    let test = "silicon";
    run(&Run { test, more: "hypervisor=yes", answers, after_reset: AfterReset::Ends }, deadline)?;
    let (more, answers) = ("hypervisor=yes ask=shutdown-resets", &[("shutdown-resets", "yes")]);
    run(&Run { test, more, answers, after_reset: AfterReset::StartsAgain }, deadline)
}

/// Runs the image and judges the run.
fn run(run: &Run, deadline: Deadline) -> Result<(), StageError> {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-nodefaults", "-display", "none", "-m", "64", "-serial", "stdio"]);
    if run.after_reset == AfterReset::Ends {
        command.arg("-no-reboot");
    }
    command.args(["-accel", "tcg,thread=multi", "-cpu", CPU_MODEL, "-smp", &CPUS.to_string()]);
    command.args(["-device", EXIT_DEVICE]).arg("-kernel").arg(image::path()?);
    command.args(["-append", format!("t={} cpus={CPUS} {}", run.test, run.more).trim_end()]);
    println!("{}", shown(&command));
    let mut group = Group::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let serial = collect(group.child().stdout.take());
    let complaints = collect(group.child().stderr.take());
    let status = group.wait("QEMU", deadline).map_err(StageError::from);
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
    let last = events.last().filter(|event| is(event, "complete"));
    let last = last.ok_or_else(|| StageError::new("the last line is not the event `complete`"))?;
    if last.get("test").and_then(Value::as_str) != Some(run.test) {
        return Err(StageError::new(format!("another test than {} is complete", run.test)));
    }
    if last.get("ok").and_then(Value::as_bool) != Some(true) {
        return Err(StageError::new(format!("the image says that {} does not hold", run.test)));
    }
    run.answers.iter().try_for_each(|&answer| answered(&events, answer))?;
    match status {
        Some(STATUS_PASSED) => Ok(()),
        Some(found) => Err(StageError::new(format!("QEMU's exit status is {found}, not {STATUS_PASSED}"))),
        None => Err(StageError::new("QEMU was killed")),
    }
}

/// Fails unless the question has this answer among the lines.
fn answered(events: &[Value], (question, wanted): (&str, &str)) -> Result<(), StageError> {
    let field = |event: &Value, name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
    let line = events.iter().find(|event| {
        field(event, "event").as_deref() == Some("silicon") && field(event, "question").as_deref() == Some(question)
    });
    match line.and_then(|line| field(line, "answer")) {
        Some(found) if found == wanted => Ok(()),
        found => Err(StageError::new(format!("the answer to {question} is {found:?}, not {wanted}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(
        answers: &'static [(&'static str, &'static str)],
        serial: &str,
        status: Option<i32>,
    ) -> Result<(), StageError> {
        let run = Run { test: "smp", more: "", answers, after_reset: AfterReset::Ends };
        judge(&run, &serial.lines().map(str::to_owned).collect::<Vec<_>>(), status)
    }

    const BOOT: &str = "SeaBIOS\n{\"event\":\"boot\"}\n";
    const OK: &str = "{\"event\":\"complete\",\"test\":\"smp\",\"ok\":true}";

    #[test]
    fn token_and_status_together_count() {
        assert_eq!(judged(&[], &format!("{BOOT}{OK}"), Some(1)), Ok(()));
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
            assert!(judged(&[], serial, status).is_err(), "{serial} {status:?}");
        }
    }

    #[test]
    fn answers_are_compared() {
        let end = &[("nmi-depth", "1")];
        let line = |answer: &str| {
            format!("{{\"event\":\"silicon\",\"question\":\"nmi-depth\",\"answer\":\"{answer}\"}}\n{OK}")
        };
        assert_eq!(judged(end, &line("1"), Some(1)), Ok(()));
        assert!(judged(end, &line("2"), Some(1)).is_err());
        assert!(judged(end, &line(""), Some(1)).is_err());
        assert!(judged(end, OK, Some(1)).is_err());
        assert!(judged(end, &line("1"), Some(3)).is_err());
    }
}
