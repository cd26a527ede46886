//! Reading files that somebody else made: bounded, and with a sentence for everything that can be wrong.

use crate::exit::Failure;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Reads a file of at most `bytes_max` bytes. `what` says what it should be, as in "a scenario file".
///
/// # Errors
/// [`Failure::Input`] that names the file.
pub fn read_bytes(path: &Path, bytes_max: u64, what: &str) -> Result<Vec<u8>, Failure> {
    let wrong = |why: String| Failure::Input(format!("{}: {why}", path.display()));
    let file = File::open(path).map_err(|error| wrong(format!("can't be opened: {error}")))?;
    let metadata = file.metadata().map_err(|error| wrong(format!("can't be read: {error}")))?;
    if metadata.is_dir() {
        return Err(wrong(format!("is a directory, not {what}")));
    }
    let too_long = || wrong(format!("has more than {bytes_max} bytes: not {what}"));
    if metadata.len() > bytes_max {
        return Err(too_long());
    }
    // What is no plain file has no length beforehand.
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| wrong(format!("can't be read: {error}")))?;
    if bytes.len() as u64 > bytes_max { Err(too_long()) } else { Ok(bytes) }
}

/// Reads a text file of at most `bytes_max` bytes.
///
/// # Errors
/// [`Failure::Input`] that names the file, for what is not UTF-8 too.
pub fn read_text(path: &Path, bytes_max: u64, what: &str) -> Result<String, Failure> {
    String::from_utf8(read_bytes(path, bytes_max, what)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::Input(format!("{}: byte {at} is not UTF-8: not {what}", path.display()))
    })
}

/// A message on one line: what parsers draw below it goes.
#[must_use]
pub fn one_line(message: &str) -> String {
    message.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_such_file_is_told() {
        let of = |path: &str| match read_text(Path::new(path), 16, "a dump") {
            Err(failure) => failure.to_string(),
            Ok(text) => panic!("{path}: {text}"),
        };
        assert!(of("/nowhere/a").starts_with("/nowhere/a: can't be opened"));
        assert_eq!(of("/"), "/: is a directory, not a dump");
        assert_eq!(of("/dev/zero"), "/dev/zero: has more than 16 bytes: not a dump");
    }
}
