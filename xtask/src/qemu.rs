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
/// The longest that `cargo xtask soak` may take: 4 s for each generation of 16 CPUs on two cores, many times over.
pub(crate) const SOAK_LIMIT: Duration = Duration::from_secs(40 * 60);
/// Lines of the serial output that are shown after a failure.
const TAIL_LINES: usize = 30;
/// The `iobase` of `isa-debug-exit`, as park-metal knows it.
const EXIT_DEVICE: &str = "isa-debug-exit,iobase=0xf4,iosize=4";
/// QEMU's exit status when the image writes 0 to that port: 2 * value + 1.
const STATUS_PASSED: i32 = 1;
/// The status after a test that does not hold: it writes 1.
const STATUS_FAILED: i32 = 3;
/// The status after a reset, with `-no-reboot`.
const STATUS_RESET: i32 = 0;
/// The status after a panic or an exception in the image: it writes 2.
const STATUS_BROKEN: i32 = 5;

/// What a run is meant to end with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The line `complete` of this test, with `ok`, as the last one.
    Complete,
    /// As [`Complete`](Self::Complete), after lines `silicon` with these answers to these questions.
    Answers(&'static [(&'static str, &'static str)]),
    /// As [`Complete`](Self::Complete) but not `ok`, after a line `torture` that counts lost CPUs.
    Lost,
    /// A reset: no line `complete`, and this event as the last one.
    Reset { last: &'static str },
    /// A line `fault` with this vector, and no line `complete`.
    Fault { vector: u64 },
}

/// What QEMU does when its machine is reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AfterReset {
    Ends,
    StartsAgain,
}

/// One run.
struct Run {
    test: &'static str,
    cpus: u32,
    cpu_model: &'static str,
    /// More words for the image's command line.
    more: &'static str,
    end: End,
    after_reset: AfterReset,
}

impl Run {
    /// A run of `test` on a model with SVM that is to pass.
    const fn of(test: &'static str) -> Self {
        let (end, after_reset) = (End::Complete, AfterReset::Ends);
        Self { test, cpus: 4, cpu_model: "EPYC", more: "", end, after_reset }
    }
}

/// Every CPU starts, takes a job, an NMI and interrupts.
pub(crate) fn smp(deadline: Deadline) -> Result<(), StageError> {
    run(&Run::of("smp"), deadline)
}

/// An image that breaks says so: a test of the tests.
pub(crate) fn fault(deadline: Deadline) -> Result<(), StageError> {
    run(&Run { cpus: 2, end: End::Fault { vector: 6 }, ..Run::of("fault") }, deadline)
}

/// One CPU parks with Hlt and one with Clgi; both get an NMI; both are woken. EPYC: a model with SVM.
pub(crate) fn skeleton(deadline: Deadline) -> Result<(), StageError> {
    run(&Run::of("skeleton"), deadline)
}

/// Twenty kernels take a lot and three CPUs over, one from the other, while everything else is overwritten.
pub(crate) fn torture(deadline: Deadline) -> Result<(), StageError> {
    run(&Run { more: "generations=20", ..Run::of("torture") }, deadline)?;
    run(&Run { more: "generations=2 mechanism=policy", ..Run::of("torture") }, deadline)
}

/// A hundred kernels and fifteen CPUs. For `cargo xtask soak`.
pub(crate) fn torture_long(deadline: Deadline) -> Result<(), StageError> {
    run(&Run { cpus: 16, more: "generations=100 timeout_ms=60000", ..Run::of("torture") }, deadline)
}

/// CPUs that do not come, or come late; more of them than bays; lots where none can be.
pub(crate) fn trouble(deadline: Deadline) -> Result<(), StageError> {
    run(&Run { more: "timeout_ms=2000", ..Run::of("trouble") }, deadline)
}

/// Lots that are broken on purpose lose CPUs, and their controls don't. A CPU that shuts down resets QEMU's machine.
pub(crate) fn broken(deadline: Deadline) -> Result<(), StageError> {
    for (more, end) in [
        ("timeout_ms=2000 break=wide-window", End::Complete),
        ("timeout_ms=2000 break=no-window", End::Lost),
        ("timeout_ms=2000 break=slow-arrival", End::Complete),
        ("timeout_ms=2000 break=early-ack", End::Reset { last: "overwriting" }),
        ("timeout_ms=2000 break=no-idt", End::Reset { last: "fire" }),
    ] {
        run(&Run { more, end, ..Run::of("torture") }, deadline)?;
    }
    Ok(())
}

/// Two generations with all counters.
pub(crate) fn soak(deadline: Deadline) -> Result<(), StageError> {
    run(&Run { more: "generations=2", ..Run::of("soak") }, deadline)
}

/// What QEMU 7.2 answers; and a question that resets the machine, whose answer the second start finds in memory.
pub(crate) fn silicon(deadline: Deadline) -> Result<(), StageError> {
    let answers = End::Answers(&[
        ("mwait-waits", "never"),
        ("nmi-depth", "1"),
        ("nmi-apic-soft-off", "deliver"),
        ("icr-busy", "idle"),
        ("irr-across-init", "cleared"),
        ("nmi-block-across-init", "cleared"),
        ("vm-hsave-across-init", "kept"),
    ]);
    run(&Run { more: "hypervisor=yes", end: answers, ..Run::of("silicon") }, deadline)?;
    let more = "hypervisor=yes ask=shutdown-resets";
    let (end, after_reset) = (End::Answers(&[("shutdown-resets", "yes")]), AfterReset::StartsAgain);
    run(&Run { more, end, after_reset, ..Run::of("silicon") }, deadline)
}

/// Runs the image and judges the run.
fn run(run: &Run, deadline: Deadline) -> Result<(), StageError> {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-nodefaults", "-display", "none", "-m", "64", "-serial", "stdio"]);
    if run.after_reset == AfterReset::Ends {
        command.arg("-no-reboot");
    }
    command.args(["-accel", "tcg,thread=multi", "-cpu", run.cpu_model, "-smp", &run.cpus.to_string()]);
    command.args(["-device", EXIT_DEVICE]).arg("-kernel").arg(image::path()?);
    command.args(["-append", format!("t={} cpus={} {}", run.test, run.cpus, run.more).trim_end()]);
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
    let ended_with = |wanted: i32| match status {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(StageError::new(format!("QEMU's exit status is {found}, not {wanted}"))),
        None => Err(StageError::new("QEMU was killed")),
    };
    match run.end {
        End::Complete | End::Lost | End::Answers(_) => {
            let last = events.last().filter(|event| is(event, "complete"));
            let last = last.ok_or_else(|| StageError::new("the last line is not the event `complete`"))?;
            if last.get("test").and_then(Value::as_str) != Some(run.test) {
                return Err(StageError::new(format!("another test than {} is complete", run.test)));
            }
            let ok = run.end != End::Lost;
            if last.get("ok").and_then(Value::as_bool) != Some(ok) {
                let verb = if ok { "does not hold" } else { "holds, though its lot is broken" };
                return Err(StageError::new(format!("the image says that {} {verb}", run.test)));
            }
            let total = events.iter().find(|event| is(event, "torture"));
            if !ok && total.and_then(|total| total.get("lost")).and_then(Value::as_u64).unwrap_or(0) == 0 {
                return Err(StageError::new("no CPU was lost in a lot that is broken"));
            }
            if let End::Answers(answers) = run.end {
                answers.iter().try_for_each(|&answer| answered(&events, answer))?;
            }
            ended_with(if ok { STATUS_PASSED } else { STATUS_FAILED })
        }
        End::Reset { last } => {
            let found = events.last().and_then(|event| event.get("event")).and_then(Value::as_str);
            if found != Some(last) {
                return Err(StageError::new(format!("the last line is not the event `{last}` but {found:?}")));
            }
            ended_with(STATUS_RESET)
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

    fn judged(end: End, serial: &str, status: Option<i32>) -> Result<(), StageError> {
        let run = Run { end, ..Run::of("smp") };
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
    fn a_lost_cpu_is_counted_by_the_image() {
        let no = "{\"event\":\"complete\",\"test\":\"smp\",\"ok\":false}";
        let total = |lost: u32| format!("{{\"event\":\"torture\",\"lost\":{lost}}}\n");
        assert_eq!(judged(End::Lost, &(total(2) + no), Some(3)), Ok(()));
        assert!(judged(End::Lost, &(total(0) + no), Some(3)).is_err());
        assert!(judged(End::Lost, no, Some(3)).is_err());
        assert!(judged(End::Lost, &(total(2) + OK), Some(1)).is_err());
        assert!(judged(End::Lost, &(total(2) + no), Some(0)).is_err());
    }

    #[test]
    fn answers_are_compared() {
        let end = End::Answers(&[("nmi-depth", "1")]);
        let line = |answer: &str| {
            format!("{{\"event\":\"silicon\",\"question\":\"nmi-depth\",\"answer\":\"{answer}\"}}\n{OK}")
        };
        assert_eq!(judged(end, &line("1"), Some(1)), Ok(()));
        assert!(judged(end, &line("2"), Some(1)).is_err());
        assert!(judged(end, &line(""), Some(1)).is_err());
        assert!(judged(end, OK, Some(1)).is_err());
        assert!(judged(end, &line("1"), Some(3)).is_err());
    }

    #[test]
    fn a_wanted_reset_comes_right_after_its_cause() {
        let end = End::Reset { last: "fire" };
        let fire = "{\"event\":\"fire\"}";
        assert_eq!(judged(end, &format!("{BOOT}{fire}"), Some(0)), Ok(()));
        assert!(judged(end, &format!("{BOOT}{fire}"), Some(3)).is_err());
        assert!(judged(end, BOOT, Some(0)).is_err());
        assert!(judged(end, &format!("{fire}\n{OK}"), Some(0)).is_err());
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
