//! Named deviations: what an emulator does otherwise than the manuals say, and why.
//!
//! An unlisted difference fails a trial, and so does a listed one that no longer occurs, or that can't be measured any more.

use park_conformance::Case;
use park_core::{Event, Mechanism, Response};

use crate::configuration::Emulator;

/// One deviation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deviation {
    /// The emulator.
    pub emulator: Emulator,
    /// How the CPU waits.
    pub mechanism: Mechanism,
    /// What happens.
    pub event: Event,
    /// What the manuals say.
    pub expected: Response,
    /// What the emulator does.
    pub seen: Response,
    /// Why, with the place in its source.
    pub reason: &'static str,
}

const fn row(
    emulator: Emulator,
    (mechanism, event): (Mechanism, Event),
    (expected, seen): (Response, Response),
    reason: &'static str,
) -> Deviation {
    Deviation { emulator, mechanism, event, expected, seen, reason }
}

const TCG_RSM: &str = "RSM returns past HLT: target/i386/tcg/sysemu/smm_helper.c has no auto-HALT restart";
const BOCHS_RSM: &str = "RSM returns past HLT: Bochs has no auto-HALT restart";
const TCG_INIT: &str = "an INIT is taken whatever GIF is: accel/tcg/cpu-exec.c looks at it first and unconditionally";
const TCG_WAIT_NMI: &str = "an NMI is delivered in wait-for-SIPI, through the real-mode vector table: x86_cpu_pending_interrupt does not know the state";
const TCG_WAIT_SMI: &str =
    "an SMI is taken in wait-for-SIPI; after RSM the CPU runs from the reset vector, and firmware resets the machine";
const TCG_MONITOR: &str =
    "MWAIT is PAUSE on a machine with several CPUs: a store ends no wait (target/i386/tcg/misc_helper.c)";

/// All deviations.
pub const ALL: &[Deviation] = &[
    row(Emulator::Qemu, (Mechanism::Hlt, Event::Smi), (Response::Transparent, Response::Laps), TCG_RSM),
    row(Emulator::Bochs, (Mechanism::Hlt, Event::Smi), (Response::Transparent, Response::Laps), BOCHS_RSM),
    row(Emulator::Qemu, (Mechanism::Clgi, Event::Init), (Response::Held, Response::WaitsForSipi), TCG_INIT),
    row(Emulator::Qemu, (Mechanism::Clgi, Event::InitSipiSipi), (Response::Refused, Response::Taken), TCG_INIT),
    row(Emulator::Qemu, (Mechanism::Mwait, Event::StoreDoorbell), (Response::Laps, Response::Unnoticed), TCG_MONITOR),
    row(Emulator::Qemu, (Mechanism::WaitForSipi, Event::Nmi), (Response::Unnoticed, Response::Reset), TCG_WAIT_NMI),
    row(Emulator::Qemu, (Mechanism::WaitForSipi, Event::Smi), (Response::Held, Response::Reset), TCG_WAIT_SMI),
    row(Emulator::Qemu, (Mechanism::WaitForSipi, Event::SmiNoRestart), (Response::Held, Response::Reset), TCG_WAIT_SMI),
];

/// The deviation of `emulator` in `case`.
#[must_use]
pub fn of(emulator: Emulator, case: Case) -> Option<&'static Deviation> {
    let concerns =
        |row: &&Deviation| (row.emulator, row.mechanism, row.event) == (emulator, case.mechanism, case.event);
    ALL.iter().find(concerns)
}
