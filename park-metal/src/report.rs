//! One report line: a JSON object on one line, written into a buffer, without allocation.
//!
//! Every line starts with `"event"`. The reader on the other side of the serial line splits at newlines and
//! parses each line by itself, so a line that does not fit is an error, never half an object.

use core::fmt::{self, Write};

/// The longest line, in bytes, its newline included.
pub const LINE_BYTES: usize = 512;

/// A JSON value.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A decimal number.
    Number(u64),
    /// A number as a string in hexadecimal, `"0x1f"`: addresses and register contents.
    Hex(u64),
    /// A string.
    Text(&'a str),
    /// A string, formatted into the line: `Value::Format(format_args!("{error}"))`.
    Format(fmt::Arguments<'a>),
    /// `true` or `false`.
    Truth(bool),
    /// An array of decimal numbers.
    Numbers(&'a [u64]),
}

/// The line does not fit its buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LineTooLong {
    /// Bytes that the buffer holds.
    pub capacity_bytes: usize,
}

impl fmt::Display for LineTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the report line needs more than {} bytes", self.capacity_bytes)
    }
}

impl core::error::Error for LineTooLong {}

/// Writes `{"event":"…","key":value,…}` and a newline into `buffer` and returns it.
///
/// Strings are escaped as RFC 8259 section 7 asks; keys too, so that any `&str` gives valid JSON. That no key
/// appears twice is up to the caller.
///
/// # Errors
/// [`LineTooLong`] if the line does not fit; the buffer's contents are then of no use.
pub fn write_line<'b>(buffer: &'b mut [u8], event: &str, fields: &[(&str, Value<'_>)]) -> Result<&'b str, LineTooLong> {
    let capacity_bytes = buffer.len();
    let mut line = Line { buffer, len: 0 };
    line.object(event, fields).map_err(|fmt::Error| LineTooLong { capacity_bytes })?;
    let Line { buffer, len } = line;
    // Only whole `str`s were copied in, so neither step can fail; the error is right if that ever changes.
    let written = buffer.get(..len).ok_or(LineTooLong { capacity_bytes })?;
    core::str::from_utf8(written).map_err(|_| LineTooLong { capacity_bytes })
}

/// A [`Write`] that refuses what does not fit.
struct Line<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl Line<'_> {
    fn object(&mut self, event: &str, fields: &[(&str, Value<'_>)]) -> fmt::Result {
        self.write_str("{\"event\":")?;
        self.string(format_args!("{event}"))?;
        for (key, value) in fields {
            self.write_str(",")?;
            self.string(format_args!("{key}"))?;
            self.write_str(":")?;
            match value {
                Value::Number(number) => write!(self, "{number}")?,
                Value::Hex(number) => write!(self, "\"{number:#x}\"")?,
                Value::Text(text) => self.string(format_args!("{text}"))?,
                Value::Format(arguments) => self.string(*arguments)?,
                Value::Truth(truth) => write!(self, "{truth}")?,
                Value::Numbers(numbers) => self.numbers(numbers)?,
            }
        }
        self.write_str("}\n")
    }

    fn numbers(&mut self, numbers: &[u64]) -> fmt::Result {
        self.write_str("[")?;
        for (position, number) in numbers.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(self, "{comma}{number}")?;
        }
        self.write_str("]")
    }

    fn string(&mut self, arguments: fmt::Arguments<'_>) -> fmt::Result {
        self.write_str("\"")?;
        Escaped(self).write_fmt(arguments)?;
        self.write_str("\"")
    }
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.checked_add(text.len()).ok_or(fmt::Error)?;
        self.buffer.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Passes text on with JSON's escapes.
struct Escaped<'l, 'b>(&'l mut Line<'b>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '"' => self.0.write_str("\\\"")?,
                '\\' => self.0.write_str("\\\\")?,
                '\n' => self.0.write_str("\\n")?,
                control if u32::from(control) < 0x20 => write!(self.0, "\\u{:04x}", u32::from(control))?,
                other => self.0.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value() {
        let mut buffer = [0; LINE_BYTES];
        let fields = [
            ("cpu", Value::Number(1)),
            ("rip", Value::Hex(0x1f)),
            ("mechanism", Value::Text("hlt")),
            ("why", Value::Format(format_args!("{}+{}", 1, 2))),
            ("ok", Value::Truth(true)),
            ("ticks", Value::Numbers(&[7, 0])),
            ("none", Value::Numbers(&[])),
        ];
        assert_eq!(
            write_line(&mut buffer, "parked", &fields),
            Ok(
                "{\"event\":\"parked\",\"cpu\":1,\"rip\":\"0x1f\",\"mechanism\":\"hlt\",\"why\":\"1+2\",\"ok\":true,\"ticks\":[7,0],\"none\":[]}\n"
            )
        );
    }

    #[test]
    fn strings_are_escaped_wherever_they_come_from() {
        let mut buffer = [0; LINE_BYTES];
        let fields = [("a\"b", Value::Text("\\\u{1}\n\"ä")), ("c", Value::Format(format_args!("{}", "\"")))];
        assert_eq!(
            write_line(&mut buffer, "e\n", &fields),
            Ok("{\"event\":\"e\\n\",\"a\\\"b\":\"\\\\\\u0001\\n\\\"ä\",\"c\":\"\\\"\"}\n")
        );
    }

    #[test]
    fn a_line_fits_exactly_or_not_at_all() {
        let whole = "{\"event\":\"x\",\"n\":7}\n";
        for capacity_bytes in 0..whole.len() {
            let mut buffer = std::vec![0; capacity_bytes];
            assert_eq!(write_line(&mut buffer, "x", &[("n", Value::Number(7))]), Err(LineTooLong { capacity_bytes }));
        }
        let mut buffer = std::vec![0; whole.len()];
        assert_eq!(write_line(&mut buffer, "x", &[("n", Value::Number(7))]), Ok(whole));
    }
}
