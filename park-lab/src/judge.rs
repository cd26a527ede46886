//! Whether a run of the image ended as it should.
//!
//! A run counts only if the image says so by its completion token *and* nothing else speaks against it: a hang, a reset, an
//! early exit, another test's token have no such line or not only that.

use crate::line::Line;

/// What a run is meant to end with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The line `complete` of this test, with `ok`, as the last one.
    Completes {
        /// The test.
        test: &'static str,
    },
    /// A line `failed` that names the cause, and no success.
    Refuses {
        /// What the cause must contain.
        naming: &'static str,
    },
    /// The test does not hold, and its tally counts lost CPUs: what a lot that is broken on purpose must come to.
    Loses {
        /// The test.
        test: &'static str,
    },
    /// The machine goes down right after a line with this event, since a CPU of it shut down.
    GoesDown {
        /// The event.
        after: &'static str,
    },
    /// A line `fault` with this vector, and no line `complete`.
    Faults {
        /// The vector.
        vector: u64,
    },
}

/// How the emulator ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By itself, with a status that says nothing (Bochs: always 1).
    Meaningless,
    /// Killed: it was silent for so many seconds.
    Silent {
        /// For how long.
        seconds: u64,
    },
    /// Killed at the trial's time limit of so many seconds.
    Late {
        /// The limit.
        seconds: u64,
    },
    /// By a signal that the lab did not send.
    Killed,
}

/// QEMU's exit status is 2 * value + 1, and the image writes 0 if its test holds.
const STATUS_PASSED: i32 = 1;
/// The image writes 1 if its test does not hold.
const STATUS_FAILED: i32 = 3;
/// The image writes 2 after a panic or an exception.
const STATUS_BROKEN: i32 = 5;
/// What QEMU ends with after a reset, under `-no-reboot`.
pub(crate) const STATUS_RESET: i32 = 0;

/// Why a run does not count.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// Nothing came for long.
    #[error("silence: not a line in {seconds} s")]
    Silence {
        /// For how long.
        seconds: u64,
    },
    /// The time limit passed.
    #[error("not at its end after {seconds} s")]
    Late {
        /// The limit.
        seconds: u64,
    },
    /// The image never reported anything.
    #[error("the image did not boot: no line of it on the serial port")]
    NoBoot,
    /// The machine was reset.
    #[error("the machine was reset before the end")]
    Reset,
    /// The last line of the image is no completion token.
    #[error("no completion token: the last report is `{last}`")]
    NoToken {
        /// The event of the last line.
        last: String,
    },
    /// The token is another test's.
    #[error("wrong token: `{found}` is complete, and `{wanted}` ran")]
    WrongToken {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: &'static str,
    },
    /// The image says that its test does not hold.
    #[error("the image says that it does not hold: {why}")]
    DoesNotHold {
        /// The image's reason.
        why: String,
    },
    /// The image stopped with an exception or a panic.
    #[error("the image broke: {what}")]
    Broken {
        /// What it reported.
        what: String,
    },
    /// The image succeeded where it had to refuse or fault.
    #[error("the image says that all is well, and should not")]
    Accepted,
    /// The image refused, for another cause.
    #[error("the image refuses with `{found}`, which does not name `{wanted}`")]
    WrongCause {
        /// What it said.
        found: String,
        /// What it should name.
        wanted: &'static str,
    },
    /// The emulator's exit status contradicts the report.
    #[error("the emulator's exit status is {found}, not {wanted}")]
    Status {
        /// What it was.
        found: i32,
        /// What it should have been.
        wanted: i32,
    },
    /// Somebody killed the emulator.
    #[error("the emulator was killed")]
    Killed,
    /// Another number of CPUs came up.
    #[error("{found} CPUs are online, not {wanted}")]
    WrongCpus {
        /// How many.
        found: u64,
        /// How many there should be.
        wanted: u64,
    },
    /// What the test counted does not add up.
    #[error("the tally of the torture does not add up: {what}")]
    Tally {
        /// The number that is wrong.
        what: String,
    },
    /// A sweep left instructions out.
    #[error("the sweep is not whole: {what}")]
    Unmet {
        /// Which.
        what: String,
    },
    /// A measurement is neither claimed nor a named deviation.
    #[error("{}", surprises.join("; "))]
    Surprise {
        /// Each in one sentence.
        surprises: Vec<String>,
    },
    /// The host could not do its part.
    #[error("{0}")]
    Host(String),
    /// Two runs of the same thing on a deterministic configuration differ.
    #[error("two runs differ, first in line {line}: `{first}` and `{second}`")]
    Differs {
        /// The line of the serial log, from 1.
        line: usize,
        /// What the first run has there.
        first: String,
        /// What the second run has there.
        second: String,
    },
}

/// What a run is judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    /// How it ends.
    pub end: End,
    /// CPUs of the machine; 0 if the run may end before they are started.
    pub cpus: u64,
    /// Generations of the torture; 0 if it is none.
    pub generations: u64,
}

/// Decides whether a run that wrote `serial` and ended with `exit` ended as `expected`.
///
/// # Errors
/// [`Flaw`]: the first of what speaks against it.
pub fn judge(expected: &Expected, serial: &[String], exit: Exit) -> Result<(), Flaw> {
    let reports: Vec<Line> = serial.iter().filter_map(|text| Line::parse(text)).collect();
    in_time(&reports, exit)?;
    let goes_down = matches!(expected.end, End::GoesDown { .. });
    let booted = reports.iter().filter(|line| line.event() == "boot").count();
    if booted > 1 || (exit == Exit::Status(STATUS_RESET) && !goes_down) {
        return Err(Flaw::Reset);
    }
    let last = reports.last().ok_or(Flaw::NoBoot)?;
    match expected.end {
        End::Completes { test } => {
            token(test, &reports, last)?;
            cpus(expected, &reports)?;
            tally(expected, &reports)?;
            status(exit, STATUS_PASSED)
        }
        End::Refuses { naming } => {
            if last.event() == "complete" && last.truth("ok") != Some(false) {
                return Err(Flaw::Accepted);
            }
            let found = why(&reports);
            if !found.contains(naming) {
                return Err(Flaw::WrongCause { found, wanted: naming });
            }
            status(exit, STATUS_FAILED)
        }
        End::Loses { test } => {
            let found = last.text("test").unwrap_or_default();
            if last.event() != "complete" || found != test {
                return Err(Flaw::WrongToken { found: found.to_owned(), wanted: test });
            }
            if last.truth("ok") != Some(false) {
                return Err(Flaw::Accepted);
            }
            let total = reports.iter().find(|line| line.event() == test);
            match total.and_then(|total| total.number("lost")) {
                Some(lost) if lost > 0 => status(exit, STATUS_FAILED),
                lost => Err(Flaw::Tally { what: format!("lost is {lost:?}, and the lot is broken") }),
            }
        }
        End::GoesDown { after } if last.event() == after => status(exit, STATUS_RESET),
        End::GoesDown { .. } if last.event() == "complete" => Err(Flaw::Accepted),
        End::GoesDown { .. } => Err(Flaw::NoToken { last: last.event().to_owned() }),
        End::Faults { vector } => {
            if reports.iter().any(|line| line.event() == "complete") {
                return Err(Flaw::Accepted);
            }
            let fault = reports.iter().find(|line| line.event() == "fault");
            let found = fault.and_then(|line| line.number("vector"));
            if found != Some(vector) {
                return Err(Flaw::Broken { what: format!("vector {found:?}, not {vector}") });
            }
            status(exit, STATUS_BROKEN)
        }
    }
}

/// That the lab did not have to end it.
fn in_time(reports: &[Line], exit: Exit) -> Result<(), Flaw> {
    // Why it hangs is worth more than that it does.
    let broke = reports.iter().find(|line| matches!(line.event(), "fault" | "panic"));
    match (exit, broke) {
        (Exit::Status(_) | Exit::Meaningless, _) => Ok(()),
        (_, Some(line)) => Err(Flaw::Broken { what: told(line) }),
        (Exit::Silent { seconds }, None) => Err(Flaw::Silence { seconds }),
        (Exit::Late { seconds }, None) => Err(Flaw::Late { seconds }),
        (Exit::Killed, None) => Err(Flaw::Killed),
    }
}

fn token(test: &'static str, reports: &[Line], last: &Line) -> Result<(), Flaw> {
    if let Some(line) = reports.iter().find(|line| matches!(line.event(), "fault" | "panic")) {
        return Err(Flaw::Broken { what: told(line) });
    }
    if last.event() != "complete" {
        let failed = reports.iter().any(|line| line.event() == "failed");
        let last = last.event().to_owned();
        return Err(if failed { Flaw::DoesNotHold { why: why(reports) } } else { Flaw::NoToken { last } });
    }
    let found = last.text("test").unwrap_or_default();
    if found != test {
        return Err(Flaw::WrongToken { found: found.to_owned(), wanted: test });
    }
    if last.truth("ok") != Some(true) || reports.iter().any(|line| line.event() == "failed") {
        return Err(Flaw::DoesNotHold { why: why(reports) });
    }
    Ok(())
}

/// The image's own reason.
fn why(reports: &[Line]) -> String {
    let line = reports.iter().rev().find(|line| line.event() == "failed");
    line.and_then(|line| line.text("why")).unwrap_or("it gives no reason").to_owned()
}

/// A fault or a panic, in short.
fn told(line: &Line) -> String {
    let vector = line.number("vector").map(|vector| format!("exception with vector {vector}"));
    vector.or_else(|| line.text("why").map(str::to_owned)).unwrap_or_else(|| line.event().to_owned())
}

/// All CPUs came up, by the image's own list: the boot CPU is not in it.
fn cpus(expected: &Expected, reports: &[Line]) -> Result<(), Flaw> {
    let others = reports.iter().filter(|line| line.event() == "online").count();
    let found = u64::try_from(others).unwrap_or(u64::MAX).saturating_add(1);
    if expected.cpus == 0 || found == expected.cpus {
        Ok(())
    } else {
        Err(Flaw::WrongCpus { found, wanted: expected.cpus })
    }
}

/// The torture lost nothing, and did as much as it was told to.
fn tally(expected: &Expected, reports: &[Line]) -> Result<(), Flaw> {
    let Expected { generations, cpus, .. } = *expected;
    if generations == 0 {
        return Ok(());
    }
    let wrong = |what: String| Err(Flaw::Tally { what });
    let Some(total) = reports.iter().find(|line| line.event() == "torture") else {
        return wrong("there is none".to_owned());
    };
    let count = |key: &str| total.number(key);
    let others = cpus.saturating_sub(1);
    let wanted = [("number", generations), ("parked", generations * others), ("lost", 0), ("faulted", 0)];
    for (key, wanted) in wanted {
        if count(key) != Some(wanted) {
            return wrong(format!("{key} is {:?}, not {wanted}", count(key)));
        }
    }
    // Fixed interrupts that a local APIC did not keep while it was switched off have no other witness.
    let dropped = count("dropped").unwrap_or(0);
    match (count("fired"), count("witnessed")) {
        // Each CPU gets an event in each generation at least.
        (Some(fired), Some(witnessed))
            if fired == witnessed + dropped && witnessed > 0 && fired >= generations * others =>
        {
            Ok(())
        }
        (fired, witnessed) => wrong(format!("fired {fired:?}, witnessed {witnessed:?}")),
    }
}

fn status(exit: Exit, wanted: i32) -> Result<(), Flaw> {
    match exit {
        Exit::Status(found) if found != wanted => Err(Flaw::Status { found, wanted }),
        _ => Ok(()),
    }
}

/// Where two serial logs differ first.
#[must_use]
pub fn difference(first: &[String], second: &[String]) -> Option<Flaw> {
    let at = |log: &[String], index: usize| log.get(index).cloned();
    let longest = first.len().max(second.len());
    let index = (0..longest).find(|&index| at(first, index) != at(second, index))?;
    let shown = |log: &[String]| at(log, index).unwrap_or_else(|| "the end".to_owned());
    Some(Flaw::Differs { line: index + 1, first: shown(first), second: shown(second) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: &str = "SeaBIOS\n{\"event\":\"boot\"}\n{\"event\":\"online\",\"cpu\":1}\n";
    const OK: &str = "{\"event\":\"complete\",\"test\":\"smp\",\"ok\":true}";
    const SMP: Expected = Expected { end: End::Completes { test: "smp" }, cpus: 2, generations: 0 };

    fn lines(serial: &str) -> Vec<String> {
        serial.lines().map(str::to_owned).collect()
    }

    fn judged(expected: &Expected, serial: &str, exit: Exit) -> Result<(), Flaw> {
        judge(expected, &lines(serial), exit)
    }

    #[test]
    fn token_and_status_together_count() {
        let whole = format!("{BOOT}{OK}\n\n\n");
        assert_eq!(judged(&SMP, &whole, Exit::Status(1)), Ok(()));
        assert_eq!(judged(&SMP, &whole, Exit::Meaningless), Ok(()));
        assert_eq!(judged(&SMP, &whole, Exit::Status(3)), Err(Flaw::Status { found: 3, wanted: 1 }));
        assert_eq!(judged(&SMP, &whole, Exit::Status(0)), Err(Flaw::Reset));
        assert_eq!(judged(&SMP, &whole, Exit::Killed), Err(Flaw::Killed));
        assert_eq!(judged(&SMP, &whole, Exit::Silent { seconds: 9 }), Err(Flaw::Silence { seconds: 9 }));
        assert_eq!(judged(&SMP, &whole, Exit::Late { seconds: 9 }), Err(Flaw::Late { seconds: 9 }));
    }

    #[test]
    fn every_other_end_has_its_name() {
        let passed = |serial: &str| judged(&SMP, serial, Exit::Status(1)).unwrap_err();
        assert_eq!(passed(""), Flaw::NoBoot);
        assert_eq!(passed("SeaBIOS\nerror: file not found\n"), Flaw::NoBoot);
        assert_eq!(passed(BOOT), Flaw::NoToken { last: "online".to_owned() });
        assert_eq!(passed(&format!("{BOOT}{BOOT}{OK}")), Flaw::Reset);
        assert_eq!(passed(&format!("{BOOT}{OK}\n{{\"event\":\"late\"}}")), Flaw::NoToken { last: "late".to_owned() });
        let wrong = OK.replace("smp", "skeleton");
        let found = "skeleton".to_owned();
        assert_eq!(passed(&format!("{BOOT}{wrong}")), Flaw::WrongToken { found, wanted: "smp" });
        let failed = "{\"event\":\"failed\",\"why\":\"so\"}\n";
        let why = "so".to_owned();
        assert_eq!(passed(&format!("{BOOT}{failed}")), Flaw::DoesNotHold { why: why.clone() });
        assert_eq!(passed(&format!("{BOOT}{failed}{OK}")), Flaw::DoesNotHold { why });
        let cut = &OK[..OK.len() - 1];
        assert_eq!(passed(&format!("{BOOT}{cut}")), Flaw::NoToken { last: "online".to_owned() });
        let lone = format!("{{\"event\":\"boot\"}}\n{OK}");
        assert_eq!(passed(&lone), Flaw::WrongCpus { found: 1, wanted: 2 });
        let panic = "{\"event\":\"panic\",\"why\":\"at\"}\n";
        assert_eq!(passed(&format!("{BOOT}{panic}{OK}")), Flaw::Broken { what: "at".to_owned() });
    }

    #[test]
    fn a_hang_after_a_fault_is_a_fault() {
        let serial = format!("{BOOT}{{\"event\":\"fault\",\"vector\":14}}");
        let flaw = judged(&SMP, &serial, Exit::Silent { seconds: 9 }).unwrap_err();
        assert_eq!(flaw, Flaw::Broken { what: "exception with vector 14".to_owned() });
    }

    #[test]
    fn refusals_name_their_cause() {
        let expected = Expected { end: End::Refuses { naming: "cpus=3" }, cpus: 0, generations: 0 };
        let refused = "{\"event\":\"failed\",\"why\":\"2 are online, but cpus=3\"}";
        assert_eq!(judged(&expected, &format!("{BOOT}{refused}"), Exit::Status(3)), Ok(()));
        assert!(judged(&expected, &format!("{BOOT}{refused}"), Exit::Status(1)).is_err());
        assert_eq!(judged(&expected, &format!("{BOOT}{OK}"), Exit::Status(3)), Err(Flaw::Accepted));
        let other = refused.replace("cpus=3", "something");
        assert!(matches!(judged(&expected, &other, Exit::Status(3)), Err(Flaw::WrongCause { .. })));
        assert!(matches!(judged(&expected, BOOT, Exit::Status(3)), Err(Flaw::WrongCause { .. })));
    }

    #[test]
    fn a_fault_is_expected_by_its_vector() {
        let expected = Expected { end: End::Faults { vector: 6 }, cpus: 0, generations: 0 };
        let fault = "{\"event\":\"fault\",\"vector\":6}";
        assert_eq!(judged(&expected, fault, Exit::Status(5)), Ok(()));
        assert!(judged(&expected, fault, Exit::Status(1)).is_err());
        assert!(judged(&expected, "{\"event\":\"fault\",\"vector\":13}", Exit::Status(5)).is_err());
        assert!(judged(&expected, &format!("{fault}\n{OK}"), Exit::Status(5)).is_err());
        assert!(judged(&expected, "", Exit::Status(5)).is_err());
    }

    #[test]
    fn a_torture_that_loses_or_does_less_does_not_pass() {
        let expected = Expected { end: End::Completes { test: "torture" }, cpus: 2, generations: 3 };
        let token = OK.replace("smp", "torture");
        let total =
            "{\"event\":\"torture\",\"number\":3,\"parked\":3,\"fired\":9,\"witnessed\":9,\"lost\":0,\"faulted\":0}";
        let passes = |total: &str| judged(&expected, &format!("{BOOT}{total}\n{token}"), Exit::Status(1));
        assert_eq!(passes(total), Ok(()));
        for (from, to) in [
            ("\"number\":3", "\"number\":2"),
            ("\"parked\":3", "\"parked\":2"),
            ("\"witnessed\":9", "\"witnessed\":8"),
            ("\"fired\":9,\"witnessed\":9", "\"fired\":0,\"witnessed\":0"),
            ("\"lost\":0", "\"lost\":1"),
            ("\"faulted\":0", "\"faulted\":1"),
            ("\"lost\":0,", ""),
            ("torture", "another"),
        ] {
            assert!(matches!(passes(&total.replace(from, to)), Err(Flaw::Tally { .. })), "{to}");
        }
    }

    #[test]
    fn a_broken_lot_must_lose_cpus() {
        let loses = Expected { end: End::Loses { test: "torture" }, cpus: 0, generations: 0 };
        let token = OK.replace("smp", "torture").replace("true", "false");
        let run = |lost: u32, token: &str, status: i32| {
            let total = format!("{{\"event\":\"torture\",\"lost\":{lost}}}");
            judged(&loses, &format!("{BOOT}{total}\n{token}"), Exit::Status(status))
        };
        assert_eq!(run(2, &token, 3), Ok(()));
        assert!(matches!(run(0, &token, 3), Err(Flaw::Tally { .. })));
        assert_eq!(run(2, &token.replace("false", "true"), 1), Err(Flaw::Accepted));
        assert_eq!(run(2, &token, 0), Err(Flaw::Reset));
        assert!(matches!(run(2, "", 3), Err(Flaw::WrongToken { .. })));
    }

    #[test]
    fn a_machine_goes_down_right_after_the_cause() {
        let down = Expected { end: End::GoesDown { after: "fire" }, cpus: 0, generations: 0 };
        let fire = "{\"event\":\"fire\"}";
        assert_eq!(judged(&down, &format!("{BOOT}{fire}"), Exit::Status(0)), Ok(()));
        assert_eq!(judged(&down, &format!("{BOOT}{fire}"), Exit::Meaningless), Ok(()));
        assert_eq!(judged(&down, &format!("{BOOT}{fire}"), Exit::Status(3)), Err(Flaw::Status { found: 3, wanted: 0 }));
        assert_eq!(judged(&down, BOOT, Exit::Status(0)), Err(Flaw::NoToken { last: "online".to_owned() }));
        assert_eq!(judged(&down, &format!("{fire}\n{OK}"), Exit::Status(1)), Err(Flaw::Accepted));
        assert_eq!(judged(&down, &format!("{BOOT}{BOOT}{fire}"), Exit::Status(0)), Err(Flaw::Reset));
    }

    #[test]
    fn the_first_difference_of_two_runs_is_named() {
        let (first, second) = (lines("a\nb\nc"), lines("a\nx\nc"));
        assert_eq!(difference(&first, &first), None);
        let flaw = difference(&first, &second).unwrap();
        assert!(flaw.to_string().contains("line 2: `b` and `x`"), "{flaw}");
        assert!(difference(&first, &lines("a\nb")).unwrap().to_string().contains("line 3: `c` and `the end`"));
    }
}
