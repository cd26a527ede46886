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

const TCG_SIPI: &str = "a STARTUP ends HLT, and only then is dropped: x86_cpu_pending_interrupt (target/i386/cpu.c) knows no state of waiting for one";
const TCG_INTR: &str = "a local APIC that is switched off keeps fixed interrupts: apic_set_irq (hw/intc/apic.c) does not look at the spurious-vector register";
const BOCHS_INTR: &str = "a local APIC that is switched off keeps fixed interrupts: trigger_irq (cpu/apic.cc) does not look at the spurious-vector register";
const TCG_WAIT_MC: &str = "a shutdown of one CPU resets the machine, and the injector is who decides it: do_inject_x86_mce (target/i386/helper.c) finds CR4.MCE = 0";
const BOCHS_MONITOR: &str = "MONITOR arms a stale line: it takes the address of the last access that missed the TLB, and its own sets none if it hits (cpu/mwait.cc, tickle_read_linear in cpu/access2.cc)";
const BOCHS_WAIT_INTR: &str = "trigger_irq (cpu/apic.cc) keeps an interrupt in the IRR of a local APIC that INIT has switched off, and deliver_INIT (cpu/event.cc) drops the INIT that would clear it";

/// All deviations.
pub const ALL: &[Deviation] = &[
    row(Emulator::Qemu, (Mechanism::Hlt, Event::Intr), (Response::Unnoticed, Response::Held), TCG_INTR),
    row(Emulator::Bochs, (Mechanism::Hlt, Event::Intr), (Response::Unnoticed, Response::Held), BOCHS_INTR),
    row(Emulator::Qemu, (Mechanism::Mwait, Event::Intr), (Response::Unnoticed, Response::Held), TCG_INTR),
    row(Emulator::Bochs, (Mechanism::Mwait, Event::Intr), (Response::Unnoticed, Response::Held), BOCHS_INTR),
    row(Emulator::Qemu, (Mechanism::Clgi, Event::Intr), (Response::Unnoticed, Response::Held), TCG_INTR),
    row(Emulator::Bochs, (Mechanism::Clgi, Event::Intr), (Response::Unnoticed, Response::Held), BOCHS_INTR),
    row(Emulator::Qemu, (Mechanism::Hlt, Event::Smi), (Response::Transparent, Response::Laps), TCG_RSM),
    row(Emulator::Bochs, (Mechanism::Hlt, Event::Smi), (Response::Transparent, Response::Laps), BOCHS_RSM),
    row(Emulator::Qemu, (Mechanism::Hlt, Event::Sipi), (Response::Unnoticed, Response::Laps), TCG_SIPI),
    row(Emulator::Qemu, (Mechanism::Clgi, Event::Init), (Response::Held, Response::WaitsForSipi), TCG_INIT),
    row(Emulator::Qemu, (Mechanism::Clgi, Event::InitSipiSipi), (Response::Refused, Response::Taken), TCG_INIT),
    row(Emulator::Qemu, (Mechanism::Mwait, Event::StoreDoorbell), (Response::Laps, Response::Unnoticed), TCG_MONITOR),
    row(
        Emulator::Bochs,
        (Mechanism::Mwait, Event::StoreDoorbell),
        (Response::Laps, Response::Unnoticed),
        BOCHS_MONITOR,
    ),
    row(Emulator::Bochs, (Mechanism::WaitForSipi, Event::Intr), (Response::Unnoticed, Response::Held), BOCHS_WAIT_INTR),
    row(Emulator::Qemu, (Mechanism::WaitForSipi, Event::McLocal), (Response::Shutdown, Response::Reset), TCG_WAIT_MC),
    row(
        Emulator::Qemu,
        (Mechanism::WaitForSipi, Event::McBroadcast),
        (Response::Shutdown, Response::Reset),
        TCG_WAIT_MC,
    ),
    row(Emulator::Qemu, (Mechanism::WaitForSipi, Event::Nmi), (Response::Unnoticed, Response::Reset), TCG_WAIT_NMI),
    row(Emulator::Qemu, (Mechanism::WaitForSipi, Event::Smi), (Response::Held, Response::Reset), TCG_WAIT_SMI),
    row(Emulator::Qemu, (Mechanism::Hlt, Event::SmiRendezvous), (Response::Transparent, Response::Laps), TCG_RSM),
    row(Emulator::Qemu, (Mechanism::WaitForSipi, Event::SmiNoRestart), (Response::Held, Response::Reset), TCG_WAIT_SMI),
];

/// The deviation of `emulator` in `case`.
#[must_use]
pub fn of(emulator: Emulator, case: Case) -> Option<&'static Deviation> {
    let concerns =
        |row: &&Deviation| (row.emulator, row.mechanism, row.event) == (emulator, case.mechanism, case.event);
    ALL.iter().find(concerns)
}
