//! Leaving the machine: QEMU's `isa-debug-exit`, iobase 0xf4, or Bochs' shutdown port, or not at all.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::choices::Ending;
use crate::image::{insn, serial};

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

/// Where Bochs listens for the word `Shutdown`, byte by byte (Bochs documentation, `unmapped` device).
const BOCHS_PORT: u16 = 0x8900;
const BOCHS_WORD: [u8; 8] = *b"Shutdown";

/// The [`Ending`] that [`choose`] was told, as its position in [`Ending::ALL`].
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// Says how the machine is to end from now on; before that it is QEMU's way.
pub(crate) fn choose(ending: Ending) {
    let position = Ending::ALL.iter().position(|&other| other == ending).unwrap_or(0);
    CHOSEN.store(position, Ordering::Relaxed);
}

/// Ends the machine. Where that does not work, halts this CPU.
pub(crate) fn leave(verdict: Verdict) -> ! {
    match Ending::ALL.get(CHOSEN.load(Ordering::Relaxed)) {
        Some(Ending::Qemu) | None => insn::out_u32(EXIT_PORT, verdict as u32),
        Some(Ending::Bochs) => {
            serial::flush();
            for byte in BOCHS_WORD {
                insn::out_u8(BOCHS_PORT, byte);
            }
        }
        Some(Ending::Halt) => {}
    }
    loop {
        insn::cli_hlt();
    }
}
