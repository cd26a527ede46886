//! One line of a register dump.

use cpu_park::core::CpuidResult;

/// What stands on a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// Nothing that concerns us.
    Other,
    /// A leaf and its four registers.
    Leaf(LeafLine),
    /// The beginning of one.
    Half {
        /// The leaf.
        leaf: u32,
        /// Whole registers that are there.
        registers: usize,
    },
}

/// A leaf and its registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LeafLine {
    /// EAX on entry.
    pub(super) leaf: u32,
    /// ECX on entry, where the line says it.
    pub(super) subleaf: Option<u32>,
    /// EAX, EBX, ECX, EDX.
    pub(super) answer: CpuidResult,
}

/// Digits of a register.
const DIGITS: usize = 8;
/// The word before a leaf.
const WORD: &str = "CPUID";

/// Reads `CPUID 00000000: 0000000D-756E6547-6C65746E-49656E69 [SL 00]`, with anything before and after, and the lines of
/// `cpuid -r`: `0x00000000 0x00: eax=0x0000000d ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69`.
#[must_use]
pub(super) fn read(line: &str) -> Line {
    let mut half = None;
    for (at, _) in line.match_indices(WORD) {
        let is_word = line.get(..at).and_then(|before| before.chars().next_back()).is_none_or(|c| !c.is_alphanumeric());
        match line.get(at + WORD.len()..).filter(|_| is_word).map_or(Line::Other, after_word) {
            Line::Other => {}
            found @ Line::Leaf(_) => return found,
            found @ Line::Half { .. } => half = half.or(Some(found)),
        }
    }
    half.unwrap_or_else(|| raw(line.trim()))
}

/// A text that is read from its beginning.
struct Text<'t>(&'t str);

impl<'t> Text<'t> {
    /// Passes over blanks; true if there was one.
    fn blanks(&mut self) -> bool {
        let rest = self.0.trim_start_matches([' ', '\t']);
        let any = rest.len() < self.0.len();
        self.0 = rest;
        any
    }

    fn take(&mut self, wanted: &str) -> bool {
        match self.0.get(..wanted.len()) {
            Some(start) if start.eq_ignore_ascii_case(wanted) => {
                self.0 = self.0.get(wanted.len()..).unwrap_or_default();
                true
            }
            _ => false,
        }
    }

    /// The letters and digits that come next.
    fn token(&mut self) -> &'t str {
        let end = self.0.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        token
    }

    fn is_at_end(&self) -> bool {
        self.0.trim().is_empty()
    }
}

/// Exactly eight hexadecimal digits.
fn register(token: &str) -> Option<u32> {
    (token.len() == DIGITS && is_hex(token)).then(|| u32::from_str_radix(token, 16).ok()).flatten()
}

fn is_hex(token: &str) -> bool {
    token.chars().all(|digit| digit.is_ascii_hexdigit())
}

/// What follows the word.
fn after_word(rest: &str) -> Line {
    let mut text = Text(rest);
    if !text.blanks() {
        return Line::Other;
    }
    let Some(leaf) = register(text.token()) else { return Line::Other };
    text.blanks();
    let has_colon = text.take(":");
    text.blanks();
    let mut answer = CpuidResult::default();
    for (count, slot) in answer.iter_mut().enumerate() {
        if count > 0 {
            text.blanks();
            text.take("-");
            text.blanks();
        }
        let token = text.token();
        match register(token) {
            Some(value) => *slot = value,
            // Words after a leaf without a colon are somebody's prose.
            None if count == 0 && !has_colon && !is_hex(token) => return Line::Other,
            None => return Line::Half { leaf, registers: count },
        }
    }
    Line::Leaf(LeafLine { leaf, subleaf: labelled(text.0), answer })
}

/// The number in `[SL nn]`, hexadecimal.
fn labelled(rest: &str) -> Option<u32> {
    let mut text = Text(rest.split_once("[SL")?.1);
    if !text.blanks() {
        return None;
    }
    u32::from_str_radix(text.token(), 16).ok()
}

/// A hexadecimal number with its prefix.
fn prefixed(text: &mut Text<'_>) -> Option<u32> {
    text.take("0x").then(|| u32::from_str_radix(text.token(), 16).ok()).flatten()
}

/// A line of `cpuid -r`.
fn raw(line: &str) -> Line {
    let mut text = Text(line);
    let before = line.get(2..2 + DIGITS).and_then(register);
    let (Some(_), Some(leaf)) = (before, prefixed(&mut text)) else { return Line::Other };
    text.blanks();
    let subleaf = prefixed(&mut text);
    text.blanks();
    if !text.take(":") {
        // A line that was cut before its registers begin.
        return if text.is_at_end() { Line::Half { leaf, registers: 0 } } else { Line::Other };
    }
    let mut answer = CpuidResult::default();
    for (count, (slot, name)) in answer.iter_mut().zip(["eax=0x", "ebx=0x", "ecx=0x", "edx=0x"]).enumerate() {
        text.blanks();
        text.take(",");
        text.blanks();
        match text.take(name).then(|| register(text.token())).flatten() {
            Some(value) => *slot = value,
            None => return Line::Half { leaf, registers: count },
        }
    }
    Line::Leaf(LeafLine { leaf, subleaf, answer })
}

/// True if the last line of a file that does not end in a line feed breaks off inside a leaf's number.
#[must_use]
pub(super) fn breaks_off(line: &str) -> bool {
    let Some((_, rest)) = line.rsplit_once(WORD) else { return false };
    let digits = rest.trim_start_matches([' ', '\t']);
    digits.len() < rest.len() && digits.len() < DIGITS && is_hex(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: CpuidResult = [0xd, 0x756e_6547, 0x6c65_746e, 0x4965_6e69];

    #[test]
    fn every_way_to_write_a_leaf() {
        for line in [
            "CPUID 00000004: 0000000D-756E6547-6C65746E-49656E69",
            "CPUID 00000004 :0000000d-756e6547-6c65746e-49656e69 [GenuineIntel]",
            "CPUID 00000004  \t0000000D-756E6547-6C65746E-49656E69 ",
            "CPUID 00000004 0000000D 756E6547 6C65746E 49656E69",
            "CPUID\t00000004:\t0000000D\t756E6547\t6C65746E\t49656E69\t[L1D: 48 KB]",
            "[   12.3] cpu1: CPUID 00000004: 0000000D - 756E6547 - 6C65746E - 49656E69 trailing words",
            "My CPUID dump, CPUID 00000004: 0000000D-756E6547-6C65746E-49656E69",
            "CPUID Registers: CPUID 00000004: 0000000D-756E6547-6C65746E-49656E69\u{ae}",
        ] {
            let leaf = LeafLine { leaf: 4, subleaf: None, answer: ANSWER };
            assert_eq!(read(line), Line::Leaf(leaf), "{line}");
        }
        for line in [
            "CPUID 00000004: 0000000D-756E6547-6C65746E-49656E69 [SL 1A]",
            "CPUID 00000004: 0000000D-756E6547-6C65746E-49656E69 [L1D: 48 KB] [SL 1A]",
            "   0x00000004 0x1a: eax=0x0000000d ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69",
            "0x00000004 0x1a: EAX=0x0000000d, EBX=0x756e6547, ECX=0x6c65746e, EDX=0x49656e69",
        ] {
            let leaf = LeafLine { leaf: 4, subleaf: Some(0x1a), answer: ANSWER };
            assert_eq!(read(line), Line::Leaf(leaf), "{line}");
        }
    }

    #[test]
    fn what_is_no_leaf_is_passed_over() {
        for line in [
            "",
            "------[ CPUID Registers / Logical CPU #0 ]------",
            "CPUID Revision    : 00000500h",
            "CPUID Manufacturer: AuthenticAMD",
            "CPUID CPU Name    : Genuine Intel(R) CPU @ 2.00GHz",
            "CPUID Registers (CPU #1 Virtual):",
            "CPU 0:",
            "CPU#000 AffMask: 0x00000001",
            "CPUID 00000001 was read on every CPU",
            "XCPUID 00000004: 0000000D-756E6547-6C65746E-49656E69",
            "CPUID",
            "MSR 0000001B: 0000-0000-FEE0-0900 [S200]",
            "0x1234 is a number",
            "0x00000004 bytes",
            "\u{e9}\u{e9}\u{e9}",
        ] {
            assert_eq!(read(line), Line::Other, "{line}");
        }
    }

    #[test]
    fn half_a_line_is_told_from_a_whole_one() {
        for (line, registers) in [
            ("CPUID 00000004", 0),
            ("CPUID 00000004:", 0),
            ("CPUID 00000004: nothing", 0),
            ("CPUID 00000004: 0000000", 0),
            ("CPUID 00000004: 0000000D-", 1),
            ("CPUID 00000004: 0000000D-756E6547", 2),
            ("CPUID 00000004: 0000000D-756E6547-6C65746E", 3),
            ("CPUID 00000004: 0000000D-756E6547-6C65746E-49656E6", 3),
            ("CPUID 00000004: 0000000D-756E6547-6C65746E-49656E691", 3),
            ("CPUID 00000004: 0000000D-756E6547-6C65746E-4965_E69", 3),
            ("CPUID 00000004 0000000D 756E6547 [GenuineIntel]", 2),
            ("  0x00000004 0x00", 0),
            ("  0x00000004 0x00: eax=0x0000000d ebx=0x756e", 1),
            ("  0x00000004 0x00: eax=0x0000000d ebx=0x756e6547 ecx=0x6c65746e", 3),
        ] {
            assert_eq!(read(line), Line::Half { leaf: 4, registers }, "{line}");
        }
        for (line, breaks) in [("CPUID 0000", true), ("CPUID ", true), ("CPUID", false), ("CPUID Rev", false)] {
            assert_eq!(breaks_off(line), breaks, "{line}");
        }
    }
}
