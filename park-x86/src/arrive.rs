//! Going in, on the metal: the jump from Rust into the owner text.

use crate::code;

/// Linear address of the owner text as this program is linked: [`Placement::text`](crate::frame::Placement::text) for a
/// kernel that executes it in place.
#[must_use]
pub fn owner_text_address() -> u64 {
    code::owner_text().as_ptr().addr() as u64
}

/// Linear address of the departure entry as this program is linked: the `rip` of an [`Entry`](park_core::Entry) whose
/// `arg` is the linear address of a departure frame.
#[must_use]
pub fn depart_address() -> u64 {
    owner_text_address() + u64::from(code::owner_labels().depart)
}

/// Leaves the owner: executes the owner text on the arrival frame at linear address `frame`. Never returns; the CPU's
/// bay says when it has arrived.
///
/// # Safety
/// 1. CPL is 0, and the executing CPU was sanitised: see [`sanitise`](crate::sanitise).
/// 2. `frame` was written by [`Arrival::write`](crate::frame::Arrival::write) for this CPU, this placement, a lot that was
///    verified, and a bay reserved for this CPU; nobody else uses it until the bay says `Waiting`.
/// 3. The transit root in it has the CPU's paging depth and maps the lot at identity with the lot's permissions, and the
///    kernel's text, the frame and the current stack where the current root maps them.
/// 4. The current stack has 512 bytes left.
pub unsafe fn arrive(frame: u64) -> ! {
    let entry = owner_text_address() + u64::from(code::owner_labels().arrive);
    // SAFETY: `entry` is the label of the owner text that takes an arrival frame in RDI; what it does with it is what
    // the caller promised: (1) and (3) make every instruction of it legal, (2) and (4) the memory that it touches.
    unsafe {
        core::arch::asm!(
            "jmp {entry}",          // never comes back: the stack is abandoned, not unwound
            entry = in(reg) entry,
            in("rdi") frame,
            options(noreturn),
        )
    }
}
