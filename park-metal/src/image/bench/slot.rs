//! The memory that waker and target share, and the assembly that works on it.

use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use park_core::lot::{Phase, Stage};
use park_x86::registers::control::Efer;
use park_x86::registers::msr;

use crate::cpu_tables::{CODE_SELECTOR, DATA_SELECTOR, TSS_SELECTOR};
use crate::image::bench::stopwatch::{Door, Watch};

/// Bytes of a cache line: what is polled by one CPU lies in no line that the other one writes otherwise.
const LINE_BYTES: usize = 64;

/// What a hand-written wait and the entry use. Lines are laid out as a bay's are: doorbell and entry in one, stage in another.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Slot {
    pub(super) doorbell: AtomicU64,
    cr3: AtomicU64,
    entry: AtomicU64,
    hint: AtomicU64,
    _doorbell_line: [AtomicU64; 4],
    pub(super) stage: AtomicU64,
    _stage_line: [AtomicU64; 7],
    /// The target's time at the entry's first instruction; 0 before.
    pub(super) entered: AtomicU64,
    next: AtomicU64,
    next_arg: AtomicU64,
    home_rsp: AtomicU64,
    _entry_line: [AtomicU64; 4],
    /// Registers of [`metal_bench_park`].
    tables: Tables,
}

/// What a hand-written arrival loads: pseudo-descriptors, control registers while parked and after.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Tables {
    pub(super) gdtr: [AtomicU64; 2],
    pub(super) idtr: [AtomicU64; 2],
    pub(super) cr4_parked: AtomicU64,
    pub(super) cr0_parked: AtomicU64,
    pub(super) cr4_own: AtomicU64,
    pub(super) cr0_own: AtomicU64,
}

const _: () = {
    assert!(offset_of!(Slot, doorbell) == 0 && offset_of!(Slot, stage) == LINE_BYTES);
    assert!(offset_of!(Slot, entered) == 2 * LINE_BYTES && offset_of!(Slot, tables) == 3 * LINE_BYTES);
};

const fn tables(field: usize) -> usize {
    offset_of!(Slot, tables) + field
}

global_asm!(
    include_str!("rivals.s"),
    WATCH_DOORBELL = const offset_of!(Watch, doorbell),
    WATCH_QUIET = const offset_of!(Watch, quiet),
    WATCH_RUNG = const offset_of!(Watch, rung),
    WATCH_STAGE = const offset_of!(Watch, stage),
    WATCH_ENTERED = const offset_of!(Watch, entered),
    WATCH_MASK = const offset_of!(Watch, mask),
    WATCH_WANTED = const offset_of!(Watch, wanted),
    WATCH_LOOKS = const offset_of!(Watch, looks),
    WATCH_KICK = const offset_of!(Watch, kick),
    WATCH_FOUND = const offset_of!(Watch, found),
    WATCH_BEGAN = const offset_of!(Watch, began),
    WATCH_SEEN = const offset_of!(Watch, seen),
    WATCH_BACK = const offset_of!(Watch, back),
    DOORBELL = const offset_of!(Slot, doorbell),
    CR3 = const offset_of!(Slot, cr3),
    ENTRY = const offset_of!(Slot, entry),
    HINT = const offset_of!(Slot, hint),
    STAGE = const offset_of!(Slot, stage),
    ENTERED = const offset_of!(Slot, entered),
    NEXT = const offset_of!(Slot, next),
    NEXT_ARG = const offset_of!(Slot, next_arg),
    HOME_RSP = const offset_of!(Slot, home_rsp),
    GDTR = const tables(offset_of!(Tables, gdtr)),
    IDTR = const tables(offset_of!(Tables, idtr)),
    CR4_PARKED = const tables(offset_of!(Tables, cr4_parked)),
    CR0_PARKED = const tables(offset_of!(Tables, cr0_parked)),
    CR4_OWN = const tables(offset_of!(Tables, cr4_own)),
    CR0_OWN = const tables(offset_of!(Tables, cr0_own)),
    CLAIMED = const Phase::Claimed as u64,
    ARRIVING = const Stage::Arriving as u64,
    DOOR_OPEN = const Door::OPEN,
    WAITING = const Stage::Waiting as u64,
    LEAVING = const Stage::Leaving as u64,
    EFER = const msr::EFER,
    EFER_SVME = const Efer::SVME.bits(),
    MSR_MCG_STATUS = const msr::MCG_STATUS,
    CODE_SELECTOR = const CODE_SELECTOR,
    DATA_SELECTOR = const DATA_SELECTOR,
    TSS_SELECTOR = const TSS_SELECTOR,
);

unsafe extern "C" {
    fn metal_bench_entry();
    fn metal_bench_home();
}

/// The one slot: one target at a time.
pub(super) static SLOT: Slot = Slot::new();

impl Slot {
    const fn new() -> Self {
        Self {
            doorbell: AtomicU64::new(0),
            cr3: AtomicU64::new(0),
            entry: AtomicU64::new(0),
            hint: AtomicU64::new(0),
            _doorbell_line: [const { AtomicU64::new(0) }; 4],
            stage: AtomicU64::new(0),
            _stage_line: [const { AtomicU64::new(0) }; 7],
            entered: AtomicU64::new(0),
            next: AtomicU64::new(0),
            next_arg: AtomicU64::new(0),
            home_rsp: AtomicU64::new(0),
            _entry_line: [const { AtomicU64::new(0) }; 4],
            tables: Tables {
                gdtr: [const { AtomicU64::new(0) }; 2],
                idtr: [const { AtomicU64::new(0) }; 2],
                cr4_parked: AtomicU64::new(0),
                cr0_parked: AtomicU64::new(0),
                cr4_own: AtomicU64::new(0),
                cr0_own: AtomicU64::new(0),
            },
        }
    }

    /// Its address, as the entry's argument.
    pub(super) fn address(&self) -> u64 {
        core::ptr::from_ref(self).expose_provenance() as u64
    }

    /// Makes the entry lead to `next(argument)`, and forgets the last stamp. Returns the entry's address.
    pub(super) fn arm(&self, next: u64, argument: u64) -> u64 {
        self.entered.store(0, Ordering::Relaxed);
        self.next.store(next, Ordering::Relaxed);
        self.next_arg.store(argument, Ordering::Relaxed);
        metal_bench_entry as *const () as u64
    }

    /// Makes a hand-written wait, that enters with this CR3, ready to begin; `hint` is MWAIT's.
    pub(super) fn arm_by_hand(&self, cr3: u64, hint: u32) {
        let entry = self.arm(metal_bench_home as *const () as u64, self.address());
        self.entry.store(entry, Ordering::Relaxed);
        self.cr3.store(cr3, Ordering::Relaxed);
        self.hint.store(hint.into(), Ordering::Relaxed);
        self.doorbell.store(0, Ordering::Relaxed);
        self.stage.store(0, Ordering::Release);
    }

    /// What a hand-written arrival loads.
    pub(super) const fn tables(&self) -> &Tables {
        &self.tables
    }
}
