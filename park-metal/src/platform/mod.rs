//! park's platform traits, as this image implements them: what an author copies.
//!
//! | trait | here |
//! |---|---|
//! | [`LotMemory`](park_core::LotMemory) | park-x86's `MappedLot`, over the lot as this kernel maps it |
//! | [`Clock`] | the TSC: [`clock`] |
//! | [`IpiSender`] | park-x86's `LocalApic`, over this kernel's way to its registers: [`apic`] |
//! | [`Cpu`](park_core::Cpu) | park-x86's `HardwareCpu`: [`apic::this_cpu`] |
//! | [`Summon`] | a job for another CPU: [`summon`] |

pub(crate) mod apic;
pub(crate) mod clock;
mod summon;

use core::ptr::NonNull;

use park_core::op::{self, Operation};
use park_core::{ApicId, Clock, Error, IpiSender, PhysAddr, PlatformError, Summon, Ticks};
use park_x86::memory::MappedLot;

use cpu_park::policy::carry::{self, Carry};

use self::apic::local_apic;
use self::clock::TscClock;
pub(crate) use self::summon::Owner;

/// What operations are carried out with, on any CPU of this kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Platform {
    clock: TscClock,
    lot_phys: PhysAddr,
    lot_len_bytes: u64,
    phys_offset: u64,
}

impl Platform {
    /// A platform with the lot of `lot_len_bytes` bytes at `lot_phys`, where this kernel maps physical memory at
    /// `phys_offset`.
    ///
    /// # Safety
    /// 1. The range is usable memory that is kept for the lot, mapped writable and write-back for ever.
    /// 2. It begins with a page, and neither it nor its mapping is at address 0.
    /// 3. Nothing but operations and bay code accesses it, and no reference into it is ever made.
    /// 4. Entries that operations publish are departures made by park-x86 from this kernel's own text, stack and page
    ///    tables, which live until the CPU has left them.
    pub(crate) const unsafe fn new(clock: TscClock, lot_phys: PhysAddr, lot_len_bytes: u64, phys_offset: u64) -> Self {
        Self { clock, lot_phys, lot_len_bytes, phys_offset }
    }

    /// Where this kernel maps physical memory.
    pub(crate) const fn phys_offset(self) -> u64 {
        self.phys_offset
    }

    /// The lot, as the executing CPU accesses it.
    pub(crate) fn memory(self) -> MappedLot {
        let base = core::ptr::with_exposed_provenance_mut((self.lot_phys.0 + self.phys_offset) as usize);
        // SAFETY: (2) at `new`.
        let base = unsafe { NonNull::new_unchecked(base) };
        // SAFETY: `MappedLot::new` asks for what `new` was promised: its 1 is (1), its 2 is (2), its 3 and 4 are (3), its
        // 5 is (4).
        unsafe { MappedLot::new(base, self.lot_len_bytes) }
    }

    /// Carries out an operation on the executing CPU.
    pub(crate) fn drive<O: Operation>(self, operation: O) -> Result<O::Output, Error> {
        let mut clock = self.clock;
        op::drive(operation, &mut self.memory(), &mut local_apic()?, &mut clock)
    }

    /// Carries a plan out, on the executing CPU. What became of each CPU stands in its task.
    pub(crate) fn carry(self, carry: &mut Carry<'_>) {
        let (mut ipi, mut clock, mut summon) = (self, self, self);
        carry::drive(carry, &mut self.memory(), &mut ipi, &mut clock, &mut summon);
    }
}

impl Clock for Platform {
    fn now(&mut self) -> Ticks {
        self.clock.now()
    }

    fn ticks_per_second(&self) -> u64 {
        self.clock.ticks_per_second()
    }
}

impl IpiSender for Platform {
    fn send_nmi(&mut self, target: ApicId) -> Result<(), PlatformError> {
        local_apic()?.send_nmi(target)
    }

    fn send_init(&mut self, target: ApicId) -> Result<(), PlatformError> {
        local_apic()?.send_init(target)
    }

    fn send_startup(&mut self, target: ApicId, vector: u8) -> Result<(), PlatformError> {
        local_apic()?.send_startup(target, vector)
    }
}

impl Summon for Platform {
    fn summon(&mut self, target: ApicId, bay_index: u32) -> Result<(), PlatformError> {
        summon::summon(target, bay_index)
    }
}
