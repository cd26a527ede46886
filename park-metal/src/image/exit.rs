//! Leaving the machine: QEMU's `isa-debug-exit`, iobase 0xf4.

use crate::image::insn;

/// The port of `-device isa-debug-exit,iobase=0xf4,iosize=4`.
pub(crate) const EXIT_PORT: u16 = 0xf4;

/// What is written to [`EXIT_PORT`]. QEMU's exit status becomes `2 * value + 1`, so success is 1 and never 0: a
/// reset with `-no-reboot` ends with 0 too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Verdict {
    /// The test ran to its end and all of it held. QEMU's status is 1.
    Passed = 0,
    /// The test ran and did not hold, or could not be run. QEMU's status is 3.
    Failed = 1,
    /// The image itself broke: an exception or a panic. QEMU's status is 5.
    Broken = 2,
    /// The CPU has no long mode or no NX. QEMU's status is 7.
    NotStarted = 3,
}

/// Ends the machine. Where there is no such device, halts this CPU.
pub(crate) fn leave(verdict: Verdict) -> ! {
    insn::out_u32(EXIT_PORT, verdict as u32);
    loop {
        insn::cli_hlt();
    }
}
