//! Which cells of event × state × knob are reachable, and why the others are not.

use super::coverage::{Row, State};
use super::draw::Thrown;
use park_sim::machine::Knob;
use park_sim::machine::Knob as K;

/// States in which a row consults a knob.
type Rows = &'static [(Row, &'static [State])];

const NMI: Row = Row::Event(Thrown::Nmi);
const SMI: Row = Row::Event(Thrown::Smi);
const MC: Row = Row::Event(Thrown::Mc);
const INTR: Row = Row::Event(Thrown::Intr);
const FALSE_WAKE: Row = Row::Event(Thrown::FalseWake);
const INIT: Row = Row::Event(Thrown::Init);
const SIPI: Row = Row::Event(Thrown::Sipi);
const WAKER: Row = Row::Waker;

const ALL: &[State] = &State::ALL;
/// Where a CPU executes MONITOR and MWAIT again after an event.
const MWAITS: &[State] = &[State::Arriving, State::Mwait];
/// Where a CPU executes MONITOR again after an event.
const ARMS: &[State] = &[State::Arriving, State::Mwait, State::Rung];
const MWAIT: &[State] = &[State::Mwait];
const RUNG: &[State] = &[State::Rung];
/// Everywhere but under GIF = 0, where NMIs are held and none is blocked.
const BLOCKING: &[State] = &[State::Arriving, State::Hlt, State::Mwait, State::Rung, State::Leaving];

/// The reachable cells, each of which must be met under every value.
const REACHABLE: &[(Knob, Rows)] = &[
    (K::McGif0, &[(MC, &[State::Clgi, State::Rung])]),
    (K::McBroadcastAmd, &[(MC, ALL)]),
    (K::NmiDepth, &[(NMI, ALL), (WAKER, RUNG)]),
    (K::NmiWfsIntel, &[(WAKER, RUNG)]),
    (K::NmiAcrossInit, &[(INIT, &[State::Arriving, State::Hlt, State::Mwait, State::Clgi, State::Rung])]),
    (K::NmiBlockAcrossInit, &[(INIT, BLOCKING)]),
    (K::NmiBlockAcrossSmm, &[(SMI, BLOCKING)]),
    (
        K::MaskedIntrMwait,
        &[(NMI, MWAIT), (SMI, MWAIT), (INTR, MWAIT), (FALSE_WAKE, MWAIT), (SIPI, MWAIT), (WAKER, MWAIT)],
    ),
    (K::NmiApicSoftOff, &[(NMI, ALL), (WAKER, RUNG)]),
    (K::StiHoldsNmi, &[(SMI, &[State::Arriving])]),
    (K::MonitorLost, &[(WAKER, &[State::Mwait, State::Rung])]),
    (K::MonitorStale, &[(NMI, ARMS), (SMI, ARMS), (MC, MWAIT), (INTR, ARMS), (FALSE_WAKE, ARMS), (SIPI, ARMS)]),
    (K::MwaitWaits, &[(NMI, MWAITS), (SMI, MWAITS), (MC, MWAIT), (INTR, MWAITS), (FALSE_WAKE, MWAITS), (SIPI, MWAITS)]),
    (K::MonitorAcrossSmm, &[(SMI, &[State::Mwait, State::Rung])]),
    (K::AutoHalt, &[(SMI, &[State::Hlt, State::Rung, State::Leaving])]),
    (K::SmmRendezvous, &[(SMI, ALL)]),
    (K::NmiShutdownAmd, &[(MC, &[State::Hlt])]),
    (K::IrrAcrossInitAmd, &[(INIT, ALL)]),
    (K::TlbAcrossInit, &[(INIT, ALL)]),
    (K::IcrBusy, &[(WAKER, RUNG)]),
    (K::ShutdownResets, &[(MC, ALL)]),
];

/// Knobs that nothing here consults.
const UNREACHABLE: &[(Knob, &str)] = &[
    (K::McWfs, "nothing is thrown at a CPU after its INIT; the comparison's cells of wait-for-SIPI are there for it"),
    (K::McSmm, "no machine check is thrown at a CPU in SMM: SMM's handler is not park's"),
    (K::Gif0WaitEnds, "bay code polls while GIF is 0: no HLT, no MWAIT; the raw CLGI parker's scenarios do"),
    (K::Gif0Monitor, "as above"),
    (K::SvmeOffGif0, "bay code executes STGI before it clears EFER.SVME"),
    (K::BlockedNmiMwait, "bay code waits with NMIs unblocked, which another property checks"),
    (K::NearStoreWakes, "the smallest monitor line of the machines here is the largest one"),
    (K::DmaWakesDeep, "no device writes to the lot"),
    (K::DmaWakesAmd, "as above"),
    (K::SmiShutdown, "no event is thrown at a CPU that has shut down"),
    (K::InitWfs, "one INIT is thrown at a CPU at most"),
    (K::RInitAcrossInit, "sanitising clears VM_CR.R_INIT, and kernels here do not set it"),
    (K::IcrReorder, "a driver drains its stores before it writes the ICR"),
];

/// What holds for cells in general.
pub(crate) const NOTES: [&str; 6] = [
    "a cell that is not named is not demanded: the event does not consult the knob there, though what an earlier event \
     left behind may",
    "or it is a window of a few instructions (GIF = 0 while arriving, an NMI held when a CPU shuts down while it rings), met \
     now and then under some values; the injection tests throw NMIs and machine checks before every instruction",
    "no state Clgi on Intel; no state of wait-for-SIPI: a CPU there has no loop",
    "INIT is not thrown at the BSP: the machine would reset, which a scenario shows",
    "a machine check is not thrown while a CPU is in SMM or in the simulated kernel's own handlers: not park's",
    "nor are an NMI or SMI that SMM would let into the simulated kernel's own NMI handler once more",
];

/// The reachable cells of a knob.
pub(crate) fn cells(knob: Knob) -> Option<Rows> {
    REACHABLE.iter().find(|(reached, _)| *reached == knob).map(|(_, rows)| *rows)
}

/// Why nothing here consults a knob.
pub(crate) fn reason(knob: Knob) -> Option<&'static str> {
    UNREACHABLE.iter().find(|(unreached, _)| *unreached == knob).map(|(_, reason)| *reason)
}
