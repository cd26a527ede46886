//! The ways of parking that the torture compares: stock Linux's own, and park's.

use park_conformance::Case;
use park_core::{Condition, Event, Mechanism, Response};

use crate::configuration::Emulator;
use crate::deviations;
use crate::linux::machine::Machine;

/// AMD with SVM, which TCG has; Linux parks by HLT there.
const AMD: &str = "EPYC";
/// Intel with MONITOR, where Linux parks by MWAIT. Linux's userland does not run on TCG's `max` under Intel's name.
const INTEL: &str = "Skylake-Client-v1,+monitor";
/// The words that make room for the image as crash kernel, which is linked to 1 MiB; the kernel itself lies at 16 MiB then.
const CRASH_WORDS: &str = "nokaslr crashkernel=15M@1M lab.next=crash";

/// How CPUs are parked while memory is overwritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Linux: taken offline in sysfs, on AMD: `hlt_play_dead`.
    Offline,
    /// Linux: taken offline in sysfs, on Intel: `mwait_play_dead`, from where kexec kicks them into HLT.
    OfflineMwait,
    /// Linux: `nosmt` on a machine with two threads per core, on Intel.
    Nosmt,
    /// Linux: stopped by kexec, on AMD: `stop_this_cpu`.
    Kexec,
    /// Linux: stopped by a crash, on AMD: `crash_nmi_callback`, in the NMI handler.
    Crash,
    /// Linux: taken offline in sysfs, on Intel, and then a crash, which kicks nobody out of `mwait_play_dead`.
    CrashMwait,
    /// park: in the lot.
    Lot(Mechanism),
}

/// What is fired at parked CPUs, after memory is overwritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fired {
    /// Nothing: the control.
    Nothing,
    /// An NMI at each.
    Nmi,
    /// A store to every line of memory that the dead kernel had.
    Store,
    /// A machine check that reaches every CPU.
    McBroadcast,
}

/// How a cell must come out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Every CPU survives.
    All,
    /// The machine shuts down: the failure that park is for.
    ShutsDown,
    /// Every CPU survives, or the machine shuts down: the mechanism declares that either may be.
    Declared,
    /// The machine shuts down, which no real one would: the emulator's fault, with the reason.
    Falsified(&'static str),
}

/// Why the emulator shows nothing of MWAIT in a control.
const MWAIT_NEVER_WAITS: &str = "TCG's MWAIT never waits, so the CPU runs the overwritten loop at once";

impl Fired {
    /// All of them, the control first.
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Nmi, Self::Store, Self::McBroadcast];

    /// The name, as the image knows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Nmi => "nmi",
            Self::Store => "store",
            Self::McBroadcast => "mc-broadcast",
        }
    }

    /// The event that claims are about; `None` for none.
    const fn event(self) -> Option<Event> {
        match self {
            Self::Nothing => None,
            Self::Nmi => Some(Event::Nmi),
            Self::Store => Some(Event::StoreDoorbell),
            Self::McBroadcast => Some(Event::McBroadcast),
        }
    }
}

impl Way {
    /// All of them, Linux's first.
    pub const ALL: [Self; 10] = [
        Self::Offline,
        Self::OfflineMwait,
        Self::Nosmt,
        Self::Kexec,
        Self::Crash,
        Self::CrashMwait,
        Self::Lot(Mechanism::Hlt),
        Self::Lot(Mechanism::Mwait),
        Self::Lot(Mechanism::Clgi),
        Self::Lot(Mechanism::WaitForSipi),
    ];

    /// The name.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Offline => "linux-offline".to_owned(),
            Self::OfflineMwait => "linux-offline-mwait".to_owned(),
            Self::Nosmt => "linux-nosmt".to_owned(),
            Self::Kexec => "linux-kexec".to_owned(),
            Self::Crash => "linux-crash".to_owned(),
            Self::CrashMwait => "linux-crash-mwait".to_owned(),
            Self::Lot(mechanism) => format!("park-{}", mechanism.name()),
        }
    }

    /// What it is, for people.
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            Self::Offline => "sysfs offline, AMD: HLT in the kernel's text",
            Self::OfflineMwait => "sysfs offline, Intel: MWAIT, kicked into HLT by kexec",
            Self::Nosmt => "nosmt, Intel: MWAIT, kicked into HLT by kexec",
            Self::Kexec => "stopped by kexec: HLT in the kernel's text",
            Self::Crash => "stopped by a crash: HLT in the NMI handler",
            Self::CrashMwait => "sysfs offline, Intel, and then a crash: MWAIT",
            Self::Lot(Mechanism::Hlt) => "in the lot: HLT",
            Self::Lot(Mechanism::Mwait) => "in the lot: MWAIT on the doorbell",
            Self::Lot(Mechanism::Clgi) => "in the lot: CLGI",
            Self::Lot(Mechanism::WaitForSipi) => "in the lot: wait-for-SIPI",
        }
    }

    /// The machine.
    #[must_use]
    pub const fn machine(self) -> Machine {
        match self {
            Self::OfflineMwait | Self::CrashMwait => Machine { model: INTEL, topology: "4" },
            Self::Nosmt => Machine { model: INTEL, topology: "6,cores=3,threads=2" },
            Self::Offline | Self::Kexec | Self::Crash | Self::Lot(_) => Machine { model: AMD, topology: "4" },
        }
    }

    /// Words of `t=linux`: how many CPUs Linux gets, and how the others park.
    #[must_use]
    pub fn words(self, fired: Fired) -> String {
        match self {
            Self::Nosmt => "cpus=6 handed=4 mechanism=hlt".to_owned(),
            // One CPU that Linux parks goes through the same kexec, but where the event would reach it too and end the machine.
            Self::Lot(mechanism) => {
                let handed = if fired == Fired::McBroadcast { 0 } else { 1 };
                format!("cpus=4 handed={handed} mechanism={}", mechanism.name())
            }
            _ => "cpus=4 handed=2 mechanism=hlt".to_owned(),
        }
    }

    /// Linux's words: how it parks, and how it leaves.
    #[must_use]
    pub fn append(self) -> String {
        match self {
            Self::Offline | Self::OfflineMwait | Self::Lot(_) => "lab.park=offline lab.next=image".to_owned(),
            Self::Nosmt => "nosmt lab.next=image".to_owned(),
            Self::Kexec => "lab.next=image".to_owned(),
            Self::Crash => CRASH_WORDS.to_owned(),
            Self::CrashMwait => format!("lab.park=offline {CRASH_WORDS}"),
        }
    }

    /// QEMU's numbers of the CPUs that are parked this way, which are their APIC ids on these machines.
    #[must_use]
    pub const fn cpus(self, fired: Fired) -> &'static [u32] {
        match (self, fired) {
            // The first threads of their cores stay online.
            (Self::Nosmt, _) => &[1, 3],
            (Self::Lot(_), Fired::McBroadcast) => &[1, 2, 3],
            (Self::Lot(_), _) => &[2, 3],
            _ => &[1, 2],
        }
    }

    /// Whether the CPUs are Linux's.
    #[must_use]
    pub const fn is_linux(self) -> bool {
        !matches!(self, Self::Lot(_))
    }

    /// How the cell must come out.
    #[must_use]
    pub fn expected(self, fired: Fired) -> Expected {
        match (self, fired) {
            (Self::CrashMwait, _) => Expected::Falsified(MWAIT_NEVER_WAITS),
            // The handler has not returned, so that no other NMI is delivered.
            (_, Fired::Nothing | Fired::Store) | (Self::Crash, Fired::Nmi) => Expected::All,
            (Self::Lot(mechanism), Fired::Nmi | Fired::McBroadcast) => of_lot(mechanism, fired),
            _ => Expected::ShutsDown,
        }
    }
}

/// What the mechanism's claim on the machine says, or the emulator does instead.
fn of_lot(mechanism: Mechanism, fired: Fired) -> Expected {
    let Some(event) = fired.event() else { return Expected::All };
    let ends = |response: Response| matches!(response, Response::Reset | Response::Shutdown);
    // A shutdown that is declared stays one where it resets the machine.
    let deviation = deviations::of(Emulator::Qemu, Case { mechanism, event });
    if let Some(deviation) = deviation.filter(|deviation| !ends(deviation.expected)) {
        return if ends(deviation.seen) { Expected::Falsified(deviation.reason) } else { Expected::All };
    }
    let declared = park_amd::CLAIMS.iter().any(|claim| {
        (claim.mechanism, claim.event) == (mechanism, event)
            && claim.condition != Condition::Bsp
            && ends(claim.response)
    });
    if declared { Expected::Declared } else { Expected::All }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_controls_lose_nobody_but_by_the_emulator() {
        for (index, way) in Way::ALL.into_iter().enumerate() {
            assert_eq!(Way::ALL.iter().position(|other| other.name() == way.name()), Some(index));
            let control = way.expected(Fired::Nothing);
            assert!(matches!(control, Expected::All | Expected::Falsified(_)), "{}", way.name());
        }
    }

    #[test]
    fn linux_loses_what_the_lot_keeps() {
        for fired in [Fired::Nmi, Fired::McBroadcast] {
            assert_eq!(Way::Offline.expected(fired), Expected::ShutsDown);
            assert_eq!(Way::Kexec.expected(fired), Expected::ShutsDown);
            assert_eq!(Way::Lot(Mechanism::Hlt).expected(fired), Expected::All);
        }
        // INIT clears CR4.MCE: what a part makes of it is not documented.
        assert_eq!(Way::Lot(Mechanism::WaitForSipi).expected(Fired::McBroadcast), Expected::Declared);
        assert!(matches!(Way::Lot(Mechanism::WaitForSipi).expected(Fired::Nmi), Expected::Falsified(_)));
    }
}
