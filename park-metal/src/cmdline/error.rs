//! Why a command line is refused, in words.

use core::fmt;

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
                    "unknown key `{key}`; there are t, cpus, timeout_ms, generations, mechanism, break, lot, steps, case, host, ask, hypervisor, hours, minutes, keep, exit, apic, strangers, samples, seed, idle_us, target, slices, kernel, initrd, handed, mailbox, rsdp, park and append"
                )
            }
            Self::Duplicate { key } => write!(f, "`{key}` is given twice"),
            Self::UnknownTest { name } => {
                write!(
                    f,
                    "unknown test `{name}`; there are smp, skeleton, torture, trouble, conformance, sweep, silicon, soak, strangers, bench, linux, adopt, mailbox and fault"
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
                    "unknown breakage `{name}`; there are no-idt, no-mce, with-mce, early-ack, slow-arrival, no-window and wide-window"
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
