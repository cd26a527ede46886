//! Linux's command line, which travels at the end of the image's.

use super::LinuxError;

/// The most bytes of Linux's command line that are kept (`COMMAND_LINE_SIZE` is 2048, arch/x86/include/asm/setup.h).
const COMMAND_LINE_MAX: usize = 2047;

/// Linux's command line, copied: where the loader left it may be used for something else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CommandLine {
    bytes: [u8; COMMAND_LINE_MAX + 1],
    len: usize,
}

impl CommandLine {
    /// A copy of `text`, to which a zero is added.
    ///
    /// # Errors
    /// [`LinuxError::LongCommandLine`].
    pub fn copy(text: &[u8]) -> Result<Self, LinuxError> {
        let mut line = Self { bytes: [0; COMMAND_LINE_MAX + 1], len: text.len() };
        let place = line.bytes.get_mut(..text.len()).filter(|place| place.len() <= COMMAND_LINE_MAX);
        let too_long = LinuxError::LongCommandLine { len_bytes: text.len(), max_bytes: COMMAND_LINE_MAX };
        place.ok_or(too_long)?.copy_from_slice(text);
        Ok(line)
    }

    /// Bytes of the line, without the zero.
    #[must_use]
    pub const fn len_bytes(&self) -> usize {
        self.len
    }

    /// The line with the zero that ends it.
    #[must_use]
    pub fn with_zero(&self) -> &[u8] {
        self.bytes.get(..=self.len).unwrap_or(&[0])
    }
}

/// What stands before Linux's own command line.
const APPEND: &[u8] = b"append=";

/// Splits the image's own words from Linux's command line, which follows `append=` and may hold blanks.
#[must_use]
pub fn split_append(line: &[u8]) -> (&[u8], &[u8]) {
    let begins_word = |at: usize| at == 0 || line.get(at - 1).is_some_and(u8::is_ascii_whitespace);
    let found = line.windows(APPEND.len()).enumerate().find(|&(at, window)| window == APPEND && begins_word(at));
    let split = found.and_then(|(at, _)| Some((line.get(..at)?, line.get(at + APPEND.len()..)?)));
    split.unwrap_or((line, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_ends_with_a_zero_and_fits() {
        let line = CommandLine::copy(b"console=ttyS0 quiet").unwrap();
        assert_eq!((line.len_bytes(), line.with_zero()), (19, &b"console=ttyS0 quiet\0"[..]));
        assert_eq!(CommandLine::copy(b"").unwrap().with_zero(), [0]);
        let longest = CommandLine::copy(&[b'x'; COMMAND_LINE_MAX]).unwrap();
        assert_eq!(longest.with_zero().last(), Some(&0));
        let refused = LinuxError::LongCommandLine { len_bytes: 2048, max_bytes: 2047 };
        assert_eq!(CommandLine::copy(&[b'x'; 2048]), Err(refused));
    }

    #[test]
    fn only_a_word_of_its_own_splits_the_line() {
        assert_eq!(split_append(b"t=linux append=quiet append=2"), (&b"t=linux "[..], &b"quiet append=2"[..]));
        assert_eq!(split_append(b"t=smp noappend=1"), (&b"t=smp noappend=1"[..], &b""[..]));
        assert_eq!(split_append(b"append="), (&b""[..], &b""[..]));
        assert_eq!(split_append(b""), (&b""[..], &b""[..]));
    }
}
