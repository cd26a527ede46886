//! What each mechanism promises on an Intel CPU, event by event: the only home of these claims.
//!
//! They hold for a CPU in the lot: own tables and handlers, RFLAGS.IF = 0, the local APIC soft-disabled, CR4.MCE = 1.
//! "Undocumented" marks cells that no manual fills; both answers are claimed, and safety must hold for either.

use park_core::Condition::{Always, Ap, Bsp, ImplementationKind, ImplementationUnkind};
use park_core::Event::{
    Init, InitSipiSipi, Intr, McBroadcast, McLocal, Nmi, Overwrite, Sipi, Smi, SmiNoRestart, SmiRendezvous,
    StoreDoorbell,
};
use park_core::Mechanism::{Hlt, Mwait, WaitForSipi};
use park_core::Response::{Hangs, Held, Laps, Reset, Shutdown, Taken, Transparent, Unnoticed, WaitsForSipi};
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
        "SDM vol. 3, \"Local APIC State After It Has Been Software Disabled\": fixed interrupts are not accepted",
    ),
    claim_of(
        Hlt,
        Nmi,
        Always,
        Laps,
        "SDM vol. 2A, HLT: an NMI resumes; Gleixner 2023: with the APIC soft-disabled it may end HLT unhandled",
    ),
    claim_of(Hlt, Smi, Always, Transparent, "SDM vol. 3, \"Auto HALT Restart\": RSM returns into HLT"),
    claim_of(
        Hlt,
        SmiNoRestart,
        Always,
        Laps,
        "SDM vol. 3, \"Auto HALT Restart\": with the flag cleared RSM returns after HLT",
    ),
    claim_of(
        Hlt,
        SmiRendezvous,
        Always,
        Transparent,
        "SDM vol. 3, \"Auto HALT Restart\": the CPU enters SMM and returns into HLT",
    ),
    claim_of(
        Hlt,
        Init,
        Ap,
        WaitsForSipi,
        "SDM vol. 3, \"MP Initialization Protocol Algorithm\": an INIT sends an AP to wait-for-SIPI",
    ),
    claim_of(
        Hlt,
        Init,
        Bsp,
        Reset,
        "SDM vol. 3, \"MP Initialization Protocol Algorithm\": the BSP runs the firmware's reset vector",
    ),
    claim_of(
        Hlt,
        Sipi,
        Always,
        Unnoticed,
        "SDM vol. 3, \"MP Initialization\": a STARTUP acts in wait-for-SIPI only; elsewhere not stated, ignored by all known parts",
    ),
    claim_of(
        Hlt,
        InitSipiSipi,
        Ap,
        Taken,
        "SDM vol. 3, \"MP Initialization Protocol Algorithm\": an INIT sends an AP to wait-for-SIPI",
    ),
    claim_of(
        Hlt,
        InitSipiSipi,
        Bsp,
        Reset,
        "SDM vol. 3, \"MP Initialization Protocol Algorithm\": the BSP runs the firmware's reset vector",
    ),
    claim_of(
        Hlt,
        McLocal,
        Always,
        Laps,
        "SDM vol. 3, \"Machine-Check Exception (#MC)\"; CR4.MCE = 1, handler in the lot clears MCIP",
    ),
    claim_of(
        Hlt,
        McBroadcast,
        Always,
        Laps,
        "SDM vol. 3, \"Machine-Check Exception (#MC)\", broadcast from family 6 model 0Eh on; handler in the lot clears MCIP",
    ),
    claim_of(Hlt, StoreDoorbell, Always, Unnoticed, "SDM vol. 2A, HLT: a store is not among what resumes it"),
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
        "SDM vol. 3, \"Local APIC State After It Has Been Software Disabled\": fixed interrupts are not accepted",
    ),
    claim_of(Mwait, Nmi, Always, Laps, "SDM vol. 2B, MWAIT: an NMI is among what ends it"),
    claim_of(Mwait, Smi, Always, Laps, "SDM vol. 2B, MWAIT: an SMI ends it; there is no restart as with HLT"),
    claim_of(Mwait, SmiNoRestart, Always, Laps, "SDM vol. 2B, MWAIT: an SMI ends it; there is no restart as with HLT"),
    claim_of(Mwait, SmiRendezvous, Always, Laps, "SDM vol. 2B, MWAIT: the CPU enters SMM and returns after MWAIT"),
    claim_of(
        Mwait,
        Init,
        Ap,
        WaitsForSipi,
        "SDM vol. 3, \"MP Initialization Protocol Algorithm\": an INIT sends an AP to wait-for-SIPI",
    ),
    claim_of(
        Mwait,
        Init,
        Bsp,
        Reset,
        "SDM vol. 3, \"MP Initialization Protocol Algorithm\": the BSP runs the firmware's reset vector",
    ),
    claim_of(
        Mwait,
        Sipi,
        Always,
        Unnoticed,
        "SDM vol. 3, \"MP Initialization\": a STARTUP acts in wait-for-SIPI only; elsewhere not stated, ignored by all known parts",
    ),
    claim_of(
        Mwait,
        InitSipiSipi,
        Ap,
        Taken,
        "SDM vol. 3, \"MP Initialization Protocol Algorithm\": an INIT sends an AP to wait-for-SIPI",
    ),
    claim_of(
        Mwait,
        InitSipiSipi,
        Bsp,
        Reset,
        "SDM vol. 3, \"MP Initialization Protocol Algorithm\": the BSP runs the firmware's reset vector",
    ),
    claim_of(
        Mwait,
        McLocal,
        Always,
        Laps,
        "SDM vol. 3, \"Machine-Check Exception (#MC)\"; CR4.MCE = 1, handler in the lot clears MCIP",
    ),
    claim_of(
        Mwait,
        McBroadcast,
        Always,
        Laps,
        "SDM vol. 3, \"Machine-Check Exception (#MC)\", broadcast from family 6 model 0Eh on; handler in the lot clears MCIP",
    ),
    claim_of(
        Mwait,
        StoreDoorbell,
        ImplementationKind,
        Laps,
        "SDM vol. 3, \"Monitor/Mwait Address Range Determination\"",
    ),
    claim_of(
        Mwait,
        StoreDoorbell,
        ImplementationUnkind,
        Unnoticed,
        "errata APL30, APL31, ICX143, LNL030: the store is missed; a ring sends an NMI too",
    ),
    claim_of(
        Mwait,
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
        "SDM vol. 3, \"Local APIC State After an INIT Reset\": soft-disabled",
    ),
    claim_of(
        WaitForSipi,
        Nmi,
        ImplementationKind,
        Unnoticed,
        "SDM vol. 3, \"Other Causes of VM Exits\" says blocked; whether it is latched is undocumented",
    ),
    claim_of(
        WaitForSipi,
        Nmi,
        ImplementationUnkind,
        Held,
        "undocumented: latched, it comes after the STARTUP, in real mode",
    ),
    claim_of(
        WaitForSipi,
        Smi,
        Always,
        Held,
        "SDM vol. 3, \"System Management Interrupt (SMI)\", note: pends, serviced when the STARTUP comes",
    ),
    claim_of(
        WaitForSipi,
        SmiNoRestart,
        Always,
        Held,
        "SDM vol. 3, \"System Management Interrupt (SMI)\", note: pends, serviced when the STARTUP comes",
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
        "bugzilla.kernel.org 217995; Linux revert fbe1bf1e5ff1",
    ),
    claim_of(WaitForSipi, Init, Always, Unnoticed, "undocumented outside VMX; harmless, as the MP protocol repeats it"),
    claim_of(
        WaitForSipi,
        Sipi,
        Always,
        Taken,
        "SDM vol. 3, \"MP Initialization Protocol Algorithm\": starts at VV00h:0",
    ),
    claim_of(
        WaitForSipi,
        InitSipiSipi,
        Always,
        Taken,
        "SDM vol. 3, \"MP Initialization Protocol Algorithm\": starts at VV00h:0",
    ),
    claim_of(WaitForSipi, McLocal, ImplementationKind, Unnoticed, "undocumented"),
    claim_of(
        WaitForSipi,
        McLocal,
        ImplementationUnkind,
        Shutdown,
        "undocumented; INIT cleared CR4.MCE, and #MC without it is shutdown",
    ),
    claim_of(WaitForSipi, McBroadcast, ImplementationKind, Unnoticed, "undocumented"),
    claim_of(
        WaitForSipi,
        McBroadcast,
        ImplementationUnkind,
        Shutdown,
        "undocumented; Linux commit 45e34c8af58f: 'will take the machine down'",
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
