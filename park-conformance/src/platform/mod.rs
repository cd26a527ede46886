//! A check of a kernel's own platform: its clock, its IPIs, its lot, its way to summon a CPU.
//!
//! park-core's operations are as good as the platform traits under them, and most mistakes there show up late: a lot that the
//! next kernel finds usable, an IPI that overtakes a store, an INIT to id 256 that reaches CPU 0. A kernel implements
//! [`Platform`], once, in its tests, and [`check`] names what is wrong.
//!
//! [`check`] fires NMIs at CPUs that run, and a STARTUP that they ignore. It parks nobody. It sends no INIT, which would
//! take a CPU away: that an INIT goes where it should is not checked.

mod check;
mod report;

pub use check::check;
pub use report::{Check, Finding, Gap, Outcome, Report};

use park_core::lot::ApicMode;
use park_core::{ApicId, Clock, IpiSender, LotMemory, Summon, Ticks};

/// What a kernel shows of itself to be checked: the traits that operations use, and hooks that tell what came of them.
///
/// # For implementers
/// The traits are those that the kernel parks with, not copies for a test. The hooks belong to tests: they need not be in a
/// kernel that ships. Hooks act on the kernel as it is under check: NMI handlers count, and the parking entry that
/// [`Summon`] leads to records where it was reached and goes back to work instead of parking.
///
/// # For callers
/// Nothing else parks, wakes or sends NMIs meanwhile. The executing CPU does not migrate.
pub trait Platform: LotMemory + Clock + IpiSender + Summon {
    /// The APIC id of the executing CPU.
    fn executing(&mut self) -> ApicId;

    /// Lets others run a little: one turn of a loop that polls. Elsewhere than on real CPUs, others must get a turn here.
    fn pause(&mut self) {
        core::hint::spin_loop();
    }

    /// Lets `duration_us` microseconds pass by a clock other than [`Clock`]: the PIT, the HPET, the ACPI PM timer. `false` if
    /// there is none.
    #[must_use]
    fn pass_us(&mut self, duration_us: u64) -> bool;

    /// What [`Clock::now`] gives on `cpu`, read between the call and the return; `None` if that CPU can't be asked.
    #[must_use]
    fn now_on(&mut self, cpu: ApicId) -> Option<Ticks>;

    /// How many NMIs the handler of `cpu` has counted. Every NMI counts, whoever sent it.
    #[must_use]
    fn nmi_count(&mut self, cpu: ApicId) -> u64;

    /// From now on the NMI handlers of all CPUs read the word at `offset` bytes of the lot, first of all that they do.
    fn watch(&mut self, offset: u64);

    /// The word at the [watched](Self::watch) offset as the last NMI handler of `cpu` read it, through that CPU's own mapping.
    #[must_use]
    fn nmi_saw(&mut self, cpu: ApicId) -> u64;

    /// The mode of the executing CPU's local APIC.
    #[must_use]
    fn apic_mode(&mut self) -> ApicMode;

    /// The effective memory type of the lot, as MTRRs and this kernel's page tables make it, on every CPU.
    #[must_use]
    fn lot_memory_type(&mut self) -> MemoryType;

    /// What the memory map says of the lot, all of it, that the *next* kernel will get.
    #[must_use]
    fn lot_in_map(&mut self) -> MapEntry;

    /// Where a CPU reached the parking entry since this was last asked, if one did. Several are reported one by one.
    #[must_use]
    fn landed(&mut self) -> Option<Landing>;
}

/// What [`check`] may use, and for how long it looks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Scratch {
    /// Offset in the lot of a word that nobody else uses, in bytes, a multiple of 8: the entry's RIP
    /// ([`ENTRY_RIP`](park_core::lot::bay::ENTRY_RIP)) of a free bay, say. It is put back as it was.
    pub word: u64,
    /// Index of a free bay: CPUs are summoned to it and do not park in it.
    pub bay_index: u32,
    /// A CPU that runs and is not the executing one; `None` where there is one CPU alone.
    pub target: Option<ApicId>,
    /// A third CPU that runs, to see that it is left in peace; `None` if there is none.
    pub bystander: Option<ApicId>,
    /// How often what can go wrong now and then is tried.
    pub rounds: u32,
    /// Calls of [`Platform::pause`] after which what has not come is lost.
    pub pauses: u32,
}

impl Scratch {
    /// Rounds that find what goes wrong one time in a hundred, all but surely.
    pub const ROUNDS: u32 = 1000;
    /// Pauses that take about a second on real CPUs: PAUSE takes up to 140 cycles (Intel optimization manual, "PAUSE Latency in
    /// Skylake Client Microarchitecture").
    pub const PAUSES: u32 = 20_000_000;

    /// The word and the bay, with a CPU to aim at; patient, as fits real CPUs.
    #[must_use]
    pub const fn new(word: u64, bay_index: u32, target: Option<ApicId>) -> Self {
        Self { word, bay_index, target, bystander: None, rounds: Self::ROUNDS, pauses: Self::PAUSES }
    }
}

/// An effective memory type (Intel SDM vol. 3, "Methods of Caching Available"; AMD APM vol. 2, 7.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MemoryType {
    /// WB: the one that a lot needs. MONITOR watches no other, and locked instructions are slow or broken elsewhere.
    WriteBack,
    /// WT.
    WriteThrough,
    /// WC.
    WriteCombining,
    /// WP.
    WriteProtected,
    /// UC or UC-.
    Uncached,
    /// Not the same on every page, or not on every CPU.
    Mixed,
}

/// What a memory map says of a range (ACPI specification, "System Address Map Interfaces").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MapEntry {
    /// Reserved: type 2, EfiReservedMemoryType. The one that a lot needs.
    Reserved,
    /// Usable: the next kernel will use it.
    Usable,
    /// ACPI tables: reclaimed once they are read.
    Reclaimable,
    /// ACPI NVS: saved and restored across S4, stale contents over a lot that lives (Linux, `acpi_nvs_register`).
    Nvs,
    /// Not there: a kernel may give the addresses to a device.
    Absent,
    /// Not the same throughout.
    Mixed,
}

/// Whether a CPU takes maskable interrupts: RFLAGS.IF.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Interrupts {
    /// IF = 0.
    Off,
    /// IF = 1.
    On,
}

/// Where and how a summoned CPU reached the parking entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Landing {
    /// The CPU, by its own local APIC.
    pub apic_id: ApicId,
    /// The bay that it was to park in.
    pub bay_index: u32,
    /// Its RFLAGS.IF there.
    pub interrupts: Interrupts,
}
