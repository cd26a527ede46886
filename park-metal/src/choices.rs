//! What the words of the command line may be: tests, endings, cases, mechanisms, broken lots.

use park_core::Mechanism;

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
    /// Runs the cases that [`Options::cases`](crate::cmdline::Options::cases) names, and says what was measured.
    Conformance,
    /// Sends an NMI at every moment of arriving and of leaving.
    Sweep,
    /// Asks the questions that the manuals leave open.
    Silicon,
    /// Parks, disturbs, passes on and wakes for hours.
    Soak,
    /// Overwrites the memory of CPUs that another kernel has parked, and fires events at them.
    Strangers,
    /// Times parking and waking, and what rivals do instead.
    Bench,
    /// Parks CPUs, hands some of them on through the ACPI mailbox, and enters a stock Linux.
    Linux,
    /// Finds a lot that another kernel has left, takes it over, and wakes every CPU in it.
    Adopt,
    /// Hands CPUs to itself through the ACPI mailbox, on both of its sides.
    Mailbox,
    /// Executes UD2: shows that an image that breaks is reported as broken. Never passes.
    Fault,
}

impl Test {
    /// All tests.
    pub const ALL: [Self; 14] = [
        Self::Smp,
        Self::Skeleton,
        Self::Torture,
        Self::Trouble,
        Self::Conformance,
        Self::Sweep,
        Self::Silicon,
        Self::Soak,
        Self::Strangers,
        Self::Bench,
        Self::Linux,
        Self::Adopt,
        Self::Mailbox,
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
            Self::Strangers => "strangers",
            Self::Bench => "bench",
            Self::Linux => "linux",
            Self::Adopt => "adopt",
            Self::Mailbox => "mailbox",
            Self::Fault => "fault",
        }
    }

    /// The test with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|test| test.name() == name)
    }

    /// Whether it starts every CPU first; the others leave CPUs where the kernel before them has left them.
    #[must_use]
    pub const fn starts_cpus(self) -> bool {
        !matches!(self, Self::Strangers | Self::Adopt)
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

/// Which version of the ACPI mailbox `linux` publishes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MailboxVersion {
    /// Without a reset vector: who took a CPU keeps it.
    V0,
    /// With one: an operating system can give CPUs back.
    V1,
}

impl MailboxVersion {
    /// The version with this number.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "0" => Some(Self::V0),
            "1" => Some(Self::V1),
            _ => None,
        }
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

/// Whether report lines go to a screen in text mode too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Screen {
    /// Where there is one.
    Lit,
    /// No.
    Dark,
}

impl Screen {
    /// The screen of this word: `yes` or `no`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "yes" => Some(Self::Lit),
            "no" => Some(Self::Dark),
            _ => None,
        }
    }
}

/// The longest glob, in bytes: longer than any case's name.
const GLOB_BYTES_MAX: usize = 48;

/// A glob over names of cases, kept by value: the command line's memory is used for something else later.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Glob {
    bytes: [u8; GLOB_BYTES_MAX],
    len: usize,
}

impl Glob {
    /// Every case.
    pub const ALL: Self = {
        let mut bytes = [0; GLOB_BYTES_MAX];
        bytes[0] = b'*';
        Self { bytes, len: 1 }
    };

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

/// How `torture` decides by which mechanism a CPU parks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Choice {
    /// The CPUs take what the machine offers in turn: all mechanisms, one beside the other.
    #[default]
    Turn,
    /// What park-policy chooses for a kexec.
    Policy,
    /// This one for all.
    Only(Mechanism),
}

impl Choice {
    /// The choice with this name: `turn`, `policy`, or a mechanism's.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "turn" => Some(Self::Turn),
            "policy" => Some(Self::Policy),
            _ => Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name).map(Self::Only),
        }
    }
}

/// What is wrong with the lot on purpose, so that it is seen to lose CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Breakage {
    /// The parked IDT is empty: an NMI is a triple fault.
    NoIdt,
    /// CPUs wait with CR4.MCE = 0: a machine check is a shutdown.
    NoMce,
    /// Nothing, but they are sent machine checks as with [`NoMce`](Self::NoMce): the control, which loses nobody.
    WithMce,
    /// CPUs acknowledge 10 ms before they have left their owner's memory.
    EarlyAck,
    /// Nothing, but they are as slow as with [`EarlyAck`](Self::EarlyAck): the control, which loses nobody.
    SlowArrival,
    /// An NMI returns to what it interrupted, also between the look at the doorbell and HLT.
    NoWindow,
    /// Nothing, but the time between the look at the doorbell and HLT is as long as with [`NoWindow`](Self::NoWindow): the
    /// control, which loses nobody.
    WideWindow,
}

impl Breakage {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::NoIdt, Self::NoMce, Self::WithMce, Self::EarlyAck, Self::SlowArrival, Self::NoWindow, Self::WideWindow];

    /// The name on the command line and in the report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoIdt => "no-idt",
            Self::NoMce => "no-mce",
            Self::WithMce => "with-mce",
            Self::EarlyAck => "early-ack",
            Self::SlowArrival => "slow-arrival",
            Self::NoWindow => "no-window",
            Self::WideWindow => "wide-window",
        }
    }

    /// The breakage with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|breakage| breakage.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found() {
        for breakage in Breakage::ALL {
            assert_eq!(Breakage::from_name(breakage.name()), Some(breakage));
        }
        for mechanism in Mechanism::ALL {
            assert_eq!(Choice::from_name(mechanism.name()), Some(Choice::Only(mechanism)));
        }
        assert_eq!(
            (Choice::from_name("turn"), Choice::from_name("policy")),
            (Some(Choice::Turn), Some(Choice::Policy))
        );
        assert_eq!((Choice::from_name("sleep"), Breakage::from_name("")), (None, None));
    }
}
