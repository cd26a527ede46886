//! Text on a terminal: colour where there is one, and columns that line up.

/// Whether output is coloured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colour {
    /// Plain text.
    Never,
    /// SGR escapes.
    Ansi,
}

impl Colour {
    /// Colour on a terminal, unless `NO_COLOR` is set to something or `TERM` is `dumb` (<https://no-color.org>).
    #[must_use]
    pub fn choose(terminal: Terminal, no_color: Option<&str>, term: Option<&str>) -> Self {
        let refused = no_color.is_some_and(|value| !value.is_empty()) || term == Some("dumb");
        if terminal == Terminal::Yes && !refused { Self::Ansi } else { Self::Never }
    }
}

/// Whether standard output is a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Terminal {
    /// It is.
    Yes,
    /// It is a file or a pipe.
    No,
}

/// What a piece of text means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// A CPU that is where it should be.
    Good,
    /// A CPU that is lost.
    Bad,
    /// A heading.
    Strong,
    /// An aside.
    Faint,
}

/// Wraps `text` in the escapes of `tone`, where there is colour.
#[must_use]
pub fn paint(text: &str, tone: Tone, colour: Colour) -> String {
    // ECMA-48, SGR: 32 green, 31 red, 1 bold, 2 faint, 0 back to normal.
    let code = match (colour, tone) {
        (Colour::Never, _) | (_, Tone::Plain) => return text.to_owned(),
        (_, Tone::Good) => "32",
        (_, Tone::Bad) => "31",
        (_, Tone::Strong) => "1",
        (_, Tone::Faint) => "2",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A cell of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cell {
    /// Its text; wrapped at blanks if the column is narrower.
    pub text: String,
    /// Its tone.
    pub tone: Tone,
}

impl Cell {
    /// A plain cell.
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }

    /// A cell with a tone.
    #[must_use]
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

/// Lays out rows in columns. `widths` are the most characters that each column may take; longer cells are wrapped.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<Cell>], widths: &[usize], colour: Colour) -> String {
    let head: Vec<Cell> = head.iter().map(|text| Cell::new(*text, Tone::Strong)).collect();
    let limit = |column: usize| widths.get(column).copied().unwrap_or(usize::MAX).max(1);
    let wrapped: Vec<Vec<(Vec<String>, Tone)>> = core::iter::once(&head)
        .chain(rows)
        .map(|row| row.iter().enumerate().map(|(column, cell)| (wrap(&cell.text, limit(column)), cell.tone)).collect())
        .collect();
    let columns = head.len();
    let width_of = |column: usize| {
        let lines = wrapped.iter().filter_map(|row| row.get(column)).flat_map(|(lines, _)| lines);
        lines.map(|line| line.chars().count()).max().unwrap_or(0)
    };
    let used: Vec<usize> = (0..columns).map(width_of).collect();
    let mut out = String::new();
    for row in &wrapped {
        let height = row.iter().map(|(lines, _)| lines.len()).max().unwrap_or(0);
        for line in 0..height {
            let mut text = String::new();
            let mut blanks = 0;
            for ((lines, tone), width) in row.iter().zip(&used) {
                let piece = lines.get(line).map_or("", String::as_str);
                if !piece.is_empty() {
                    text.push_str(&" ".repeat(blanks));
                    text.push_str(&paint(piece, *tone, colour));
                    blanks = 0;
                }
                blanks += width - piece.chars().count() + GAP;
            }
            out.push_str(&text);
            out.push('\n');
        }
    }
    out
}

/// Blanks between columns.
const GAP: usize = 2;

/// Breaks a text at blanks into lines of at most `width` characters; a longer word stays whole.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let fits =
            lines.last().is_none_or(|line| line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width);
        if !fits {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// A number of things, in words: `1 core`, `2 cores`.
#[must_use]
pub fn counted(count: u32, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_colour_without_a_terminal_or_with_no_color() {
        assert_eq!(Colour::choose(Terminal::Yes, None, Some("xterm")), Colour::Ansi);
        assert_eq!(Colour::choose(Terminal::Yes, Some(""), None), Colour::Ansi);
        assert_eq!(Colour::choose(Terminal::No, None, None), Colour::Never);
        assert_eq!(Colour::choose(Terminal::Yes, Some("1"), None), Colour::Never);
        assert_eq!(Colour::choose(Terminal::Yes, None, Some("dumb")), Colour::Never);
    }

    #[test]
    fn columns_line_up_and_long_cells_wrap() {
        let rows = [vec![Cell::plain("0"), Cell::plain("one two three"), Cell::plain("x")]];
        let text = table(&["CPU", "b", "c"], &rows, &[5, 7, 9], Colour::Never);
        assert_eq!(text, "CPU  b        c\n0    one two  x\n     three\n");
    }

    #[test]
    fn colour_does_not_move_columns() {
        let rows = [vec![Cell::new("bad", Tone::Bad), Cell::plain("x")]];
        let text = table(&["a", "b"], &rows, &[9, 9], Colour::Ansi);
        assert_eq!(text, "\x1b[1ma\x1b[0m    \x1b[1mb\x1b[0m\n\x1b[31mbad\x1b[0m  x\n");
    }
}
