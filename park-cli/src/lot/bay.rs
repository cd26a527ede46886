//! One bay of a lot, decoded.

use super::document::hex;
use park_core::lot::bay::{self, WaitFlags};
use park_core::lot::{ApicMode, BayState, BayView, Command, Doorbell, PagingLevels, Phase, Stage};
use park_core::{LotMemory, Mechanism, PlatformError};
use serde::Serialize;

/// A bay.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BayDocument {
    /// Its index.
    pub index: u32,
    /// Its physical address.
    pub address: String,
    /// Its state: `free`, `arriving`, `parked`, `ringing`, `claimed`, `leaving`, `faulted`, `quarantined`, or `damaged`.
    pub state: &'static str,
    /// The CPU that it belongs to; of a free bay, the last one.
    pub apic_id: u32,
    /// How the CPU waits; `null` if the bay never held one, or by a number that this version does not know.
    pub mechanism: Option<&'static str>,
    /// Details of the wait.
    pub wait_flags: Vec<&'static str>,
    /// Levels of paging that the CPU uses.
    pub paging_levels: Option<u8>,
    /// `xapic` or `x2apic`.
    pub apic_mode: Option<&'static str>,
    /// What MWAIT is given in EAX.
    pub mwait_hint: String,
    /// How far the CPU's code came: `out`, `arriving`, `waiting`, `leaving`, `faulted`, `leaving-by-mailbox`, or `damaged`.
    pub stage: &'static str,
    /// The last command that was rung; `null` if none ever was.
    pub ticket: Option<TicketDocument>,
    /// NMIs that the bay's code took.
    pub nmi_count: u32,
    /// Machine checks that the bay's code took.
    pub mc_count: u32,
    /// How often the CPU began to wait.
    pub laps: u32,
    /// Laps that neither the arrival nor an NMI nor a machine check explains: an SMI, a store beside the doorbell, a wait
    /// that ended for no reason, or a command after which the CPU waits on.
    pub spurious_count: u32,
    /// IA32_MCG_STATUS as the last machine check found it; `null` if there was none.
    pub mcg_status: Option<String>,
    /// What a faulted CPU left behind.
    pub fault: Option<FaultDocument>,
    /// Where the last Wake sends the CPU, or sent it.
    pub entry: Option<EntryDocument>,
}

/// A ticket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TicketDocument {
    /// `wake`, `confirm`, `hold`, `flush`, `repark`, `none`, or `unknown`.
    pub command: &'static str,
    /// `quiet`: done, or taken back; `rung`: published and not claimed; `claimed`; `damaged`.
    pub phase: &'static str,
    /// The lease holder that wrote the word last.
    pub generation: u32,
    /// Counts the bay's tickets.
    pub sequence: u32,
}

/// A fault record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FaultDocument {
    /// Exception vector.
    pub vector: u8,
    /// Its mnemonic, `null` for one that the manuals do not name.
    pub name: Option<&'static str>,
    /// Error code, 0 where the vector has none.
    pub error_code: String,
    /// RIP of the faulting instruction.
    pub rip: String,
    /// The same from the lot's first byte, if it lies in the lot's code.
    pub rip_in_lot: Option<String>,
    /// CR2.
    pub cr2: String,
}

/// An entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EntryDocument {
    /// RIP.
    pub rip: String,
    /// RSP.
    pub rsp: String,
    /// CR3.
    pub cr3: String,
    /// The argument.
    pub arg: String,
}

/// Where a lot and its code are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whereabouts {
    pub(super) lot_phys: u64,
    pub(super) code_offset: u64,
    pub(super) code_len: u64,
}

/// Reads the bay at `base` bytes from the lot's first.
pub(super) fn read(
    memory: &mut impl LotMemory,
    index: u32,
    base: u64,
    whereabouts: Whereabouts,
) -> Result<BayDocument, PlatformError> {
    let view = BayView {
        owner: memory.load(base + bay::OWNER)?,
        identity: memory.load(base + bay::IDENTITY)?,
        stage: memory.load(base + bay::STAGE)?,
        doorbell: Doorbell(memory.load(base + bay::DOORBELL)?),
    };
    let (nmi_count, mc_count) = halves(memory.load(base + bay::EVENTS)?);
    let (laps, _) = halves(memory.load(base + bay::LAPS)?);
    let mcg_status = memory.load(base + bay::MCG_STATUS)?;
    let never_used = view.owner == 0 && view.stage == 0;
    let explained = nmi_count.saturating_add(mc_count).saturating_add(1);
    Ok(BayDocument {
        index,
        address: hex(whereabouts.lot_phys.saturating_add(base)),
        state: view.state().map_or("damaged", state_name),
        apic_id: view.apic_id().0,
        mechanism: view.mechanism().map(Mechanism::name),
        wait_flags: wait_flags(WaitFlags::from_bits_retain((view.owner >> 16) as u8)),
        paging_levels: paging_levels(view.owner),
        apic_mode: apic_mode(view.owner),
        mwait_hint: hex(view.identity >> 32),
        stage: Stage::from_raw(view.stage).map_or("damaged", stage_name),
        ticket: (!is_untouched(view.doorbell)).then(|| ticket(view.doorbell)),
        nmi_count,
        mc_count,
        laps,
        spurious_count: if never_used { 0 } else { laps.saturating_sub(explained) },
        mcg_status: (mc_count != 0).then(|| hex(mcg_status)),
        fault: fault(memory, base, whereabouts)?,
        entry: entry(memory, base)?,
    })
}

const fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

const fn state_name(state: BayState) -> &'static str {
    match state {
        BayState::Free => "free",
        BayState::Arriving => "arriving",
        BayState::Parked => "parked",
        BayState::Ringing => "ringing",
        BayState::Claimed => "claimed",
        BayState::Leaving => "leaving",
        BayState::Faulted => "faulted",
        BayState::Quarantined => "quarantined",
        _ => "damaged",
    }
}

const fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Out => "out",
        Stage::Arriving => "arriving",
        Stage::Waiting => "waiting",
        Stage::Leaving => "leaving",
        Stage::Faulted => "faulted",
        Stage::LeavingByMailbox => "leaving-by-mailbox",
    }
}

fn wait_flags(flags: WaitFlags) -> Vec<&'static str> {
    let named = [
        (WaitFlags::CLFLUSH, "clflush"),
        (WaitFlags::MAILBOX, "mailbox"),
        (WaitFlags::WBINVD, "wbinvd"),
        (WaitFlags::MONITOR, "monitor"),
    ];
    let mut names: Vec<&str> = named.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect();
    if !WaitFlags::all().contains(flags) {
        names.push("unknown");
    }
    names
}

/// The paging levels of an owner word, by their numbers in the lot.
const fn paging_levels(owner: u64) -> Option<u8> {
    let raw = (owner >> 24) as u8;
    if raw == PagingLevels::Four as u8 || raw == PagingLevels::Five as u8 { Some(raw) } else { None }
}

const fn apic_mode(owner: u64) -> Option<&'static str> {
    let raw = (owner >> 32) as u8;
    if raw == ApicMode::XApic as u8 {
        Some("xapic")
    } else if raw == ApicMode::X2Apic as u8 {
        Some("x2apic")
    } else {
        None
    }
}

/// Whether nobody has rung since the bay was reserved, which stamps the word with a generation.
fn is_untouched(doorbell: Doorbell) -> bool {
    let quiet = doorbell.phase() == Some(Phase::Quiet);
    quiet && doorbell.command() == Some(Command::None) && doorbell.sequence().raw() == 0
}

fn ticket(doorbell: Doorbell) -> TicketDocument {
    TicketDocument {
        command: match doorbell.command() {
            Some(Command::None) => "none",
            Some(Command::Wake) => "wake",
            Some(Command::Confirm) => "confirm",
            Some(Command::Hold) => "hold",
            Some(Command::Flush) => "flush",
            Some(Command::Repark) => "repark",
            None => "unknown",
        },
        phase: match doorbell.phase() {
            Some(Phase::Quiet) => "quiet",
            Some(Phase::Rung) => "rung",
            Some(Phase::Claimed) => "claimed",
            None => "damaged",
        },
        generation: doorbell.generation().raw(),
        sequence: doorbell.sequence().raw(),
    }
}

fn fault(
    memory: &mut impl LotMemory,
    base: u64,
    whereabouts: Whereabouts,
) -> Result<Option<FaultDocument>, PlatformError> {
    let word = memory.load(base + bay::FAULT)?;
    let byte = |offset: u64| (word >> (8 * (offset - bay::FAULT))) as u8;
    if byte(bay::FAULT_VALID) & 1 == 0 {
        return Ok(None);
    }
    let (error_code, _) = halves(word);
    let rip = memory.load(base + bay::FAULT_RIP)?;
    let in_lot = rip.checked_sub(whereabouts.lot_phys);
    let code = whereabouts.code_offset..whereabouts.code_offset.saturating_add(whereabouts.code_len);
    let vector = byte(bay::FAULT_VECTOR);
    Ok(Some(FaultDocument {
        vector,
        name: vector_name(vector),
        error_code: hex(u64::from(error_code)),
        rip: hex(rip),
        rip_in_lot: in_lot.filter(|offset| code.contains(offset)).map(hex),
        cr2: hex(memory.load(base + bay::FAULT_CR2)?),
    }))
}

/// Intel SDM vol. 3, table "Protected-Mode Exceptions and Interrupts"; APM vol. 2, 8.2, for 28 to 30.
const fn vector_name(vector: u8) -> Option<&'static str> {
    Some(match vector {
        0 => "#DE",
        1 => "#DB",
        2 => "NMI",
        3 => "#BP",
        4 => "#OF",
        5 => "#BR",
        6 => "#UD",
        7 => "#NM",
        8 => "#DF",
        10 => "#TS",
        11 => "#NP",
        12 => "#SS",
        13 => "#GP",
        14 => "#PF",
        16 => "#MF",
        17 => "#AC",
        18 => "#MC",
        19 => "#XM",
        20 => "#VE",
        21 => "#CP",
        28 => "#HV",
        29 => "#VC",
        30 => "#SX",
        _ => return None,
    })
}

fn entry(memory: &mut impl LotMemory, base: u64) -> Result<Option<EntryDocument>, PlatformError> {
    let rip = memory.load(base + bay::ENTRY_RIP)?;
    if rip == 0 {
        return Ok(None);
    }
    Ok(Some(EntryDocument {
        rip: hex(rip),
        rsp: hex(memory.load(base + bay::ENTRY_RSP)?),
        cr3: hex(memory.load(base + bay::ENTRY_CR3)?),
        arg: hex(memory.load(base + bay::ENTRY_ARG)?),
    }))
}
