//! Counting SMIs of each CPU: its SMBASE is moved to a stub of its own.
//!
//! After a reset every CPU's SMBASE is 30000h, in plain memory, until firmware moves it (SDM vol. 3, 32.11). SeaBIOS and
//! Bochs' BIOS move the boot CPU's alone, so the image can move those of the others. Where firmware was more careful (OVMF with
//! SMM), the SMI goes to firmware, nothing is counted, and the image says that it has no SMI of its own.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use park_core::PhysAddr;

use crate::image::percpu::PerCpu;
use crate::image::world::World;
use crate::memory::{MAX_CPUS, Region};
use crate::platform::apic::send_smi;
use crate::pvh::MEMORY_TYPE_RAM;

/// SMBASE after a reset (SDM vol. 3, 32.3).
const SMBASE_RESET: u64 = 0x3_0000;
/// SMBASE of the image's first CPU, and the distance to the next one's: handlers lie at the beginning of a page and saved
/// states at the end of another, so that none overlap. CPUs since the P6 take any SMBASE (SDM vol. 3, 32.11).
const SMBASE_OWN: u64 = 0x4_0000;
const SMBASE_STRIDE: u64 = 0x1000;
/// The handler's offset from SMBASE (same place).
const HANDLER: u64 = 0x8000;
/// How a CPU saves its state. TCG and Bochs use AMD's, whatever their vendor is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum StateMap {
    /// AMD APM vol. 2, table 10-1.
    Amd = 1,
    /// SDM vol. 3, table 32-3.
    Intel = 2,
}

impl StateMap {
    const ALL: [Self; 2] = [Self::Amd, Self::Intel];

    /// Offset of the field that holds SMBASE, from SMBASE.
    const fn smbase(self) -> u64 {
        match self {
            Self::Amd => 0xff00,
            Self::Intel => 0xfef8,
        }
    }

    /// Offset of the auto-HALT restart flag.
    const fn auto_halt(self) -> u64 {
        match self {
            Self::Amd => 0xfec9,
            Self::Intel => 0xff02,
        }
    }

    /// The map that a state was saved by at [`SMBASE_RESET`]: it says so where it holds SMBASE.
    fn found() -> Option<Self> {
        Self::ALL.into_iter().find(|map| {
            let field: *const u32 = core::ptr::with_exposed_provenance((SMBASE_RESET + map.smbase()) as usize);
            // SAFETY: usable memory at identity; whatever is there, it is read as a number.
            let found = unsafe { field.read_volatile() };
            u64::from(found) == SMBASE_RESET
        })
    }
}

/// What SMRAM takes from SMBASE on.
const SMRAM_BYTES: u64 = 0x1_0000;
/// Bytes of the longest handler.
const HANDLER_BYTES: usize = 32;

/// SMIs that each CPU's stub counted.
static COUNTS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];
/// What [`SmiStub::mark`] noted.
static MARKS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];
/// How each CPU saves its state, once it is known; 0 before.
static MAPS: [AtomicU8; MAX_CPUS] = [const { AtomicU8::new(0) }; MAX_CPUS];
/// Whose stub has been seen to count.
static INSTALLED: [AtomicU8; MAX_CPUS] = [const { AtomicU8::new(0) }; MAX_CPUS];

/// What the stub does with the auto-HALT restart flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AutoHalt {
    /// Leaves it as it is.
    Kept,
    /// Clears it: RSM returns behind the HLT.
    Cleared,
}

/// A CPU whose SMIs are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SmiStub {
    index: usize,
    map: StateMap,
}

/// Memory that SMIs use, and nobody may overwrite: where SMBASE is after a reset, and where it is moved to.
pub(crate) const SMRAM: Region = Region {
    name: "smram",
    start: PhysAddr(SMBASE_RESET),
    len_bytes: SMBASE_OWN + (MAX_CPUS as u64 - 1) * SMBASE_STRIDE + SMRAM_BYTES - SMBASE_RESET,
};

impl SmiStub {
    /// Moves the SMBASE of `target`, unless it was moved before. `None` if its SMIs go elsewhere, or the memory is not there.
    ///
    /// An INIT keeps SMBASE (SDM vol. 3, table 10-1), on TCG too; what is there already is found, and stays.
    ///
    /// # Safety
    /// Nothing else uses [`SMRAM`]; no other CPU takes an SMI meanwhile.
    pub(crate) unsafe fn install(world: &World, target: &PerCpu) -> Option<Self> {
        let index = usize::try_from(target.index).ok()?;
        INSTALLED.get(index)?.store(0, Ordering::Relaxed);
        let mut ram = world.map.ranges().filter(|range| range.kind == MEMORY_TYPE_RAM);
        if !ram.any(|range| range.contains(SMRAM.start, SMRAM.len_bytes)) {
            return None;
        }
        let counter = COUNTS.get(index)?;
        let taken = || {
            let before = counter.load(Ordering::Acquire);
            send_smi(target.apic_id).ok()?;
            world.clock.wait(INSTALL_US, "an SMI to be counted", || counter.load(Ordering::Acquire) != before).ok()
        };
        let old = Self { index, map: StateMap::Amd };
        // SAFETY: the caller's promise. Whoever is here for the second time comes to its own stub, which is the same.
        unsafe { old.set(AutoHalt::Kept) };
        // SAFETY: as above.
        unsafe { Code::new().count_and_return(counter).write(SMBASE_RESET + HANDLER) };
        // Made invalid, so that what is found was saved now.
        for map in StateMap::ALL {
            let field: *mut u32 = core::ptr::with_exposed_provenance_mut((SMBASE_RESET + map.smbase()) as usize);
            // SAFETY: as above.
            unsafe { field.write_volatile(0) };
        }
        taken()?;
        // None: the CPU saved its state elsewhere, at the base that it was given before.
        if let Some(map) = StateMap::found() {
            // MOV dword [field], base; then count and return.
            let (field, base) = ((SMBASE_RESET + map.smbase()) as u32, old.smbase() as u32);
            let mut code = Code::new();
            code.put(&[0x66, 0x67, 0xc7, 0x05]).put(&field.to_le_bytes()).put(&base.to_le_bytes());
            // SAFETY: as above; the SMI before was counted.
            unsafe { code.count_and_return(counter).write(SMBASE_RESET + HANDLER) };
            taken()?;
            MAPS.get(index)?.store(map as u8, Ordering::Relaxed);
        }
        // From now on only its own stub counts: INT3, which would stop it, where it was before.
        // SAFETY: as above.
        unsafe { Code::new().put(&[0xcc]).write(SMBASE_RESET + HANDLER) };
        taken()?;
        INSTALLED.get(index)?.store(MAPS.get(index)?.load(Ordering::Relaxed), Ordering::Relaxed);
        Self::of(target)
    }

    /// The stub of a CPU, if it has one.
    pub(crate) fn of(target: &PerCpu) -> Option<Self> {
        let index = usize::try_from(target.index).ok()?;
        let installed = INSTALLED.get(index)?.load(Ordering::Relaxed);
        let map = StateMap::ALL.into_iter().find(|map| *map as u8 == installed)?;
        Some(Self { index, map })
    }

    /// Notes the count, for [`marked`](Self::marked).
    pub(crate) fn mark(self) {
        if let Some(mark) = MARKS.get(self.index) {
            mark.store(self.count(), Ordering::Relaxed);
        }
    }

    /// The count when it was noted last.
    pub(crate) fn marked(self) -> u32 {
        MARKS.get(self.index).map_or(0, |mark| mark.load(Ordering::Relaxed))
    }

    /// SMIs that it counted so far.
    pub(crate) fn count(self) -> u32 {
        self.counter().map_or(0, |counter| counter.load(Ordering::Acquire))
    }

    fn counter(self) -> Option<&'static AtomicU32> {
        COUNTS.get(self.index)
    }

    const fn smbase(self) -> u64 {
        SMBASE_OWN + self.index as u64 * SMBASE_STRIDE
    }

    /// Chooses what the stub does.
    ///
    /// # Safety
    /// No SMI is under way to the CPU.
    pub(crate) unsafe fn set(self, auto_halt: AutoHalt) {
        let mut code = Code::new();
        if auto_halt == AutoHalt::Cleared {
            let flag = self.smbase() + self.map.auto_halt();
            // MOV byte [flag], 0.
            code.put(&[0x67, 0xc6, 0x05]).put(&(flag as u32).to_le_bytes()).put(&[0]);
        }
        let Some(counter) = self.counter() else { return };
        code.count_and_return(counter);
        // SAFETY: the caller's promise; the region is kept for this.
        unsafe { code.write(self.smbase() + HANDLER) };
    }
}

/// How long the first SMI may take.
const INSTALL_US: u64 = 200_000;

/// 16-bit code of a handler: SMM begins in big real mode, with data segments from 0 to 4 GiB (SDM vol. 3, 32.5).
struct Code {
    bytes: [u8; HANDLER_BYTES],
    len: usize,
}

impl Code {
    const fn new() -> Self {
        Self { bytes: [0; HANDLER_BYTES], len: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        if let Some(target) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            target.copy_from_slice(bytes);
            self.len += bytes.len();
        }
        self
    }

    fn count_and_return(&mut self, counter: &'static AtomicU32) -> &mut Self {
        let counter = core::ptr::from_ref(counter).expose_provenance() as u32;
        // LOCK INC dword [counter]; RSM.
        self.put(&[0x66, 0x67, 0xf0, 0xff, 0x05]).put(&counter.to_le_bytes()).put(&[0x0f, 0xaa])
    }

    /// # Safety
    /// `at` is memory that nobody else uses.
    unsafe fn write(&self, at: u64) {
        let target: *mut [u8; HANDLER_BYTES] = core::ptr::with_exposed_provenance_mut(at as usize);
        // SAFETY: the caller's promise; below 4 GiB everything is mapped at identity.
        unsafe { target.write_volatile(self.bytes) };
    }
}
