//! The frame of HTML pages: one self-contained file, for any width, light and dark, without a network.
//!
//! A page brings its body and the styles that are its own; fonts are the reader's, and colours come from the variables
//! in [`STYLE`], which are readable on each other in both schemes (contrast 4.5 : 1 or more for text).

use core::fmt::Write;

/// A page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Page<'p> {
    /// The title, as text.
    pub title: &'p str,
    /// What is to be seen, in a sentence or two, as text.
    pub lead: &'p str,
    /// The content, as HTML.
    pub body: &'p str,
    /// Styles beyond [`STYLE`].
    pub style: &'p str,
    /// A script; the page must say everything without it, too.
    pub script: &'p str,
}

/// Colours and text, as CSS. Variables: `--ground` the page, `--paper` a surface on it, `--ink` text, `--faint` text of
/// second rank, `--line` borders, `--accent` links and focus, and `--good`, `--bad`, `--open` verdicts as text.
pub const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#f4f5f1;--paper:#fdfdfb;--ink:#1d2327;--faint:#545d63;--line:#cfd3cc;\
--accent:#1a5f8a;--good:#17694a;--bad:#a3261b;--open:#7a5300}
@media(prefers-color-scheme:dark){:root{--ground:#14181a;--paper:#1c2225;--ink:#e6e9e6;--faint:#a3adb2;--line:#3a4347;\
--accent:#7cc0ec;--good:#6fd3a6;--bad:#ff8f80;--open:#e8bd62}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}
main{max-width:1500px;margin:0 auto;padding:1.5rem clamp(.75rem,3vw,2.5rem) 4rem}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .4rem;text-wrap:balance}
h2{font-size:1.15rem;margin:2rem 0 .5rem}
.lead{max-width:70ch;margin:0 0 1.25rem;color:var(--faint)}
a{color:var(--accent)}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
code,pre,.mono{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:.85em}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;background:var(--paper)}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border:1px solid var(--line)}
th{font-weight:600}
.good{color:var(--good)}.bad{color:var(--bad)}.open{color:var(--open)}.faint{color:var(--faint)}
footer{margin-top:2.5rem;color:var(--faint);font-size:.85rem}
@media print{body{background:#fff}.scroll{overflow:visible}}
";

/// The whole file.
#[must_use]
pub fn page(page: &Page<'_>) -> String {
    let (title, lead) = (escape(page.title), escape(page.lead));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n<p class=\"lead\">{lead}</p>\n{}\n</main>\n",
        page.style, page.body
    );
    if !page.script.is_empty() {
        // Writing into a string does not fail.
        let _ = write!(html, "<script>\n{}</script>\n", page.script);
    }
    html + "</body>\n</html>\n"
}

/// Text as it stands in HTML, SVG and their attributes. Control characters, which XML has no way to write, become U+FFFD.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            control if control.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_nothing_is_fetched() {
        let html = page(&Page { title: "a<b>\"&'", lead: "\u{7}<script>", body: "<p>x</p>", ..Page::default() });
        assert!(html.contains("<title>a&lt;b&gt;&quot;&amp;&#39;</title>") && html.contains("<p>x</p>"), "{html}");
        assert!(html.contains("\u{fffd}&lt;script&gt;") && !html.contains("<script>"), "{html}");
        for foreign in ["http:", "https:", "@import", "url(", "src="] {
            assert!(!html.contains(foreign), "{foreign}");
        }
    }

    /// Relative luminance of `#rrggbb`, by WCAG 2.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = colour.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
            let value = f64::from(value) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    #[test]
    fn text_is_readable_on_both_grounds_in_both_schemes() {
        for scheme in STYLE.split("@media(prefers-color-scheme:dark)") {
            let of = |name: &str| {
                let at = scheme.find(&format!("{name}:#")).map(|at| at + name.len() + 1);
                at.and_then(|at| scheme.get(at..at + 7)).map_or(f64::NAN, luminance)
            };
            for text in ["--ink", "--faint", "--accent", "--good", "--bad", "--open"] {
                for ground in ["--ground", "--paper"] {
                    let (a, b) = (of(text), of(ground));
                    let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                    assert!(contrast >= 4.5, "{text} on {ground}: {contrast}");
                }
            }
        }
    }
}
