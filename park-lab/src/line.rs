//! The image's report: one JSON object per line, each with `event`, among whatever firmware writes.

use serde_json::Value;

/// How a line of the image begins.
const BEGINNING: &str = "{\"event\":";

/// A line that the image reported.
#[derive(Clone, PartialEq, Debug)]
pub struct Line(Value);

impl Line {
    /// The report in a line of the serial log; `None` if firmware or a boot loader wrote it, or it is cut off.
    ///
    /// What stands before the object on the same line is skipped: boot loaders leave the cursor where they like.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let object = text.get(text.find(BEGINNING)?..)?;
        serde_json::from_str(object.trim_end()).ok().filter(Value::is_object).map(Self)
    }

    /// Whether a line of the serial log holds the beginning of a report, which may be cut off.
    #[must_use]
    pub fn is_begun(text: &str) -> bool {
        text.contains(BEGINNING)
    }

    /// What it reports.
    #[must_use]
    pub fn event(&self) -> &str {
        self.text("event").unwrap_or_default()
    }

    /// A string in it.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    /// A whole number in it.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key)?.as_u64()
    }

    /// An array in it.
    #[must_use]
    pub fn array(&self, key: &str) -> Option<&[Value]> {
        self.0.get(key)?.as_array().map(Vec::as_slice)
    }

    /// A number that is a string with `0x`.
    #[must_use]
    pub fn hexadecimal(&self, key: &str) -> Option<u64> {
        u64::from_str_radix(self.text(key)?.strip_prefix("0x")?, 16).ok()
    }

    /// A truth in it.
    #[must_use]
    pub fn truth(&self, key: &str) -> Option<bool> {
        self.0.get(key)?.as_bool()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_found_among_firmware() {
        let line = Line::parse("\u{1b}[2J  {\"event\":\"online\",\"cpu\":1,\"ok\":true,\"via\":\"pvh\"}\r").unwrap();
        assert_eq!((line.event(), line.number("cpu"), line.truth("ok")), ("online", Some(1), Some(true)));
        assert_eq!((line.text("via"), line.text("cpu"), line.number("no")), (Some("pvh"), None, None));
        for other in ["", "SeaBIOS", "{}", "{\"event\":\"onl", "{\"cpu\":1}", "{\"event\":1}}"] {
            assert_eq!(Line::parse(other), None, "{other}");
        }
    }
}
