//! What each mechanism promises on an AMD or Hygon CPU, event by event: the only home of these claims.
//!
//! They hold for a CPU in the lot: own tables and handlers, RFLAGS.IF = 0, the local APIC soft-disabled, CR4.MCE = 1.
//! "Undocumented" marks cells that no manual fills; both answers are claimed, and safety must hold for either.
//! Clgi here is the polling form: whether a store ends MWAIT while GIF = 0 is undocumented, so orders never ask for it.

use park_core::Condition::{Always, Ap, Bsp, ImplementationKind, ImplementationUnkind};
use park_core::Event::{
    Init, InitSipiSipi, Intr, McBroadcast, McLocal, Nmi, Overwrite, Sipi, Smi, SmiNoRestart, SmiRendezvous,
    StoreDoorbell,
};
use park_core::Mechanism::{Clgi, Hlt, Mwait, WaitForSipi};
use park_core::Response::{Hangs, Held, Laps, Refused, Reset, Shutdown, Taken, Transparent, Unnoticed, WaitsForSipi};
use park_core::{Claim, Condition, Event, Mechanism, Response};

const fn claim_of(
    mechanism: Mechanism,
    event: Event,
    condition: Condition,
    response: Response,
    source: &'static str,
) -> Claim {
    Claim { mechanism, event, condition, response, source }
}

/// Every mechanism × every event, for every condition that matters, exactly once.
pub const CLAIMS: &[Claim] = &[
    // Hlt
    claim_of(
        Hlt,
        Intr,
        Always,
        Unnoticed,
        "APM vol. 2, 16.3: a software-disabled local APIC accepts no fixed interrupt",
    ),
    claim_of(
        Hlt,
        Nmi,
        Always,
        Laps,
        "APM vol. 3, HLT; vol. 2, 16.3: an NMI at a soft-disabled APIC may be accepted; any lap looks",
    ),
    claim_of(Hlt, Smi, Always, Transparent, "APM vol. 2, 10.3.7, \"Auto-Halt Restart\""),
    claim_of(
        Hlt,
        SmiNoRestart,
        Always,
        Laps,
        "APM vol. 2, 10.3.7, \"Auto-Halt Restart\": with the flag cleared RSM returns after HLT",
    ),
    claim_of(Hlt, SmiRendezvous, Always, Transparent, "APM vol. 2, 10.3.7: the CPU enters SMM and returns into HLT"),
    claim_of(Hlt, Init, Ap, WaitsForSipi, "APM vol. 2, 16.5, \"INIT\": the AP waits for a STARTUP"),
    claim_of(
        Hlt,
        Init,
        Bsp,
        Reset,
        "APM vol. 2, 14.1, \"Processor Initialization State\": the BSP fetches from the reset vector",
    ),
    claim_of(Hlt, Sipi, Always, Unnoticed, "APM vol. 2, 16.5, \"STARTUP\": acts after INIT only"),
    claim_of(Hlt, InitSipiSipi, Ap, Taken, "APM vol. 2, 16.5, \"INIT\": the AP waits for a STARTUP"),
    claim_of(
        Hlt,
        InitSipiSipi,
        Bsp,
        Reset,
        "APM vol. 2, 14.1, \"Processor Initialization State\": the BSP fetches from the reset vector",
    ),
    claim_of(Hlt, McLocal, Always, Laps, "APM vol. 2, 9.3; CR4.MCE = 1, handler in the lot clears MCIP"),
    claim_of(
        Hlt,
        McBroadcast,
        ImplementationKind,
        Unnoticed,
        "no AMD text broadcasts a machine check (APM vol. 2, 9.3): the CPU sees nothing of another's",
    ),
    claim_of(
        Hlt,
        McBroadcast,
        ImplementationUnkind,
        Laps,
        "should a part broadcast after all: CR4.MCE = 1, handler in the lot clears MCIP",
    ),
    claim_of(Hlt, StoreDoorbell, Always, Unnoticed, "APM vol. 3, HLT: a store is not among what resumes it"),
    claim_of(
        Hlt,
        Overwrite,
        Always,
        Unnoticed,
        "the lot holds all that the CPU uses: its own tables, handlers, stacks (docs/abi.md)",
    ),
    // Mwait
    claim_of(
        Mwait,
        Intr,
        Always,
        Unnoticed,
        "APM vol. 2, 16.3: a software-disabled local APIC accepts no fixed interrupt",
    ),
    claim_of(Mwait, Nmi, Always, Laps, "APM vol. 3, MWAIT: an NMI is among what ends it"),
    claim_of(Mwait, Smi, Always, Laps, "APM vol. 2, 10.3.7 names HLT alone: RSM returns after MWAIT"),
    claim_of(Mwait, SmiNoRestart, Always, Laps, "APM vol. 2, 10.3.7 names HLT alone: RSM returns after MWAIT"),
    claim_of(Mwait, SmiRendezvous, Always, Laps, "APM vol. 2, 10.3.7 names HLT alone: RSM returns after MWAIT"),
    claim_of(Mwait, Init, Ap, WaitsForSipi, "APM vol. 2, 16.5, \"INIT\": the AP waits for a STARTUP"),
    claim_of(
        Mwait,
        Init,
        Bsp,
        Reset,
        "APM vol. 2, 14.1, \"Processor Initialization State\": the BSP fetches from the reset vector",
    ),
    claim_of(Mwait, Sipi, Always, Unnoticed, "APM vol. 2, 16.5, \"STARTUP\": acts after INIT only"),
    claim_of(Mwait, InitSipiSipi, Ap, Taken, "APM vol. 2, 16.5, \"INIT\": the AP waits for a STARTUP"),
    claim_of(
        Mwait,
        InitSipiSipi,
        Bsp,
        Reset,
        "APM vol. 2, 14.1, \"Processor Initialization State\": the BSP fetches from the reset vector",
    ),
    claim_of(Mwait, McLocal, Always, Laps, "APM vol. 2, 9.3; CR4.MCE = 1, handler in the lot clears MCIP"),
    claim_of(
        Mwait,
        McBroadcast,
        ImplementationKind,
        Unnoticed,
        "no AMD text broadcasts a machine check (APM vol. 2, 9.3): the CPU sees nothing of another's",
    ),
    claim_of(
        Mwait,
        McBroadcast,
        ImplementationUnkind,
        Laps,
        "should a part broadcast after all: CR4.MCE = 1, handler in the lot clears MCIP",
    ),
    claim_of(
        Mwait,
        StoreDoorbell,
        ImplementationKind,
        Laps,
        "APM vol. 3, MWAIT: a store to the monitored range ends it",
    ),
    claim_of(
        Mwait,
        StoreDoorbell,
        ImplementationUnkind,
        Unnoticed,
        "errata 1057, 1109: MWAIT may not end; a ring sends an NMI too",
    ),
    claim_of(
        Mwait,
        Overwrite,
        Always,
        Unnoticed,
        "the lot holds all that the CPU uses: its own tables, handlers, stacks (docs/abi.md)",
    ),
    // Clgi
    claim_of(
        Clgi,
        Intr,
        Always,
        Unnoticed,
        "APM vol. 2, 16.3: a software-disabled local APIC accepts no fixed interrupt",
    ),
    claim_of(
        Clgi,
        Nmi,
        ImplementationKind,
        Held,
        "APM vol. 2, table 15-10, \"Effect of the GIF on Interrupt Handling\": held until GIF = 1",
    ),
    claim_of(
        Clgi,
        Nmi,
        ImplementationUnkind,
        Unnoticed,
        "APM vol. 2, 16.3: an NMI at a soft-disabled APIC \"may be accepted\": one that is not leaves nothing to hold",
    ),
    claim_of(
        Clgi,
        Smi,
        Always,
        Held,
        "APM vol. 2, table 15-10, \"Effect of the GIF on Interrupt Handling\": held until GIF = 1 (external SMIs)",
    ),
    claim_of(
        Clgi,
        SmiNoRestart,
        Always,
        Held,
        "APM vol. 2, table 15-10, \"Effect of the GIF on Interrupt Handling\": held until GIF = 1 (external SMIs)",
    ),
    claim_of(
        Clgi,
        SmiRendezvous,
        ImplementationKind,
        Held,
        "EDK2 SmmWaitForApArrival(): firmware that times out goes on without the CPU",
    ),
    claim_of(
        Clgi,
        SmiRendezvous,
        ImplementationUnkind,
        Hangs,
        "undocumented; the kin of bugzilla.kernel.org 217995: firmware that waits for every CPU",
    ),
    claim_of(
        Clgi,
        Init,
        Always,
        Held,
        "APM vol. 2, table 15-10, \"Effect of the GIF on Interrupt Handling\": held until GIF = 1",
    ),
    claim_of(Clgi, Sipi, Always, Unnoticed, "APM vol. 2, 16.5, \"STARTUP\": acts after INIT only"),
    claim_of(
        Clgi,
        InitSipiSipi,
        Always,
        Refused,
        "APM vol. 2, table 15-10: INIT is held, and a STARTUP is not; it is lost",
    ),
    claim_of(
        Clgi,
        McLocal,
        ImplementationKind,
        Held,
        "APM vol. 2, table 15-10: held if possible, implementation-dependent",
    ),
    claim_of(Clgi, McLocal, ImplementationUnkind, Shutdown, "APM vol. 2, table 15-10: otherwise shutdown"),
    claim_of(
        Clgi,
        McBroadcast,
        ImplementationKind,
        Unnoticed,
        "no AMD text broadcasts a machine check (APM vol. 2, 9.3): the CPU sees nothing of another's",
    ),
    claim_of(
        Clgi,
        McBroadcast,
        ImplementationUnkind,
        Shutdown,
        "should a part broadcast after all: APM vol. 2, table 15-10, shutdown",
    ),
    claim_of(
        Clgi,
        StoreDoorbell,
        Always,
        Unnoticed,
        "the doorbell is polled; a store that is not a ring changes nothing",
    ),
    claim_of(
        Clgi,
        Overwrite,
        Always,
        Unnoticed,
        "the lot holds all that the CPU uses: its own tables, handlers, stacks (docs/abi.md)",
    ),
    // WaitForSipi
    claim_of(
        WaitForSipi,
        Intr,
        Always,
        Unnoticed,
        "APM vol. 2, table 16-2: INIT soft-disables the local APIC, which then accepts no fixed interrupt",
    ),
    claim_of(WaitForSipi, Nmi, Always, Held, "APM vol. 2, 16.5: held pending until the STARTUP has been accepted"),
    claim_of(WaitForSipi, Smi, Always, Held, "APM vol. 2, 16.5: held pending until the STARTUP has been accepted"),
    claim_of(
        WaitForSipi,
        SmiNoRestart,
        Always,
        Held,
        "APM vol. 2, 16.5: held pending until the STARTUP has been accepted",
    ),
    claim_of(
        WaitForSipi,
        SmiRendezvous,
        ImplementationKind,
        Held,
        "EDK2 SmmWaitForApArrival(): firmware that counts blocked CPUs goes on without them",
    ),
    claim_of(
        WaitForSipi,
        SmiRendezvous,
        ImplementationUnkind,
        Hangs,
        "undocumented; bugzilla.kernel.org 217995 on Intel client firmware",
    ),
    claim_of(WaitForSipi, Init, Always, Unnoticed, "undocumented; harmless, as the start-up sequence repeats it"),
    claim_of(WaitForSipi, Sipi, Always, Taken, "APM vol. 2, 16.5, \"STARTUP\""),
    claim_of(WaitForSipi, InitSipiSipi, Always, Taken, "APM vol. 2, 16.5, \"STARTUP\""),
    claim_of(WaitForSipi, McLocal, ImplementationKind, Unnoticed, "undocumented"),
    claim_of(
        WaitForSipi,
        McLocal,
        ImplementationUnkind,
        Shutdown,
        "undocumented; INIT cleared CR4.MCE, and #MC without it is shutdown (APM vol. 2, 9.3)",
    ),
    claim_of(
        WaitForSipi,
        McBroadcast,
        ImplementationKind,
        Unnoticed,
        "no AMD text broadcasts a machine check (APM vol. 2, 9.3): the CPU sees nothing of another's",
    ),
    claim_of(
        WaitForSipi,
        McBroadcast,
        ImplementationUnkind,
        Shutdown,
        "should a part broadcast after all: INIT cleared CR4.MCE (APM vol. 2, 9.3)",
    ),
    claim_of(
        WaitForSipi,
        StoreDoorbell,
        Always,
        Unnoticed,
        "no CPU in wait-for-SIPI executes an instruction; it needs memory only once a STARTUP comes",
    ),
    claim_of(
        WaitForSipi,
        Overwrite,
        Always,
        Unnoticed,
        "no CPU in wait-for-SIPI executes an instruction; it needs memory only once a STARTUP comes",
    ),
];

/// The claim for this mechanism and event that holds under `condition`: its own, or the one that always holds.
#[must_use]
pub fn claim(mechanism: Mechanism, event: Event, condition: Condition) -> Option<&'static Claim> {
    CLAIMS.iter().find(|claim| {
        claim.mechanism == mechanism
            && claim.event == event
            && (claim.condition == condition || claim.condition == Always)
    })
}
