//! Stages of `cargo xtask test`: their order, time limits, and the summary.

use core::fmt;
use core::time::Duration;
use std::process::ExitCode;
use std::time::Instant;

use crate::{counts, image, lab, matrix, msrv, none, package, qemu, setup, tools};

/// The whole test takes no longer, from nothing built, on two cores.
const TOTAL_LIMIT: Duration = minutes(40);

/// `count` minutes.
pub(crate) const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

pub(crate) use park_lab::deadline::Deadline;

/// Why a stage failed, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StageError(String);

impl StageError {
    /// An error that says `what`.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl From<park_lab::LabError> for StageError {
    fn from(error: park_lab::LabError) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for StageError {}

/// How much is tested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// Everything.
    All,
    /// What needs Rust alone.
    Host,
}

/// What a stage needs beside Rust.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Needs {
    /// Nothing.
    Rust,
    /// Debian packages.
    Debian,
    /// Debian packages, and the image that the stage `image` builds.
    Image,
}

/// One step of the test.
struct Stage {
    name: &'static str,
    needs: Needs,
    limit: Duration,
    run: fn(Deadline) -> Result<(), StageError>,
}

impl Stage {
    const fn new(
        name: &'static str,
        needs: Needs,
        limit: Duration,
        run: fn(Deadline) -> Result<(), StageError>,
    ) -> Self {
        Self { name, needs, limit, run }
    }
}

/// All stages, in their order: what is quick and fails often comes first.
const STAGES: [Stage; 18] = [
    Stage::new("setup", Needs::Debian, setup::LIMIT, setup::run),
    Stage::new("fmt", Needs::Rust, minutes(2), tools::fmt),
    Stage::new("clippy", Needs::Rust, minutes(10), tools::clippy),
    Stage::new("clippy-image", Needs::Rust, minutes(5), tools::clippy_image),
    Stage::new("doc", Needs::Rust, minutes(10), tools::doc),
    Stage::new("image", Needs::Rust, image::LIMIT, |deadline| image::build(deadline).map(drop)),
    Stage::new("qemu-silicon", Needs::Image, qemu::LIMIT, qemu::silicon),
    Stage::new("qemu-soak", Needs::Image, qemu::LIMIT, qemu::soak),
    Stage::new("lab-sim", Needs::Rust, lab::SIM_LIMIT, lab::sim),
    Stage::new("counts", Needs::Image, counts::LIMIT, counts::check),
    Stage::new("lab-qemu", Needs::Image, lab::QEMU_LIMIT, lab::qemu),
    Stage::new("lab-bochs", Needs::Image, lab::BOCHS_LIMIT, lab::bochs),
    Stage::new("matrix", Needs::Image, matrix::LIMIT, matrix::check),
    Stage::new("lab-linux", Needs::Image, lab::LINUX_LIMIT, lab::linux),
    Stage::new("target-none", Needs::Debian, minutes(10), none::build),
    Stage::new("msrv", Needs::Debian, minutes(10), msrv::check),
    Stage::new("package", Needs::Rust, minutes(10), package::check),
    Stage::new("test", Needs::Rust, minutes(30), tools::test),
];

/// How a stage ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed(StageError),
    /// Could not be run because of an earlier failure, which counts as failed.
    NotRun(&'static str),
    /// Was not asked for; counts as nothing.
    Skipped(&'static str),
}

/// A line of the summary.
struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// The names of all stages.
pub(crate) fn names() -> [&'static str; STAGES.len()] {
    STAGES.each_ref().map(|stage| stage.name)
}

/// Runs every stage in `scope`, or those of them that `only` names if it is not empty, also after failures, and prints the summary; its last line is `N passed, N failed`.
pub(crate) fn run_all(scope: Scope, only: &[String]) -> ExitCode {
    let total = Deadline::after(TOTAL_LIMIT);
    let mut rows: Vec<Row> = Vec::new();
    for stage in STAGES.iter().filter(|stage| only.is_empty() || only.iter().any(|name| name == stage.name)) {
        let start = Instant::now();
        let image_failed = rows.iter().any(|row| row.name == "image" && row.outcome != Outcome::Passed);
        let outcome = if scope == Scope::Host && stage.needs != Needs::Rust {
            Outcome::Skipped("--host")
        } else if stage.needs == Needs::Image && image_failed {
            Outcome::NotRun("there is no image")
        } else {
            println!("=== {} (at most {} s)", stage.name, stage.limit.as_secs().min(total.remaining().as_secs()));
            match (stage.run)(Deadline::after(stage.limit).or_before(total)) {
                Ok(()) => Outcome::Passed,
                Err(error) => {
                    println!("=== {} failed: {error}", stage.name);
                    Outcome::Failed(error)
                }
            }
        };
        rows.push(Row { name: stage.name, outcome, took: start.elapsed() });
    }
    print!("{}", summary(&rows));
    if rows.iter().all(|row| matches!(row.outcome, Outcome::Passed | Outcome::Skipped(_))) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The table and, as its last line, the count.
fn summary(rows: &[Row]) -> String {
    let mut text = format!("\n{:<16} {:<8} {:>8}\n", "stage", "result", "seconds");
    let (mut passed, mut failed) = (0, 0);
    for row in rows {
        let (result, why) = match &row.outcome {
            Outcome::Passed => ("passed", String::new()),
            Outcome::Failed(error) => ("FAILED", format!("  {error}")),
            Outcome::NotRun(why) => ("NOT RUN", format!("  {why}")),
            Outcome::Skipped(why) => ("skipped", format!("  {why}")),
        };
        match row.outcome {
            Outcome::Passed => passed += 1,
            Outcome::Failed(_) | Outcome::NotRun(_) => failed += 1,
            Outcome::Skipped(_) => {}
        }
        text += &format!("{:<16} {result:<8} {:>8.1}{why}\n", row.name, row.took.as_secs_f64());
    }
    text + &format!("\n{passed} passed, {failed} failed\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, outcome: Outcome) -> Row {
        Row { name, outcome, took: Duration::from_millis(1250) }
    }

    #[test]
    fn the_summary_ends_with_the_count_alone_on_its_line() {
        let text = summary(&[
            row("a", Outcome::Passed),
            row("b", Outcome::Failed(StageError::new("so"))),
            row("c", Outcome::NotRun("no b")),
            row("d", Outcome::Skipped("--host")),
        ]);
        assert_eq!(text.lines().last(), Some("1 passed, 2 failed"));
        assert!(text.contains("b                FAILED        1.2  so\n"), "{text}");
    }
}
