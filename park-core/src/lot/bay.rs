//! A bay: 512 bytes for one CPU. Offsets are part of the lot ABI.
//!
//! | offset | bytes | what | written by |
//! |---|---|---|---|
//! | 000h | 8 | doorbell | both, compare-and-swap |
//! | 008h | 32 | entry: RIP, RSP, CR3, argument | lease holder, while the doorbell is quiet |
//! | 028h | 8 | release: the sequence of a Hold that may end | lease holder |
//! | 030h | 8 | CR2 of the fault record | bay code |
//! | 038h | 8 | vector of the mailbox Wakeup that the CPU follows | bay code |
//! | 040h | 8 | owner word: state, mechanism, wait flags, paging levels, APIC mode | lease holder |
//! | 048h | 8 | APIC id (31:0), MWAIT hint (63:32) | lease holder |
//! | 050h | 8 | stage: the acknowledgement | bay code; owner when the bay is free |
//! | 058h | 8 | NMI count (31:0), #MC count (63:32) | bay code |
//! | 060h | 8 | laps of the wait loop (31:0), TSC >> 32 of the last #MC (63:32) | bay code |
//! | 068h | 8 | IA32_MCG_STATUS as the last #MC found it | bay code |
//! | 070h | 8 | RIP of the fault record | bay code |
//! | 078h | 8 | error code (31:0), vector (39:32), #MC in a row (47:40), record valid (48) | bay code |
//! | 080h | 104 | TSS | builder |
//! | 0E8h | 32 | GDT: null, 64-bit code (08h), TSS (10h) | builder; LTR and arrival: the busy bit |
//! | 110h | 80 | stack of NMI (IST 1) | bay code |
//! | 160h | 80 | stack of #MC (IST 2) | bay code |
//! | 1B0h | 80 | stack of all other exceptions (IST 3) | bay code |

use super::{Doorbell, Phase};
use crate::{ApicId, Mechanism};

/// Offset of the doorbell in its bay.
pub const DOORBELL: u64 = 0x00;
/// Offset of the entry's RIP.
pub const ENTRY_RIP: u64 = 0x08;
/// Offset of the entry's RSP.
pub const ENTRY_RSP: u64 = 0x10;
/// Offset of the entry's CR3.
pub const ENTRY_CR3: u64 = 0x18;
/// Offset of the entry's argument.
pub const ENTRY_ARG: u64 = 0x20;
/// Offset of the release word.
pub const RELEASE: u64 = 0x28;
/// Offset of the fault record's CR2.
pub const FAULT_CR2: u64 = 0x30;
/// Offset of the vector of the mailbox Wakeup that the CPU follows. The entry's words are not for it: a lease holder may be
/// about to publish a ticket there.
pub const MAILBOX_VECTOR: u64 = 0x38;
/// Offset of the owner word.
pub const OWNER: u64 = 0x40;
/// Offset of the mechanism, a byte in the owner word.
pub const MECHANISM: u64 = OWNER + 1;
/// Offset of the wait flags, a byte in the owner word.
pub const WAIT_FLAGS: u64 = OWNER + 2;
/// Offset of the word with APIC id and MWAIT hint.
pub const IDENTITY: u64 = 0x48;
/// Offset of the MWAIT hint, 32 bits in the identity word.
pub const MWAIT_HINT: u64 = IDENTITY + 4;
/// Offset of the stage word.
pub const STAGE: u64 = 0x50;
/// Offset of the word with NMI count and #MC count.
pub const EVENTS: u64 = 0x58;
/// Offset of the #MC count, 32 bits in the events word.
pub const MC_COUNT: u64 = EVENTS + 4;
/// Offset of the word with the laps and the time of the last #MC.
pub const LAPS: u64 = 0x60;
/// Offset of the time of the last #MC, 32 bits in the laps word: TSC >> 32.
pub const MC_EPOCH: u64 = LAPS + 4;
/// Offset of IA32_MCG_STATUS as the last #MC found it.
pub const MCG_STATUS: u64 = 0x68;
/// Offset of the fault record's RIP.
pub const FAULT_RIP: u64 = 0x70;
/// Offset of the fault record's word with error code, vector and validity.
pub const FAULT: u64 = 0x78;
/// Offset of the fault record's vector, a byte.
pub const FAULT_VECTOR: u64 = FAULT + 4;
/// Offset of the count of machine checks in a row, a byte.
pub const MC_ROW: u64 = FAULT + 5;
/// Offset of the byte that is 1 when the fault record is valid.
pub const FAULT_VALID: u64 = FAULT + 6;
/// Offset of the task-state segment.
pub const TSS: u64 = 0x80;
/// Bytes of a 64-bit TSS without I/O permission map (Intel SDM vol. 3, "TSS in 64-bit Mode").
pub const TSS_LEN: u64 = 104;
/// Offset of the bay's GDT.
pub const GDT: u64 = 0xe8;
/// Bytes of the bay's GDT: null, code, and a 16-byte TSS descriptor.
pub const GDT_LEN: u64 = 32;
/// Selector of the 64-bit code segment in every bay of every version.
pub const CODE_SELECTOR: u16 = 0x08;
/// Selector of the TSS in every bay of every version.
pub const TSS_SELECTOR: u16 = 0x10;
/// Offset one past the NMI stack (IST 1).
pub const NMI_STACK_TOP: u64 = 0x160;
/// Offset one past the #MC stack (IST 2).
pub const MC_STACK_TOP: u64 = 0x1b0;
/// Offset one past the stack of all other exceptions (IST 3), where RSP rests while the CPU waits.
pub const FAULT_STACK_TOP: u64 = 0x200;
/// Bytes of each stack: 40 of frame, 8 of error code, 32 for registers.
pub const STACK_LEN: u64 = 80;
/// Bytes of a bay whose monitor line is not wider than that.
pub const LEN: u64 = 0x200;
/// Machine checks in one epoch (2^32 TSC ticks, 1 to 2 s) that end in `Faulted`.
pub const MC_ROW_LIMIT: u8 = 16;

const _: () = {
    assert!(TSS + TSS_LEN == GDT);
    assert!(GDT + GDT_LEN <= NMI_STACK_TOP - STACK_LEN);
    assert!(NMI_STACK_TOP + STACK_LEN == MC_STACK_TOP && MC_STACK_TOP + STACK_LEN == FAULT_STACK_TOP);
    assert!(FAULT_STACK_TOP == LEN && NMI_STACK_TOP % 16 == 0 && MC_STACK_TOP % 16 == 0);
};

/// Where the CPU is, as its bay code says. The numbers are part of the lot ABI.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Stage {
    /// Not in this bay.
    Out = 0,
    /// On its way in: it may still use its owner's memory.
    Arriving = 1,
    /// In its wait: the acknowledgement. It uses nothing outside the lot.
    Waiting = 2,
    /// On its way out, by a Wake or Repark that it claimed.
    Leaving = 3,
    /// It stopped after a fault and wrote a fault record.
    Faulted = 4,
    /// On its way out through the ACPI mailbox.
    LeavingByMailbox = 5,
}

impl Stage {
    /// The stage with this number.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Option<Self> {
        match raw {
            0 => Some(Self::Out),
            1 => Some(Self::Arriving),
            2 => Some(Self::Waiting),
            3 => Some(Self::Leaving),
            4 => Some(Self::Faulted),
            5 => Some(Self::LeavingByMailbox),
            _ => None,
        }
    }
}

/// What the lease holder says of a bay. The numbers are part of the lot ABI.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum OwnerState {
    /// No CPU belongs to it.
    Free = 0,
    /// It belongs to the CPU whose APIC id it holds.
    Reserved = 1,
    /// Nobody knows where its CPU is: never freed.
    Quarantined = 2,
}

impl OwnerState {
    /// The state with this number.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Free),
            1 => Some(Self::Reserved),
            2 => Some(Self::Quarantined),
            _ => None,
        }
    }
}

bitflags::bitflags! {
    /// How a bay's CPU waits, beside its mechanism. The bits are part of the lot ABI.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct WaitFlags: u8 {
        /// CLFLUSH the doorbell line before MONITOR (erratum AAI65, Xeon 7400; models 46, 47).
        const CLFLUSH = 1 << 0;
        /// Watch the ACPI mailbox too.
        const MAILBOX = 1 << 1;
        /// WBINVD before the acknowledgement.
        const WBINVD = 1 << 2;
        /// With CLGI: wait by MONITOR/MWAIT instead of PAUSE.
        const MONITOR = 1 << 3;
    }
}

/// Levels of paging that the CPU uses, fixed while it is in long mode.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum PagingLevels {
    /// CR4.LA57 = 0.
    Four = 4,
    /// CR4.LA57 = 1.
    Five = 5,
}

/// The mode of the CPU's local APIC when it parked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ApicMode {
    /// Memory-mapped, 8-bit ids.
    XApic = 1,
    /// MSRs, 32-bit ids.
    X2Apic = 2,
}

/// The owner word: state in bits 7:0, mechanism 15:8, wait flags 23:16, paging levels 31:24, APIC mode 39:32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OwnerWord {
    /// What the lease holder says of the bay.
    pub state: OwnerState,
    /// How the CPU waits.
    pub mechanism: Mechanism,
    /// Details of the wait.
    pub flags: WaitFlags,
    /// Paging depth, for a waker that must build a transit root.
    pub levels: PagingLevels,
    /// The local APIC's mode, for a waker that must address the CPU.
    pub apic_mode: ApicMode,
}

impl OwnerWord {
    /// The word in memory.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.state as u64
            | (self.mechanism as u64) << 8
            | (self.flags.bits() as u64) << 16
            | (self.levels as u64) << 24
            | (self.apic_mode as u64) << 32
    }

    /// Decodes a word; `None` if a field holds a number that this version does not know.
    ///
    /// The word of a bay that never held a CPU is 0: use [`OwnerState::from_raw`] for that.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Option<Self> {
        let Some(state) = OwnerState::from_raw(raw as u8) else { return None };
        let Some(mechanism) = Mechanism::from_raw((raw >> 8) as u8) else { return None };
        let levels = match (raw >> 24) as u8 {
            4 => PagingLevels::Four,
            5 => PagingLevels::Five,
            _ => return None,
        };
        let apic_mode = match (raw >> 32) as u8 {
            1 => ApicMode::XApic,
            2 => ApicMode::X2Apic,
            _ => return None,
        };
        Some(Self { state, mechanism, flags: WaitFlags::from_bits_retain((raw >> 16) as u8), levels, apic_mode })
    }

    /// The same word with another state.
    #[must_use]
    pub const fn with_state(mut self, state: OwnerState) -> Self {
        self.state = state;
        self
    }
}

/// What a faulted CPU left behind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FaultRecord {
    /// Exception vector.
    pub vector: u8,
    /// Error code, 0 where the vector has none.
    pub error_code: u32,
    /// RIP of the faulting instruction.
    pub rip: u64,
    /// CR2 at the time.
    pub cr2: u64,
}

/// The state of a bay, put together from the owner word, the stage and the doorbell. May be stale at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum BayState {
    /// No CPU.
    Free,
    /// A CPU is on its way in.
    Arriving,
    /// A CPU waits.
    Parked,
    /// A CPU waits, and a ticket is published that it has not claimed.
    Ringing,
    /// The CPU has claimed a ticket.
    Claimed,
    /// The CPU is on its way out.
    Leaving,
    /// The CPU stopped after a fault.
    Faulted,
    /// Nobody knows where the CPU is.
    Quarantined,
}

/// Four words of a bay, read one after the other, and what they say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BayView {
    /// The owner word.
    pub owner: u64,
    /// The identity word.
    pub identity: u64,
    /// The stage word.
    pub stage: u64,
    /// The doorbell.
    pub doorbell: Doorbell,
}

impl BayView {
    /// The bay's APIC id.
    #[must_use]
    pub const fn apic_id(&self) -> ApicId {
        ApicId(self.identity as u32)
    }

    /// What the lease holder says, or `None` if the word is damaged.
    #[must_use]
    pub const fn owner_state(&self) -> Option<OwnerState> {
        OwnerState::from_raw(self.owner as u8)
    }

    /// The mechanism, or `None` if the bay is free or a newer version parked the CPU.
    #[must_use]
    pub const fn mechanism(&self) -> Option<Mechanism> {
        Mechanism::from_raw((self.owner >> 8) as u8)
    }

    /// The state, or `None` if a word is damaged.
    #[must_use]
    pub const fn state(&self) -> Option<BayState> {
        let (Some(owner), Some(stage)) = (self.owner_state(), Stage::from_raw(self.stage)) else { return None };
        Some(match (owner, stage) {
            (OwnerState::Free, _) => BayState::Free,
            (OwnerState::Quarantined, _) => BayState::Quarantined,
            (OwnerState::Reserved, Stage::Out | Stage::Arriving) => BayState::Arriving,
            (OwnerState::Reserved, Stage::Leaving | Stage::LeavingByMailbox) => BayState::Leaving,
            (OwnerState::Reserved, Stage::Faulted) => BayState::Faulted,
            (OwnerState::Reserved, Stage::Waiting) => match self.doorbell.phase() {
                Some(Phase::Quiet) => BayState::Parked,
                Some(Phase::Rung) => BayState::Ringing,
                Some(Phase::Claimed) => BayState::Claimed,
                None => return None,
            },
        })
    }
}
