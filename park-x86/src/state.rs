//! What every register holds on each way into the lot and out of it: one table, from which `docs/registers.md` is
//! generated and against which rigs check a CPU.

use crate::registers::control::{Cr0, Cr4, DR7_OFF, Efer, Rflags};
use crate::registers::msr;
use core::fmt;
use park_core::lot::bay;

/// A moment on a CPU's way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Moment {
    /// Before the first instruction of the owner text's arrival: what the owner must bring about.
    Arrive,
    /// In the wait, at the acknowledgement and as long as the CPU is parked.
    Parked,
    /// Before the first instruction at [`Entry::rip`](park_core::Entry::rip), after Wake.
    Woken,
    /// Before the first instruction behind the owner text's departure.
    Landed,
    /// Before the first instruction at the vector of the ACPI mailbox.
    ByMailbox,
    /// Before the first 64-bit instruction behind the trampoline, after a STARTUP IPI.
    BySipi,
}

impl Moment {
    /// All moments, in the order of the columns.
    pub const ALL: [Self; 6] = [Self::Arrive, Self::Parked, Self::Woken, Self::Landed, Self::ByMailbox, Self::BySipi];

    /// The heading of the column.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arrive => "in: arrive",
            Self::Parked => "parked",
            Self::Woken => "out: entry",
            Self::Landed => "out: departed",
            Self::ByMailbox => "out: mailbox",
            Self::BySipi => "out: SIPI",
        }
    }
}

/// A register, or a piece of state that behaves like one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are the registers; `name` spells them out")]
pub enum StateRegister {
    Cr0,
    Cr3,
    Cr4,
    Efer,
    Rflags,
    Cs,
    Ss,
    DataSegments,
    Gdtr,
    Idtr,
    Tr,
    Rsp,
    Rdi,
    Dr7,
    NmiBlocked,
    Mcip,
    Gif,
    ApicMode,
    Svr,
    InService,
    Requested,
    Pat,
    Mtrrs,
    SpecCtrl,
    Xcr0,
    SupervisorCet,
    GsBase,
}

/// What a register holds at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Holds {
    /// Exactly this.
    Value(u64),
    /// These bits of it.
    Bits {
        /// Which bits are stated.
        mask: u64,
        /// What they are.
        value: u64,
    },
    /// A fixed value, and CR4.LA57 as the CPU had it.
    ValueAndLa57(u64),
    /// An address inside the lot.
    InLot,
    /// A field of the [`Entry`](park_core::Entry).
    OfEntry(&'static str),
    /// A field of the arrival or departure frame, or of the trampoline's parameters.
    OfFrame(&'static str),
    /// As the owner had it when it parked the CPU.
    AsParked,
    /// As the owner had it, whatever that is: nothing is assumed or promised.
    Owners,
    /// The owner has brought it about by sanitising.
    Sanitised(&'static str),
    /// As reset leaves it, or INIT where that keeps it.
    AsInit,
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => write!(f, "{value:X}h"),
            Self::Bits { mask, value } => write!(f, "bits {mask:X}h = {value:X}h"),
            Self::ValueAndLa57(value) => write!(f, "{value:X}h, LA57 kept"),
            Self::InLot => f.write_str("in the lot"),
            Self::OfEntry(field) => write!(f, "entry.{field}"),
            Self::OfFrame(field) => write!(f, "frame.{field}"),
            Self::AsParked => f.write_str("as parked"),
            Self::Owners => f.write_str("the owner's"),
            Self::Sanitised(what) => f.write_str(what),
            Self::AsInit => f.write_str("as after INIT"),
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Row {
    /// The register.
    pub register: StateRegister,
    /// Its name in the docs.
    pub name: &'static str,
    /// What it holds at each [`Moment`], in the order of [`Moment::ALL`].
    pub holds: [Holds; 6],
    /// Why, or what that means.
    pub note: &'static str,
}

impl Row {
    /// What the register holds at `moment`.
    #[must_use]
    pub const fn at(&self, moment: Moment) -> Holds {
        self.holds[moment as usize]
    }
}

/// CR0 in the lot.
pub const CR0_IN_LOT: Cr0 = Cr0::PE.union(Cr0::MP).union(Cr0::ET).union(Cr0::NE).union(Cr0::WP).union(Cr0::PG);
/// CR4 in the lot, beside LA57, which is kept.
pub const CR4_IN_LOT: Cr4 = Cr4::PAE.union(Cr4::MCE);

const LONG_MODE: u64 = Efer::LME.bits() | Efer::LMA.bits() | Efer::NXE.bits();
const CLEARED_FLAGS: u64 =
    Rflags::IF.bits() | Rflags::TF.bits() | Rflags::DF.bits() | Rflags::NT.bits() | Rflags::AC.bits();
const CR0: Holds = Holds::Value(CR0_IN_LOT.bits());
const CR4: Holds = Holds::ValueAndLa57(CR4_IN_LOT.bits());
const CS: Holds = Holds::Value(bay::CODE_SELECTOR as u64);
const NO: Holds = Holds::Value(0);
const EFER: Holds = Holds::Bits { mask: LONG_MODE, value: LONG_MODE };
const FLAGS: Holds = Holds::Bits { mask: CLEARED_FLAGS, value: 0 };

const fn row(register: StateRegister, name: &'static str, holds: [Holds; 6], note: &'static str) -> Row {
    Row { register, name, holds, note }
}

use Holds::{AsInit, AsParked, InLot, OfEntry, OfFrame, Owners, Sanitised, Value};

/// The table.
pub const TABLE: &[Row] = &[
    row(
        StateRegister::Cr0,
        "CR0",
        [Sanitised("CD = 0"), CR0, CR0, OfFrame("cr0"), CR0, OfFrame("cr0")],
        "CD = 1 is refused: MONITOR and locked instructions need write-back memory",
    ),
    row(
        StateRegister::Cr3,
        "CR3",
        [Owners, InLot, OfEntry("cr3"), OfFrame("root"), InLot, OfFrame("cr3")],
        "the mailbox's is the departure map, in the lot",
    ),
    row(
        StateRegister::Cr4,
        "CR4",
        [Owners, CR4, CR4, OfFrame("cr4"), CR4, OfFrame("cr4")],
        "MCE stays 1: a machine check with MCE = 0 is a shutdown; PGE, PCIDE, CET, FRED, LASS, PKS are 0",
    ),
    row(
        StateRegister::Efer,
        "EFER",
        [EFER, EFER, EFER, EFER, EFER, OfFrame("efer")],
        "NXE = 0 is refused; SVME is 1 while parked by clgi and 0 otherwise",
    ),
    row(
        StateRegister::Rflags,
        "RFLAGS",
        [Sanitised("IF = 0"), FLAGS, FLAGS, FLAGS, FLAGS, FLAGS],
        "NT = 1 would make IRETQ fault",
    ),
    row(
        StateRegister::Cs,
        "CS",
        [Sanitised("GDT, RPL 0, at most F8h"), CS, CS, OfFrame("cs"), CS, OfFrame("cs")],
        "a 64-bit code segment; the lot's selector is the same in every version",
    ),
    row(StateRegister::Ss, "SS", [Owners, NO, NO, OfFrame("ss"), NO, NO], "null is legal at CPL 0 in 64-bit mode"),
    row(
        StateRegister::DataSegments,
        "DS, ES, FS, GS",
        [Owners, NO, NO, OfFrame("ss"), NO, NO],
        "departed: DS and ES are SS, FS and GS stay null",
    ),
    row(
        StateRegister::Gdtr,
        "GDTR",
        [Owners, InLot, InLot, OfFrame("gdt"), InLot, OfFrame("trampoline")],
        "parked: the bay's own",
    ),
    row(
        StateRegister::Idtr,
        "IDTR",
        [Owners, InLot, InLot, OfFrame("idt"), InLot, Value(0)],
        "entry, mailbox: the lot's leaving table, whose handlers return to what they interrupted; load your own soon",
    ),
    row(
        StateRegister::Tr,
        "TR",
        [
            Owners,
            Value(bay::TSS_SELECTOR as u64),
            Value(bay::TSS_SELECTOR as u64),
            OfFrame("tr"),
            Value(bay::TSS_SELECTOR as u64),
            AsInit,
        ],
        "the bay's TSS until another is loaded; a departure with tr = 0 keeps it, and then the bay can't be freed",
    ),
    row(
        StateRegister::Rsp,
        "RSP",
        [Owners, InLot, OfEntry("rsp"), OfFrame("rsp"), InLot, OfFrame("stack")],
        "arrive: 512 bytes are used",
    ),
    row(
        StateRegister::Rdi,
        "RDI",
        [OfFrame("address"), Owners, OfEntry("arg"), OfFrame("arg"), Owners, OfFrame("arg")],
        "the argument; all other general registers are undefined on the way out",
    ),
    row(
        StateRegister::Dr7,
        "DR7",
        [Value(DR7_OFF), Value(DR7_OFF), Value(DR7_OFF), Value(DR7_OFF), Value(DR7_OFF), AsInit],
        "an AMD CPU keeps its breakpoints over INIT",
    ),
    row(
        StateRegister::NmiBlocked,
        "NMI blocked",
        [Owners, NO, NO, NO, NO, Owners],
        "arrive: a CPU may come out of its NMI handler; the lot's IRETQ unblocks. QEMU keeps NMIs blocked over a SIPI",
    ),
    row(
        StateRegister::Mcip,
        "MCG_STATUS.MCIP",
        [Owners, NO, NO, NO, NO, Owners],
        "arrive: a CPU may come out of its #MC handler; until the owner text has cleared it a second #MC is a shutdown",
    ),
    row(
        StateRegister::Gif,
        "GIF (AMD)",
        [Value(1), Owners, Value(1), Value(1), Value(1), Value(1)],
        "0 while parked by clgi, 1 otherwise",
    ),
    row(
        StateRegister::ApicMode,
        "local APIC mode",
        [Owners, AsParked, AsParked, AsParked, AsParked, AsInit],
        "recorded in the bay; a waker must address the CPU in that mode",
    ),
    row(
        StateRegister::Svr,
        "local APIC SVR",
        [Sanitised("soft-disabled, all LVTs masked"), AsParked, AsParked, AsParked, AsParked, AsInit],
        "NMI, SMI, INIT and STARTUP are still taken",
    ),
    row(
        StateRegister::InService,
        "local APIC ISR",
        [Sanitised("empty"), NO, NO, NO, NO, NO],
        "a vector left in service would hold others for ever",
    ),
    row(
        StateRegister::Requested,
        "local APIC IRR",
        [Owners, Owners, Owners, Owners, Owners, AsInit],
        "vectors that were pending when the CPU was soft-disabled stay: be ready for them when you enable it",
    ),
    row(
        StateRegister::Pat,
        "PAT",
        [Holds::Bits { mask: msr::PAT_ENTRY0, value: msr::PAT_WB }, AsParked, AsParked, AsParked, AsParked, AsInit],
        "only entry 0 is used in the lot",
    ),
    row(
        StateRegister::Mtrrs,
        "MTRRs",
        [Owners, AsParked, AsParked, AsParked, AsParked, AsInit],
        "not synchronised: set them as on your other CPUs, under Hold, before they matter",
    ),
    row(
        StateRegister::SpecCtrl,
        "SPEC_CTRL",
        [Sanitised("0"), NO, NO, NO, NO, AsInit],
        "a parked thread's IBRS or STIBP would slow its sibling (Linux 2743fe89d4d4)",
    ),
    row(
        StateRegister::Xcr0,
        "XCR0",
        [Owners, AsParked, AsParked, AsParked, AsParked, AsInit],
        "AMX tiles are released on the way in",
    ),
    row(
        StateRegister::SupervisorCet,
        "IA32_S_CET",
        [Owners, NO, NO, NO, NO, AsInit],
        "cleared by the owner text, with CR4.CET",
    ),
    row(
        StateRegister::GsBase,
        "FS.base, GS.base",
        [Owners, Owners, Owners, Owners, Owners, AsInit],
        "loading a null selector clears them on Intel and keeps them on AMD: load your own",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_register_has_one_row() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(TABLE[index + 1..].iter().all(|other| other.register != row.register), "{}", row.name);
        }
    }
}
