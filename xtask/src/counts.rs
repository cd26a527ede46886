//! Instruction counts of parking and waking, under QEMU that counts instructions: two runs must agree to the last sample,
//! counts must be those that were recorded, and the gates must hold.

use std::fs;
use std::path::{Path, PathBuf};

use park_lab::artifacts::Run;
use park_lab::bench::{Counts, Log, gates, run};

use crate::image;
use crate::stage::{Deadline, StageError, minutes};

/// The longest that it may take: each of the two runs took 6 s on two busy cores.
pub(crate) const LIMIT: core::time::Duration = minutes(3);
/// Where counts are recorded.
const RECORDED: &str = "benches/counts.json";
/// Where the runs leave their logs if they fail.
const ARTIFACTS: &str = "target/lab";

/// Compares with what was recorded.
pub(crate) fn check(deadline: Deadline) -> Result<(), StageError> {
    let recorded = Counts::read(Path::new(RECORDED))?;
    let found = count_twice(deadline)?;
    if !found.is_comparable(&recorded) {
        let Counts { rustc, qemu, .. } = &recorded;
        println!("counts with compiled code are not compared: they were recorded with {rustc} and QEMU {qemu}");
    }
    let differences = found.differences(&recorded);
    differences.iter().for_each(|line| println!("{line}"));
    judge(&found)?;
    if differences.is_empty() {
        return Ok(());
    }
    Err(StageError::new(format!(
        "{} counts are not those of {RECORDED}; if they are meant to be, `cargo xtask bless-counts`",
        differences.len()
    )))
}

/// Records what is found. Gates must hold even then.
pub(crate) fn bless(deadline: Deadline) -> Result<(), StageError> {
    let found = count_twice(deadline)?;
    judge(&found)?;
    fs::write(RECORDED, found.to_json()).map_err(|error| StageError::new(format!("{RECORDED}: {error}")))
}

fn judge(found: &Counts) -> Result<(), StageError> {
    let gates = gates::of_counts(found);
    gates.iter().for_each(|gate| println!("{} {gate}", if gate.holds() { "holds " } else { "FAILS " }));
    let failed = gates.iter().filter(|gate| !gate.holds()).count();
    if failed == 0 { Ok(()) } else { Err(StageError::new(format!("{failed} gates on counts do not hold"))) }
}

/// Two runs that must say the same.
fn count_twice(deadline: Deadline) -> Result<Counts, StageError> {
    let run = Run::new(Path::new(ARTIFACTS))?;
    let image = image::path()?;
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut once = |name: &str| -> Result<Log, StageError> {
        let folder = run.folder(name)?;
        let log = run::counted(&image, &folder, deadline)?;
        folders.push(folder);
        Ok(log)
    };
    let (first, second) = (once("counts")?, once("counts-again")?);
    if first != second {
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        return Err(StageError::new(format!("two runs differ: see {}", folders.join(" and "))));
    }
    for folder in &folders {
        // What is left of it is in nobody's way.
        let _ = fs::remove_dir_all(folder);
    }
    run.remove_if_empty();
    Ok(Counts::of(&first, deadline)?)
}
