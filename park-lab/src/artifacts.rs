//! Where a lab leaves what it saw: `target/lab/RUN/TRIAL/`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::LabError;

/// Files of a trial.
pub mod name {
    /// The command that ran the emulator, as one would type it in this folder.
    pub const COMMAND: &str = "command.sh";
    /// Every byte of the serial line.
    pub const SERIAL: &str = "serial.log";
    /// What was said with QEMU's monitor.
    pub const QMP: &str = "qmp.log";
    /// Registers of all CPUs at the end of a run that hangs.
    pub const REGISTERS: &str = "registers.log";
    /// Physical memory at the end of a run that hangs, for `park lot`.
    pub const MEMORY: &str = "memory.elf";
    /// What the emulator itself complained of.
    pub const COMPLAINTS: &str = "emulator.log";
}

/// Runs whose folders stay: the newest ones. Memory and logs of a failed trial take up to 100 MB.
const RUNS_KEPT: usize = 10;

/// The folder of one run of the lab: no other run has the same.
#[derive(Debug)]
pub struct Run {
    /// Its name.
    pub name: String,
    folder: PathBuf,
    /// The folder itself, locked for as long as this run goes on, so that no other run removes it.
    _in_use: File,
}

impl Run {
    /// Makes the folder of a new run below `base`, and removes those of old ones that have ended.
    ///
    /// # Errors
    /// [`LabError::File`].
    pub fn new(base: &Path) -> Result<Self, LabError> {
        fs::create_dir_all(base).map_err(LabError::file(base))?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, process) = (since.as_secs(), std::process::id());
        for attempt in 0_u32.. {
            let name = format!("{seconds}-{process}-{attempt}");
            let folder = base.join(&name);
            // Making the folder is what claims the name, also against a process with the same number elsewhere.
            match fs::create_dir(&folder) {
                Ok(()) => {
                    let folder = folder.canonicalize().map_err(LabError::file(&folder))?;
                    let in_use = File::open(&folder).map_err(LabError::file(&folder))?;
                    in_use.lock_shared().map_err(LabError::file(&folder))?;
                    prune(base);
                    return Ok(Self { name, folder, _in_use: in_use });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(LabError::File { path: folder, error }),
            }
        }
        Err(LabError::Program("every name for a run is taken".to_owned()))
    }

    /// Makes the folder of a trial, empty.
    ///
    /// # Errors
    /// [`LabError::File`].
    pub fn folder(&self, trial: &str) -> Result<PathBuf, LabError> {
        let folder = self.folder.join(trial.replace('/', "."));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(LabError::file(&folder))?;
        }
        fs::create_dir_all(&folder).map_err(LabError::file(&folder))?;
        Ok(folder)
    }

    /// Removes the folder of the run if it holds nothing any more: every trial passed.
    pub fn remove_if_empty(&self) {
        // It is not empty: then it is to stay.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Removes the folders of runs below `base` but for the newest ones and those that go on. What can't be removed now may be
/// the next time.
fn prune(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    let mut runs: Vec<(Vec<u64>, PathBuf)> =
        entries.flatten().filter_map(|entry| Some((order(entry.file_name().to_str()?)?, entry.path()))).collect();
    runs.sort();
    let old = runs.len().saturating_sub(RUNS_KEPT);
    for (_, folder) in runs.into_iter().take(old) {
        // Whoever uses it has it locked, and the lock ends with the process.
        if File::open(&folder).is_ok_and(|run| run.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

/// The numbers in the name of a run, the moment of its beginning first; `None`: no run is called so.
fn order(name: &str) -> Option<Vec<u64>> {
    let numbers = name.split('-').map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>()?;
    (numbers.len() == 3).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_at_once_do_not_meet() {
        let base = std::env::temp_dir().join(format!("park-lab-runs-{}", std::process::id()));
        let (first, second) = (Run::new(&base).unwrap(), Run::new(&base).unwrap());
        assert_ne!(first.name, second.name);
        let folder = first.folder("qemu-epyc/smp").unwrap();
        fs::write(folder.join("x"), "").unwrap();
        assert!(folder.is_absolute() && folder.ends_with("qemu-epyc.smp"));
        assert_ne!(folder, second.folder("qemu-epyc/smp").unwrap());
        first.remove_if_empty();
        assert!(folder.exists());
        assert!(!first.folder("qemu-epyc/smp").unwrap().join("x").exists());
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn old_runs_go_unless_they_are_in_use_and_nothing_else_does() {
        let base = std::env::temp_dir().join(format!("park-lab-old-runs-{}", std::process::id()));
        let old = |number: usize| base.join(format!("{}-7-0", 1_000 + number));
        for number in 0..RUNS_KEPT + 3 {
            fs::create_dir_all(old(number).join("trial")).unwrap();
        }
        fs::create_dir(base.join("kept")).unwrap();
        fs::create_dir(base.join("1-2-3-4")).unwrap();
        let in_use = File::open(old(1)).unwrap();
        in_use.lock_shared().unwrap();
        let run = Run::new(&base).unwrap();
        // With the new one there are 14, and 10 stay; but one of the 4 oldest is in use.
        let there: Vec<usize> = (0..RUNS_KEPT + 3).filter(|&number| old(number).exists()).collect();
        assert_eq!(there, [&[1][..], &(4..RUNS_KEPT + 3).collect::<Vec<usize>>()].concat());
        assert!(base.join("kept").exists() && base.join("1-2-3-4").exists() && base.join(&run.name).exists());
        // Its own process ends, and it is the oldest.
        drop(in_use);
        let second = Run::new(&base).unwrap();
        assert!(!old(1).exists() && base.join(&run.name).exists() && base.join(&second.name).exists());
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_run_that_goes_on_is_never_removed() {
        let base = std::env::temp_dir().join(format!("park-lab-many-runs-{}", std::process::id()));
        let runs: Vec<Run> = (0..2 * RUNS_KEPT).map(|_| Run::new(&base).unwrap()).collect();
        assert!(runs.iter().all(|run| base.join(&run.name).exists()));
        drop(runs);
        fs::remove_dir_all(base).unwrap();
    }
}
