//! Shapes and text as SVG.

use crate::page::escape;
use core::fmt::Write;

/// Width of a character of text, as a part of its size: more than most fonts take.
const CHARACTER: f64 = 0.56;
/// The same in capitals and bold.
const BOLD_CHARACTER: f64 = 0.62;

/// Which side of a place text is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A text of SVG that grows. Everything that comes from outside is escaped here.
#[derive(Clone, Debug, Default)]
pub(super) struct Canvas {
    text: String,
}

impl Canvas {
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// Markup as it is.
    pub(super) fn raw(&mut self, markup: &str) {
        self.text.push_str(markup);
    }

    pub(super) fn open(&mut self, class: &str) {
        let _ = write!(self.text, "<g class=\"{class}\">");
    }

    /// A group that can be asked what it is.
    pub(super) fn open_titled(&mut self, class: &str, title: &str) {
        let _ = write!(self.text, "<g class=\"{class}\"><title>{}</title>", escape(title));
    }

    pub(super) fn open_at(&mut self, x: f64, y: f64) {
        let _ = write!(self.text, "<g transform=\"translate({} {})\">", Short(x), Short(y));
    }

    pub(super) fn close(&mut self) {
        self.text.push_str("</g>\n");
    }

    pub(super) fn rect(&mut self, class: &str, [x, y, width, height]: [f64; 4]) {
        let (x, y, width, height) = (Short(x), Short(y), Short(width), Short(height));
        let _ =
            write!(self.text, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>");
    }

    pub(super) fn line(&mut self, class: &str, [x1, y1, x2, y2]: [f64; 4]) {
        let (x1, y1, x2, y2) = (Short(x1), Short(y1), Short(x2), Short(y2));
        let _ = write!(self.text, "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>");
    }

    pub(super) fn polygon(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", Short(*x), Short(*y))).collect();
        let _ = write!(self.text, "<polygon class=\"{class}\" points=\"{}\"/>", points.join(" "));
    }

    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let (x, y, anchor) = (Short(x), Short(y), anchor.name());
        let text = escape(text);
        let _ = write!(self.text, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>");
    }
}

/// How wide a text is, about.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * CHARACTER
}

/// How wide a bold text is, about.
pub(super) fn bold_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * BOLD_CHARACTER
}

/// A number with at most one digit after the point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short(pub(super) f64);

impl core::fmt::Display for Short {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let tenths = (self.0 * 10.0).round();
        if tenths % 10.0 == 0.0 { write!(f, "{:.0}", tenths / 10.0) } else { write!(f, "{:.1}", tenths / 10.0) }
    }
}
