//! Where a lab leaves what it saw: `target/lab/RUN/TRIAL/`.

use std::fs;
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

/// The folder of one run of the lab: no other run has the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Its name.
    pub name: String,
    folder: PathBuf,
}

impl Run {
    /// Makes the folder of a new run below `base`.
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
                    return Ok(Self { name, folder });
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
}
