//! Counting SMIs of one CPU: its SMBASE is moved to a stub of the image's own.
//!
//! After a reset every CPU's SMBASE is 30000h, in plain memory, until firmware moves it (SDM vol. 3, 32.11). SeaBIOS and
//! Bochs' BIOS move the boot CPU's alone, so the image can move that of another. Where firmware was more careful (OVMF with
//! SMM), the SMI goes to firmware, nothing is counted, and the image says that it has no SMI of its own.

use core::sync::atomic::{AtomicU32, Ordering};

use park_core::lot::ApicMode;
use park_core::{ApicId, Cpu, PhysAddr, PlatformError, Register};
use park_x86::apic;
use park_x86::features::Vendor;
use park_x86::registers::apic::{
    ICR_HIGH, ICR_LOW, ICR_X2APIC_DESTINATION_SHIFT, ICR_XAPIC_DESTINATION_SHIFT, x2apic_msr,
};

use crate::image::parking::detect_here;
use crate::image::world::World;
use crate::memory::Region;
use crate::platform::apic::this_cpu;
use crate::pvh::MEMORY_TYPE_RAM;

/// SMBASE after a reset (SDM vol. 3, 32.3).
const SMBASE_RESET: u64 = 0x3_0000;
/// SMBASE of the CPU whose SMIs are counted.
const SMBASE_OWN: u64 = 0x4_0000;
/// The handler's offset from SMBASE (same place).
const HANDLER: u64 = 0x8000;
/// Offset of the field that holds SMBASE, from SMBASE: 8000h + 7EF8h (SDM vol. 3, table 32-1 and 32-3).
const SMBASE_FIELD: u64 = 0xfef8;
/// Offset of the auto-HALT restart flag on Intel: 8000h + 7F02h (SDM vol. 3, table 32-1).
const AUTO_HALT_INTEL: u64 = 0xff02;
/// The same on AMD: FEC9h (AMD APM vol. 2, table 10-1).
const AUTO_HALT_AMD: u64 = 0xfec9;
/// What SMRAM takes from SMBASE on.
const SMRAM_BYTES: u64 = 0x1_0000;
/// ICR: delivery mode 010b, SMI; vector 0 (SDM vol. 3, 10.6.1).
const ICR_SMI: u64 = 0b010 << 8 | 1 << 14;
/// Bytes of the longest handler.
const HANDLER_BYTES: usize = 32;

/// SMIs that the stub counted.
static COUNT: AtomicU32 = AtomicU32::new(0);

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
pub(crate) struct SmiStub(());

/// Memory that SMIs use, and nobody may overwrite: where SMBASE is after a reset, and where it is moved to.
pub(crate) const SMRAM: Region =
    Region { name: "smram", start: PhysAddr(SMBASE_RESET), len_bytes: SMBASE_OWN + SMRAM_BYTES - SMBASE_RESET };

impl SmiStub {
    /// Moves the SMBASE of `target`, unless it was moved before. `None` if its SMIs go elsewhere, or the memory is not there.
    ///
    /// An INIT keeps SMBASE (SDM vol. 3, table 10-1), but QEMU's TCG resets it: to be done again after each.
    ///
    /// # Safety
    /// Nothing else uses [`SMBASE_RESET`] to [`SMBASE_OWN`] + 64 KiB; no other CPU takes an SMI meanwhile.
    pub(crate) unsafe fn install(world: &World, target: ApicId) -> Option<Self> {
        let len_bytes = SMBASE_OWN + SMRAM_BYTES - SMBASE_RESET;
        let mut ram = world.map.ranges().filter(|range| range.kind == MEMORY_TYPE_RAM);
        if !ram.any(|range| range.contains(PhysAddr(SMBASE_RESET), len_bytes)) {
            return None;
        }
        // MOV dword [SMBASE_FIELD], SMBASE_OWN; then count and return.
        let field = (SMBASE_RESET + SMBASE_FIELD) as u32;
        let mut code = Code::new();
        code.put(&[0x66, 0x67, 0xc7, 0x05]).put(&field.to_le_bytes()).put(&(SMBASE_OWN as u32).to_le_bytes());
        code.count_and_return();
        // SAFETY: the caller's promise.
        unsafe { code.write(SMBASE_RESET + HANDLER) };
        let stub = Self(());
        // SAFETY: as above.
        unsafe { stub.set(AutoHalt::Kept) };
        let before = count();
        send_smi(target).ok()?;
        world.clock.wait(INSTALL_US, "an SMI to be counted", || count() != before).ok()?;
        Some(stub)
    }

    /// Chooses what the stub does.
    ///
    /// # Safety
    /// No SMI is under way to the CPU.
    pub(crate) unsafe fn set(self, auto_halt: AutoHalt) {
        let mut code = Code::new();
        if auto_halt == AutoHalt::Cleared {
            let intel = !matches!(detect_here().features().vendor, Vendor::Amd | Vendor::Hygon);
            let flag = SMBASE_OWN + if intel { AUTO_HALT_INTEL } else { AUTO_HALT_AMD };
            // MOV byte [flag], 0.
            code.put(&[0x67, 0xc6, 0x05]).put(&(flag as u32).to_le_bytes()).put(&[0]);
        }
        code.count_and_return();
        // SAFETY: the caller's promise; the region is kept for this.
        unsafe { code.write(SMBASE_OWN + HANDLER) };
    }
}

/// How long the first SMI may take.
const INSTALL_US: u64 = 200_000;

/// SMIs that were counted so far.
pub(crate) fn count() -> u32 {
    COUNT.load(Ordering::Acquire)
}

/// Sends an SMI. `Ok` means that the local APIC has the message.
pub(crate) fn send_smi(target: ApicId) -> Result<(), PlatformError> {
    let mut cpu = this_cpu();
    match apic::mode(&mut cpu)? {
        ApicMode::X2Apic => {
            let value = u64::from(target.0) << ICR_X2APIC_DESTINATION_SHIFT | ICR_SMI;
            cpu.write(Register::Msr(x2apic_msr(ICR_LOW)), value)
        }
        ApicMode::XApic => {
            cpu.write(Register::Apic(ICR_HIGH), u64::from(target.0) << ICR_XAPIC_DESTINATION_SHIFT)?;
            cpu.write(Register::Apic(ICR_LOW), ICR_SMI)
        }
    }
}

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

    fn count_and_return(&mut self) {
        let counter = (&raw const COUNT).expose_provenance() as u32;
        // LOCK INC dword [COUNT]; RSM.
        self.put(&[0x66, 0x67, 0xf0, 0xff, 0x05]).put(&counter.to_le_bytes()).put(&[0x0f, 0xaa]);
    }

    /// # Safety
    /// `at` is memory that nobody else uses.
    unsafe fn write(&self, at: u64) {
        let target: *mut [u8; HANDLER_BYTES] = core::ptr::with_exposed_provenance_mut(at as usize);
        // SAFETY: the caller's promise; below 4 GiB everything is mapped at identity.
        unsafe { target.write_volatile(self.bytes) };
    }
}
