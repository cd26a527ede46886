//! The mailbox's page as an operating system uses it, and where it wants its CPUs.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use park_core::{ApicId, Entry, PhysAddr};

/// Offsets in the page (ACPI 6.6, section 5.2.12.19).
const APIC_ID: u32 = 4;
const VECTOR: usize = 8;

/// RSP, CR3 and argument of the CPU that is asked for next.
static NEXT: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

global_asm!(include_str!("entry.s"), NEXT = sym NEXT, options(att_syntax));

unsafe extern "C" {
    fn metal_mailbox_entry();
}

/// The vector.
pub(super) fn entry() -> u64 {
    metal_mailbox_entry as *const () as u64
}

/// Says where the CPU that comes to the vector next goes on. It goes through [`ap_start`](crate::image::ap_start)'s entry.
pub(super) fn prepare(next: &Entry) {
    for (slot, value) in NEXT.iter().zip([next.rsp, next.cr3.0, next.arg]) {
        slot.store(value, Ordering::Release);
    }
}

/// The job of a CPU that an operating system gives back: to the reset vector, on tables that map it at identity.
pub(super) extern "C" fn give_back(reset_vector: u64) {
    // SAFETY: the image maps all lots at identity; the lot's code takes over, and nothing of this CPU's stack is needed.
    unsafe { asm!("cli", "jmp {}", in(reg) reset_vector, options(noreturn)) }
}

/// A mailbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mailbox(PhysAddr);

impl Mailbox {
    /// The mailbox at an address.
    ///
    /// # Safety
    /// A page at identity that is nothing but a mailbox, for ever.
    pub(super) const unsafe fn new(at: PhysAddr) -> Self {
        Self(at)
    }

    /// Where it is.
    pub(super) const fn address(self) -> u64 {
        self.0.0
    }

    fn field<T>(self, offset: usize) -> *mut T {
        core::ptr::with_exposed_provenance_mut(self.0.0 as usize + offset)
    }

    /// Writes the vector of a request that is to come.
    pub(super) fn set_vector(self, vector: u64) {
        // SAFETY: the promise at `new`; a page is aligned to more than the field, which others change too.
        unsafe { AtomicU64::from_ptr(self.field(VECTOR)) }.store(vector, Ordering::Release);
    }

    /// Writes command and id in one store. Operating systems use two, of which the first already ends a CPU's MWAIT.
    pub(super) fn ask(self, command: u16, apic_id: ApicId) {
        let both = u64::from(command) | u64::from(apic_id.0) << (8 * APIC_ID);
        // SAFETY: as in `set_vector`. Release: whoever sees the command sees the rest.
        unsafe { AtomicU64::from_ptr(self.field(0)) }.store(both, Ordering::Release);
    }

    /// Takes back a request that nobody follows. No operating system can do so safely: who follows it may be slow.
    pub(super) fn withdraw(self) {
        // SAFETY: as in `set_vector`.
        unsafe { AtomicU16::from_ptr(self.field(0)) }.store(0, Ordering::Release);
    }

    /// The command that stands there.
    pub(super) fn command(self) -> u16 {
        // SAFETY: as in `set_vector`.
        unsafe { AtomicU16::from_ptr(self.field(0)) }.load(Ordering::Acquire)
    }
}
