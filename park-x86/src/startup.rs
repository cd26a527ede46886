//! Starting a CPU: INIT, STARTUP, and the trampoline from real mode to a 64-bit entry.
//!
//! The trampoline fills one page below 1 MiB, anywhere the owner likes: nothing in its code is absolute. It serves one
//! CPU at a time; others that arrive meanwhile spin in it until the owner has filled it again.
//!
//! An NMI that the CPU held in wait-for-SIPI comes before the trampoline's first instruction, in real mode:
//! [`WakeSipi`](park_core::op::WakeSipi) says what the owner does about it.

use crate::registers::control::{Cr0, Cr4, Efer};
use crate::registers::msr;
use core::arch::global_asm;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicU16, Ordering};
use park_core::lot::Stage;
use park_core::{Entry, Error, ErrorKind, PhysAddr};

/// Bytes of the page.
pub const PAGE_LEN: usize = 4096;

/// Offsets of what the builder fills in, in the last 256 bytes of the page.
mod offset {
    /// The claim word, 16 bits.
    pub(super) const CLAIM: usize = 0xf00;
    /// GDT: null and 64-bit code.
    pub(super) const GDT: usize = 0xf10;
    /// What LGDT loads: limit, 32-bit base.
    pub(super) const GDT_POINTER: usize = 0xf20;
    /// What the far jump loads: 32-bit offset, selector.
    pub(super) const FAR_POINTER: usize = 0xf28;
    /// CR3, 32 bits.
    pub(super) const CR3: usize = 0xf30;
    /// CR4, 32 bits.
    pub(super) const CR4: usize = 0xf34;
    /// EFER, 32 bits.
    pub(super) const EFER: usize = 0xf38;
    /// RIP of the entry.
    pub(super) const ENTRY: usize = 0xf40;
    /// RSP of the entry.
    pub(super) const STACK: usize = 0xf48;
    /// RDI of the entry.
    pub(super) const ARG: usize = 0xf50;
    /// Physical address of the bay's stage word, 0 for none.
    pub(super) const STAGE_POINTER: usize = 0xf58;
    /// One past the last.
    pub(super) const END: usize = 0xf60;
}

/// Offset in the page of the claim word, 16 bits: see [`ClaimState`].
pub const CLAIM_OFFSET: u64 = offset::CLAIM as u64;

/// GDT limit: two descriptors.
const GDT_LIMIT: u16 = 2 * 8 - 1;
/// Selector of the 64-bit code segment in the trampoline's GDT.
const CODE_SELECTOR: u16 = 8;
/// CR0 of the trampoline: paging on, caches on, x87 errors as exceptions.
const CR0: u64 = Cr0::PG.union(Cr0::PE).union(Cr0::WP).union(Cr0::NE).union(Cr0::ET).union(Cr0::MP).bits();
/// CR4 bits that may be set while the CPU is still in real mode.
const CR4_ALLOWED: Cr4 = Cr4::PAE.union(Cr4::MCE).union(Cr4::LA57).union(Cr4::PSE).union(Cr4::DE);

/// One past the last page that a STARTUP vector can name.
const REAL_MODE_END: u64 = 0x10_0000;
/// Vectors that a STARTUP must not have (SDM vol. 3, "MP Initialization Protocol Requirements and Restrictions").
const RESERVED_VECTORS: core::ops::RangeInclusive<u8> = 0xa0..=0xbf;

#[cfg(not(target_os = "uefi"))]
macro_rules! rodata {
    () => {
        ".section .rodata.park_startup,\"a\"\n"
    };
}
#[cfg(target_os = "uefi")]
macro_rules! rodata {
    () => {
        ".section .rdata$park_startup,\"dr\"\n"
    };
}

global_asm!(
    concat!(rodata!(), include_str!("startup.s"), "\n.text\n"),
    CLAIM = const offset::CLAIM,
    CLAIMED = const ClaimState::Claimed as u16,
    READ = const ClaimState::Read as u16,
    GDT_POINTER = const offset::GDT_POINTER,
    FAR_POINTER = const offset::FAR_POINTER,
    CR0 = const CR0,
    CR3 = const offset::CR3,
    CR4 = const offset::CR4,
    EFER = const offset::EFER,
    EFER_MSR = const msr::EFER,
    ENTRY = const offset::ENTRY,
    STACK = const offset::STACK,
    ARG = const offset::ARG,
    STAGE_POINTER = const offset::STAGE_POINTER,
    LEAVING = const Stage::Leaving as u64,
);

unsafe extern "C" {
    safe static park_startup_start: u8;
    safe static park_startup_long_mode: u8;
    safe static park_startup_end: u8;
}

/// The trampoline's code, as it lies at the beginning of the page.
#[must_use]
pub fn code() -> &'static [u8] {
    let start = core::ptr::from_ref(&park_startup_start);
    let len = core::ptr::from_ref(&park_startup_end).addr() - start.addr();
    // SAFETY: first and last label of one section of read-only bytes, which the assembler emitted and the linker
    // mapped as a whole, for ever.
    unsafe { slice::from_raw_parts(start, len) }
}

/// Offset of the first 64-bit instruction in [`code`].
#[must_use]
pub fn long_mode_offset() -> usize {
    core::ptr::from_ref(&park_startup_long_mode).addr() - core::ptr::from_ref(&park_startup_start).addr()
}

/// Where the page stands between owner and started CPU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u16)]
pub enum ClaimState {
    /// Filled; no CPU has come.
    Ready = 0,
    /// A CPU has come and uses the page.
    Claimed = 1,
    /// That CPU needs the page no more: it may be filled again.
    Read = 2,
}

/// What a started CPU finds. Its registers beyond these: IF = 0, null data segments, a GDT of two descriptors in the
/// page, the real-mode IDT, and the rest as INIT leaves it. The entry loads GDT and IDT of its own at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StartupPage {
    /// Physical address of the page: below 1 MiB, and mapped at identity, executable and writable, by `entry.cr3`.
    pub page: PhysAddr,
    /// Where the CPU goes. `cr3` lies below 4 GiB.
    pub entry: Entry,
    /// CR4: PAE, and MCE where the CPU has it; LA57 for a root of five levels.
    pub cr4: Cr4,
    /// EFER: LME, and NXE where the root uses it.
    pub efer: Efer,
    /// Physical address of the stage word of the bay that the CPU was parked in by WaitForSipi, mapped at identity by
    /// `entry.cr3`: set to [`Stage::Leaving`] before the entry. `None` for a CPU that comes from no bay.
    pub bay_stage: Option<PhysAddr>,
}

impl StartupPage {
    /// The vector of a STARTUP to this page.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidAddress`] if no vector names the page.
    pub fn vector(&self) -> Result<u8, Error> {
        let bad = |what| Error::new(ErrorKind::InvalidAddress, what).found(self.page.0);
        if !self.page.is_aligned(PAGE_LEN as u64) {
            return Err(bad("the trampoline page is not a page: align it to 4 KiB"));
        }
        if self.page.0 >= REAL_MODE_END {
            return Err(bad("the trampoline page is not below 1 MiB"));
        }
        let vector = (self.page.0 >> 12) as u8;
        if RESERVED_VECTORS.contains(&vector) {
            return Err(bad("the trampoline page is in A0000h to BFFFFh, whose vectors are reserved"));
        }
        Ok(vector)
    }

    /// Writes the trampoline and these values into `page`, with the claim word at [`ClaimState::Ready`], and returns the
    /// vector to send.
    ///
    /// No CPU may be in the page: [`claim_state`] said [`ClaimState::Read`], or nobody was ever sent there. That what
    /// the entry and its root hold is right only the caller knows.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidAddress`] for `page`, `entry.cr3` or `bay_stage`; [`ErrorKind::NotSupported`] for bits of
    /// CR4 or EFER that can't be loaded on the way.
    pub fn write(&self, page: &mut [u8; PAGE_LEN]) -> Result<u8, Error> {
        let vector = self.vector()?;
        let cr3 = self.entry.cr3;
        let Ok(cr3_low) = u32::try_from(cr3.0) else {
            return Err(Error::new(
                ErrorKind::InvalidAddress,
                "the root lies above 4 GiB, where real mode can't load it: use a copy below",
            )
            .found(cr3.0));
        };
        if !self.cr4.contains(Cr4::PAE) || !CR4_ALLOWED.contains(self.cr4) {
            let what = "CR4 must have PAE, and nothing that needs long mode or the entry's tables: set the rest there";
            return Err(Error::new(ErrorKind::NotSupported, what).found(self.cr4.bits()));
        }
        if !self.efer.contains(Efer::LME) || !Efer::LME.union(Efer::NXE).union(Efer::SCE).contains(self.efer) {
            return Err(Error::new(ErrorKind::NotSupported, "EFER must have LME, and at most NXE and SCE beside it")
                .found(self.efer.bits()));
        }
        let stage = self.bay_stage.unwrap_or_default();
        if !stage.is_aligned(8) {
            return Err(Error::new(ErrorKind::InvalidAddress, "the stage word is not aligned").found(stage.0));
        }
        let base = self.page.0 as u32;
        page.fill(0);
        // The code ends before the parameters: asserted by a test, and by `put`, which drops what does not fit.
        put(page, 0, code());
        let code64 = crate::frame::CODE64_DESCRIPTOR;
        put(page, offset::GDT + usize::from(CODE_SELECTOR), &code64.to_le_bytes());
        put(page, offset::GDT_POINTER, &GDT_LIMIT.to_le_bytes());
        put(page, offset::GDT_POINTER + 2, &(base + offset::GDT as u32).to_le_bytes());
        put(page, offset::FAR_POINTER, &(base + long_mode_offset() as u32).to_le_bytes());
        put(page, offset::FAR_POINTER + 4, &CODE_SELECTOR.to_le_bytes());
        put(page, offset::CR3, &cr3_low.to_le_bytes());
        put(page, offset::CR4, &(self.cr4.bits() as u32).to_le_bytes());
        put(page, offset::EFER, &(self.efer.bits() as u32).to_le_bytes());
        put(page, offset::ENTRY, &self.entry.rip.to_le_bytes());
        put(page, offset::STACK, &self.entry.rsp.to_le_bytes());
        put(page, offset::ARG, &self.entry.arg.to_le_bytes());
        put(page, offset::STAGE_POINTER, &stage.0.to_le_bytes());
        Ok(vector)
    }
}

fn put(page: &mut [u8; PAGE_LEN], at: usize, bytes: &[u8]) {
    if let Some(slot) = page.get_mut(at..at + bytes.len()) {
        slot.copy_from_slice(bytes);
    }
}

/// How far a started CPU is with the page mapped at `page`; `None` if the word is damaged.
///
/// # Safety
/// `page` maps the trampoline's page, readable, and only the owner and started CPUs write to it.
#[must_use]
pub unsafe fn claim_state(page: NonNull<u8>) -> Option<ClaimState> {
    // SAFETY: the offset is inside the page.
    let word = unsafe { page.byte_add(offset::CLAIM) }.cast::<AtomicU16>();
    // SAFETY: mapped by the caller's promise, aligned since pages are, and changed by atomic accesses alone.
    let word = unsafe { word.as_ref() };
    match word.load(Ordering::Acquire) {
        0 => Some(ClaimState::Ready),
        1 => Some(ClaimState::Claimed),
        2 => Some(ClaimState::Read),
        _ => None,
    }
}

const _: () = assert!(offset::END <= PAGE_LEN && offset::CLAIM % 4 == 0 && offset::GDT % 8 == 0);
