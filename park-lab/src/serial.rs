//! Reading a serial line as it comes, line by line, while all of it goes into a file.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;

use crate::LabError;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 4096;
/// Pause between two looks at a file that grows.
const FOLLOW_POLL: Duration = Duration::from_millis(50);
/// A line longer than this is cut: no line of the image is a tenth of it.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What came within a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// A line, without its end.
    Line(String),
    /// Nothing.
    Quiet,
    /// The other side has closed the line for good.
    Ended,
}

/// A serial line that is read by a thread.
#[derive(Debug)]
pub struct Serial {
    lines: Receiver<String>,
}

impl Serial {
    /// Reads `source` to its end and copies every byte into the file `log`.
    ///
    /// # Errors
    /// [`LabError::File`] if the log can't be made.
    pub fn read(source: impl Read + Send + 'static, log: &Path) -> Result<Self, LabError> {
        let log = File::create(log).map_err(LabError::file(log))?;
        let (sender, lines) = channel();
        thread::spawn(move || copy(source, log, &sender));
        Ok(Self { lines })
    }

    /// The next line, if one comes within `patience`.
    #[must_use]
    pub fn hear(&self, patience: Duration) -> Heard {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Heard::Line(line),
            Err(RecvTimeoutError::Timeout) => Heard::Quiet,
            Err(RecvTimeoutError::Disconnected) => Heard::Ended,
        }
    }
}

/// Ends when the source does, or nobody listens any more.
fn copy(mut source: impl Read, mut log: File, lines: &Sender<String>) {
    let mut chunk = [0; CHUNK_BYTES];
    let mut line = Vec::new();
    loop {
        let bytes = match source.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(count) => chunk.get(..count).unwrap_or_default(),
        };
        // The log is for people; the verdict is made from the lines.
        let _ = log.write_all(bytes);
        for &byte in bytes {
            if byte != b'\n' && line.len() < LINE_BYTES_MAX {
                line.push(byte);
            } else if lines.send(text(&line)).is_err() {
                return;
            } else {
                line.clear();
            }
        }
    }
    if !line.is_empty() {
        // As above: nobody listens.
        let _ = lines.send(text(&line));
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}

/// A file that somebody else writes, as a stream: its end is the end only once [`Ended::set`] was called.
#[derive(Debug)]
pub struct Following {
    path: PathBuf,
    file: Option<File>,
    ended: Ended,
}

/// Tells a [`Following`] that nobody writes any more.
#[derive(Clone, Debug, Default)]
pub struct Ended(Arc<AtomicBool>);

impl Ended {
    /// Nobody writes any more.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Following {
    /// Follows the file at `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf, ended: Ended) -> Self {
        Self { path, file: None, ended }
    }
}

impl Read for Following {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // Asked before the file is: what was written before the end is read.
            let ended = self.ended.is_set();
            if self.file.is_none() {
                self.file = File::open(&self.path).ok();
            }
            let count = self.file.as_mut().map_or(Ok(0), |file| file.read(buffer))?;
            if count != 0 || ended {
                return Ok(count);
            }
            thread::sleep(FOLLOW_POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("park-lab-serial-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn all(serial: &Serial) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match serial.hear(Duration::from_secs(20)) {
                Heard::Line(line) => lines.push(line),
                Heard::Ended => return lines,
                Heard::Quiet => panic!("quiet after {lines:?}"),
            }
        }
    }

    #[test]
    fn lines_come_whole_and_the_log_has_every_byte() {
        let folder = folder("lines");
        let log = folder.join("serial.log");
        let serial = Serial::read(&b"a\r\n\n\xffb\nlast"[..], &log).unwrap();
        assert_eq!(all(&serial), ["a", "", "\u{fffd}b", "last"]);
        assert_eq!(std::fs::read(&log).unwrap(), b"a\r\n\n\xffb\nlast");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_grows_is_read_to_its_real_end() {
        let folder = folder("grows");
        let (path, ended) = (folder.join("com1"), Ended::default());
        let serial = Serial::read(Following::new(path.clone(), ended.clone()), &folder.join("log")).unwrap();
        assert_eq!(serial.hear(Duration::from_millis(120)), Heard::Quiet);
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(serial.hear(Duration::from_secs(20)), Heard::Line("one".to_owned()));
        assert_eq!(serial.hear(Duration::from_millis(120)), Heard::Quiet);
        file.write_all(b"o\n").unwrap();
        ended.set();
        assert_eq!(all(&serial), ["two"]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
