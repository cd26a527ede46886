//! The image's command line: `key=value` words, each key at most once.
//!
//! | key | value | default |
//! |---|---|---|
//! | `t` | the test: `smp`, `skeleton`, `fault`, `torture`, `trouble`, `conformance`, `sweep`, `silicon`, `soak` | `smp` |
//! | `cpus` | CPUs that must come online; 0 = take what there is | 0 |
//! | `timeout_ms` | the longest wait for another CPU, in milliseconds | 10000 |
//! | `generations` | kernels that take the lot over, one from the other, in `torture` | 2 |
//! | `mechanism` | how CPUs park in `torture`: `turn`, `policy`, or a mechanism's name ([`Choice`]) | `turn` |
//! | `break` | what is wrong with the lot in `torture` ([`Breakage`]); CPUs are lost then | nothing |
//! | `lot` | physical address of the lot, hexadecimal with `0x` | where there is room |
//! | `steps` | moments at which `sweep` sends its NMI | 100 |
//! | `case` | which cases `conformance` runs: a glob, as `hlt/nmi` or `*/init*` | `*` |
//! | `host` | whether somebody answers `sync` lines on COM1: `yes`, `no` | `no` |
//! | `apic` | mode of the local APICs: `x`, `x2` | `x` |
//! | `ask` | questions of `silicon`, by name, separated by commas | those that are always asked |
//! | `hypervisor` | whether `silicon` asks a hypervisor too: `yes`, `no` | `no` |
//! | `hours`, `minutes` | how long `soak` goes on, added up; at least `generations` | 0 |
//! | `keep` | where `silicon` and `soak` keep the last step: `ram`, `cmos` | `ram` |
//! | `exit` | how the machine ends: `qemu`, `bochs`, `halt` | `qemu` |

use core::fmt;

use park_core::PhysAddr;
use park_core::lot::ApicMode;

use crate::choices::{Breakage, Choice};
use crate::last_step::Keep;
use crate::silicon::{Hypervisor, QuestionSet};

/// The longest wait for another CPU if the command line doesn't say: virtual CPUs may outnumber the host's.
pub const DEFAULT_TIMEOUT_MS: u32 = 10_000;

/// Generations of `torture` if the command line doesn't say.
pub const DEFAULT_GENERATIONS: u32 = 2;

/// Steps of `sweep` if the command line doesn't say.
pub const DEFAULT_STEPS: u32 = 100;

/// What the image does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Test {
    /// Starts every CPU, gives each a job and an NMI.
    Smp,
    /// Parks one CPU with Hlt and one with Clgi, disturbs both, wakes both.
    Skeleton,
    /// Parks every CPU, overwrites memory, fires events, takes the lot over, wakes every CPU; again and again.
    Torture,
    /// Makes CPUs not come, come late or find no bay, and lots lie where they must not: each is named, the rest goes on.
    Trouble,
    /// Runs the cases that [`Options::cases`] names, and says what was measured.
    Conformance,
    /// Sends an NMI at every moment of arriving and of leaving.
    Sweep,
    /// Asks the questions that the manuals leave open.
    Silicon,
    /// Parks, disturbs, passes on and wakes for hours.
    Soak,
    /// Executes UD2: shows that an image that breaks is reported as broken. Never passes.
    Fault,
}

impl Test {
    /// All tests.
    pub const ALL: [Self; 9] = [
        Self::Smp,
        Self::Skeleton,
        Self::Torture,
        Self::Trouble,
        Self::Conformance,
        Self::Sweep,
        Self::Silicon,
        Self::Soak,
        Self::Fault,
    ];

    /// The name on the command line and in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smp => "smp",
            Self::Skeleton => "skeleton",
            Self::Torture => "torture",
            Self::Trouble => "trouble",
            Self::Conformance => "conformance",
            Self::Sweep => "sweep",
            Self::Silicon => "silicon",
            Self::Soak => "soak",
            Self::Fault => "fault",
        }
    }

    /// The test with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|test| test.name() == name)
    }
}

/// How the image ends the machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ending {
    /// QEMU's `isa-debug-exit` at its port.
    Qemu,
    /// Bochs' shutdown port.
    Bochs,
    /// Not at all: real machines, where nobody knows what listens at a port.
    Halt,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Qemu, Self::Bochs, Self::Halt];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Bochs => "bochs",
            Self::Halt => "halt",
        }
    }

    /// The ending with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| ending.name() == name)
    }
}

/// Whether a host takes part.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Host {
    /// It makes events happen when a `sync` line asks for them.
    Answers,
    /// Nobody is there.
    Absent,
}

/// The longest glob, in bytes: longer than any case's name.
const GLOB_BYTES_MAX: usize = 48;

/// Every case.
const ALL_CASES: Glob = {
    let mut bytes = [0; GLOB_BYTES_MAX];
    bytes[0] = b'*';
    Glob { bytes, len: 1 }
};

/// A glob over names of cases, kept by value: the command line's memory is used for something else later.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Glob {
    bytes: [u8; GLOB_BYTES_MAX],
    len: usize,
}

impl Glob {
    /// A copy of `text`; `None` if it is longer than any name.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; GLOB_BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, len: text.len() })
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("")
    }
}

/// The parsed command line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Options {
    /// What to do.
    pub test: Test,
    /// CPUs that must come online, the first included; 0 if any number will do.
    pub cpus: u32,
    /// The longest wait for another CPU, in milliseconds.
    pub timeout_ms: u32,
    /// Kernels that take the lot over in `torture`.
    pub generations: u32,
    /// How CPUs park in `torture`.
    pub choice: Choice,
    /// What is wrong with the lot in `torture`.
    pub breakage: Option<Breakage>,
    /// Where the lot is to be.
    pub lot: Option<PhysAddr>,
    /// Moments at which `sweep` sends its NMI.
    pub steps: u32,
    /// The cases that `conformance` runs.
    pub cases: Glob,
    /// Whether somebody at the other end of COM1 answers `sync` lines.
    pub host: Host,
    /// How the machine ends.
    pub ending: Ending,
    /// The mode that every local APIC is put into.
    pub apic: ApicMode,
    /// The questions that `silicon` is told to ask; empty for those that are always asked.
    pub ask: QuestionSet,
    /// What `silicon` does where a hypervisor is.
    pub hypervisor: Hypervisor,
    /// How long `soak` goes on.
    pub soak_minutes: u32,
    /// Where the last step is kept.
    pub keep: Keep,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            test: Test::Smp,
            cpus: 0,
            timeout_ms: DEFAULT_TIMEOUT_MS,
            generations: DEFAULT_GENERATIONS,
            choice: Choice::Turn,
            breakage: None,
            lot: None,
            steps: DEFAULT_STEPS,
            cases: ALL_CASES,
            host: Host::Absent,
            ending: Ending::Qemu,
            apic: ApicMode::XApic,
            ask: QuestionSet::NONE,
            hypervisor: Hypervisor::Refuse,
            soak_minutes: 0,
            keep: Keep::Ram,
        }
    }
}

/// Why a command line was refused. Nothing has been done then.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CmdlineError<'a> {
    /// The bytes are not UTF-8.
    NotText {
        /// Offset of the first bad byte.
        offset: usize,
    },
    /// A word without `=`.
    NoValue {
        /// The word.
        word: &'a str,
    },
    /// A key that the table above doesn't have.
    UnknownKey {
        /// The key.
        key: &'a str,
    },
    /// A key given twice.
    Duplicate {
        /// The key.
        key: &'a str,
    },
    /// A test that doesn't exist.
    UnknownTest {
        /// The name.
        name: &'a str,
    },
    /// An ending that doesn't exist.
    UnknownEnding {
        /// The name.
        name: &'a str,
    },
    /// A mode of local APICs that doesn't exist.
    UnknownApic {
        /// The name.
        name: &'a str,
    },
    /// A value that is no hexadecimal number of 64 bits.
    NotAnAddress {
        /// The key.
        key: &'a str,
        /// Its value.
        value: &'a str,
    },
    /// Neither a mechanism nor a way to choose one.
    UnknownMechanism {
        /// The name.
        name: &'a str,
    },
    /// A breakage that doesn't exist.
    UnknownBreakage {
        /// The name.
        name: &'a str,
    },
    /// A glob that is longer than any case's name.
    LongGlob {
        /// The glob.
        glob: &'a str,
    },
    /// A host that is neither there nor not.
    UnknownHost {
        /// The name.
        name: &'a str,
    },
    /// A question that doesn't exist.
    UnknownQuestion {
        /// The name.
        name: &'a str,
    },
    /// A value that is none of the few that its key takes.
    NotOneOf {
        /// The key.
        key: &'a str,
        /// Its value.
        value: &'a str,
        /// What it takes.
        choices: &'static str,
    },
    /// A value that is no decimal number of 32 bits.
    NotANumber {
        /// The key.
        key: &'a str,
        /// Its value.
        value: &'a str,
    },
}

impl fmt::Display for CmdlineError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText { offset } => write!(f, "the command line is not UTF-8 at byte {offset}"),
            Self::NoValue { word } => write!(f, "`{word}` has no value; write key=value"),
            Self::UnknownKey { key } => {
                write!(
                    f,
                    "unknown key `{key}`; there are t, cpus, timeout_ms, generations, mechanism, break, lot, steps, case, host, ask, hypervisor, hours, minutes, keep, exit and apic"
                )
            }
            Self::Duplicate { key } => write!(f, "`{key}` is given twice"),
            Self::UnknownTest { name } => {
                write!(
                    f,
                    "unknown test `{name}`; there are smp, skeleton, torture, trouble, conformance, sweep, silicon, soak and fault"
                )
            }
            Self::UnknownEnding { name } => write!(f, "unknown ending `{name}`; there are qemu, bochs and halt"),
            Self::UnknownApic { name } => write!(f, "unknown APIC mode `{name}`; there are x and x2"),
            Self::NotAnAddress { key, value } => {
                write!(f, "`{key}` wants a hexadecimal number with 0x in front, not `{value}`")
            }
            Self::UnknownMechanism { name } => {
                write!(f, "unknown mechanism `{name}`; there are turn, policy, hlt, mwait, clgi and wait-for-sipi")
            }
            Self::UnknownBreakage { name } => {
                write!(
                    f,
                    "unknown breakage `{name}`; there are no-idt, no-mce, early-ack, slow-arrival, no-window and wide-window"
                )
            }
            Self::LongGlob { glob } => write!(f, "no case has a name as long as `{glob}`"),
            Self::UnknownHost { name } => write!(f, "`host` wants yes or no, not `{name}`"),
            Self::UnknownQuestion { name } => write!(f, "unknown question `{name}`; docs/silicon.md lists them"),
            Self::NotOneOf { key, value, choices } => write!(f, "`{key}` wants {choices}, not `{value}`"),
            Self::NotANumber { key, value } => write!(f, "`{key}` wants a decimal number, not `{value}`"),
        }
    }
}

impl core::error::Error for CmdlineError<'_> {}

impl Options {
    /// Parses `bytes`, the command line without its terminating zero.
    ///
    /// # Errors
    /// [`CmdlineError`] names the word that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, CmdlineError<'_>> {
        let text =
            core::str::from_utf8(bytes).map_err(|error| CmdlineError::NotText { offset: error.valid_up_to() })?;
        let (mut test, mut cpus, mut timeout_ms, mut generations) = (None, None, None, None);
        let (mut ending, mut apic, mut cases, mut host) = (None, None, None, None);
        let (mut choice, mut breakage, mut lot, mut steps) = (None, None, None, None);
        let (mut ask, mut hypervisor, mut hours, mut minutes, mut keep) = (None, None, None, None, None);
        for word in text.split_ascii_whitespace() {
            let (key, value) = word.split_once('=').ok_or(CmdlineError::NoValue { word })?;
            match key {
                "t" => {
                    let parsed = Test::from_name(value).ok_or(CmdlineError::UnknownTest { name: value })?;
                    set_once(&mut test, parsed, key)?;
                }
                "cpus" => set_once(&mut cpus, number(key, value)?, key)?,
                "steps" => set_once(&mut steps, number(key, value)?, key)?,
                "case" => {
                    set_once(&mut cases, Glob::new(value).ok_or(CmdlineError::LongGlob { glob: value })?, key)?;
                }
                "host" => {
                    let answer = match value {
                        "yes" => Host::Answers,
                        "no" => Host::Absent,
                        name => return Err(CmdlineError::UnknownHost { name }),
                    };
                    set_once(&mut host, answer, key)?;
                }
                "apic" => {
                    let mode = match value {
                        "x" => ApicMode::XApic,
                        "x2" => ApicMode::X2Apic,
                        name => return Err(CmdlineError::UnknownApic { name }),
                    };
                    set_once(&mut apic, mode, key)?;
                }
                "exit" => {
                    let parsed = Ending::from_name(value).ok_or(CmdlineError::UnknownEnding { name: value })?;
                    set_once(&mut ending, parsed, key)?;
                }
                "mechanism" => {
                    let parsed = Choice::from_name(value).ok_or(CmdlineError::UnknownMechanism { name: value })?;
                    set_once(&mut choice, parsed, key)?;
                }
                "break" => {
                    let parsed = Breakage::from_name(value).ok_or(CmdlineError::UnknownBreakage { name: value })?;
                    set_once(&mut breakage, parsed, key)?;
                }
                "lot" => set_once(&mut lot, PhysAddr(address(key, value)?), key)?,
                "generations" => set_once(&mut generations, number(key, value)?, key)?,
                "ask" => {
                    let questions = QuestionSet::parse(value).map_err(|name| CmdlineError::UnknownQuestion { name })?;
                    set_once(&mut ask, questions, key)?;
                }
                "hypervisor" => {
                    set_once(&mut hypervisor, one_of(Hypervisor::from_name, key, value, "yes or no")?, key)?
                }
                "hours" => set_once(&mut hours, number(key, value)?, key)?,
                "minutes" => set_once(&mut minutes, number(key, value)?, key)?,
                "keep" => set_once(&mut keep, one_of(Keep::from_name, key, value, "ram or cmos")?, key)?,
                "timeout_ms" => set_once(&mut timeout_ms, number(key, value)?, key)?,
                _ => return Err(CmdlineError::UnknownKey { key }),
            }
        }
        let default = Self::default();
        Ok(Self {
            test: test.unwrap_or(default.test),
            cpus: cpus.unwrap_or(default.cpus),
            timeout_ms: timeout_ms.unwrap_or(default.timeout_ms),
            generations: generations.unwrap_or(default.generations),
            choice: choice.unwrap_or(default.choice),
            breakage,
            lot,
            steps: steps.unwrap_or(default.steps),
            cases: cases.unwrap_or(default.cases),
            host: host.unwrap_or(default.host),
            ending: ending.unwrap_or(default.ending),
            apic: apic.unwrap_or(default.apic),
            ask: ask.unwrap_or(default.ask),
            hypervisor: hypervisor.unwrap_or(default.hypervisor),
            soak_minutes: hours.unwrap_or(0).saturating_mul(60).saturating_add(minutes.unwrap_or(0)),
            keep: keep.unwrap_or(default.keep),
        })
    }
}

fn set_once<'a, T>(slot: &mut Option<T>, value: T, key: &'a str) -> Result<(), CmdlineError<'a>> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(CmdlineError::Duplicate { key }),
    }
}

fn one_of<'a, T>(
    from_name: fn(&str) -> Option<T>,
    key: &'a str,
    value: &'a str,
    choices: &'static str,
) -> Result<T, CmdlineError<'a>> {
    from_name(value).ok_or(CmdlineError::NotOneOf { key, value, choices })
}

fn number<'a>(key: &'a str, value: &'a str) -> Result<u32, CmdlineError<'a>> {
    value.parse().map_err(|_| CmdlineError::NotANumber { key, value })
}

fn address<'a>(key: &'a str, value: &'a str) -> Result<u64, CmdlineError<'a>> {
    let digits = value.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    digits.ok_or(CmdlineError::NotAnAddress { key, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_line_gives_defaults() {
        assert_eq!(
            Options::parse(b""),
            Ok(Options {
                test: Test::Smp,
                cpus: 0,
                timeout_ms: 10_000,
                generations: 2,
                choice: Choice::Turn,
                breakage: None,
                lot: None,
                steps: 100,
                cases: ALL_CASES,
                host: Host::Absent,
                ending: Ending::Qemu,
                apic: ApicMode::XApic,
                ask: QuestionSet::NONE,
                hypervisor: Hypervisor::Refuse,
                soak_minutes: 0,
                keep: Keep::Ram,
            })
        );
        assert_eq!(Options::parse(b"  \t "), Ok(Options::default()));
    }

    #[test]
    fn every_key_is_read() {
        let parsed = Options::parse(
            b" cpus=4  t=skeleton exit=bochs apic=x2 timeout_ms=250 generations=20 mechanism=mwait break=early-ack \
              case=hlt/* host=yes steps=7 lot=0x1230000",
        );
        assert_eq!(
            parsed,
            Ok(Options {
                test: Test::Skeleton,
                cpus: 4,
                timeout_ms: 250,
                generations: 20,
                choice: Choice::Only(park_core::Mechanism::Mwait),
                breakage: Some(Breakage::EarlyAck),
                lot: Some(PhysAddr(0x123_0000)),
                steps: 7,
                cases: Glob::new("hlt/*").unwrap(),
                host: Host::Answers,
                ending: Ending::Bochs,
                apic: ApicMode::X2Apic,
                ..Options::default()
            })
        );
    }

    #[test]
    fn keys_of_silicon_and_soak_are_read() {
        let parsed = Options::parse(b"t=silicon ask=nmi-depth,auto-halt hypervisor=yes hours=2 minutes=5 keep=cmos");
        let expected = Options {
            test: Test::Silicon,
            ask: QuestionSet::parse("auto-halt,nmi-depth").unwrap(),
            hypervisor: Hypervisor::Ask,
            soak_minutes: 125,
            keep: Keep::Cmos,
            ..Options::default()
        };
        assert_eq!(parsed, Ok(expected));
        assert_eq!(Options::parse(b"hours=4294967295 minutes=9").map(|options| options.soak_minutes), Ok(u32::MAX));
        // Nobody is asked about a hypervisor, and no settings of firmware are overwritten, unless that is said.
        let default = Options::default();
        assert_eq!((default.hypervisor, default.keep, default.ask), (Hypervisor::Refuse, Keep::Ram, QuestionSet::NONE));
    }

    #[test]
    fn wrong_values_of_silicon_and_soak_are_refused() {
        let cases: [(&[u8], CmdlineError<'_>); 3] = [
            (b"ask=nmi-depth,nmi", CmdlineError::UnknownQuestion { name: "nmi" }),
            (b"hypervisor=1", CmdlineError::NotOneOf { key: "hypervisor", value: "1", choices: "yes or no" }),
            (b"keep=disk", CmdlineError::NotOneOf { key: "keep", value: "disk", choices: "ram or cmos" }),
        ];
        for (line, expected) in cases {
            assert_eq!(Options::parse(line), Err(expected));
        }
    }

    #[test]
    fn every_test_is_found_by_its_name() {
        for test in Test::ALL {
            assert_eq!(Test::from_name(test.name()), Some(test));
        }
    }

    #[test]
    fn bad_words_are_refused_by_name() {
        let cases: [(&[u8], CmdlineError<'_>); 15] = [
            (b"lot=1000", CmdlineError::NotAnAddress { key: "lot", value: "1000" }),
            (b"mechanism=nap", CmdlineError::UnknownMechanism { name: "nap" }),
            (b"break=all", CmdlineError::UnknownBreakage { name: "all" }),
            (
                b"case=hlt/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
                CmdlineError::LongGlob { glob: "hlt/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn" },
            ),
            (b"host=me", CmdlineError::UnknownHost { name: "me" }),
            (b"apic=x3", CmdlineError::UnknownApic { name: "x3" }),
            (b"exit=door", CmdlineError::UnknownEnding { name: "door" }),
            (b"t=smp \xff", CmdlineError::NotText { offset: 6 }),
            (b"verbose", CmdlineError::NoValue { word: "verbose" }),
            (b"test=smp", CmdlineError::UnknownKey { key: "test" }),
            (b"t=smp t=smp", CmdlineError::Duplicate { key: "t" }),
            (b"t=smpx", CmdlineError::UnknownTest { name: "smpx" }),
            (b"cpus=", CmdlineError::NotANumber { key: "cpus", value: "" }),
            (b"cpus=-1", CmdlineError::NotANumber { key: "cpus", value: "-1" }),
            (b"timeout_ms=4294967296", CmdlineError::NotANumber { key: "timeout_ms", value: "4294967296" }),
        ];
        for (line, expected) in cases {
            assert_eq!(Options::parse(line), Err(expected));
        }
    }
}
