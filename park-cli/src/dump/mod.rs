//! Dumps of CPUID registers that people made of their machines: text, with or without headings, of one CPU or of many.
//!
//! What stands around the registers is not looked at. A CPU ends where a leaf comes again that every CPU has once, so no
//! heading is needed; which CPU it was is found from its own registers, in [`crate::machine`].

mod leaves;
mod line;

pub use leaves::Leaves;

use crate::exit::Failure;
use crate::input::read_bytes;
use cpu_park::x86::registers::cpuid::{LEAF_EXTENDED, LEAF_VENDOR, LEAF_VERSION};
use line::{LeafLine, Line};
use std::path::Path;

/// The most bytes that a dump may have: ten times what the largest servers need.
pub const FILE_LEN_MAX: u64 = 64 << 20;
/// Leaves that a CPU answers once, whatever ECX is.
const ONCE: [u32; 3] = [LEAF_VENDOR, LEAF_VERSION, LEAF_EXTENDED];
/// The byte order mark of UTF-16, low byte first, in which some Windows programs write.
const UTF_16_MARK: [u8; 2] = [0xff, 0xfe];

/// Reads a dump: every CPU in it, in its order, doubles included; there is at least one.
///
/// # Errors
/// [`Failure::Input`] that names the file, and the line where it is one.
pub fn read(path: &Path) -> Result<Vec<Leaves>, Failure> {
    let bytes = read_bytes(path, FILE_LEN_MAX, "a dump of CPUID registers")?;
    parse(&text_of(&bytes)).map_err(|(line, why)| {
        let line = line.map_or_else(String::new, |line| format!(":{line}"));
        Failure::Input(format!("{}{line}: {why}", path.display()))
    })
}

/// The text of a file in whatever encoding: registers are ASCII in all of them.
fn text_of(bytes: &[u8]) -> String {
    match bytes.strip_prefix(&UTF_16_MARK) {
        Some(wide) => {
            let units: Vec<u16> =
                wide.chunks_exact(2).map(|pair| u16::from(pair[0]) | u16::from(pair[1]) << 8).collect();
            String::from_utf16_lossy(&units)
        }
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Reads the text of a dump; an error has the number of its line, if it is about one.
fn parse(text: &str) -> Result<Vec<Leaves>, (Option<usize>, String)> {
    let mut cpus: Vec<Leaves> = Vec::new();
    let mut before: Option<LeafLine> = None;
    let mut lines = text.split('\n').enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let is_cut = lines.peek().is_none() && line::breaks_off(line);
        let number = number + 1;
        match line::read(line.trim_end_matches('\r')) {
            Line::Other if is_cut => return Err((Some(number), "the dump breaks off inside this line".to_owned())),
            Line::Other => {}
            Line::Half { leaf, registers } => {
                let why = format!("half a line: CPUID {leaf:08X} has {registers} of 4 registers of 8 digits");
                return Err((Some(number), why));
            }
            Line::Leaf(found) if before == Some(found) && ONCE.contains(&found.leaf) => {}
            Line::Leaf(found) => {
                note(&mut cpus, found);
                before = Some(found);
            }
        }
    }
    if cpus.is_empty() {
        let why = "no CPUID registers in it, as in `CPUID 00000000: 0000000D-756E6547-6C65746E-49656E69`";
        return Err((None, why.to_owned()));
    }
    match cpus.iter().position(|cpu| !cpu.has(LEAF_VENDOR, 0)) {
        Some(index) => Err((None, format!("CPU {index} of the dump has no leaf 00000000, which says whose it is"))),
        None => Ok(cpus),
    }
}

/// Adds a line to the CPU that it belongs to.
fn note(cpus: &mut Vec<Leaves>, found: LeafLine) {
    let begins_another = |cpu: &Leaves| ONCE.contains(&found.leaf) && cpu.has(found.leaf, 0);
    if cpus.last().is_none_or(begins_another) {
        cpus.push(Leaves::default());
    }
    if let Some(cpu) = cpus.last_mut() {
        let subleaf = if ONCE.contains(&found.leaf) { Some(0) } else { found.subleaf };
        cpu.note(found.leaf, subleaf.unwrap_or_else(|| cpu.next_subleaf(found.leaf)), found.answer);
    }
}
