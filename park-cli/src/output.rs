//! Where a command writes: one locked, buffered stream, with colour or without.

use crate::exit::Failure;
use crate::paint::{Cell, Colour, Tone, paint, table};
use serde::Serialize;
use std::io::Write;

/// Standard output of a command.
pub struct Output<'w> {
    stream: &'w mut dyn Write,
    colour: Colour,
}

impl core::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Output").field("colour", &self.colour).finish_non_exhaustive()
    }
}

impl<'w> Output<'w> {
    /// Output to `stream`.
    #[must_use]
    pub fn new(stream: &'w mut dyn Write, colour: Colour) -> Self {
        Self { stream, colour }
    }

    /// A line.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.stream, "{text}")?)
    }

    /// A line in a tone.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn toned(&mut self, text: &str, tone: Tone) -> Result<(), Failure> {
        let text = paint(text, tone, self.colour);
        self.line(&text)
    }

    /// A table, see [`table`].
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn table(&mut self, head: &[&str], rows: &[Vec<Cell>], widths: &[usize]) -> Result<(), Failure> {
        Ok(self.stream.write_all(table(head, rows, widths, self.colour).as_bytes())?)
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// A JSON document, and a line feed.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn document<T: Serialize>(&mut self, document: &T) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut *self.stream, document).map_err(std::io::Error::from)?;
        self.line("")
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.stream.flush()?)
    }
}

/// Tells contradictions on standard error, a line each.
pub fn warn(sentences: &[String]) {
    let mut stream = std::io::stderr().lock();
    for sentence in sentences {
        // If nobody hears it, the document still has it.
        let _ = writeln!(stream, "park: warning: {sentence}");
    }
}
