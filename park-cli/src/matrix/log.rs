//! Files that hold measurements: documents of a lab, and serial logs of machines.

use super::column::Evidence;
use super::heard::{Heard, NO_VERDICT};
use crate::exit::Failure;
use crate::input::read_bytes;
use core::fmt;
use park_conformance::{Case, LackKind};
use park_lab::conformance::{Came, Place, Shown, Vendor, of_line};
use park_lab::line::Line;
use std::path::{Path, PathBuf};

use super::lab_file;

/// Bytes of the longest file: a run of all cases writes some ten thousand.
const BYTES_MAX: u64 = 16 << 20;

/// What is wrong with a file of measurements.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LogErrorKind {
    /// It is a document, and not one of a lab.
    NotALab {
        /// The schema that it names.
        schema: String,
    },
    /// It is no document of a lab, as its parts are not what they should be.
    Malformed(String),
    /// A line is the beginning of a report.
    CutOff,
    /// No line says what the machine is.
    NoBoot,
    /// A line `boot` does not say whose CPU it is.
    Nameless,
    /// Nothing is claimed of this vendor's CPUs.
    UnknownVendor(String),
    /// Two machines in one log.
    AnotherMachine {
        /// The first.
        first: String,
        /// The other.
        other: String,
    },
    /// A case that there is not.
    UnknownCase(String),
    /// A response that there is not.
    UnknownResponse(String),
    /// A line `verdict` that is none.
    NoVerdict(String),
    /// A kind of lack that there is not.
    UnknownLack(String),
    /// A verdict on a mechanism of which nothing is claimed.
    Unclaimed(Case),
    /// No case was reported.
    NoCases,
}

impl fmt::Display for LogErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotALab { schema } => {
                write!(f, "a document of schema `{schema}`; give one of park.lab/1, or a serial log")
            }
            Self::Malformed(why) => write!(f, "not a document of schema park.lab/1: {why}"),
            Self::CutOff => {
                f.write_str("a report of the image that is cut off; save the log whole, or remove the line")
            }
            Self::NoBoot => f.write_str("no line is the image's `boot`: is it a serial log of park's image?"),
            Self::Nameless => {
                f.write_str("`boot` does not say vendor, family and model: an older image wrote it; run this version's")
            }
            Self::UnknownVendor(vendor) => write!(f, "nothing is claimed of CPUs by `{vendor}`"),
            Self::AnotherMachine { first, other } => {
                write!(f, "another machine ({other}, and before {first}); keep a log for each")
            }
            Self::UnknownCase(case) => write!(f, "`{case}` is no case of this version"),
            Self::UnknownResponse(response) => write!(f, "`{response}` is no response of this version"),
            Self::NoVerdict(why) => write!(f, "not a verdict: {why}"),
            Self::UnknownLack(kind) => write!(f, "`{kind}` is no kind of lack of this version"),
            Self::Unclaimed(case) => write!(f, "{case} was measured, and nothing is claimed of this mechanism"),
            Self::NoCases => f.write_str("no case of the test `conformance`; run the image with `t=conformance`"),
        }
    }
}

/// What is wrong with a file of measurements, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; `None` if it is the whole file.
    pub line: Option<usize>,
    /// What.
    pub kind: LogErrorKind,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl core::error::Error for LogError {}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::Input(error.to_string())
    }
}

/// Where in a file something is wrong, before the file has its name.
pub(super) type Found = (Option<usize>, LogErrorKind);

/// Reads a document of a lab, or a serial log.
///
/// # Errors
/// [`Failure::Input`], a [`LogError`] or that the file can't be read.
pub fn read(path: &Path) -> Result<Vec<Heard>, Failure> {
    let bytes = read_bytes(path, BYTES_MAX, "a log")?;
    // Firmware writes what it likes on a serial line.
    let text = String::from_utf8_lossy(&bytes);
    let heard = if lab_file::is_one(&text) { lab_file::parse(&text) } else { parse(&text).map(|one| vec![one]) };
    heard.map_err(|(line, kind)| LogError { path: path.to_owned(), line, kind }.into())
}

/// What the image says of its machine.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Identity {
    vendor: Vendor,
    evidence: Evidence,
    name: String,
}

fn identity(line: &Line) -> Result<Identity, LogErrorKind> {
    let hex = |key| {
        let digits = line.text(key).and_then(|text| text.strip_prefix("0x"));
        digits.and_then(|digits| u16::from_str_radix(digits, 16).ok())
    };
    let (Some(vendor), Some(family), Some(model), Some(stepping)) =
        (line.text("vendor"), hex("family"), hex("model"), hex("stepping"))
    else {
        return Err(LogErrorKind::Nameless);
    };
    let of_vendor = match vendor {
        "Intel" => Vendor::Intel,
        "AMD" | "Hygon" => Vendor::Amd,
        other => return Err(LogErrorKind::UnknownVendor(other.to_owned())),
    };
    let (evidence, under) = match line.truth("hypervisor") {
        Some(true) => (Evidence::Emulator, ", hypervisor"),
        _ => (Evidence::Silicon, ""),
    };
    Ok(Identity { vendor: of_vendor, evidence, name: format!("{vendor} {family:X}h/{model:X}h/{stepping:X}{under}") })
}

/// Reads a serial log: the image's lines among firmware's.
///
/// A case in which the log ends, or the machine starts again, has no verdict: the image can't tell a reset from a hand on
/// the switch.
fn parse(text: &str) -> Result<Heard, Found> {
    let (mut machine, mut open, mut shown): (Option<Identity>, Option<Case>, Vec<Shown>) = (None, None, Vec::new());
    let count = text.lines().count();
    for (number, text) in (1..).zip(text.lines()) {
        let wrong = |kind| (Some(number), kind);
        let Some(line) = Line::parse(text) else {
            // The last line is cut off where a machine is lost.
            if Line::is_begun(text) && number != count {
                return Err(wrong(LogErrorKind::CutOff));
            }
            continue;
        };
        if line.event() == "boot" {
            shown.extend(open.take().map(lost));
            let found = identity(&line).map_err(wrong)?;
            match &machine {
                Some(first) if *first != found => {
                    let (first, other) = (first.name.clone(), found.name);
                    return Err(wrong(LogErrorKind::AnotherMachine { first, other }));
                }
                _ => machine = Some(found),
            }
        }
        let Some(name) = line.text("case") else { continue };
        let case = Case::from_name(name).ok_or_else(|| wrong(LogErrorKind::UnknownCase(name.to_owned())))?;
        if line.event() == "case" {
            shown.extend(open.replace(case).map(lost));
            continue;
        }
        open = None;
        let one = of_line(&line, case);
        if let (Came::Doubt(why), "verdict") = (&one.came, line.event()) {
            return Err(wrong(LogErrorKind::NoVerdict(why.clone())));
        }
        let vendor = machine.as_ref().ok_or((None, LogErrorKind::NoBoot))?.vendor;
        check(vendor, &one).map_err(wrong)?;
        shown.push(one);
    }
    shown.extend(open.map(lost));
    let Identity { vendor, evidence, name } = machine.ok_or((None, LogErrorKind::NoBoot))?;
    if shown.is_empty() {
        return Err((None, LogErrorKind::NoCases));
    }
    let place = Place { emulator: None, vendor };
    Ok(Heard { rig: name.clone(), evidence, version: None, machine: None, cpu_model: name, place, shown })
}

/// That a verdict has a cell, and a lack a name.
pub(super) fn check(vendor: Vendor, shown: &Shown) -> Result<(), LogErrorKind> {
    let claims = match vendor {
        Vendor::Intel => cpu_park::intel::CLAIMS,
        Vendor::Amd => cpu_park::amd::CLAIMS,
    };
    let is_claimed = claims.iter().any(|claim| claim.mechanism == shown.case.mechanism);
    match &shown.came {
        Came::Measured(_) if !is_claimed => Err(LogErrorKind::Unclaimed(shown.case)),
        Came::Lacks(kind, _) if LackKind::from_name(kind).is_none() => Err(LogErrorKind::UnknownLack(kind.clone())),
        Came::Measured(_) | Came::Lacks(..) | Came::Doubt(_) => Ok(()),
    }
}

/// A case in which the machine was lost.
fn lost(case: Case) -> Shown {
    let why = "the machine was lost in this case, or switched off".to_owned();
    Shown { case, came: Came::Lacks(NO_VERDICT.to_owned(), why), seen: None }
}
