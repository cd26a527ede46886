//! The image's command line: `key=value` words, each key at most once.
//!
//! | key | value | default |
//! |---|---|---|
//! | `t` | the test: `smp`, `skeleton`, `fault`, `torture`, `trouble`, `conformance`, `sweep`, `silicon`, `soak`, `strangers`, `bench`, `linux`, `adopt`, `mailbox` | `smp` |
//! | `cpus` | CPUs that must come online; 0 = take what there is | 0 |
//! | `timeout_ms` | the longest wait for another CPU, in milliseconds | 10000 |
//! | `generations` | kernels that take the lot over, one from the other, in `torture` | 2 |
//! | `mechanism` | how CPUs park in `torture`: `turn`, `policy`, or a mechanism's name ([`Choice`]) | `turn` |
//! | `break` | what is wrong with the lot in `torture` ([`Breakage`]); CPUs are lost then | nothing |
//! | `levels` | levels of page tables, 4 or 5 | 4 |
//! | `lot` | physical address of the lot, hexadecimal with `0x` | where there is room |
//! | `steps` | moments at which `sweep` sends its NMI | 100 |
//! | `stride` | ticks of the TSC from one of them to the next | 1 |
//! | `case` | which cases `conformance` runs: a glob, as `hlt/nmi` or `*/init*` | `*` |
//! | `host` | whether somebody answers `sync` lines on COM1: `yes`, `no` | `no` |
//! | `apic` | mode of the local APICs: `x`, `x2` | `x` |
//! | `ask` | questions of `silicon`, by name, separated by commas | those that are always asked |
//! | `hypervisor` | whether `silicon` asks a hypervisor too: `yes`, `no` | `no` |
//! | `hours`, `minutes` | how long `soak` goes on, added up; at least `generations` | 0 |
//! | `keep` | where `silicon` and `soak` keep the last step: `ram`, `cmos` | `ram` |
//! | `strangers` | what `strangers` fires at which APIC ids ([`Strangers`]) | nothing |
//! | `samples` | wakes of each row of `bench` | 1000 |
//! | `seed` | what decides the order of rows and the idle times of `bench` | 1 |
//! | `idle_us` | the longest idle time before each wake of `bench`, in µs | 1000 |
//! | `target` | the CPU, by its number, that `bench` parks and wakes | 1 |
//! | `losses` | wakes in `bench` whose IPIs are lost now and then, after its rounds | 0 |
//! | `slices` | in `bench`, the longest turn of the target in ticks, where CPUs take turns; 0 for whole ones | 0 |
//! | `screen` | whether lines show on a screen in text mode, where there is one: `yes`, `no` | `yes` |
//! | `exit` | how the machine ends: `qemu`, `bochs`, `halt` | `qemu` |
//! | `kernel`, `initrd` | files in memory for `linux`: address with `0x`, colon, length in bytes | none |
//! | `handed` | CPUs that `linux` hands on through the mailbox | all |
//! | `mailbox` | version of the mailbox that `linux` publishes: `0`, or `1` with a reset vector | `1` |
//! | `rsdp` | where `adopt` finds ACPI's tables, if no loader says | firmware's |
//! | `park` | where `adopt` finds the lot if no ACPI table says | nowhere |
//! | `append` | Linux's command line: all that follows, blanks included ([`split_append`](crate::linux::command_line::split_append)) | empty |

mod error;
#[cfg(test)]
mod tests;

use park_core::PhysAddr;
use park_core::lot::{ApicMode, PagingLevels};

pub use self::error::CmdlineError;
use crate::bench::BenchOptions;
use crate::choices::{Breakage, Choice, Ending, Glob, Host, MailboxVersion, Screen, Test};
use crate::last_step::Keep;
use crate::linux::File;
use crate::silicon::{Hypervisor, QuestionSet};
use crate::strangers::Strangers;

/// The longest wait for another CPU if the command line doesn't say: virtual CPUs may outnumber the host's.
pub const DEFAULT_TIMEOUT_MS: u32 = 10_000;

/// Generations of `torture` if the command line doesn't say.
pub const DEFAULT_GENERATIONS: u32 = 2;

/// Steps of `sweep` if the command line doesn't say.
pub const DEFAULT_STEPS: u32 = 100;

/// Ticks between steps of `sweep` if the command line doesn't say: one instruction, where the TSC counts those.
pub const DEFAULT_STRIDE: u32 = 1;

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
    /// Levels of page tables.
    pub levels: PagingLevels,
    /// Where the lot is to be.
    pub lot: Option<PhysAddr>,
    /// Moments at which `sweep` sends its NMI.
    pub steps: u32,
    /// Ticks of the TSC from one of them to the next.
    pub stride: u32,
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
    /// The CPUs of others, and what `strangers` fires at them.
    pub strangers: Option<Strangers>,
    /// What `bench` is told.
    pub bench: BenchOptions,
    /// The kernel that `linux` enters.
    pub kernel: Option<File>,
    /// Its initrd.
    pub initrd: Option<File>,
    /// CPUs that `linux` hands on; `None` for all.
    pub handed: Option<u32>,
    /// The mailbox that `linux` publishes.
    pub mailbox: MailboxVersion,
    /// The RSDP, if the loader's is not the one.
    pub rsdp: Option<PhysAddr>,
    /// The lot that `adopt` takes over if ACPI knows none.
    pub park: Option<PhysAddr>,
    /// Whether lines show on a screen too.
    pub screen: Screen,
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
            levels: PagingLevels::Four,
            lot: None,
            steps: DEFAULT_STEPS,
            stride: DEFAULT_STRIDE,
            cases: Glob::ALL,
            host: Host::Absent,
            ending: Ending::Qemu,
            apic: ApicMode::XApic,
            ask: QuestionSet::NONE,
            hypervisor: Hypervisor::Refuse,
            soak_minutes: 0,
            keep: Keep::Ram,
            strangers: None,
            bench: BenchOptions::default(),
            kernel: None,
            initrd: None,
            handed: None,
            mailbox: MailboxVersion::V1,
            rsdp: None,
            park: None,
            screen: Screen::Lit,
        }
    }
}

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
        let (mut choice, mut breakage, mut lot, mut steps, mut stride) = (None, None, None, None, None);
        let (mut ask, mut hypervisor, mut hours, mut minutes, mut keep) = (None, None, None, None, None);
        let mut strangers = None;
        let (mut samples, mut seed, mut idle_us, mut target, mut slices, mut losses) =
            (None, None, None, None, None, None);
        let (mut kernel, mut initrd, mut handed, mut mailbox) = (None, None, None, None);
        let (mut rsdp, mut park) = (None, None);
        let (mut screen, mut levels) = (None, None);
        for word in text.split_ascii_whitespace() {
            let (key, value) = word.split_once('=').ok_or(CmdlineError::NoValue { word })?;
            match key {
                "t" => {
                    let parsed = Test::from_name(value).ok_or(CmdlineError::UnknownTest { name: value })?;
                    set_once(&mut test, parsed, key)?;
                }
                "cpus" => set_once(&mut cpus, number(key, value)?, key)?,
                "steps" => set_once(&mut steps, number(key, value)?, key)?,
                "stride" => set_once(&mut stride, number(key, value)?, key)?,
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
                "levels" => {
                    let parse = |value: &str| match value {
                        "4" => Some(PagingLevels::Four),
                        "5" => Some(PagingLevels::Five),
                        _ => None,
                    };
                    set_once(&mut levels, one_of(parse, key, value, "4 or 5")?, key)?;
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
                "strangers" => {
                    let parsed = one_of(Strangers::parse, key, value, "EVENT:0xMASK, as nmi:0xe")?;
                    set_once(&mut strangers, parsed, key)?;
                }
                "samples" => set_once(&mut samples, number(key, value)?, key)?,
                "seed" => set_once(&mut seed, number(key, value)?, key)?,
                "idle_us" => set_once(&mut idle_us, number(key, value)?, key)?,
                "slices" => set_once(&mut slices, number(key, value)?, key)?,
                "losses" => set_once(&mut losses, number(key, value)?, key)?,
                "target" => set_once(&mut target, number(key, value)?, key)?,
                "screen" => set_once(&mut screen, one_of(Screen::from_name, key, value, "yes or no")?, key)?,
                "timeout_ms" => set_once(&mut timeout_ms, number(key, value)?, key)?,
                "kernel" => set_once(&mut kernel, one_of(File::parse, key, value, FILE)?, key)?,
                "initrd" => set_once(&mut initrd, one_of(File::parse, key, value, FILE)?, key)?,
                "handed" => set_once(&mut handed, number(key, value)?, key)?,
                "mailbox" => set_once(&mut mailbox, one_of(MailboxVersion::from_name, key, value, "0 or 1")?, key)?,
                "rsdp" => set_once(&mut rsdp, PhysAddr(address(key, value)?), key)?,
                "park" => set_once(&mut park, PhysAddr(address(key, value)?), key)?,
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
            levels: levels.unwrap_or(default.levels),
            lot,
            steps: steps.unwrap_or(default.steps),
            stride: stride.unwrap_or(default.stride),
            cases: cases.unwrap_or(default.cases),
            host: host.unwrap_or(default.host),
            ending: ending.unwrap_or(default.ending),
            apic: apic.unwrap_or(default.apic),
            ask: ask.unwrap_or(default.ask),
            hypervisor: hypervisor.unwrap_or(default.hypervisor),
            soak_minutes: hours.unwrap_or(0).saturating_mul(60).saturating_add(minutes.unwrap_or(0)),
            keep: keep.unwrap_or(default.keep),
            strangers,
            bench: BenchOptions {
                samples: samples.unwrap_or(default.bench.samples),
                seed: seed.unwrap_or(default.bench.seed),
                idle_us: idle_us.unwrap_or(default.bench.idle_us),
                target: target.unwrap_or(default.bench.target),
                slices: slices.unwrap_or(default.bench.slices),
                losses: losses.unwrap_or(default.bench.losses),
            },
            kernel,
            initrd,
            handed,
            mailbox: mailbox.unwrap_or(default.mailbox),
            rsdp,
            park,
            screen: screen.unwrap_or(default.screen),
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

/// What a file's word looks like.
const FILE: &str = "an address and a length, as 0x8000000:8247232";

fn number<'a>(key: &'a str, value: &'a str) -> Result<u32, CmdlineError<'a>> {
    value.parse().map_err(|_| CmdlineError::NotANumber { key, value })
}

fn address<'a>(key: &'a str, value: &'a str) -> Result<u64, CmdlineError<'a>> {
    let digits = value.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    digits.ok_or(CmdlineError::NotAnAddress { key, value })
}
