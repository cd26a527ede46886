//! What is seen from outside of a machine that runs, noted as lines among its own: registers, resets, memory of the lot.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::LabError;
use crate::deadline::Deadline;
use crate::line::Line;
use crate::qmp::Qmp;
use crate::registers::{self, CpuState};
use crate::resets::{LOG, Resets};

/// Events of the lines that are added.
pub mod event {
    /// Where a CPU is, and whether it executes: `tag`, `cpu`, `rip`, `cr3`, `cr4`, `halted`.
    pub const REGISTERS: &str = "registers";
    /// How often CPUs but the first were reset so far: `tag`, `of_others`.
    pub const RESETS: &str = "resets";
    /// The lot's memory was written into a file: `tag`, `file`.
    pub const MEMORY: &str = "memory";
}

/// Who looks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observer {
    folder: PathBuf,
    /// Address and bytes of the lot, once the image has told them.
    lot: Option<(u64, u64)>,
    /// Files so far.
    files: u32,
}

impl Observer {
    /// One who leaves files in `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), lot: None, files: 0 }
    }

    /// Whether something is to be noted now that the machine has said `line`: another kernel begins, or has come to its end.
    pub fn is_moment(&mut self, line: &Line) -> Option<&'static str> {
        match (line.event(), line.text("step")) {
            ("lot", _) => {
                let hexadecimal = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
                self.lot = line.text("phys").and_then(hexadecimal).zip(line.number("bytes"));
                None
            }
            ("handover", _) => Some("handover"),
            ("linux", Some("up")) => Some("up"),
            ("linux", Some("leaves" | "off")) => Some("leaves"),
            _ => None,
        }
    }

    /// One line for each CPU.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn registers(&self, tag: &str, qmp: &mut Qmp, deadline: Deadline) -> Result<Vec<String>, LabError> {
        let line = |CpuState { cpu, rip, cr3, cr4, halted }| {
            let (rip, cr3, cr4) = (format!("{rip:#x}"), format!("{cr3:#x}"), format!("{cr4:#x}"));
            let fields = json!({ "tag": tag, "cpu": cpu, "rip": rip, "cr3": cr3, "cr4": cr4, "halted": halted });
            report(event::REGISTERS, &fields)
        };
        Ok(registers::parse(&qmp.registers(deadline)?).into_iter().map(line).collect())
    }

    /// Resets so far, and where the lot is known its memory, in a file.
    ///
    /// # Errors
    /// [`LabError::File`]; as [`Qmp::execute`].
    pub fn moment(&mut self, tag: &str, qmp: &mut Qmp, deadline: Deadline) -> Result<Vec<String>, LabError> {
        let mut lines = Vec::new();
        let log = self.folder.join(LOG);
        if let Ok(text) = fs::read(&log) {
            let of_others = Resets::parse(&String::from_utf8_lossy(&text)).of_others();
            lines.push(report(event::RESETS, &json!({ "tag": tag, "of_others": of_others })));
        }
        if let Some((at, bytes)) = self.lot {
            self.files += 1;
            let file = self.folder.join(format!("lot-{}.bin", self.files));
            qmp.save_memory(at, bytes, &file, deadline)?;
            lines.push(report(event::MEMORY, &json!({ "tag": tag, "file": file })));
        }
        Ok(lines)
    }
}

/// A line as the image writes them: the event comes first.
fn report(event: &str, fields: &Value) -> String {
    let fields = fields.to_string();
    format!("{{\"event\":\"{event}\",{}", fields.strip_prefix('{').unwrap_or(&fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_as_what_the_image_says() {
        let line = report(event::REGISTERS, &json!({ "tag": "before", "cpu": 1, "halted": true, "a": 1 }));
        let line = Line::parse(&line).unwrap();
        assert_eq!((line.event(), line.text("tag"), line.number("cpu")), ("registers", Some("before"), Some(1)));
        assert_eq!(line.truth("halted"), Some(true));
    }

    #[test]
    fn moments_are_where_kernels_change() {
        let mut observer = Observer::new(Path::new("/tmp"));
        let mut moment = |text: &str| observer.is_moment(&Line::parse(text).unwrap());
        assert_eq!(moment(r#"{"event":"lot","phys":"0x1ff00000","bytes":90112,"bays":3}"#), None);
        assert_eq!(moment(r#"{"event":"handover","handed":3}"#), Some("handover"));
        assert_eq!(moment(r#"{"event":"linux","step":"up"}"#), Some("up"));
        assert_eq!(moment(r#"{"event":"linux","step":"load"}"#), None);
        assert_eq!(moment(r#"{"event":"linux","step":"off"}"#), Some("leaves"));
        assert_eq!(observer.lot, Some((0x1ff0_0000, 90112)));
    }
}
